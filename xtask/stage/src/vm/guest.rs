//! One QEMU process from its start to its end: its messages as they come, its
//! deadline, and the certainty that it is gone afterwards.
//!
//! It knows what a message is, but not what any of them means.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cgauge_record::Message;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::machine::{Files, Machine, Purpose};
use super::patience::Patience;
use super::qmp::Qmp;
use crate::{Error, GuestEnd};

/// A line longer than this is no message of ours.
const LONGEST_MESSAGE: usize = 4 << 20;
/// A guest that says more than this has lost its way.
const MOST_BYTES: u64 = 64 << 20;
/// Lines of the console that are kept of a guest.
const CONSOLE_LINES: usize = 200;
/// How often the guest's messages are read while it runs.
const TICK: Duration = Duration::from_millis(20);

/// A running QEMU.
pub(super) struct Guest {
    child: Child,
    pidfd: OwnedFd,
    records: Lines,
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
        let pidfd = pidfd_of(&child)?;
        let channel = child.stdin.take().zip(child.stdout.take());
        let records = Lines::open(&records)?;
        let guest = Self { child, pidfd, records, console, errors: folder.errors() };
        // Both were asked for above.
        let (stdin, stdout) = channel.ok_or(Error::NoChannel)?;
        let qmp = Qmp::new(stdin, stdout).map_err(|error| guest.explain(error))?;
        Ok((guest, qmp))
    }

    /// Hears the guest until it ends, the deadline is over, or `stop` is set.
    ///
    /// The deadline counts from the last message: a guest that goes on to the
    /// next case is alive.
    pub(super) fn hear_out(
        &mut self,
        deadline: Duration,
        stop: &AtomicBool,
        hear: &mut dyn FnMut(Message),
    ) -> Result<GuestEnd, Error> {
        let mut patience = self.patience(deadline);
        loop {
            let ended = self.ended_within(TICK)?;
            match self.records.read(hear)? {
                Heard::Nothing => {}
                Heard::Messages => patience.renew(),
                Heard::Babble(reason) => {
                    self.kill();
                    return Ok(GuestEnd::Babbled { reason });
                }
            }
            if let Some(status) = ended {
                return Ok(self.explain_end(status));
            }
            if stop.load(Ordering::Relaxed) {
                self.kill();
                return Ok(GuestEnd::Interrupted);
            }
            if patience.is_over() {
                self.kill();
                return Ok(GuestEnd::Silent { after: deadline });
            }
        }
    }

    /// The messages so far, without waiting.
    pub(super) fn hear_now(&mut self, hear: &mut dyn FnMut(Message)) -> Result<Heard, Error> {
        self.records.read(hear)
    }

    /// Waits `limit` for the guest, from now on.
    pub(super) fn patience(&self, limit: Duration) -> Patience {
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
        self.child.try_wait().map_err(|source| Error::File { path: "QEMU".into(), source })
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

    fn kill(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pidfd_of(child: &Child) -> Result<OwnedFd, Error> {
    // SAFETY: asks for a new descriptor of a child that is not reaped yet.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
    let fd = Errno::result(fd).map_err(|errno| Error::System { what: "pidfd_open", errno })?;
    // SAFETY: the kernel just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// The last `count` lines of a file that a guest wrote: bounded, printable.
fn tail(path: &Path, count: usize) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(64 << 10);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let clean =
        |line: &str| line.chars().filter(|it| !it.is_control()).take(400).collect::<String>();
    let lines: Vec<_> = text.lines().map(clean).filter(|it| !it.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// What a look into the guest's messages found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    Messages,
    Babble(String),
}

/// The guest's messages, read while they are written.
struct Lines {
    file: File,
    held: Vec<u8>,
    total: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
        Ok(Self { file, held: Vec::new(), total: 0 })
    }

    fn read(&mut self, hear: &mut dyn FnMut(Message)) -> Result<Heard, Error> {
        let mut heard = Heard::Nothing;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(heard),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::File { path: "the guest's messages".into(), source });
                }
            };
            self.total += length as u64;
            self.held.extend_from_slice(&buffer[..length]);
            while let Some(end) = self.held.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(message) => hear(message),
                    Err(_) => return Ok(Heard::Babble(babble(&line))),
                }
                heard = Heard::Messages;
            }
            if self.held.len() > LONGEST_MESSAGE {
                return Ok(Heard::Babble(format!("a line of more than {LONGEST_MESSAGE} bytes")));
            }
            if self.total > MOST_BYTES {
                return Ok(Heard::Babble(format!("more than {MOST_BYTES} bytes of messages")));
            }
        }
    }
}

fn babble(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let shown: String = text.trim_end().chars().take(80).collect();
    format!("a line that is no message: {shown:?}")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8]) -> (Vec<Message>, Heard) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut heard = Vec::new();
        let end = Lines::open(file.path()).unwrap().read(&mut |it| heard.push(it)).unwrap();
        (heard, end)
    }

    #[test]
    fn whole_lines_are_messages_and_half_a_line_waits() {
        let start = r#"{"message":"start","body":{"index":0}}"#;
        let (heard, end) = lines(format!("{start}\n{start}").as_bytes());
        assert_eq!(heard, [Message::Start { index: 0 }]);
        assert_eq!(end, Heard::Messages);
    }

    #[test]
    fn what_is_no_message_is_babble() {
        for bytes in [b"\xff\xfe garbage\n".as_slice(), b"{\"message\":\"start\"}\n", b"\n"] {
            assert!(matches!(lines(bytes).1, Heard::Babble(_)), "{bytes:?}");
        }
        let endless = vec![b'x'; LONGEST_MESSAGE + 1];
        assert!(matches!(lines(&endless).1, Heard::Babble(_)));
    }

    #[test]
    fn the_tail_of_a_console_is_printable_and_bounded() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "one\n\x1b[31mtwo\x07\n\n{}\n", "x".repeat(1000)).unwrap();
        let lines = tail(file.path(), 2);
        assert_eq!(lines[0], "[31mtwo");
        assert_eq!(lines[1].len(), 400);
    }
}
