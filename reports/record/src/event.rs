//! The events of a run, in the order in which `events.jsonl` holds them.
//!
//! Fields are added, never renamed: scripts outside this project read them.

use serde::{Deserialize, Serialize};

use crate::{Quantity, Requirement, Unit};

/// The version of the schema that this crate writes.
pub const SCHEMA: u32 = 1;

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A configuration (kernel, hierarchy, driver, stage) is about to be tested.
    RunStart(RunStart),
    /// A case is about to run.
    CaseStart(CaseStart),
    /// One assertion of a case.
    Check(Check),
    /// One measured number.
    Value(Value),
    /// A distribution of measured numbers.
    Histogram(Histogram),
    /// A number over time.
    Series(Series),
    /// A case is over.
    CaseEnd(CaseEnd),
    /// The run is over, and nothing follows.
    RunEnd(RunEnd),
}

/// The kernel under test, as it names itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelId {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// SHA-256 of its configuration file, or empty where none is to be had.
    pub config_sha256: String,
}

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// A virtual machine of the harness's own.
    Vm,
    /// A privileged container on the machine's kernel.
    Container,
    /// The machine itself.
    Host,
}

/// Which time the figures are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Counts the guest's instructions: repeatable, and no real hardware's time.
    Virtual,
    /// Real time.
    Wall,
}

/// How the cgroup controllers are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hierarchy {
    /// cgroup v2 with every controller.
    Unified,
    /// cgroup v1, each controller mounted apart.
    Legacy,
    /// v1 controllers beside a v2 tree that has none.
    Hybrid,
}

/// Who makes the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The case itself, by `mkdir` and `write`.
    Cgroupfs,
    /// systemd, over D-Bus.
    Systemd,
}

/// What a configuration is: a kernel, a hierarchy, a driver, a stage, a clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The run's name: that of its directory unless `--out` gave another.
    pub run: String,
    /// Name and version of the harness.
    pub harness: String,
    /// When, in RFC 3339 and UTC.
    pub started: String,
    /// Where the cases run.
    pub stage: StageKind,
    /// `tcg`, `kvm`, or `none` outside a VM.
    pub accel: String,
    /// The clock of every figure.
    pub clock: Clock,
    /// The hierarchy that was asked for.
    pub hierarchy: Hierarchy,
    /// The driver that was asked for.
    pub driver: Driver,
    /// What was booted where systemd makes the groups: `debian:bookworm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub userland: String,
    /// The kernel under test.
    pub kernel: KernelId,
    /// QEMU's version, empty outside a VM.
    pub qemu: String,
    /// CPUs of the smallest machine profile of the run.
    pub cpus: u32,
    /// Memory of the smallest machine profile of the run, in bytes.
    pub memory_bytes: u64,
    /// The name of the configuration, that the other events carry:
    /// `debian:6.12/unified/cgroupfs/vm`.
    #[serde(default)]
    pub config: String,
    /// The kernel as the user named it.
    #[serde(default)]
    pub kernel_spec: String,
    /// `microvm` or `q35`; empty outside a VM.
    #[serde(default)]
    pub machine: String,
    /// `saved` where each case runs in a copy of one saved guest, `booted` where
    /// each suite boots its own.
    #[serde(default)]
    pub guest: String,
    /// What the machine is known by where its speed counts: model and number of
    /// its processors, and a digest that tells apart machines alike. Empty where
    /// it does not count, on the virtual clock.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The programs that ran in the guest: where their instructions lie in memory
    /// moves the figures of the virtual clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<GuestBinary>,
    /// What is to be run, so that a run that was cut off knows what it owes.
    #[serde(default)]
    pub planned: Vec<Planned>,
}

/// A program that ran in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestBinary {
    /// Its name: a suite's, or the agent's.
    pub name: String,
    /// The SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// A case that a run means to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
}

/// A case begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseStart {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite: the test binary's name.
    pub suite: String,
    /// The case: the test's full name with its parameters.
    pub case: String,
    /// The promise that the case checks: the first sentence of its documentation.
    #[serde(default)]
    pub promise: String,
    /// Host time since the run started.
    #[serde(default)]
    pub host_ns: u64,
    /// Which of the `--jobs` workers ran it.
    #[serde(default)]
    pub worker: u32,
}

/// What sort of promise a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// What a file accepts, refuses and shows.
    Interface,
    /// A limit, weight or protection holds.
    Enforcement,
    /// A counter tells the truth.
    Accounting,
    /// A watcher is woken.
    Notification,
    /// How groups nest and processes move.
    Hierarchy,
    /// Who may do what.
    Delegation,
    /// A stated cost.
    Performance,
}

