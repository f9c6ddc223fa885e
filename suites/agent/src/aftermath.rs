//! What a case left behind: groups, mounts, processes, and what the kernel
//! complained of meanwhile.
//!
//! A picture of the machine is taken before the case and compared with one
//! after it; nothing here knows what the case did.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(2);
/// At most so many lines of a kind are told: the first ones say why.
const MOST_LINES: usize = 20;
/// Words of the kernel log that speak of a bug in the kernel. Lockdep says
/// "possible circular locking" and the like behind "WARNING:".
const COMPLAINTS: [&str; 9] = [
    "BUG:",
    "WARNING:",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "INFO: task",
    "INFO: rcu",
    "UBSAN:",
    "soft lockup",
];

/// The machine before a case.
#[derive(Debug)]
pub struct Before {
    roots: Vec<PathBuf>,
    groups: BTreeSet<String>,
    mounts: BTreeSet<String>,
    pids: BTreeSet<i32>,
    taint: String,
    log: Option<File>,
}

/// What differs after it.
#[derive(Debug, Default)]
pub struct Differences {
    /// Groups, mounts and processes that were not there before.
    pub leftovers: Vec<String>,
    /// The kernel's complaints and new taint.
    pub kernel_complaints: Vec<String>,
}

impl Before {
    /// Takes the picture. `roots` are the mount points of the hierarchies.
    pub fn look(roots: Vec<PathBuf>) -> Self {
        Self {
            groups: groups_below(&roots),
            roots,
            mounts: mounts(),
            pids: pids(),
            taint: taint(),
            log: open_log(),
        }
    }

    /// Takes another picture, and cleans up what is in it and was not before.
    pub fn compare(mut self) -> Differences {
        let mut found = Differences::default();
        let survivors: Vec<i32> =
            pids().difference(&self.pids).copied().filter(|it| is_ours(*it)).collect();
        for pid in &survivors {
            found.leftovers.push(format!("process {pid} ({})", name_of(*pid)));
            // It may have ended since it was seen.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        // Its groups can go only when it is gone itself.
        await_end_of(&survivors);
        for group in (&groups_below(&self.roots) - &self.groups).iter().rev() {
            found.leftovers.push(format!("group {group}"));
            // A group that will not go is named above all the same.
            let _ = fs::remove_dir(group);
        }
        for target in (&mounts() - &self.mounts).iter().rev() {
            found.leftovers.push(format!("mount {target}"));
        }
        found.kernel_complaints = self.log.as_mut().map(complaints).unwrap_or_default();
        let taint = taint();
        if taint != self.taint {
            found
                .kernel_complaints
                .push(format!("kernel taint went from {} to {taint}", self.taint));
        }
        found.leftovers.truncate(MOST_LINES);
        found.kernel_complaints.truncate(MOST_LINES);
        found
    }
}

fn groups_below(roots: &[PathBuf]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = roots.to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                found.insert(entry.path().display().to_string());
                folders.push(entry.path());
            }
        }
    }
    found
}

fn mounts() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The id tells a mount from another on the same place.
    let named = |line: &str| {
        let mut fields = line.split(' ');
        Some(format!("{} (mount {})", fields.clone().nth(4)?, fields.next()?))
    };
    table.lines().filter_map(named).collect()
}

fn pids() -> BTreeSet<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process is there and descends from the agent, to which orphans fall:
/// no kernel thread, which come and go as the kernel likes, and on a machine with
/// others nobody else's.
fn is_ours(pid: i32) -> bool {
    let own = std::process::id().cast_signed();
    let mut pid = pid;
    // Longer than any line of ancestors; a loop is none.
    for _ in 0..1000 {
        match parent_of(pid) {
            Some(parent) if parent == own => return true,
            Some(parent) if parent > 0 => pid = parent,
            _ => return false,
        }
    }
    false
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; fields count from behind it.
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn await_end_of(killed: &[i32]) {
    let deadline = Instant::now() + PATIENCE;
    while killed.iter().any(|it| is_ours(*it)) && Instant::now() < deadline {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

fn taint() -> String {
    let flags = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    flags.trim().to_owned()
}

fn open_log() -> Option<File> {
    let mut log =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

fn complaints(log: &mut File) -> Vec<String> {
    let mut found = Vec::new();
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => found.extend(complaint(&String::from_utf8_lossy(&record[..length]))),
            // Records were overwritten before they were read; the next is there.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    found
}

/// The text of a `/dev/kmsg` record if it is a complaint.
fn complaint(record: &str) -> Option<String> {
    let (prefix, text) = record.split_once(';')?;
    // User space can write here as well, with a facility other than 0.
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    let line = text.lines().next()?;
    let of_the_kernel = priority >> 3 == 0;
    (of_the_kernel && COMPLAINTS.iter().any(|it| line.contains(it))).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descendants_are_ours() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(is_ours(pid));
        assert!(!is_ours(1) && !is_ours(std::os::unix::process::parent_id().cast_signed()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_ours(pid));
    }

    #[test]
    fn complaints_are_told_from_the_rest_of_the_log() {
        for (record, expected) in [
            (
                "4,1047,5270450570,-;WARNING: CPU: 0 PID: 71 at kernel/cgroup/cgroup.c:6789 css_put+0x1/0x2\n",
                true,
            ),
            (
                "1,1,1,-;BUG: kernel NULL pointer dereference, address: 0000000000000008\n SUBSYSTEM=x\n",
                true,
            ),
            ("3,9,9,-;INFO: task rmdir:44 blocked for more than 120 seconds.\n", true),
            ("6,1,1,-;Memory cgroup out of memory: Killed process 77 (case)\n", false),
            ("12,1,1,-;WARNING: written by user space\n", false),
            ("not a record", false),
        ] {
            assert_eq!(complaint(record).is_some(), expected, "{record}");
        }
    }
}
