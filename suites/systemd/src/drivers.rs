//! Two ways to a group with limits: the case makes it and writes the kernel's files,
//! or systemd makes it and is told the limits as properties.
//!
//! A case that takes its groups from here says the same of both, and so its records
//! of one run are to be those of the other.

use std::path::Path;

use cgauge_lab::disk::Disk;
use cgauge_lab::process::Process;
use cgauge_lab::{Group, Lab, Stop};
use rstest::fixture;
use zbus::Variant;

use crate::bus::{Systemd, systemd};
use crate::unit::{Property, Started};

/// The period over which a quota is given, where nobody says another.
const PERIOD_US: u64 = 100_000;

/// A limit of a group, in the kernel's units.
#[derive(Clone, Debug)]
pub enum Bound<'a> {
    /// Processes and threads.
    Tasks(u64),
    /// Bytes that are never exceeded.
    MemoryMax(u64),
    /// Bytes above which the group is slowed down.
    MemoryHigh(u64),
    /// Bytes of swap.
    SwapMax(u64),
    /// Microseconds of CPU time in 100 ms.
    CpuQuota(u64),
    /// Its part of the CPUs, against its siblings'.
    CpuWeight(u64),
    /// Bytes a second that it reads from a device.
    ReadRate(&'a Disk, u64),
}

impl Bound<'_> {
    /// What the kernel is to show, by file.
    #[must_use]
    pub fn shown(&self) -> (&'static str, String) {
        match self {
            Self::Tasks(count) => ("pids.max", count.to_string()),
            Self::MemoryMax(bytes) => ("memory.max", bytes.to_string()),
            Self::MemoryHigh(bytes) => ("memory.high", bytes.to_string()),
            Self::SwapMax(bytes) => ("memory.swap.max", bytes.to_string()),
            Self::CpuQuota(us) => ("cpu.max", format!("{us} {PERIOD_US}")),
            Self::CpuWeight(weight) => ("cpu.weight", weight.to_string()),
            Self::ReadRate(disk, rate) => {
                ("io.max", format!("{} rbps={rate} wbps=max riops=max wiops=max", disk.number()))
            }
        }
    }

    /// What is written to that file.
    fn written(&self) -> String {
        match self {
            Self::ReadRate(disk, rate) => format!("{} rbps={rate}", disk.number()),
            _ => self.shown().1,
        }
    }

    fn property(&self) -> Property<'static> {
        match self {
            Self::Tasks(count) => ("TasksMax", Variant::from(*count)),
            Self::MemoryMax(bytes) => ("MemoryMax", Variant::from(*bytes)),
            Self::MemoryHigh(bytes) => ("MemoryHigh", Variant::from(*bytes)),
            Self::SwapMax(bytes) => ("MemorySwapMax", Variant::from(*bytes)),
            // systemd takes the CPU time of a second.
            Self::CpuQuota(us) => {
                ("CPUQuotaPerSecUSec", Variant::from(us * (1_000_000 / PERIOD_US)))
            }
            Self::CpuWeight(weight) => ("CPUWeight", Variant::from(*weight)),
            Self::ReadRate(disk, rate) => (
                "IOReadBandwidthMax",
                Variant::from(vec![(disk.path().display().to_string(), *rate)]),
            ),
        }
    }
}

/// Who makes the groups.
#[derive(Debug)]
pub enum Driver {
    /// The case itself.
    Cgroupfs,
    /// systemd.
    Systemd(Systemd),
}

/// The driver of this machine: systemd where it is PID 1.
#[fixture]
pub fn driver() -> Driver {
    // sd_booted(3) looks for this folder.
    if Path::new("/run/systemd/system").is_dir() {
        Driver::Systemd(systemd())
    } else {
        Driver::Cgroupfs
    }
}

/// A group with limits. It holds one process that does nothing, for a scope is never
/// empty; gone with all in it when it goes out of scope.
#[derive(Debug)]
pub struct Bounded<'a> {
    made: Made<'a>,
    _anchor: Process<()>,
}

#[derive(Debug)]
enum Made<'a> {
    Group(Group),
    Scope(Started<'a>),
}

impl Bounded<'_> {
    /// Processes that are in it from the beginning.
    pub const ANCHORS: u64 = 1;

    /// The group.
    #[must_use]
    pub fn group(&self) -> &Group {
        match &self.made {
            Made::Group(group) => group,
            Made::Scope(scope) => scope.group(),
        }
    }
}

impl Driver {
    /// Makes a group with these limits. Those of one case are siblings.
    pub fn group(&self, lab: &Lab, name: &str, bounds: &[Bound<'_>]) -> Result<Bounded<'_>, Stop> {
        match self {
            Self::Cgroupfs => {
                let group = lab.group(name)?;
                for bound in bounds {
                    group.set(bound.shown().0, bound.written())?;
                }
                let anchor = group.sleeper()?;
                Ok(Bounded { made: Made::Group(group), _anchor: anchor })
            }
            Self::Systemd(systemd) => {
                let elsewhere = lab.group("elsewhere")?;
                let anchor = elsewhere.sleeper()?;
                let mut properties = vec![("Slice", Variant::from("bounds.slice"))];
                if !bounds.iter().any(|it| matches!(it, Bound::Tasks(_))) {
                    // Its default stands in the manager's configuration.
                    properties.push(("TasksMax", Variant::from(u64::MAX)));
                }
                if systemd.version()? >= 253 {
                    // Since then a scope that lost a process to the OOM killer is
                    // stopped; the kernel alone leaves the others be.
                    properties.push(("OOMPolicy", Variant::from("continue")));
                }
                properties.extend(bounds.iter().map(Bound::property));
                let name = format!("{name}.scope");
                let scope = systemd.scope(lab, &name, &[anchor.pid()], &properties)?;
                Ok(Bounded { made: Made::Scope(scope), _anchor: anchor })
            }
        }
    }
}