/// Whether what was observed lies within its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within.
    Pass,
    /// Outside: the kernel is wrong.
    Fail,
}

/// One assertion: what was expected, what was observed, and why the bound is
/// where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// The promises of the kernel that this check tests.
    pub requirements: Vec<Requirement>,
    /// The sort of promise.
    pub kind: CheckKind,
    /// What was observed, as a noun phrase that names the group's role.
    pub what: String,
    /// The interface file, `pids.max`, or empty where it is none.
    pub file: String,
    /// The unit of every quantity here.
    pub unit: Unit,
    /// What the kernel did.
    pub observed: Quantity,
    /// The least that the promise allows.
    pub at_least: Option<Quantity>,
    /// The most that the promise allows.
    pub at_most: Option<Quantity>,
    /// The only value that the promise allows.
    pub equals: Option<Quantity>,
    /// Where the bound comes from.
    pub bound_reason: String,
    /// Why no lie about the cgroup files could make the check fail; empty for
    /// nearly all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub beyond_lies: String,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl Check {
    /// The verdict that the quantities imply, whatever [`Check::verdict`] says.
    ///
    /// A check without any bound fails: it could not have failed otherwise.
    #[must_use]
    pub fn implied(&self) -> Verdict {
        let bounds = [&self.at_least, &self.at_most, &self.equals];
        let held = bounds.iter().any(|bound| bound.is_some())
            && self.equals.as_ref().is_none_or(|it| self.observed.same(it))
            && self.at_least.as_ref().is_none_or(|it| self.observed.reaches(it))
            && self.at_most.as_ref().is_none_or(|it| it.reaches(&self.observed));
        if held { Verdict::Pass } else { Verdict::Fail }
    }
}

/// Which way a measured number is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// Less is better: a latency.
    Lower,
    /// More is better: a rate.
    Higher,
    /// Any change is news.
    Neither,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// The number's name, unique within the case.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// The number.
    pub value: Quantity,
    /// Which way is good.
    pub better: Preference,
}

/// A distribution of measured numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// Its name, unique within the case.
    pub metric: String,
    /// The unit of every number here.
    pub unit: Unit,
    /// How many samples.
    pub count: u64,
    /// The least sample.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The greatest sample.
    pub max: u64,
    /// Every bucket that holds a sample: `VALUE:COUNT` pairs joined by spaces,
    /// each value the highest of its bucket, with three significant digits.
    pub encoded: String,
}

/// A number over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// Its name, unique within the case.
    pub metric: String,
    /// The unit of every value.
    pub unit: Unit,
    /// Pairs of nanoseconds since the series began and the value then.
    pub points: Vec<(u64, f64)>,
    /// The limit that the values are to be seen against, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

/// How a case ended. Never mixed up: a harness error is no failure, a skip is
/// no pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every check held.
    Pass,
    /// The kernel broke its word.
    Fail,
    /// The kernel or the machine lacks what the case needs.
    Skip,
    /// The harness or the guest broke: boot, panic, hang, timeout.
    Error,
    /// Too much noise to tell; wall clock only.
    Inconclusive,
}

/// A case is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseEnd {
    /// The configuration, as in [`RunStart::config`].
    #[serde(default)]
    pub config: String,
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it ended so; empty for a pass.
    pub reason: String,
    /// How long, on the run's clock.
    pub elapsed_ns: u64,
    /// How long on the host, from the start of its VM to its end.
    #[serde(default)]
    pub host_elapsed_ns: u64,
    /// Host time since the run started.
    #[serde(default)]
    pub host_ns: u64,
    /// The last lines of the guest's console and of the case's own output,
    /// where they say why it ended so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// The run is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunEnd {
    /// Cases in which every check held.
    pub passed: u64,
    /// Cases in which the kernel broke its word.
    pub failed: u64,
    /// Cases that the kernel or the machine could not run.
    pub skipped: u64,
    /// Cases in which the harness or the guest broke.
    pub errors: u64,
    /// Cases that noise left undecided.
    pub inconclusive: u64,
    /// How many requirements at least one check of the run was about.
    pub requirements_covered: u64,
    /// Which ones.
    #[serde(default)]
    pub requirements: Vec<Requirement>,
    /// Whether the run was stopped before its last case.
    #[serde(default)]
    pub interrupted: bool,
}
