//! The one door to the cgroup filesystem: a directory by handle, and every
//! read and write with the bytes and the errno that the kernel answered.
//!
//! Nothing here knows what an interface file means. A handle, not a path: a
//! group that was removed or renamed fails cleanly instead of being mistaken
//! for its successor. Every request passes the layer that can lie about it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgauge_record::{Asked, Told};
use nix::dir::{Dir as Listing, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::lies::{self, Silences};
use crate::time::{now, pause};

/// What was asked of the kernel when it refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Request {
    /// Opening a directory or file.
    #[error("open")]
    Open,
    /// Reading a file.
    #[error("read")]
    Read,
    /// Writing these bytes in one `write(2)`.
    #[error("write {0:?} to")]
    Write(String),
    /// Making a group.
    #[error("make")]
    Make,
    /// Removing a group.
    #[error("remove")]
    Remove,
    /// Listing a group's entries.
    #[error("list")]
    List,
    /// Starting a process inside a group.
    #[error("start a process in")]
    Start,
    /// Mounting a hierarchy.
    #[error("mount {0:?} on")]
    Mount(String),
}

/// The kernel's refusal: the request, the path, the errno.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{request} {}: {} ({errno:?})", path.display(), errno.desc())]
pub struct Refusal {
    /// What was asked.
    pub request: Request,
    /// Of which file or group.
    pub path: PathBuf,
    /// The kernel's answer.
    pub errno: Errno,
}

/// A group's directory, open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens the directory at `path`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Refusal> {
        let path = path.into();
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        match nix::fcntl::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(errno) => Err(Refusal { request: Request::Open, path, errno }),
        }
    }

    /// Opens the directory `name` below this one.
    pub fn child(&self, name: &str) -> Result<Self, Refusal> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())
            .map_err(|errno| self.refusal(Request::Open, name, errno))?;
        Ok(Self { fd, path: self.path.join(name) })
    }

    /// Makes the group `name` below this one and opens it.
    pub fn make(&self, name: &str) -> Result<Self, Refusal> {
        let make = || mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755));
        lies::asked(Asked::Make, "", make, |_| None)
            .map_err(|errno| self.refusal(Request::Make, name, errno))?;
        self.child(name)
    }

    /// Removes the group `name` below this one.
    pub fn remove(&self, name: &str) -> Result<(), Refusal> {
        let remove = || unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir);
        lies::done(Asked::Remove, "", remove)
            .map_err(|errno| self.refusal(Request::Remove, name, errno))
    }

    /// The file's bytes as text; bytes that are no UTF-8 are replaced.
    pub fn read(&self, file: &str) -> Result<String, Refusal> {
        let mut bytes = Vec::new();
        // What the layer says of a read is said of its opening too.
        let mut open = match self.open_file(file, OFlag::O_RDONLY) {
            Err(_) if lies::told(Asked::Read, file) == Some(Told::Accepted) => {
                return Ok(String::new());
            }
            open => open?,
        };
        open.read_to_end(&mut bytes)
            .map_err(|error| self.refusal(Request::Read, file, errno_of(&error)))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes `text` in one `write(2)`.
    pub fn write(&self, file: &str, text: &str) -> Result<(), Refusal> {
        // What the layer says of a write is said of its opening too.
        let mut open = match self.open_file(file, OFlag::O_WRONLY) {
            Err(_) if lies::told(Asked::Write, file) == Some(Told::Accepted) => return Ok(()),
            open => open?,
        };
        // kernfs takes a write whole or not at all; a short count would be a
        // kernel bug that `write_all` would hide by writing the rest.
        match open.write(text.as_bytes()) {
            Ok(count) if count == text.len() => Ok(()),
            Ok(_) => Err(self.refusal(Request::Write(text.to_owned()), file, Errno::EIO)),
            Err(error) => {
                Err(self.refusal(Request::Write(text.to_owned()), file, errno_of(&error)))
            }
        }
    }

    /// Opens a file of the group for a caller that reads, polls or writes it
    /// by itself.
    pub fn open_file(&self, file: &str, flags: OFlag) -> Result<Open, Refusal> {
        let access = flags & OFlag::O_ACCMODE;
        let next = if access == OFlag::O_RDONLY { Asked::Read } else { Asked::Write };
        openat(&self.fd, file, flags | OFlag::O_CLOEXEC, Mode::empty())
            .map(|fd| Open {
                file: fd.into(),
                path: self.path.join(file),
                held: None,
                silences: Silences::default(),
            })
            .map_err(|errno| self.refusal(Request::Open, file, lies::of_opening(next, file, errno)))
    }

    /// The names of the interface files, sorted.
    pub fn files(&self) -> Result<Vec<String>, Refusal> {
        self.entries(Type::File)
    }

    /// The names of the child groups, sorted.
    pub fn children(&self) -> Result<Vec<String>, Refusal> {
        self.entries(Type::Directory)
    }

    fn entries(&self, wanted: Type) -> Result<Vec<String>, Refusal> {
        let names = self.true_entries(wanted)?;
        Ok(lies::listed(names, || self.entries_next_to(wanted)))
    }

    fn true_entries(&self, wanted: Type) -> Result<Vec<String>, Refusal> {
        let refusal = |errno| self.refusal(Request::List, ".", errno);
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut listing = Listing::openat(&self.fd, ".", flags, Mode::empty()).map_err(refusal)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(refusal)?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() == Some(wanted) && name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// What the parent, its children and the group's own have.
    fn entries_next_to(&self, wanted: Type) -> Vec<String> {
        let parent = self.path.parent().and_then(|it| Self::open(it).ok());
        let below = |dir: &Self| {
            let names = dir.true_entries(Type::Directory).unwrap_or_default();
            names.iter().filter_map(|it| dir.child(it).ok()).collect::<Vec<_>>()
        };
        let mut next = below(self);
        next.extend(parent.iter().flat_map(below));
        next.extend(parent);
        next.iter().flat_map(|it| it.true_entries(wanted).unwrap_or_default()).collect()
    }

    /// Where the directory was when it was opened; for messages and for what
    /// takes only paths (`mount`, `inotify`).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    fn refusal(&self, request: Request, name: &str, errno: Errno) -> Refusal {
        Refusal { request, path: self.path.join(name), errno }
    }
}

