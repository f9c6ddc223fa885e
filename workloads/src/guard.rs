//! The fork bomb's safety catch: it starts only inside the group that it was
//! told, under the limit that it was told, far from the machine's own limits.
//!
//! It reads files and judges them; it must not know what a fork bomb does.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// No limit from here on is taken for one.
const CEILING: u64 = 32_768;

/// Why a fork bomb did not start.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A file that must be known cannot be read.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        why: io::Error,
    },
    /// A file holds no number where one must be.
    #[error("{} holds {found:?}, not a number", path.display())]
    Unclear {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// The process is in another group.
    #[error(
        "this process is in {}, not in {}: start it in that group",
        list(found), group.display()
    )]
    Elsewhere {
        /// Where it is, in each hierarchy that can limit processes.
        found: Vec<PathBuf>,
        /// Where it was told to be.
        group: PathBuf,
    },
    /// The group has no limit file.
    #[error(
        "{} has no pids.max: enable the pids controller there, and not on the root",
        group.display()
    )]
    Limitless {
        /// The group.
        group: PathBuf,
    },
    /// The group's limit is not the promised one.
    #[error("{} is {found:?}, not {told}: write {told} there first", path.display())]
    OtherLimit {
        /// The `pids.max`.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was promised.
        told: u64,
    },
    /// The limit is too near to the machine's own.
    #[error("pids.max is {told}, and this machine can spare {room} at most: set a lower limit")]
    TooHigh {
        /// The limit.
        told: u64,
        /// The highest that is safe.
        room: u64,
    },
    /// The options contradict each other.
    #[error("threads die with their process: they cannot be replaced one by one")]
    ThreadsRespawn,
}

fn list(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no group that could limit it".to_owned(),
        paths => paths.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" and "),
    }
}

/// How many tasks may live at once without hurting anyone, whatever becomes of
/// the group's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room(pub(crate) u64);

/// Makes sure that this process is in `group`, that the group's `pids.max` is
/// `told`, and that the machine can stand that many. `proc` is where procfs is
/// mounted.
pub(crate) fn admit(group: &Path, told: u64, proc: &Path) -> Result<Room, Refusal> {
    let groups = own_groups(
        &read(&proc.join("self/cgroup"))?,
        &read(&proc.join("self/mountinfo"))?,
    );
    if !groups.iter().any(|own| same_directory(own, group)) {
        return Err(Refusal::Elsewhere { found: groups, group: group.to_path_buf() });
    }

    let path = group.join("pids.max");
    let found = match read(&path) {
        Err(Refusal::Unreadable { why, .. }) if why.kind() == io::ErrorKind::NotFound => {
            return Err(Refusal::Limitless { group: group.to_path_buf() });
        }
        other => other?.trim().to_owned(),
    };
    if found.parse() != Ok(told) {
        return Err(Refusal::OtherLimit { path, found, told });
    }

    // Half of what the machine has stays with all others.
    let pid_max = number(proc.join("sys/kernel/pid_max"))?;
    let threads_max = number(proc.join("sys/kernel/threads-max"))?;
    let room = (pid_max.min(threads_max) / 2).min(CEILING - 1);
    if told > room {
        return Err(Refusal::TooHigh { told, room });
    }
    Ok(Room(room))
}

fn read(path: &Path) -> Result<String, Refusal> {
    fs::read_to_string(path)
        .map_err(|why| Refusal::Unreadable { path: path.to_path_buf(), why })
}

fn number(path: PathBuf) -> Result<u64, Refusal> {
    let found = read(&path)?.trim().to_owned();
    found.parse().map_err(|_| Refusal::Unclear { path, found })
}

fn same_directory(a: &Path, b: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    identity(a).is_some_and(|it| Some(it) == identity(b))
}

/// The directories of the groups that this process is in, in each visible mount
/// of a hierarchy that can limit processes: cgroup2, and the legacy one of pids.
fn own_groups(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let found = cgroup.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let here = match mount.hierarchy {
                Hierarchy::Unified => controllers.is_empty(),
                Hierarchy::LegacyPids => controllers.split(',').any(|it| it == "pids"),
            };
            here.then_some(path)
        });
        // A group outside the mount's own root cannot be seen through it.
        if let Some(below) = found.and_then(|path| Path::new(path).strip_prefix(&mount.root).ok()) {
            groups.push(mount.point.join(below));
        }
    }
    groups
}

enum Hierarchy {
    Unified,
    LegacyPids,
}

/// A line of `mountinfo` that is about a hierarchy of ours.
struct Mount {
    hierarchy: Hierarchy,
    /// The group that is seen at the mount point.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let hierarchy = match (filesystem.next()?, filesystem.nth(1)) {
            ("cgroup2", _) => Hierarchy::Unified,
            ("cgroup", Some(options)) if options.split(',').any(|it| it == "pids") => {
                Hierarchy::LegacyPids
            }
            _ => return None,
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        Some(Self { hierarchy, root, point })
    }
}

/// Undoes the octal escapes of `mountinfo`: `\040` for a space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|it| std::str::from_utf8(it).ok());
        match octal.and_then(|it| u8::from_str_radix(it, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}
