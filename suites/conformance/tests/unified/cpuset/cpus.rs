//! CPUs: which a process may use, which it does use, and which are online.
//!
//! It knows no interface file.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use cgauge_lab::Group;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// How long the kernel may take to follow a change.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Skips the case on a machine with less than eight CPUs, 0 to 7.
pub fn needs_eight(lab: &Lab) -> Outcome {
    lab.needs_controller("cpuset")?;
    if std::fs::read_to_string("/sys/devices/system/cpu/online")?.trim() == "0-7" {
        return Ok(());
    }
    Err(lab.skip("this machine has other CPUs than 0 to 7 (the suite asks for eight)"))
}

/// The CPUs that a process may use, as a list: "0-2,5".
pub fn affinity(pid: Pid) -> Result<String, Stop> {
    let set = sched_getaffinity(pid).map_err(Stop::broken("read an affinity"))?;
    let mask = (0..64).filter(|it| set.is_set(*it).unwrap_or(false)).map(|it| 1_u64 << it).sum();
    Ok(list(mask))
}

/// Lets the calling process use these CPUs alone.
pub fn bind(cpus: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// A set of CPUs as the kernel writes it.
pub fn list(mask: u64) -> String {
    let mut ranges = Vec::new();
    let mut cpu = 0;
    while cpu < 64 {
        let run = (mask >> cpu).trailing_ones();
        match run {
            0 => {}
            1 => ranges.push(cpu.to_string()),
            _ => ranges.push(format!("{cpu}-{}", cpu + run - 1)),
        }
        cpu += run + 1;
    }
    ranges.join(",")
}

/// Processes that burn CPU time and note where.
#[derive(Debug)]
pub struct Roamers {
    /// The processes.
    pub processes: Vec<Process<()>>,
    seen: &'static AtomicU64,
}

impl Roamers {
    /// Starts `count` in `group`, bound to `cpus` if there are any.
    pub fn start(group: &Group, count: usize, cpus: &'static [usize]) -> Result<Self, Stop> {
        let seen = shared()?;
        let roam = || {
            if !cpus.is_empty() && bind(cpus).is_err() {
                return;
            }
            loop {
                // No pause instruction: an emulator leaves its loop for each.
                for turn in 0..1000 {
                    std::hint::black_box(turn);
                }
                seen.fetch_or(1 << sched_getcpu().unwrap_or(63), Ordering::SeqCst);
            }
        };
        let processes = (0..count).map(|_| group.spawn(roam)).collect::<Result<_, _>>()?;
        Ok(Self { processes, seen })
    }

    /// Where they have been in the next `time`, as a list.
    pub fn watch(&self, time: Duration) -> String {
        self.seen.store(0, Ordering::SeqCst);
        pause(time);
        list(self.seen.load(Ordering::SeqCst))
    }
}

fn shared() -> Result<&'static AtomicU64, Stop> {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses.
    let place = unsafe { libc::mmap(null_mut(), 4096, access, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return Err(Stop::broken("map a shared page")(Errno::last()));
    }
    // SAFETY: aligned, zeroed, and never unmapped.
    Ok(unsafe { &*place.cast::<AtomicU64>() })
}

/// A CPU that is offline; online again when this goes out of scope.
#[derive(Debug)]
pub struct Offline(String);

impl Offline {
    /// Takes a CPU away.
    pub fn take(cpu: u32) -> Result<Self, Stop> {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
        std::fs::write(&path, "0")?;
        Ok(Self(path))
    }

    /// Gives it back.
    pub fn give_back(self) -> Outcome {
        Ok(std::fs::write(&self.0, "1")?)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.0, "1");
    }
}

/// What `file` holds once it holds `wanted`, or after the patience; and how long
/// that took.
pub fn settle(group: &Group, file: &str, wanted: &str) -> Result<(String, Duration), Stop> {
    let began = now();
    wait_until(PATIENCE, || group.line(file).is_ok_and(|it| it == wanted));
    Ok((group.line(file)?, now() - began))
}

/// Checks that the state of an invalid partition comes with a reason.
pub fn says_why(lab: &Lab, state: &str) {
    let reason = state.split_once(" invalid (").and_then(|(_, rest)| rest.strip_suffix(')'));
    lab.interface("whether the state says why the partition is invalid")
        .covers([R144])
        .file(crate::PARTITION)
        .observed(if reason.is_some_and(|it| !it.is_empty()) { "yes" } else { "no" })
        .equals("yes", "cgroup-v2.rst, cpuset.cpus.partition: \"In the case of an invalid partition root, a descriptive string on why the partition is invalid is included within parentheses\"");
}

/// Whether a list of CPUs has this one.
pub fn has(list: &str, cpu: &str) -> bool {
    let Ok(cpu) = cpu.parse::<u32>() else { return false };
    list.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let bounds = from.parse::<u32>().ok().zip(to.parse::<u32>().ok());
        bounds.is_some_and(|(from, to)| (from..=to).contains(&cpu))
    })
}

/// The CPUs of a list that another does not have; "none at all" for an empty list.
pub fn outside(seen: &str, allowed: &str) -> String {
    if seen.is_empty() {
        return "none at all".to_owned();
    }
    let mask = (0..64).filter(|cpu| has(seen, &cpu.to_string()) && !has(allowed, &cpu.to_string()));
    list(mask.map(|it| 1_u64 << it).sum())
}