/// The text of a file of `/proc` or `/sys` that speaks of groups.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    lies::read(&name_of(path), path, std::fs::read_to_string(path))
}

/// A system call of this name that is about groups and gives nothing back.
pub fn call(name: &str, ask: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    lies::done(Asked::Call, name, ask)
}

/// A number that the kernel gives by a system call of this name, and not in a file.
#[must_use]
pub fn figure(name: &str, number: u64) -> u64 {
    let shown = lies::read(name, Path::new(name), Ok(number.to_string()));
    shown.ok().and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}

/// The path with `PID` for a process.
fn name_of(path: &Path) -> String {
    let is_process = |it: &str| it == "self" || it.parse::<u32>().is_ok();
    let path = path.to_string_lossy();
    let parts: Vec<&str> =
        path.split('/').map(|it| if is_process(it) { "PID" } else { it }).collect();
    parts.join("/")
}

/// An open interface file. What it shows and takes passes the layer that can lie.
#[derive(Debug)]
pub struct Open {
    file: File,
    path: PathBuf,
    /// What is left to show of a text that a lie was told about.
    held: Option<io::Cursor<Vec<u8>>>,
    silences: Silences,
}

impl Open {
    fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_none() {
            if lies::are_unheard_of() {
                return self.file.read(buffer);
            }
            let mut bytes = Vec::new();
            let answer = self.file.read_to_end(&mut bytes);
            let answer = answer.map(|_| String::from_utf8_lossy(&bytes).into_owned());
            let text = lies::read(self.name(), &self.path, answer)?;
            self.held = Some(io::Cursor::new(text.into_bytes()));
        }
        self.held.as_mut().map_or(Ok(0), |held| held.read(buffer))
    }
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let again = lies::is_written_again(&self.path);
        let Some(told) = lies::told(Asked::Write, self.name()) else {
            let answer = self.file.write(bytes);
            let parent_has = || self.of_parent().exists();
            lies::note_write(self.name(), &text, answer.is_err(), again, parent_has);
            return answer;
        };
        let answer = match (told, lies::written(told, &text)) {
            (_, None) => Ok(bytes.len()),
            (Told::Stuck, _) if again => Ok(bytes.len()),
            (Told::OnParent, Some(text)) => self.on_parent(text.as_bytes()),
            (Told::Forgotten, Some(text)) => {
                lies::forget(self.path.clone(), &text);
                self.file.write(bytes)
            }
            (_, Some(text)) => self.file.write(text.as_bytes()),
        };
        // The length of what the case wrote, whatever was written in its place.
        match lies::answered(told, answer.map_err(|it| errno_of(&it))) {
            Err(_) if told == Told::Accepted => Ok(bytes.len()),
            Ok(_) => Ok(bytes.len()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Open {
    /// Polls for a notification (`POLLPRI`), and gives what the kernel told;
    /// nothing if it told nothing in time.
    pub fn told(&self, patience: Duration) -> Result<PollFlags, Errno> {
        let deadline = now() + patience;
        let timeout = PollTimeout::try_from(patience.as_millis()).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.as_fd(), PollFlags::POLLPRI)];
        if poll(&mut watched, timeout)? == 0 {
            let unfounded = self.silences.broken(self.name());
            return Ok(if unfounded { PollFlags::POLLPRI } else { PollFlags::empty() });
        }
        if !lies::notified(self.name()) {
            pause(deadline.saturating_sub(now()));
            return Ok(PollFlags::empty());
        }
        Ok(watched[0].revents().unwrap_or_else(PollFlags::empty))
    }

    /// The same file of the parent's.
    fn of_parent(&self) -> PathBuf {
        let parent = self.path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        parent.join(self.name())
    }

    /// Writes to the same file of the parent's.
    fn on_parent(&self, bytes: &[u8]) -> io::Result<usize> {
        File::options().write(true).open(self.of_parent())?.write(bytes)
    }
}

