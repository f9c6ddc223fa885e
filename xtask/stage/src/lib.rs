//! Where cases run: a virtual machine, the machine's own kernel, or a stand-in
//! for tests.
//!
//! A stage takes a job and hands back the guest's messages and how the guest
//! ended. It knows nothing of promises or verdicts, and of cgroups only those
//! that it bounds a guest with on the machine's own kernel.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cgauge_record::{Job, Message};
use nix::errno::Errno;

mod child;
pub mod container;
mod messages;
mod patience;
pub mod vm;

/// Runs jobs, each in a guest.
pub trait Stage: Sync {
    /// Runs `job` in a guest, handing each message to `hear` as it comes.
    ///
    /// # Errors
    /// What kept the guest from starting. How a guest that did start came to its
    /// end is no error of the stage's.
    fn run(&self, job: &Job, hear: &mut dyn FnMut(Message)) -> Result<Ran, Error>;
}

/// A guest that started and is gone again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub end: GuestEnd,
    /// What its console showed: printable, bounded, the last of it.
    pub console: Vec<String>,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// The agent finished and switched it off.
    Done,
    /// Its kernel panicked.
    Panicked,
    /// The guest's process ended by itself or by another's hand.
    Vanished {
        /// How it ended.
        status: String,
    },
    /// No message came in time, and it was ended.
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// It sent what is no message, and was ended.
    Babbled {
        /// What it sent.
        reason: String,
    },
    /// The user stopped the run.
    Interrupted,
}

/// What kept a guest from starting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of the stage.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A system call.
    #[error("{what}: {errno}")]
    System {
        /// Which one.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// QEMU ended, or refused a command.
    #[error("{reason}{}{said}", if said.is_empty() { "" } else { ": " })]
    Qemu {
        /// What happened.
        reason: String,
        /// What it wrote as its last words.
        said: String,
    },
    /// The job names a program that the stage was not given.
    #[error("there is no program {name:?} to run")]
    NoProgram {
        /// Its name.
        name: String,
    },
    /// QEMU was started without its control channel.
    #[error("QEMU has no control channel")]
    NoChannel,
    /// The guest did not come up.
    #[error("{reason}")]
    NotReady {
        /// What was waited for.
        reason: String,
        /// The last lines of the console.
        console: Vec<String>,
    },
    /// The guest said nothing at all: it hangs, or the host is too busy for it.
    #[error("nothing from the agent in {} s", after.as_secs())]
    Mute {
        /// How long it was waited for.
        after: Duration,
        /// The last lines of the console.
        console: Vec<String>,
    },
    /// What a guest may take of the machine could not be bounded.
    #[error("{reason}")]
    Unbounded {
        /// Why not.
        reason: String,
    },
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}
