//! The memory that all tasks of a fork bomb have in common: the journal, the
//! number of attempts left, and who is still at it.
//!
//! Members may be killed at any instruction, so there is no lock here. It must
//! not know how tasks are made.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::guard::Room;
use crate::journal::{self, Entry, Event, Journal};
use crate::mapping::Mapping;
use crate::raw::{self, Instant};
use crate::{Failure, truth};

/// All zero when new; integers alone, since any task can write here.
#[repr(C)]
struct Header {
    start_ns: AtomicU64,
    /// Attempts that may be made.
    forks: AtomicU64,
    /// Tasks that may live at once, whatever the group's limit.
    room: AtomicI64,
    /// Attempts made, and those that came too late to be.
    attempts: AtomicU64,
    alive: AtomicI64,
    /// Tasks that may still fork without another's death.
    busy: AtomicU32,
    /// 1 once no more forks are to be tried. Threads wait for it.
    over: AtomicU32,
    deepest: AtomicU32,
    /// Why a member could not execute the program again.
    broken: AtomicI32,
    /// Journal words handed out.
    written: AtomicU64,
}

/// A view of the common memory.
pub(super) struct Shared {
    mapping: Mapping,
    file: OwnedFd,
}

impl Shared {
    /// Common memory for a bomb of so many attempts, each with its end.
    pub(super) fn create(forks: u64, room: Room) -> Result<Self, Failure> {
        // Not close-on-exec: a vforked member finds it again after executing.
        let file = memfd_create(c"fork-bomb", MFdFlags::empty())
            .map_err(|errno| Failure::system("memfd_create", errno))?;
        let words = usize::try_from(forks.saturating_mul(2)).unwrap_or(usize::MAX);
        let bytes =
            words.saturating_mul(size_of::<AtomicU64>()).saturating_add(size_of::<Header>());
        nix::unistd::ftruncate(&file, i64::try_from(bytes).unwrap_or(i64::MAX))
            .map_err(|errno| Failure::system("ftruncate", errno))?;
        let shared = Self::open(file)?;
        shared.header().forks.store(forks, Ordering::Relaxed);
        let room = i64::try_from(room.0).unwrap_or(i64::MAX);
        shared.header().room.store(room, Ordering::Relaxed);
        Ok(shared)
    }

    /// The memory that another task of the bomb created.
    pub(super) fn open(file: OwnedFd) -> Result<Self, Failure> {
        let file = File::from(file);
        let bytes = file.metadata().map_or(0, |it| it.len());
        let bytes = usize::try_from(bytes).ok().filter(|it| *it >= size_of::<Header>());
        let bytes = bytes
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| Failure::system("mapping the bomb's memory", Errno::EINVAL))?;
        let mapping = Mapping::of_file(file.as_fd(), bytes)?;
        Ok(Self { mapping, file: file.into() })
    }

    /// The descriptor to open it by, in a program that was executed.
    pub(super) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a header by construction, on a page's
        // boundary; atomics may be shared, and hold any bits.
        unsafe { self.mapping.start().cast().as_ref() }
    }

    fn journal(&self) -> Journal<'_> {
        let words = (self.mapping.bytes() - size_of::<Header>()) / size_of::<AtomicU64>();
        // SAFETY: what the header leaves of the mapping; aligned, since the
        // header's size is a multiple of its alignment.
        let words = unsafe {
            std::slice::from_raw_parts(
                self.mapping.start().cast::<Header>().add(1).cast().as_ptr(),
                words,
            )
        };
        Journal { written: &self.header().written, words }
    }

    /// Starts the bomb's clock and counts the caller as busy.
    pub(super) fn begin(&self) {
        self.header().start_ns.store(Instant::now().0, Ordering::Release);
        self.wake_up();
    }

    /// Takes one of the attempts that are left, if any is.
    pub(super) fn take_attempt(&self) -> Attempt {
        let header = self.header();
        let may = header.over.load(Ordering::Acquire) == 0
            && header.alive.load(Ordering::Acquire) < header.room.load(Ordering::Relaxed)
            && header.attempts.fetch_add(1, Ordering::AcqRel)
                < header.forks.load(Ordering::Relaxed);
        if may { Attempt::Granted } else { Attempt::Denied }
    }

    /// Writes an event down.
    pub(super) fn note(&self, event: Event) {
        let header = self.header();
        match event {
            Event::Started => header.alive.fetch_add(1, Ordering::AcqRel),
            Event::Gone => header.alive.fetch_sub(1, Ordering::AcqRel),
            Event::Refused(_) => 0,
        };
        let start = Instant(header.start_ns.load(Ordering::Relaxed));
        self.journal().write(Entry { at_ns: start.elapsed_ns(), event });
    }

    /// How many tasks there are to be at once at most. Those who fork at the
    /// same moment may see the same last place, so a few more can be.
    pub(super) fn most_alive(&self) -> usize {
        let room = u64::try_from(self.header().room.load(Ordering::Relaxed)).unwrap_or(0);
        let most = self.header().forks.load(Ordering::Relaxed).min(room);
        usize::try_from(most).unwrap_or(0)
    }

    /// Whether no task is left, and none is being made.
    pub(super) fn is_empty(&self) -> bool {
        let header = self.header();
        header.busy.load(Ordering::Acquire) == 0 && header.alive.load(Ordering::Acquire) == 0
    }

    /// Counts a task as one that may fork.
    pub(super) fn wake_up(&self) {
        self.header().busy.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts it so no longer, and tells whether it was the last.
    pub(super) fn rest(&self) -> Rest {
        match self.header().busy.fetch_sub(1, Ordering::AcqRel) {
            1 => Rest::Last,
            _ => Rest::NotLast,
        }
    }

    pub(super) fn note_generation(&self, generation: u32) {
        self.header().deepest.fetch_max(generation, Ordering::AcqRel);
    }

    /// Remembers that a member could not execute the program again.
    pub(super) fn break_off(&self, errno: Errno) {
        self.header().broken.store(errno as i32, Ordering::Release);
    }

    /// Fails if a member could not do as planned.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.header().broken.load(Ordering::Acquire) {
            0 => Ok(()),
            errno => Err(Failure::system("execve(/proc/self/exe)", Errno::from_raw(errno))),
        }
    }

    /// No more forks from now on. Threads leave.
    pub(super) fn call_off(&self) {
        self.header().over.store(1, Ordering::Release);
        raw::futex_wake(&self.header().over);
    }

    /// Waits until the bomb is called off.
    pub(super) fn wait_until_over(&self) {
        while self.header().over.load(Ordering::Acquire) == 0 {
            raw::futex_wait(&self.header().over, 0);
        }
    }

    /// What follows from the journal.
    pub(super) fn truth(&self, state: truth::State) -> truth::ForkBomb {
        let deepest = self.header().deepest.load(Ordering::Acquire);
        journal::summarize(self.journal().entries(), state, deepest)
    }
}

/// Whether another task may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Granted,
    Denied,
}

/// Whether any other task may still fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Last,
    NotLast,
}
