//! A task of a fork bomb: it forks as the plan has it, then looks after its
//! children until it is killed.
//!
//! A member may share its memory with its parent, so it neither allocates nor
//! locks nor panics. It must not know when the bomb is to end.

use std::ffi::{CString, OsString};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use super::shared::{Attempt, Rest, Shared};
use super::{OnDeath, Order};
use crate::journal::Event;
use crate::mapping::Mapping;
use crate::options::options;
use crate::raw::{self, Patience, Pid, Side};
use crate::{Failure, Mechanism};

/// Enough for a member, which calls nothing deep.
const STACK_BYTES: usize = 16 * 1024;

options! {
    /// A member of a running fork bomb, started by the bomb itself.
    pub struct Member as "fork-bomb-member" {
        /// The descriptor of the memory that the bomb shares.
        "shared" => shared: i32,
        /// The descriptor of the eventfd that the last member at work rings.
        "bell" => bell: i32,
        /// Which members go on forking.
        "order" => order: Order,
        /// What a member does when a child of its own has died.
        "on-death" => on_death: OnDeath,
        /// How many tasks lie between it and the bomb's first process.
        "generation" => generation: u32,
        /// The process that started it, and that it dies with.
        "parent" => parent: Pid,
    }
}

impl Member {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // SAFETY: the bomb passed the descriptor on for this process to own.
        let shared = Shared::open(unsafe { OwnedFd::from_raw_fd(self.shared) })?;
        // SAFETY: likewise.
        let bell = unsafe { EventFd::from_owned_fd(OwnedFd::from_raw_fd(self.bell)) };
        let plan =
            Plan { mechanism: Mechanism::Vfork, order: self.order, on_death: self.on_death };
        Bomb::new(plan, &shared, &bell, self.generation)?.live(self.generation, self.parent)
    }
}
