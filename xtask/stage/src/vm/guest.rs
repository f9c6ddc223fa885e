//! One QEMU process: how it is started, with files of its own, and what its end
//! means.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cgauge_record::Message;
use nix::errno::Errno;
use nix::libc;

use super::machine::{Files, Machine, Purpose};
use super::qmp::Qmp;
use crate::child::{Child, HeardOut};
use crate::messages::{Heard, tail};
use crate::patience::Patience;
use crate::{Error, GuestEnd};

/// Lines of the console that are kept of a guest.
const CONSOLE_LINES: usize = 200;

/// A running QEMU.
pub(super) struct Guest {
    child: Child,
    console: PathBuf,
    errors: PathBuf,
}

/// The files of a guest, in a folder of its own.
pub(super) struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    /// Makes the folder below `work`, with the job in it.
    pub(super) fn new(work: &Path, job: &[u8]) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("guest-")
            .tempdir_in(work)
            .map_err(|source| Error::File { path: work.to_path_buf(), source })?;
        let files = Self { folder };
        for (path, bytes) in
            [(files.job(), job), (files.records(), b"".as_slice()), (files.console(), b"")]
        {
            fs::write(&path, bytes).map_err(|source| Error::File { path, source })?;
        }
        Ok(files)
    }

    fn job(&self) -> PathBuf {
        self.folder.path().join("job")
    }

    fn records(&self) -> PathBuf {
        self.folder.path().join("records")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.folder.path().join("console")
    }

    fn errors(&self) -> PathBuf {
        self.folder.path().join("errors")
    }
}

impl Guest {
    /// Starts QEMU. `inherited` stay open in it.
    pub(super) fn start(
        machine: &Machine,
        purpose: Purpose<'_>,
        folder: &Folder,
        programs: &[(&str, &Path)],
        inherited: &[&OwnedFd],
    ) -> Result<(Self, Qmp), Error> {
        let (job, records, console) = (folder.job(), folder.records(), folder.console());
        let files = Files { job: &job, programs, records: &records, console: &console };
        let errors = File::create(folder.errors())
            .map_err(|source| Error::File { path: folder.errors(), source })?;
        let mut command = Command::new(&machine.qemu);
        command
            .args(machine.arguments(purpose, files))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C is for the harness, which then ends its guests.
            .process_group(0);
        let kept: Vec<i32> =
            inherited.iter().map(|it| std::os::fd::AsRawFd::as_raw_fd(*it)).collect();
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // The thread that starts a guest also waits for its end: should
                // the harness die, however it dies, so does QEMU.
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                for fd in &kept {
                    Errno::result(libc::fcntl(*fd, libc::F_SETFD, 0))?;
                }
                Ok(())
            });
        }
        let mut child =
            command.spawn().map_err(|source| Error::File { path: machine.qemu.clone(), source })?;
        let channel = child.stdin.take().zip(child.stdout.take());
        let child = Child::new(child, &records)?;
        let guest = Self { child, console, errors: folder.errors() };
        // Both were asked for above.
        let (stdin, stdout) = channel.ok_or(Error::NoChannel)?;
        let qmp = Qmp::new(stdin, stdout).map_err(|error| guest.explain(error))?;
        Ok((guest, qmp))
    }

    /// Hears the guest until it ends, the deadline is over, or `stop` is set.
    pub(super) fn hear_out(
        &mut self,
        deadline: Duration,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(Message),
    ) -> Result<GuestEnd, Error> {
        match self.child.hear_out(deadline, stop, hear)? {
            HeardOut::Exited(status) => Ok(self.explain_end(status)),
            HeardOut::Ended(end) => Ok(end),
        }
    }

    /// The messages so far, without waiting.
    pub(super) fn hear_now(&mut self, hear: &mut dyn FnMut(Message)) -> Result<Heard, Error> {
        self.child.hear_now(hear)
    }

    /// Waits `limit` for the guest, from now on.
    pub(super) fn patience(&self, limit: Duration) -> Patience {
        self.child.patience(limit)
    }

    /// Why QEMU ended, from its status and what it and the kernel last said.
    fn explain_end(&self, status: ExitStatus) -> GuestEnd {
        // isa-debug-exit makes (value << 1) | 1 of the agent's 0.
        if status.code() == Some(1) && self.last_words().is_empty() {
            return GuestEnd::Done;
        }
        if self.console_tail().iter().any(|it| it.contains("Kernel panic")) {
            return GuestEnd::Panicked;
        }
        let words = self.last_words();
        let said = if words.is_empty() { String::new() } else { format!(": {}", words.join(" ")) };
        GuestEnd::Vanished { status: format!("QEMU ended with {status}{said}") }
    }

    /// An error of the control channel, with what QEMU itself had to say.
    pub(super) fn explain(&self, error: super::qmp::Error) -> Error {
        Error::Qemu { reason: error.to_string(), said: self.last_words().join(" ") }
    }

    fn last_words(&self) -> Vec<String> {
        tail(&self.errors, 5)
    }

    /// The last lines of the guest's console.
    pub(super) fn console_tail(&self) -> Vec<String> {
        tail(&self.console, CONSOLE_LINES)
    }
}
