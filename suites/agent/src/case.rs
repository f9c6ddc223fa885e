//! One case: a process of its own, born in a group of its own, watched until
//! its end or its deadline.
//!
//! It passes on what the case records and keeps the last lines of what it
//! prints. What either means is for the harness to judge.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use cgauge_lab::kernel::{Cloned, Refusal, Side, clone_into};
use cgauge_lab::lies;
use cgauge_record::{Ending, JobCase, Lie};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::aftermath::Before;
use crate::channel::Channel;
use crate::trees::{Kind, Place, Tree};

/// Where the suites' programs are.
pub const SUITES: &str = "/suites";
/// Lines of a case's output that are kept: the last ones say how it ended.
const LINES_KEPT: usize = 40;
/// A longer line of output is cut.
const LONGEST_LINE: usize = 400;
/// Bytes of records that one case may send. The largest of ours sends a tenth.
const RECORDS_ALLOWED: usize = 8 << 20;
/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stopped a case before it could start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A group of the case.
    #[error(transparent)]
    Group(#[from] Refusal),
    /// A pipe, a signal descriptor, a clone.
    #[error("{0}: {1}")]
    System(&'static str, Errno),
}

/// A machine that is ready for one case: its groups made, the picture taken
/// that it is compared with afterwards.
#[derive(Debug)]
pub struct Prepared {
    /// The case's groups in each hierarchy; the unified one first.
    places: Vec<Place>,
    before: Before,
}

impl Prepared {
    /// Makes the case's groups in each hierarchy.
    pub fn new(trees: &[Tree]) -> Result<Self, Error> {
        let places = trees.iter().map(Place::new).collect::<Result<_, _>>()?;
        let before = Before::look(trees.iter().map(|it| it.root().to_path_buf()).collect());
        Ok(Self { places, before })
    }

    /// Runs the case and cleans up after it.
    pub fn run(self, job: &JobCase, channel: &Channel<'_>) -> Result<Ending, Error> {
        let children = children_signals()?;
        let (records, records_in) = pipe()?;
        let (output, output_in) = pipe()?;
        let began = now();
        for place in &self.places {
            place.settle()?;
        }
        let cloned = start(job, &self.places, &records_in, &output_in)?;
        drop((records_in, output_in));
        let watched = Watched {
            cloned,
            children,
            records: Records::new(records.into()),
            output: Output::new(output.into()),
        };
        let mut ending = watched.until_the_end(Duration::from_millis(job.deadline_ms), channel)?;
        ending.elapsed_ns = nanoseconds(now() - began);
        let differences = self.before.compare();
        ending.leftovers = differences.leftovers;
        ending.kernel_complaints = differences.kernel_complaints;
        ending.lies = lies_to_tell();
        let refusals = self.places.iter().filter_map(|it| {
            it.clear(|| {
                reap(None);
            })
        });
        ending.leftovers.extend(refusals.map(|it| format!("group: {it}")));
        Ok(ending)
    }
}

/// The lies that a traced case noted.
fn lies_to_tell() -> Vec<Lie> {
    let text = std::fs::read_to_string(lies::TRACE).unwrap_or_default();
    let mut noted: Vec<Lie> = text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    noted.sort();
    noted.dedup();
    noted
}

fn start(
    job: &JobCase,
    places: &[Place],
    records: &OwnedFd,
    output: &OwnedFd,
) -> Result<Cloned, Error> {
    let text = |it: String| {
        CString::new(it).map_err(|_| Error::System("a NUL byte in a name", Errno::EINVAL))
    };
    let program = text(format!("{SUITES}/{}", job.suite))?;
    let arguments = [
        program.clone(),
        text(job.case.clone())?,
        c"--exact".to_owned(),
        c"--nocapture".to_owned(),
        // The case runs on the main thread and alone: it may fork and unshare.
        c"--test-threads=1".to_owned(),
    ];
    let layer = serde_json::to_string(&job.layer).unwrap_or_default();
    let environment = [
        text(format!("CGAUGE_SUITE={}", job.suite))?,
        text(format!("CGAUGE_CASE={}", job.case))?,
        text(format!("CGAUGE_GROUPS={}", groups_of(places)))?,
        text(format!("CGAUGE_RECORDS={}", records.as_raw_fd()))?,
        c"RUST_BACKTRACE=0".to_owned(),
        text(format!("{}={layer}", lies::VARIABLE))?,
    ];
    let unified = places.iter().find(|it| *it.kind() == Kind::Unified);
    // SAFETY: the agent has one thread.
    match unsafe { clone_into(unified.map(Place::home), 0) }
        .map_err(|it| Error::System("clone3 into the case's group", it))?
    {
        Side::Parent(cloned) => Ok(cloned),
        Side::Child => {
            // Whatever fails here leaves a process that exits with 127, and the
            // harness says that the case did not start.
            let _ = enter(places).and_then(|()| {
                become_the_case(records, output, &program, &arguments, &environment)
            });
            // SAFETY: ends this process without running what belongs to the agent.
            unsafe { libc::_exit(127) }
        }
    }
}

/// The case's group for each name that it may ask for: `unified=PATH:memory=PATH`.
fn groups_of(places: &[Place]) -> String {
    let of = |it: &Place| {
        let path = it.case().path().display().to_string();
        it.kind().names().into_iter().map(|name| format!("{name}={path}")).collect::<Vec<_>>()
    };
    places.iter().flat_map(of).collect::<Vec<_>>().join(":")
}

/// Moves this process to its home in each legacy hierarchy: no clone puts it there.
fn enter(places: &[Place]) -> Result<(), Errno> {
    let mut legacy = places.iter().filter(|it| *it.kind() != Kind::Unified);
    legacy.try_for_each(|it| it.home().write("cgroup.procs", "0").map_err(|it| it.errno))
}

fn become_the_case(
    records: &OwnedFd,
    output: &OwnedFd,
    program: &CString,
    arguments: &[CString],
    environment: &[CString],
) -> Result<(), Errno> {
    nix::unistd::setsid()?;
    nix::unistd::dup2_stdout(output)?;
    nix::unistd::dup2_stderr(output)?;
    fcntl(records, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    SigSet::all().thread_unblock()?;
    // The agent must survive when memory runs out; a case must not.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    nix::unistd::execve(program, arguments, environment).map(|_| ())
}

/// A case's process while it runs.
struct Watched {
    cloned: Cloned,
    children: SignalFd,
    records: Records,
    output: Output,
}

impl Watched {
    fn until_the_end(mut self, deadline: Duration, channel: &Channel<'_>) -> Result<Ending, Error> {
        let began = now();
        let mut ending = Ending::default();
        let mut status = None;
        while status.is_none() {
            let left = deadline.saturating_sub(now() - began);
            if left.is_zero() && !ending.timed_out {
                ending.timed_out = true;
                // It may have ended this very moment.
                let _ = kill(self.cloned.pid, Signal::SIGKILL);
            }
            let timeout = if ending.timed_out { PATIENCE } else { left };
            let timeout =
                PollTimeout::try_from(timeout.as_millis() + 1).unwrap_or(PollTimeout::MAX);
            let mut watched = [
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.records.pipe.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.output.pipe.as_fd(), PollFlags::POLLIN),
            ];
            // A closed pipe is always ready: leave it out once its end was seen.
            let used = if self.output.closed { 2 } else { 3 };
            let ready = poll(&mut watched[..used], timeout);
            match ready {
                Ok(0) if ending.timed_out => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::System("poll", errno)),
            }
            self.drain(channel);
            while let Ok(Some(_)) = self.children.read_signal() {}
            status = reap(Some(self.cloned.pid));
        }
        self.drain(channel);
        match status {
            Some(WaitStatus::Exited(_, code)) => ending.exit_code = Some(code),
            Some(WaitStatus::Signaled(_, signal, _)) => ending.signal = Some(signal as i32),
            _ => {}
        }
        ending.records_dropped = self.records.dropped;
        ending.output = self.output.finish();
        Ok(ending)
    }

    fn drain(&mut self, channel: &Channel<'_>) {
        self.records.drain(channel);
        self.output.drain();
    }
}

