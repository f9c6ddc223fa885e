//! How a report is divided: by controller, and within one by what is asked of
//! it. It must not know any output format.

use cgauge_record::CheckKind;

use crate::run::CheckReport;

/// A controller, or what belongs to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Controller {
    Core,
    Cpu,
    Cpuset,
    Memory,
    Io,
    Pids,
    Hugetlb,
    Misc,
    Rdma,
    Device,
    Perf,
    Pressure,
    Freezer,
    Other,
}

impl Controller {
    /// Every one, in a report's order.
    pub(crate) const ALL: [Self; 14] = [
        Self::Core,
        Self::Cpu,
        Self::Cpuset,
        Self::Memory,
        Self::Io,
        Self::Pids,
        Self::Hugetlb,
        Self::Misc,
        Self::Rdma,
        Self::Device,
        Self::Perf,
        Self::Pressure,
        Self::Freezer,
        Self::Other,
    ];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
            Self::Hugetlb => "hugetlb",
            Self::Misc => "misc",
            Self::Rdma => "rdma",
            Self::Device => "device",
            Self::Perf => "perf",
            Self::Pressure => "pressure",
            Self::Freezer => "freezer",
            Self::Other => "other",
        }
    }

    /// The one that a suite is about; where a suite is about several, the one
    /// whose file a check looks at.
    pub(crate) fn of(suite: &str, file: &str) -> Self {
        let suite = suite.strip_prefix("legacy-").unwrap_or(suite);
        Self::named(suite).unwrap_or_else(|| Self::of_file(file))
    }

    /// The one whose file it is.
    pub(crate) fn of_file(file: &str) -> Self {
        match file.split_once('.') {
            Some(("cgroup", _)) | None => Self::Core,
            Some((name, _)) => Self::named(name).unwrap_or(Self::Other),
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name && *it != Self::Other)
    }
}

/// What is asked of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Enforcement,
    Accounting,
    Notification,
    Price,
    Interface,
}

impl Part {
    /// Every one, in a report's order.
    pub(crate) const ALL: [Self; 5] =
        [Self::Enforcement, Self::Accounting, Self::Notification, Self::Price, Self::Interface];

    /// Its heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Enforcement => "Enforcement",
            Self::Accounting => "Accounting",
            Self::Notification => "Notification",
            Self::Price => "Price",
            Self::Interface => "Interface, hierarchy and delegation",
        }
    }

    /// The one that a check belongs to.
    pub(crate) fn of(check: &CheckReport) -> Self {
        match check.kind {
            CheckKind::Enforcement => Self::Enforcement,
            CheckKind::Accounting => Self::Accounting,
            CheckKind::Notification => Self::Notification,
            CheckKind::Performance => Self::Price,
            CheckKind::Interface | CheckKind::Hierarchy | CheckKind::Delegation => Self::Interface,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_of_several_controllers_is_told_apart_by_its_files() {
        for (suite, file, controller) in [
            ("memory", "cgroup.procs", Controller::Memory),
            ("legacy-cpu", "cpu.shares", Controller::Cpu),
            ("latency", "memory.events", Controller::Memory),
            ("latency", "cgroup.events", Controller::Core),
            ("interface", "cpuset.cpus", Controller::Cpuset),
            ("groups", "", Controller::Core),
            ("new", "luck.max", Controller::Other),
            ("other", "", Controller::Core),
        ] {
            assert_eq!(Controller::of(suite, file), controller, "{suite} {file}");
        }
    }
}
