//! A process that does one step each time the case says so, and says what came
//! of it: between two steps it stands still, so that counters may be read.
//!
//! It knows nothing of what a step does.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};

use crate::stop::Stop;

/// How long a step may take, in milliseconds: one whose process was killed
/// never ends, and waiting costs nothing.
const PATIENCE: u16 = 60_000;

/// The two ways between a case and its process. Make it before the process.
#[derive(Debug)]
pub struct Turns {
    orders: (OwnedFd, OwnedFd),
    answers: (OwnedFd, OwnedFd),
}

impl Turns {
    /// Nobody's turn yet.
    pub fn new() -> Result<Self, Stop> {
        let pipe = || pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Stop::broken("make a pipe"));
        Ok(Self { orders: pipe()?, answers: pipe()? })
    }

    /// In the process: waits for its turn, does the step, says what came of it.
    pub fn step(&self, step: impl FnOnce() -> u64) {
        let mut order = [0];
        while let Err(Errno::EINTR) = read(&self.orders.0, &mut order) {}
        // A pipe takes eight bytes whole, and the case holds its other end.
        let _ = write(&self.answers.1, &step().to_ne_bytes());
    }

    /// In the case: lets the process do its next step, and gives what it said.
    pub fn next(&self) -> Result<u64, Stop> {
        let told = self.next_if_alive(PATIENCE)?;
        told.ok_or_else(|| Stop::Broken("a process did not come to the end of its step".into()))
    }

    /// As [`Turns::next`]; `None` if the step does not end within so many
    /// milliseconds.
    pub fn next_if_alive(&self, milliseconds: u16) -> Result<Option<u64>, Stop> {
        self.begin()?;
        self.ended_within(milliseconds)
    }

    /// In the case: lets the process begin its next step.
    pub fn begin(&self) -> Result<(), Stop> {
        write(&self.orders.1, &[1]).map(drop).map_err(Stop::broken("write to a pipe"))
    }

    /// What the step that has begun came to; `None` if it does not end within
    /// so many milliseconds.
    pub fn ended_within(&self, milliseconds: u16) -> Result<Option<u64>, Stop> {
        let mut watched = [PollFd::new(self.answers.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut watched, PollTimeout::from(milliseconds))
            .map_err(Stop::broken("poll a pipe"))?;
        if ready == 0 {
            return Ok(None);
        }
        let mut answer = [0; 8];
        read(&self.answers.0, &mut answer).map_err(Stop::broken("read a pipe"))?;
        Ok(Some(u64::from_ne_bytes(answer)))
    }
}