/// Reaps every child that ended; the status of `wanted` if it was among them.
fn reap(wanted: Option<Pid>) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
        if status == WaitStatus::StillAlive {
            break;
        }
        if status.pid() == wanted && wanted.is_some() {
            found = Some(status);
        }
    }
    found
}

/// The lines of records that a case writes, passed on whole.
struct Records {
    pipe: File,
    held: Vec<u8>,
    sent: usize,
    dropped: u64,
}

impl Records {
    fn new(pipe: File) -> Self {
        Self { pipe, held: Vec::new(), sent: 0, dropped: 0 }
    }

    fn drain(&mut self, channel: &Channel<'_>) {
        let mut buffer = [0; 16384];
        while let Some(length) = read_some(&mut self.pipe, &mut buffer) {
            if length == 0 {
                break;
            }
            self.held.extend_from_slice(&buffer[..length]);
            let whole = self.held.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
            let lines: Vec<u8> = self.held.drain(..whole).collect();
            if self.sent + lines.len() > RECORDS_ALLOWED || self.held.len() > RECORDS_ALLOWED {
                self.dropped += lines.iter().filter(|it| **it == b'\n').count().max(1) as u64;
                self.held.clear();
            } else {
                self.sent += lines.len();
                channel.pass_on(&lines);
            }
        }
    }
}

/// The last lines that a case prints.
struct Output {
    pipe: File,
    closed: bool,
    lines: VecDeque<String>,
    line: Vec<u8>,
}

impl Output {
    fn new(pipe: File) -> Self {
        Self { pipe, closed: false, lines: VecDeque::new(), line: Vec::new() }
    }

    fn drain(&mut self) {
        let mut buffer = [0; 16384];
        // One pipe's worth at a time, lest a flood keep the deadline waiting.
        for _ in 0..8 {
            match read_some(&mut self.pipe, &mut buffer) {
                Some(0) => {
                    self.closed = true;
                    break;
                }
                Some(length) => self.take(&buffer[..length]),
                None => break,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|it| *it == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn finish(mut self) -> Vec<String> {
        self.end_line();
        self.lines.into()
    }
}

/// Bytes read without waiting; `None` where there are none now.
fn read_some(pipe: &mut File, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match pipe.read(buffer) {
            Ok(length) => return Some(length),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// A pipe whose reading end does not wait.
fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let system = |errno| Error::System("pipe", errno);
    let (reading, writing) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(system)?;
    fcntl(&reading, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(system)?;
    Ok((reading, writing))
}

fn children_signals() -> Result<SignalFd, Error> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.thread_block().map_err(|it| Error::System("sigprocmask", it))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|it| Error::System("signalfd", it))
}

fn now() -> Duration {
    // This clock is always there.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn nanoseconds(it: Duration) -> u64 {
    u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error.to_string())
    }
}
