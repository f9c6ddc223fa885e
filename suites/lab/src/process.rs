//! Processes that a case plays with: born inside a group, doing a closure's
//! work, handing back its result.
//!
//! The only other thread of a case's process is libtest's, which waits and holds
//! no lock, so a forked child may run any Rust code. It knows no controller.

use std::fs::File;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::{Cloned, Dir, Refusal, Request, Side, clone_into};
use crate::stop::Stop;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(Signal),
}

/// A child of the case. Killed and reaped when it goes out of scope.
#[derive(Debug)]
pub struct Process<T = ()> {
    cloned: Cloned,
    result: File,
    reaped: bool,
    returns: PhantomData<fn() -> T>,
}

/// Starts `body` in `group`, on the unified hierarchy. The inner error is the
/// kernel's refusal to start a process there.
pub(crate) fn spawn<T: Serialize>(
    group: &Dir,
    body: impl FnOnce() -> T,
) -> Result<Result<Process<T>, Refusal>, Stop> {
    match clone(Some(group), body)? {
        Ok(process) => Ok(Ok(process)),
        Err(errno) => {
            Ok(Err(Refusal { request: Request::Start, path: group.path().to_path_buf(), errno }))
        }
    }
}

/// Starts `body` in `group` of a legacy hierarchy, into which nobody is born:
/// the process waits outside until it was moved. The inner error is the kernel's
/// refusal to move it.
pub(crate) fn spawn_and_move<T: Serialize>(
    group: &Dir,
    body: impl FnOnce() -> T,
) -> Result<Result<Process<T>, Refusal>, Stop> {
    let moved = Gate::new()?;
    let body = || {
        moved.pass();
        body()
    };
    let process = clone(None, body)?.map_err(Stop::broken("start a process"))?;
    if let Err(refusal) = group.write("cgroup.procs", &process.pid().to_string()) {
        return Ok(Err(refusal));
    }
    moved.open();
    Ok(Ok(process))
}

fn clone<T: Serialize>(
    group: Option<&Dir>,
    body: impl FnOnce() -> T,
) -> Result<Result<Process<T>, Errno>, Stop> {
    let (result, result_in) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Stop::broken("make a pipe"))?;
    // SAFETY: the only other thread, libtest's, waits for the case to end and
    // holds no lock that the child could need.
    match unsafe { clone_into(group, 0) } {
        Ok(Side::Parent(cloned)) => {
            Ok(Ok(Process { cloned, result: result.into(), reaped: false, returns: PhantomData }))
        }
        Ok(Side::Child) => {
            drop(result);
            run_as_child(result_in, body)
        }
        Err(errno) => Ok(Err(errno)),
    }
}

fn run_as_child<T: Serialize>(result: OwnedFd, body: impl FnOnce() -> T) -> ! {
    // Nothing may outlive the case. The case cannot have ended before: it holds
    // the other end of the result's pipe, and the agent kills what is left.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    // A panic must end here, not unwind into the test harness's second life.
    let code = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => {
            let bytes = serde_json::to_vec(&value).unwrap_or_default();
            i32::from(File::from(result).write_all(&bytes).is_err())
        }
        Err(_) => 101,
    };
    // SAFETY: ends the child without flushing or dropping what is the parent's.
    unsafe { libc::_exit(code) }
}

impl<T> Process<T> {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.cloned.pid
    }

    /// The ids of its threads, sorted; the first is the process's own.
    pub fn threads(&self) -> Result<Vec<i32>, Stop> {
        let mut ids: Vec<i32> = std::fs::read_dir(format!("/proc/{}/task", self.pid()))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The fields of `/proc/PID/status` by name.
    pub fn status(&self, field: &str) -> Result<Option<String>, Stop> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.map(|it| it.trim().to_owned()))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Stop> {
        kill(self.cloned.pid, signal).map_err(Stop::broken("signal a process"))
    }

    /// Waits until it has ended, without reaping it: it is a zombie then.
    /// `false` if it did not end in time.
    pub fn ended_within(&self, patience: Duration) -> Result<bool, Stop> {
        let timeout = PollTimeout::try_from(patience.as_millis()).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.cloned.pidfd.as_fd(), PollFlags::POLLIN)];
        let ready = retry(|| poll(&mut watched, timeout)).map_err(Stop::broken("poll a pidfd"))?;
        Ok(ready > 0)
    }

    /// Waits for its end and reaps it.
    pub fn wait(&mut self) -> Result<Exit, Stop> {
        let status =
            retry(|| waitpid(self.cloned.pid, None)).map_err(Stop::broken("wait for a process"))?;
        self.reaped = true;
        match status {
            WaitStatus::Exited(_, code) => Ok(Exit::Code(code)),
            WaitStatus::Signaled(_, signal, _) => Ok(Exit::Signal(signal)),
            other => Err(Stop::Broken(format!("a process ended as {other:?}"))),
        }
    }

    /// Kills and reaps it.
    pub fn end(mut self) -> Result<(), Stop> {
        self.signal(Signal::SIGKILL)?;
        self.wait().map(|_| ())
    }
}

impl<T: DeserializeOwned> Process<T> {
    /// Waits for its end and takes what its closure returned.
    pub fn finish(mut self) -> Result<T, Stop> {
        let mut bytes = Vec::new();
        self.result.read_to_end(&mut bytes)?;
        let exit = self.wait()?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Stop::Broken(format!("a process of the case ended with {exit:?} and no result"))
        })
    }
}

impl<T> Drop for Process<T> {
    fn drop(&mut self) {
        if !self.reaped {
            // It may have ended by itself.
            let _ = kill(self.cloned.pid, Signal::SIGKILL);
            let _ = retry(|| waitpid(self.cloned.pid, None));
        }
    }
}

/// A gate between processes that is opened once for each that waits. Make it
/// before the process that shares it.
#[derive(Debug)]
pub struct Gate(EventFd);

impl Gate {
    /// A closed gate.
    pub fn new() -> Result<Self, Stop> {
        EventFd::from_value_and_flags(0, EfdFlags::EFD_SEMAPHORE | EfdFlags::EFD_CLOEXEC)
            .map(Self)
            .map_err(Stop::broken("make an eventfd"))
    }

    /// Lets one through.
    pub fn open(&self) {
        // Fails only after 2^64 openings.
        let _ = self.0.write(1);
    }

    /// Waits until it is opened.
    pub fn pass(&self) {
        while let Err(Errno::EINTR) = self.0.read() {}
    }
}

fn retry<R>(mut call: impl FnMut() -> nix::Result<R>) -> nix::Result<R> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
