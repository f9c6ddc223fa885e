//! What harness and agent say to each other: a job goes in, messages come out,
//! one JSON object a line.
//!
//! Everything here comes out of a guest and is untrusted: the harness takes the
//! names of suite and case from its own plan, never from a message.

use serde::{Deserialize, Serialize};

use crate::{Event, Layer, Lie};

/// What the agent is to do in this guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// CPUs to bring online before the first case.
    pub cpus: u32,
    /// The cases, in order. One in a restored guest; a whole suite in a guest
    /// that was booted for it.
    pub cases: Vec<JobCase>,
}

/// One case of a [`Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobCase {
    /// The test binary's name.
    pub suite: String,
    /// The test's full name.
    pub case: String,
    /// How long it may take on the guest's clock.
    pub deadline_ms: u64,
    /// What stands between the case and the kernel.
    #[serde(default, skip_serializing_if = "Layer::is_honest")]
    pub layer: Layer,
}

/// A line from the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", content = "body", rename_all = "snake_case")]
pub enum Message {
    /// The agent is up; the first message of every guest.
    Ready(Ready),
    /// The next case of the job begins.
    Start {
        /// Its place in [`Job::cases`].
        index: usize,
    },
    /// A case recorded a check, value, histogram or series.
    Record(Box<Event>),
    /// The case found that it cannot run here.
    Skip {
        /// What the kernel or the machine lacks.
        reason: String,
    },
    /// The case is over.
    End(Ending),
    /// The agent could not do what the job says.
    Broken {
        /// Why.
        reason: String,
    },
}

/// What the agent found when it came up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// Whether the clock source is the paravirtual one of KVM.
    pub kvm_clock: bool,
}

/// What the agent saw of a case's process, and of the machine after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal, if one killed it.
    pub signal: Option<i32>,
    /// Whether the agent killed it since its deadline was over.
    pub timed_out: bool,
    /// How long it took on the guest's clock.
    pub elapsed_ns: u64,
    /// The last lines that it printed.
    pub output: Vec<String>,
    /// Groups, mounts and processes that it left behind.
    pub leftovers: Vec<String>,
    /// New lines of the kernel log that speak of a bug, and new taint flags.
    pub kernel_complaints: Vec<String>,
    /// Records that were thrown away since there were too many.
    pub records_dropped: u64,
    /// The lies that would have changed anything for the case, if it was traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lies: Vec<Lie>,
}
