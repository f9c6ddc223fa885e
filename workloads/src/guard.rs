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
    let groups =
        own_groups(&read(&proc.join("self/cgroup"))?, &read(&proc.join("self/mountinfo"))?);
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
    fs::read_to_string(path).map_err(|why| Refusal::Unreadable { path: path.to_path_buf(), why })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of files: procfs, and one group of each hierarchy.
    struct Machine(tempfile::TempDir);

    impl Machine {
        /// One whose process is in `/a b/bomb` of both hierarchies.
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            let point = |name: &str| machine.path(name).display().to_string();
            machine.write("proc/self/cgroup", "8:memory:/\n7:cpu,pids:/a b/bomb\n0::/a b/bomb\n");
            machine.write(
                "proc/self/mountinfo",
                &format!(
                    "22 1 0:5 / /proc rw - proc proc rw\n\
                     31 22 0:26 / {} rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
                     32 22 0:27 /a\\040b {} rw - cgroup cgroup rw,cpu,pids\n\
                     33 22 0:28 / {} rw - cgroup cgroup rw,memory\n",
                    point("unified"),
                    point("pids"),
                    point("memory"),
                ),
            );
            machine.write("proc/sys/kernel/pid_max", "32768\n");
            machine.write("proc/sys/kernel/threads-max", "4000\n");
            machine.write("unified/a b/bomb/pids.max", "64\n");
            machine.write("pids/bomb/pids.max", "64\n");
            machine.write("memory/pids.max", "64\n");
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        fn admit(&self, group: &str, told: u64) -> Result<Room, Refusal> {
            admit(&self.path(group), told, &self.path("proc"))
        }
    }

    #[test]
    fn it_starts_in_its_group_under_its_limit() {
        let machine = Machine::new();
        // The unified mount shows the whole tree, the legacy one a part of it.
        assert_eq!(machine.admit("unified/a b/bomb", 64).unwrap(), Room(2000));
        assert_eq!(machine.admit("pids/bomb", 64).unwrap(), Room(2000));
    }

    #[test]
    fn it_refuses_any_other_place() {
        let machine = Machine::new();
        machine.write("elsewhere/pids.max", "64\n");
        machine.write("unified/a b/bomb/below/pids.max", "64\n");
        for group in
            ["elsewhere", "unified", "unified/a b", "unified/a b/bomb/below", "memory", "missing"]
        {
            let refusal = machine.admit(group, 64).unwrap_err();
            assert!(matches!(refusal, Refusal::Elsewhere { .. }), "{group}: {refusal}");
        }
    }

    #[test]
    fn it_refuses_a_group_that_it_cannot_be_seen_in() {
        let machine = Machine::new();
        machine.write("proc/self/cgroup", "7:cpu,pids:/other\n");
        let refusal = machine.admit("pids/bomb", 64).unwrap_err();
        assert!(refusal.to_string().contains("is in no group that could limit it"), "{refusal}");
    }

    #[test]
    fn it_refuses_any_other_limit() {
        let machine = Machine::new();
        let group = "unified/a b/bomb";
        for found in ["max", "63", "65", "", "64 64", "-64", "sixty-four"] {
            machine.write("unified/a b/bomb/pids.max", found);
            let refusal = machine.admit(group, 64).unwrap_err();
            assert!(matches!(refusal, Refusal::OtherLimit { .. }), "{found}: {refusal}");
        }
        fs::remove_file(machine.path("unified/a b/bomb/pids.max")).unwrap();
        let refusal = machine.admit(group, 64).unwrap_err();
        assert!(matches!(refusal, Refusal::Limitless { .. }), "{refusal}");
    }

    #[test]
    fn it_refuses_a_limit_near_the_machines_own() {
        let machine = Machine::new();
        let admit = |told: u64, threads_max: &str, pid_max: &str| {
            machine.write("pids/bomb/pids.max", &told.to_string());
            machine.write("proc/sys/kernel/threads-max", threads_max);
            machine.write("proc/sys/kernel/pid_max", pid_max);
            machine.admit("pids/bomb", told)
        };
        assert_eq!(admit(2000, "4000", "32768").unwrap(), Room(2000));
        assert_eq!(admit(2000, "4000000", "4000").unwrap(), Room(2000));
        assert_eq!(admit(32_767, "4000000", "4000000").unwrap(), Room(32_767));
        for (told, threads_max, pid_max) in [
            (2001, "4000", "32768"),
            (2001, "4000000", "4000"),
            (32_768, "4000000", "4000000"),
            (u64::MAX, "4000000", "4000000"),
        ] {
            let refusal = admit(told, threads_max, pid_max).unwrap_err();
            assert!(matches!(refusal, Refusal::TooHigh { .. }), "{told}: {refusal}");
        }
    }

    #[test]
    fn it_refuses_what_it_cannot_read() {
        let machine = Machine::new();
        machine.write("proc/sys/kernel/pid_max", "many");
        let refusal = machine.admit("pids/bomb", 64).unwrap_err();
        assert!(refusal.to_string().ends_with("holds \"many\", not a number"), "{refusal}");
        fs::remove_file(machine.path("proc/self/cgroup")).unwrap();
        let refusal = machine.admit("pids/bomb", 64).unwrap_err();
        assert!(matches!(refusal, Refusal::Unreadable { .. }), "{refusal}");
    }

    #[test]
    fn octal_escapes_are_undone_and_other_backslashes_kept() {
        assert_eq!(unescape("/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescape("/a\\9\\"), Path::new("/a\\9\\"));
    }
}
