//! The fixture that every case begins with.
//!
//! It finds the case's group and its recorder in the environment that the agent
//! made, and refuses to work without: a suite never runs on a machine by
//! accident.

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use cgauge_record::{CheckKind, Message, Preference, Quantity, Unit};
use rstest::fixture;

use crate::check::{Question, Recorder};
use crate::group::Group;
use crate::kernel::Dir;
use crate::stop::Stop;

/// What a case works with.
#[derive(Debug)]
pub struct Lab {
    root: Group,
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
        let dir = Dir::open(get("CGAUGE_GROUP")?).map_err(|it| it.to_string())?;
        Ok(Self { root: Group::root(dir, Rc::clone(&recorder)), recorder })
    }

    /// The case's own part of the hierarchy. Every controller is enabled for its
    /// children; the case's process lives in its child `self`.
    #[must_use]
    pub fn root(&self) -> &Group {
        &self.root
    }

    pub(crate) fn recorder(&self) -> &Rc<Recorder> {
        &self.recorder
    }

    /// Makes a group of the case, with every controller.
    pub fn group(&self, name: &str) -> Result<Group, Stop> {
        self.root.make(name)
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
        let offered = self.root.get("cgroup.controllers")?;
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
