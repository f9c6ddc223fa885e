//! What a run leaves on the machine's own kernel should it die, and how that is
//! cleared away: groups with all that lives in them, and a folder.
//!
//! Groups are known by their name, which no one else's have, and by a lock on
//! their directory, which the kernel lets go of when the run is gone. Nothing
//! here knows what ran in them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use serde::{Deserialize, Serialize};

/// How every group of ours begins.
const PREFIX: &str = "cgauge-";
/// Hexadecimal digits behind it.
const DIGITS: usize = 16;
/// How long the kernel may take to end what was killed and to let go of groups.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is to clear away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estate {
    /// The name of the run's group in each hierarchy.
    pub name: String,
    /// Where the hierarchies are mounted.
    pub roots: Vec<PathBuf>,
    /// The folder of its files, if that is to go as well.
    pub folder: Option<PathBuf>,
    /// Commands that end what an engine keeps elsewhere.
    pub commands: Vec<Vec<String>>,
}

impl Estate {
    /// A name that nobody has.
    pub fn new_name() -> std::io::Result<String> {
        let mut bytes = [0; DIGITS / 2];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let digits: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
        Ok(format!("{PREFIX}{digits}"))
    }

    /// The run's group in each hierarchy where it is there.
    fn groups(&self) -> Vec<PathBuf> {
        self.roots.iter().map(|it| it.join(&self.name)).filter(|it| it.exists()).collect()
    }

    /// Ends everything in the groups and removes them and the folder; what could
    /// not be, in one sentence.
    pub fn clear(&self) -> Result<(), String> {
        for words in &self.commands {
            if let Some((program, arguments)) = words.split_first() {
                // What the engine does not end by itself dies with its group.
                let _ = std::process::Command::new(program)
                    .args(arguments)
                    .stdin(std::process::Stdio::null())
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .status();
            }
        }
        let began = Instant::now();
        loop {
            let groups = self.groups();
            if groups.is_empty() {
                break;
            }
            // First everything is killed: what lives could make groups anew.
            let alive = groups.iter().filter(|it| kill_all(it, &self.name) > 0).count();
            let removed = groups.iter().filter(|it| alive == 0 && remove(it).is_ok()).count();
            if removed == groups.len() {
                continue;
            }
            if began.elapsed() > PATIENCE {
                let names: Vec<_> = groups.iter().map(|it| it.display().to_string()).collect();
                return Err(format!("{} will not go away", names.join(", ")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        match &self.folder {
            Some(folder) if folder.exists() => fs::remove_dir_all(folder)
                .map_err(|error| format!("{} will not go away: {error}", folder.display())),
            _ => Ok(()),
        }
    }
}

/// Clears away the groups that dead runs left in these hierarchies, and names them.
pub fn sweep(roots: &[PathBuf]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for root in roots {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let of_the_dead = |path: &PathBuf| lock(path).is_ok();
        let ours = entries.map(|it| it.path()).filter(|it| is_ours(it)).filter(of_the_dead);
        names.extend(ours.filter_map(|it| Some(it.file_name()?.to_str()?.to_owned())));
    }
    let cleared = names.into_iter().filter(|name| {
        let (name, roots) = (name.clone(), roots.to_vec());
        Estate { name, roots, folder: None, commands: Vec::new() }.clear().is_ok()
    });
    cleared.collect()
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str());
    let digits = name.and_then(|it| it.strip_prefix(PREFIX));
    digits.is_some_and(|it| it.len() == DIGITS && it.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// Takes the lock of a group's directory, which its run holds as long as it lives.
pub fn lock(group: &Path) -> Result<File, Errno> {
    let open = File::open(group).map_err(|it| errno_of(&it))?;
    // SAFETY: a descriptor of our own.
    Errno::result(unsafe { libc::flock(open.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) })?;
    Ok(open)
}

/// The group and all below it, the deepest first.
fn all_of(group: &Path) -> Vec<PathBuf> {
    let mut found = vec![group.to_path_buf()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
        let folders: Vec<_> = folders.map(|it| it.path()).collect();
        found.extend(folders);
        next += 1;
    }
    found.reverse();
    found
}

/// Kills every process of the group and below it, and says how many there were.
fn kill_all(group: &Path, name: &str) -> usize {
    let mut found = 0;
    for group in all_of(group) {
        // What is frozen on a legacy hierarchy dies only when it is thawed. These
        // files are where they mean something.
        let _ = write_if_there(&group.join("freezer.state"), "THAWED");
        let _ = write_if_there(&group.join("cgroup.freeze"), "0");
        // A threaded group does not show its processes, but its threads.
        let ids = fs::read_to_string(group.join("cgroup.procs"))
            .or_else(|_| fs::read_to_string(group.join("cgroup.threads")))
            .unwrap_or_default();
        for pid in ids.lines().filter_map(|it| it.parse::<i32>().ok()) {
            found += 1;
            kill(pid, name);
        }
    }
    found
}

/// Kills `pid`, unless it became another's since it was seen in a group of ours.
fn kill(pid: i32, name: &str) {
    // SAFETY: asks for a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(fd) = Errno::result(fd).map(|it| i32::try_from(it).unwrap_or(-1)) else {
        return;
    };
    // SAFETY: the kernel just made it, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if groups.lines().any(|it| it.split('/').any(|it| it == name)) {
        // SAFETY: a signal to a process by its descriptor. It may have ended.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }
}

fn remove(group: &Path) -> std::io::Result<()> {
    all_of(group).iter().try_for_each(fs::remove_dir)
}

/// Writes a file of the kernel's that may not be there.
fn write_if_there(path: &Path, text: &str) -> std::io::Result<()> {
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(mut file) => std::io::Write::write_all(&mut file, text.as_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_ours() {
        let own = Estate::new_name().unwrap();
        assert!(is_ours(&Path::new("/sys/fs/cgroup/memory").join(&own)), "{own}");
        for other in
            ["cgauge-", "cgauge-12345", "cgauge-0123456789abcdeg", "x-0123456789abcdef", ".."]
        {
            assert!(!is_ours(&Path::new("/sys/fs/cgroup").join(other)), "{other}");
        }
    }

    #[test]
    fn what_a_living_run_holds_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = root.path().join(name).join("1/root");
            fs::create_dir_all(path).unwrap();
            root.path().join(name)
        };
        let (dead, alive, other) =
            (make("cgauge-00000000000000aa"), make("cgauge-00000000000000bb"), make("kept"));
        let held = lock(&alive).unwrap();
        assert_eq!(sweep(&[root.path().to_path_buf()]), ["cgauge-00000000000000aa"]);
        assert!(!dead.exists() && alive.exists() && other.exists());
        drop(held);
        assert_eq!(sweep(&[root.path().to_path_buf()]), ["cgauge-00000000000000bb"]);
        assert!(!alive.exists() && other.exists());
    }

    #[test]
    fn nobody_is_killed_by_a_number_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        kill(child.id().cast_signed(), "cgauge-00000000000000cc");
        std::thread::sleep(Duration::from_millis(20));
        assert!(child.try_wait().unwrap().is_none(), "it is in no group of ours");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
