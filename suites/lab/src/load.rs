//! A load of `cgauge-workload` inside a group: started there, asked for the
//! truth that it keeps, told to end.
//!
//! It knows no load by name.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use cgauge_workloads::{BINARY, Load};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::group::Group;
use crate::process::Process;
use crate::stop::Stop;
use crate::time::now;

/// A load that runs inside a group. Killed when it goes out of scope.
#[derive(Debug)]
pub struct Running<L> {
    process: Process,
    /// Its standard input, which holds it up as long as it is open.
    orders: Option<OwnedFd>,
    truths: File,
    held: Vec<u8>,
    load: PhantomData<fn() -> L>,
}

impl<L: Load> Running<L> {
    /// Starts `load` as a process that is born in `group`.
    pub(crate) fn start(group: &Group, load: &L) -> Result<Self, Stop> {
        let (stdin, orders) = pipe2(OFlag::O_CLOEXEC).map_err(Stop::broken("make a pipe"))?;
        let (truths, stdout) = pipe2(OFlag::O_CLOEXEC).map_err(Stop::broken("make a pipe"))?;
        let text = |it: &OsStr| {
            CString::new(it.as_bytes())
                .map_err(|_| Stop::Broken("a NUL byte in a load's argument".into()))
        };
        let program = text(OsStr::new(&format!("/bin/{BINARY}")))?;
        let args = std::iter::once(Ok(program.clone()))
            .chain(load.args().iter().map(|it| text(it)))
            .collect::<Result<Vec<_>, _>>()?;
        let process = group.spawn(|| {
            let connected =
                nix::unistd::dup2_stdin(&stdin).and_then(|()| nix::unistd::dup2_stdout(&stdout));
            // Comes back only if it failed: then the process ends without a
            // truth, and whoever waits for one says so.
            let _ = connected.and_then(|()| nix::unistd::execv(&program, &args));
        })?;
        Ok(Self {
            process,
            orders: Some(orders),
            truths: truths.into(),
            held: Vec::new(),
            load: PhantomData,
        })
    }

    /// The next truth that it tells; `None` if it tells none in time.
    pub fn truth_within(&mut self, patience: Duration) -> Result<Option<L::Truth>, Stop> {
        let deadline = now() + patience;
        loop {
            if let Some(end) = self.held.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let truth = L::read(String::from_utf8_lossy(&line).trim_end());
                return truth.map(Some).map_err(|it| Stop::Broken(it.to_string()));
            }
            let left = deadline.saturating_sub(now());
            let timeout =
                PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.truths.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Ok(0) => return Ok(None),
                Ok(_) => self.take_some()?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Stop::broken("poll a load")(errno)),
            }
        }
    }

    /// The next truth that it tells, which is to come within `patience`.
    pub fn truth(&mut self, patience: Duration) -> Result<L::Truth, Stop> {
        let told = self.truth_within(patience)?;
        told.ok_or_else(|| Stop::Broken(format!("a load told no truth within {patience:?}")))
    }

    /// Tells it to end, and takes its last truth.
    pub fn finish(mut self, patience: Duration) -> Result<L::Truth, Stop> {
        self.orders = None;
        let last = self.truth(patience)?;
        self.process.wait()?;
        Ok(last)
    }

    /// The process that was started; the load may have made others.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn take_some(&mut self) -> Result<(), Stop> {
        let mut buffer = [0; 16384];
        match self.truths.read(&mut buffer)? {
            0 => {
                let exit = self.process.wait()?;
                Err(Stop::Broken(format!("a load ended with {exit:?} and no truth")))
            }
            count => {
                self.held.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}
