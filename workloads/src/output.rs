//! How a load tells its truth, and how it is told to end: a line on standard
//! output, the end of standard input.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use crate::Failure;
use crate::raw::Instant;

/// Writes `truth` as one line.
pub(crate) fn tell(truth: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(truth).map_err(|why| Failure::Tell(why.into()))?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(Failure::Tell)
}

/// Waits until one of `watched` has something to say; `None` if `deadline`
/// comes first. A closed one counts as having something to say.
pub(crate) fn wait_for<const N: usize>(
    watched: [BorrowedFd<'_>; N],
    deadline: Instant,
) -> Result<Option<[Said; N]>, Failure> {
    let mut polled = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        let left = TimeSpec::from_duration(deadline.left());
        match ppoll(&mut polled, Some(left), None) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                return Ok(Some(polled.map(|it| match it.revents() {
                    Some(events) if events.is_empty() => Said::Nothing,
                    _ => Said::Something,
                })));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::system("poll", errno)),
        }
    }
}

/// Whether a watched descriptor has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing yet.
    Nothing,
    /// Data, or its end.
    Something,
}

/// What reading a little of standard input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// There may be more.
    Open,
    /// It has ended: the load is to end too.
    Closed,
}

/// Throws away what standard input holds. An input that cannot be read, since
/// there is none, counts as closed.
pub(crate) fn drain_input() -> Input {
    match std::io::stdin().lock().read(&mut [0; 512]) {
        Ok(0) | Err(_) => Input::Closed,
        Ok(_) => Input::Open,
    }
}

/// Waits until standard input ends or `deadline` comes, and says which.
pub(crate) fn wait_for_end_of_input(deadline: Instant) -> Result<Input, Failure> {
    // SAFETY: the descriptor is only polled; a number that is not open is
    // reported as such.
    let stdin = unsafe { BorrowedFd::borrow_raw(nix::libc::STDIN_FILENO) };
    while wait_for([stdin], deadline)?.is_some() {
        if drain_input() == Input::Closed {
            return Ok(Input::Closed);
        }
    }
    Ok(Input::Open)
}
