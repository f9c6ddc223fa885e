//! A process that runs a guest, from its start to its end: its messages as they
//! come, its deadline, and the certainty that it is gone afterwards.
//!
//! It knows neither QEMU nor containers.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cgauge_record::Message;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::messages::{Heard, Lines};
use crate::patience::Patience;
use crate::{Error, GuestEnd};

/// How often the guest's messages are read while it runs.
const TICK: Duration = Duration::from_millis(20);

/// The process, killed and reaped when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Child {
    child: std::process::Child,
    pidfd: OwnedFd,
    records: Lines,
}

/// Why nothing more is heard of a guest.
#[derive(Debug)]
pub(crate) enum HeardOut {
    /// Its process ended.
    Exited(ExitStatus),
    /// It was ended.
    Ended(GuestEnd),
}

impl Child {
    /// Takes a process in charge that writes its messages to the file `records`.
    pub(crate) fn new(child: std::process::Child, records: &Path) -> Result<Self, Error> {
        let pidfd = pidfd_of(&child)?;
        Ok(Self { child, pidfd, records: Lines::open(records)? })
    }

    /// Hears the guest until it ends, the deadline is over, or `stop` is set.
    ///
    /// The deadline counts from the last message: a guest that goes on to the
    /// next case is alive.
    pub(crate) fn hear_out(
        &mut self,
        deadline: Duration,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(Message),
    ) -> Result<HeardOut, Error> {
        let mut patience = self.patience(deadline);
        loop {
            let ended = self.ended_within(TICK)?;
            match self.records.read(hear)? {
                Heard::Nothing => {}
                Heard::Messages => patience.renew(),
                Heard::Babble(reason) => {
                    self.kill();
                    return Ok(HeardOut::Ended(GuestEnd::Babbled { reason }));
                }
            }
            if let Some(status) = ended {
                return Ok(HeardOut::Exited(status));
            }
            if stop.load(Ordering::Relaxed) {
                self.kill();
                return Ok(HeardOut::Ended(GuestEnd::Interrupted));
            }
            if patience.is_over() {
                self.kill();
                return Ok(HeardOut::Ended(GuestEnd::Silent { after: deadline }));
            }
        }
    }

    /// The messages so far, without waiting.
    pub(crate) fn hear_now(&mut self, hear: &mut dyn FnMut(Message)) -> Result<Heard, Error> {
        self.records.read(hear)
    }

    /// Waits `limit` for the guest, from now on.
    pub(crate) fn patience(&self, limit: Duration) -> Patience {
        Patience::new(self.child.id(), limit)
    }

    fn ended_within(&mut self, time: Duration) -> Result<Option<ExitStatus>, Error> {
        let timeout = PollTimeout::try_from(time.as_millis()).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(Error::System { what: "poll", errno });
            }
        }
        self.child.try_wait().map_err(|source| Error::File { path: "the guest".into(), source })
    }

    fn kill(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pidfd_of(child: &std::process::Child) -> Result<OwnedFd, Error> {
    // SAFETY: asks for a new descriptor of a child that is not reaped yet.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let fd = Errno::result(fd).map_err(|errno| Error::System { what: "pidfd_open", errno })?;
    // SAFETY: the kernel just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}
