//! Watching an interface file for a change, by `poll` and by `inotify`.
//!
//! A wait always has an end: a notification that never comes is a finding, not
//! a hang.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::group::Group;
use crate::kernel::Open;
use crate::lies::{self, Silences};
use crate::stop::Stop;
use crate::time::now;

/// How the kernel tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `poll` with `POLLPRI` on the open file.
    Poll,
    /// `IN_MODIFY` of inotify.
    Inotify,
}

/// A watcher of one file.
#[derive(Debug)]
pub struct Watch {
    file: Open,
    name: String,
    inotify: Option<Inotify>,
    silences: Silences,
}

/// A notification that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// When the watcher ran again.
    pub at: Duration,
    /// What the file held then.
    pub text: String,
}

impl Watch {
    /// Watches `file` of `group` from now on.
    pub fn new(group: &Group, file: &str, mechanism: Mechanism) -> Result<Self, Stop> {
        let mut open = group
            .dir()
            .open_file(file, OFlag::O_RDONLY)
            .map_err(|it| Stop::Broken(it.to_string()))?;
        // The kernel remembers per descriptor what was read; from there on it tells.
        read_anew(&mut open)?;
        let inotify = match mechanism {
            Mechanism::Poll => None,
            Mechanism::Inotify => {
                Some(inotify_on(group, file).map_err(Stop::broken("watch with inotify"))?)
            }
        };
        Ok(Self { file: open, name: file.to_owned(), inotify, silences: Silences::default() })
    }

    /// Waits for the next notification; `None` if there is none in time.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Wake>, Stop> {
        let deadline = now() + patience;
        loop {
            let left = deadline.saturating_sub(now());
            // Rounded up: a poll of 0 ms would spin through the last millisecond.
            let timeout =
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
            let (fd, events) = match &self.inotify {
                None => (self.file.as_fd(), PollFlags::POLLPRI),
                Some(inotify) => (inotify.as_fd(), PollFlags::POLLIN),
            };
            let mut watched = [PollFd::new(fd, events)];
            let ready = poll(&mut watched, timeout);
            let mut at = now();
            match ready {
                Ok(0) if !self.silences.broken(&self.name) => return Ok(None),
                Ok(0) => return Ok(Some(Wake { at, text: read_anew(&mut self.file)? })),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Stop::broken("poll")(errno)),
            }
            if let Some(inotify) = &self.inotify {
                let events = inotify.read_events().map_err(Stop::broken("read inotify events"))?;
                if !events.iter().any(|it| it.mask.contains(AddWatchFlags::IN_MODIFY)) {
                    continue;
                }
            }
            if !lies::notified(&self.name) {
                // What was told is forgotten, or the poll would tell it again.
                read_anew(&mut self.file)?;
                continue;
            }
            if lies::are_told() {
                // A late notification wakes late.
                at = now();
            }
            return Ok(Some(Wake { at, text: read_anew(&mut self.file)? }));
        }
    }

    /// Waits until the file holds `line` by notifications alone; `None` if they
    /// do not say so in time. Also tells how many there were.
    pub fn until(&mut self, line: &str, patience: Duration) -> Result<Option<(Wake, u32)>, Stop> {
        let deadline = now() + patience;
        let mut count = 0;
        while let Some(wake) = self.next(deadline.saturating_sub(now()))? {
            count += 1;
            if wake.text.lines().any(|it| it == line) {
                return Ok(Some((wake, count)));
            }
        }
        Ok(None)
    }
}

fn inotify_on(group: &Group, file: &str) -> Result<Inotify, Errno> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(&group.dir().path().join(file), AddWatchFlags::IN_MODIFY)?;
    Ok(inotify)
}

/// The whole text; empty once the group is gone (`ENODEV`).
fn read_anew(file: &mut Open) -> Result<String, Stop> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    match file.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}
