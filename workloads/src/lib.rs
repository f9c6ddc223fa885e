//! Loads that stress a kernel and keep a truth of their own, to hold its
//! counters against.
//!
//! A load is a value: it turns into the arguments of `cgauge-workload`, and
//! what the binary prints turns back into the load's [truth](crate::truth).
//! Nothing here knows of cases, checks or virtual machines.

mod block_io;
mod burn;
mod command;
mod failure;
mod fork_bomb;
mod fork_rate;
mod guard;
mod hold_memory;
mod journal;
mod mapping;
mod memory_hog;
mod note;
mod options;
mod output;
mod raw;
mod series;
mod sleep;
mod spin;
pub mod truth;
mod uring;

use std::ffi::OsString;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use block_io::{Access, BlockIo, Operation, Pattern};
pub use burn::{Burn, Work};
pub use command::Command;
pub use failure::Failure;
pub use fork_bomb::{Afterwards, ForkBomb, OnDeath, Order};
pub use fork_rate::ForkRate;
pub use guard::Refusal;
pub use hold_memory::{Backing, HoldMemory};
pub use memory_hog::{Growth, MaybePath, MemoryHog};
pub use options::{Mechanism, Millis};
pub use series::Series;
pub use sleep::Sleep;
pub use spin::Spin;

/// The name of the binary that runs the loads.
pub const BINARY: &str = "cgauge-workload";

/// What a process can be asked to do to the kernel.
pub trait Load {
    /// What the load knows to be true, whatever the kernel says.
    type Truth: Serialize + DeserializeOwned;

    /// The arguments that make [`BINARY`] run this load.
    fn args(&self) -> Vec<OsString>;

    /// Reads the truth from a line that the load printed.
    ///
    /// # Errors
    /// The line is no truth of this load.
    fn read(line: &str) -> Result<Self::Truth, TruthError> {
        serde_json::from_str(line)
            .map_err(|why| TruthError { line: line.chars().take(200).collect(), why })
    }
}

/// A load printed something else than its truth.
#[derive(Debug, thiserror::Error)]
#[error("{line:?} is no truth of this load: {why}")]
pub struct TruthError {
    line: String,
    #[source]
    why: serde_json::Error,
}
