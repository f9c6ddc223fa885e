//! Notifications of legacy hierarchies: an eventfd that is registered for a
//! file through `cgroup.event_control` (cgroup-v1/cgroups.rst, "Notification
//! API").
//!
//! A wait always has an end. It does not know what a file notifies of.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::group::Group;
use crate::kernel::{Open, Refusal};
use crate::lies::{self, Silences};
use crate::stop::Stop;
use crate::time::now;

/// The file that registers.
pub const CONTROL: &str = "cgroup.event_control";

/// A registered eventfd. The kernel drops the registration when it is closed.
#[derive(Debug)]
pub struct Notifier {
    event: EventFd,
    _file: Open,
    name: String,
    silences: Silences,
}

/// Notifications that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When the waiting process ran again.
    pub at: Duration,
    /// How many there were since the last look.
    pub count: u64,
}

impl Notifier {
    /// Registers for `file` of `group` with the arguments that the file takes.
    /// The inner error is the kernel's refusal.
    pub fn register(
        group: &Group,
        file: &str,
        arguments: &str,
    ) -> Result<Result<Self, Refusal>, Stop> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event =
            EventFd::from_value_and_flags(0, flags).map_err(Stop::broken("make an eventfd"))?;
        let open = match group.dir().open_file(file, OFlag::O_RDONLY) {
            Ok(open) => open,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let words = format!("{} {} {arguments}", event.as_fd().as_raw_fd(), open.as_raw_fd());
        Ok(group.try_set(CONTROL, words.trim_end()).map(|()| Self {
            event,
            _file: open,
            name: file.to_owned(),
            silences: Silences::default(),
        }))
    }

    /// As [`Notifier::register`], where the kernel has promised to accept.
    pub fn new(group: &Group, file: &str, arguments: &str) -> Result<Self, Stop> {
        Self::register(group, file, arguments)?.map_err(Stop::Refused)
    }

    /// Waits for a notification and takes all that there are; `None` if there is
    /// none in time.
    pub fn next(&self, patience: Duration) -> Result<Option<Notice>, Stop> {
        let deadline = now() + patience;
        loop {
            let left = deadline.saturating_sub(now());
            // Rounded up: a poll of 0 ms would spin through the last millisecond.
            let timeout =
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.event.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Ok(0) if !self.silences.broken(&self.name) => return Ok(None),
                Ok(0) => return Ok(Some(Notice { at: now(), count: 1 })),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Stop::broken("poll an eventfd")(errno)),
            }
            let mut at = now();
            let count = self.event.read().map_err(Stop::broken("read an eventfd"))?;
            if lies::notified(&self.name) {
                if lies::are_told() {
                    // A late notification wakes late.
                    at = now();
                }
                return Ok(Some(Notice { at, count }));
            }
        }
    }

    /// How many notifications come within `patience`, from now or before.
    pub fn count(&self, patience: Duration) -> Result<u64, Stop> {
        let deadline = now() + patience;
        let mut count = 0;
        while let Some(notice) = self.next(deadline.saturating_sub(now()))? {
            count += notice.count;
        }
        Ok(count)
    }
}