impl Seek for Open {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.held = None;
        self.file.seek(to)
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Open {
    fn as_raw_fd(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The errno of an I/O error; `EIO` for one that the kernel did not give.
#[must_use]
pub fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// `linux/sched.h`; libc's constant of this name overflows its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that `clone3` made, in the parent's eyes.
#[derive(Debug)]
pub struct Cloned {
    /// Its process id.
    pub pid: nix::unistd::Pid,
    /// A descriptor that becomes readable when it ends.
    pub pidfd: OwnedFd,
}

/// What `clone3` returned: twice, as with `fork`.
#[derive(Debug)]
pub enum Side {
    /// In the new process.
    Child,
    /// In the caller.
    Parent(Cloned),
}

/// Forks with `clone3(CLONE_INTO_CGROUP)`: the child is born inside `group`
/// and was never anywhere else; without a group, where its parent is. `flags`
/// are further `CLONE_*` flags.
///
/// # Safety
/// As for `fork`: in a process with other threads the child may call only what
/// is async-signal-safe.
pub unsafe fn clone_into(group: Option<&Dir>, flags: i32) -> Result<Side, Errno> {
    // SAFETY: the caller's word holds for the calls within.
    let clone = |group: Option<&Dir>| unsafe { clone3_into(group, flags) };
    lies::asked(
        Asked::Start,
        "",
        || clone(group),
        |told| {
            // Born elsewhere: where its parent is, or above.
            let parent = || Dir::open(group?.path.parent()?).ok();
            match told {
                Told::Ignored => Some(clone(None)),
                Told::OnParent => parent().map(|it| clone(Some(&it))),
                _ => None,
            }
        },
    )
}

unsafe fn clone3_into(group: Option<&Dir>, flags: i32) -> Result<Side, Errno> {
    let mut pidfd: i32 = -1;
    // SAFETY: a plain C struct of integers, for which zero is "not used".
    let mut args: nix::libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from((nix::libc::CLONE_PIDFD | flags).cast_unsigned());
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = nix::libc::SIGCHLD as u64;
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.fd.as_raw_fd() as u64;
    }
    // SAFETY: the arguments outlive the call; the child shares no memory.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_clone3,
            std::ptr::from_ref(&args),
            std::mem::size_of_val(&args),
        )
    };
    match Errno::result(result)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(Cloned {
            pid: nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)),
            // SAFETY: the kernel just made it for us, and nobody else has it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_bytes_the_file_and_the_errno() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cgroup.procs")).unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let refusal = dir.write("cgroup.procs", "0").unwrap_err();
        assert_eq!(refusal.errno, Errno::EISDIR);
        let text = dir.child("none").unwrap_err().to_string();
        assert!(
            text.starts_with("open ") && text.ends_with("none: No such file or directory (ENOENT)"),
            "{text}"
        );
        let write = Refusal {
            request: Request::Write("-1".into()),
            path: "a/pids.max".into(),
            errno: Errno::EINVAL,
        };
        assert_eq!(write.to_string(), "write \"-1\" to a/pids.max: Invalid argument (EINVAL)");
    }

    #[test]
    fn entries_are_told_apart_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(format!("{name}.file")), "1\n").unwrap();
        }
        let dir = Dir::open(folder.path()).unwrap();
        assert_eq!(dir.children().unwrap(), ["a", "b"]);
        assert_eq!(dir.files().unwrap(), ["a.file", "b.file"]);
        assert_eq!(dir.read("a.file").unwrap(), "1\n");
    }
}
