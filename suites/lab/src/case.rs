//! The fixture that every case begins with.
//!
//! It finds the case's group and its recorder in the environment that the agent
//! made, and refuses to work without: a suite never runs on a machine by
//! accident.

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use cgauge_record::{CheckKind, Message, Preference, Quantity, Unit};
use rstest::fixture;

use crate::check::{Question, Recorder};
use crate::group::{Group, Tree};
use crate::kernel::Dir;
use crate::stop::Stop;

/// The unified hierarchy's name among the case's groups.
const UNIFIED: &str = "unified";

/// What a case works with.
#[derive(Debug)]
pub struct Lab {
    /// The case's group in each hierarchy: `unified`, or a legacy controller's name.
    roots: Vec<(String, Group)>,
    recorder: Rc<Recorder>,
}

/// The lab that the agent prepared for this case.
///
/// # Panics
/// Outside a stage.
#[fixture]
pub fn lab() -> Lab {
    match Lab::of_the_agent() {
        Ok(lab) => lab,
        Err(reason) => panic!("{reason}"),
    }
}

impl Lab {
    fn of_the_agent() -> Result<Self, String> {
        let get = |name: &str| {
            std::env::var(name).map_err(|_| {
                format!(
                    "{name} is not set: a case runs on a stage; start it with `cargo xtask run`"
                )
            })
        };
        let records: RawFd =
            get("CGAUGE_RECORDS")?.parse().map_err(|_| "CGAUGE_RECORDS is no descriptor")?;
        // No process that a case starts shall write records.
        // SAFETY: the agent opened it for this process, and this runs once a process.
        let records = unsafe { File::from_raw_fd(records) };
        nix::fcntl::fcntl(&records, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))
            .map_err(|errno| format!("CGAUGE_RECORDS: {errno}"))?;
        let recorder = Rc::new(Recorder::new(get("CGAUGE_SUITE")?, get("CGAUGE_CASE")?, records));
        let mut roots = Vec::new();
        for place in get("CGAUGE_GROUPS")?.split(':') {
            let (name, path) = place.split_once('=').ok_or("CGAUGE_GROUPS is no list")?;
            let tree = if name == UNIFIED { Tree::Unified } else { Tree::Legacy };
            let dir = Dir::open(path).map_err(|it| it.to_string())?;
            roots.push((name.to_owned(), Group::root(dir, tree, Rc::clone(&recorder))));
        }
        if roots.is_empty() {
            return Err("CGAUGE_GROUPS names no group".to_owned());
        }
        Ok(Self { roots, recorder })
    }

    /// The case's own part of the hierarchy: of the unified one where there is
    /// one, where every controller is enabled for its children, else of the first
    /// legacy one. The case's process lives in its child `self`.
    #[must_use]
    pub fn root(&self) -> &Group {
        &self.roots[0].1
    }

    /// The case's own part of the legacy hierarchy of `controller`. Skips the case
    /// where there is none.
    pub fn legacy(&self, controller: &str) -> Result<&Group, Stop> {
        let found = self.roots.iter().find(|(name, _)| name == controller);
        found.map(|(_, group)| group).ok_or_else(|| {
            self.skip(&format!(
                "this kernel has no {controller} controller for legacy hierarchies ({})",
                option_of(controller)
            ))
        })
    }

    pub(crate) fn recorder(&self) -> &Rc<Recorder> {
        &self.recorder
    }

    /// Makes a group of the case, with every controller.
    pub fn group(&self, name: &str) -> Result<Group, Stop> {
        self.root().make(name)
    }

    /// A group of the unified hierarchy that another made, and that is the other's to
    /// remove.
    pub fn group_of_another(&self, path: impl Into<PathBuf>) -> Result<Group, Stop> {
        let dir = Dir::open(path).map_err(|it| Stop::Broken(it.to_string()))?;
        Ok(Group::root(dir, Tree::Unified, Rc::clone(&self.recorder)))
    }

    /// Says that the case cannot run here, and why: what the kernel or the
    /// machine lacks. For `return Err(lab.skip(…))`.
    pub fn skip(&self, reason: &str) -> Stop {
        self.recorder.say(&Message::Skip { reason: reason.to_owned() });
        Stop::Skip(reason.to_owned())
    }

    /// Skips the case unless groups show `file`, which `since` says from when on.
    pub fn needs_file(&self, file: &str, since: &str) -> Result<(), Stop> {
        let probe = self.group("probe")?;
        if probe.has(file)? {
            return Ok(());
        }
        Err(self.skip(&format!("this kernel has no {file} ({since})")))
    }

    /// Skips the case unless the hierarchy offers `controller`.
    pub fn needs_controller(&self, controller: &str) -> Result<(), Stop> {
        let offered = self.root().get("cgroup.controllers")?;
        if offered.split_ascii_whitespace().any(|it| it == controller) {
            return Ok(());
        }
        Err(self.skip(&format!("this kernel does not offer the {controller} controller")))
    }

    /// A check of what a file accepts, refuses and shows.
    pub fn interface(&self, what: &str) -> Question {
        self.check(CheckKind::Interface, what)
    }

    /// A check that a limit, weight or protection holds.
    pub fn enforcement(&self, what: &str) -> Question {
        self.check(CheckKind::Enforcement, what)
    }

    /// A check that a counter tells the truth.
    pub fn accounting(&self, what: &str) -> Question {
        self.check(CheckKind::Accounting, what)
    }

    /// A check that a watcher is woken.
    pub fn notification(&self, what: &str) -> Question {
        self.check(CheckKind::Notification, what)
    }

    /// A check of how groups nest and processes move.
    pub fn hierarchy(&self, what: &str) -> Question {
        self.check(CheckKind::Hierarchy, what)
    }

    /// A check of who may do what.
    pub fn delegation(&self, what: &str) -> Question {
        self.check(CheckKind::Delegation, what)
    }

    /// A check of a stated cost.
    pub fn performance(&self, what: &str) -> Question {
        self.check(CheckKind::Performance, what)
    }

    fn check(&self, kind: CheckKind, what: &str) -> Question {
        Question::new(Rc::clone(&self.recorder), kind, what)
    }

    /// Records a measured number.
    pub fn value(&self, metric: &str, unit: Unit, value: impl Into<Quantity>, better: Preference) {
        self.recorder.value(metric, unit, value, better);
    }

    /// Records measured times as a histogram.
    pub fn latencies(&self, metric: &str, samples: &[Duration]) {
        self.recorder.latencies(metric, samples);
    }

    /// Records a number over time, and the limit that it is to be seen against.
    pub fn series(&self, metric: &str, unit: Unit, points: &[(Duration, f64)], limit: Option<f64>) {
        self.recorder.series(metric, unit, points, limit);
    }
}

/// What a kernel is to be built with to have a controller in a legacy hierarchy.
fn option_of(controller: &str) -> String {
    match controller {
        // What these did on legacy hierarchies alone became an option in 6.11 and 6.12.
        "memory" => "CONFIG_MEMCG_V1".to_owned(),
        "cpuset" => "CONFIG_CPUSETS_V1".to_owned(),
        "blkio" => "CONFIG_BLK_CGROUP".to_owned(),
        "cpu" => "CONFIG_CGROUP_SCHED".to_owned(),
        "devices" => "CONFIG_CGROUP_DEVICE".to_owned(),
        "net_cls" => "CONFIG_CGROUP_NET_CLASSID".to_owned(),
        "perf_event" => "CONFIG_CGROUP_PERF".to_owned(),
        other => format!("CONFIG_CGROUP_{}", other.to_uppercase()),
    }
}
