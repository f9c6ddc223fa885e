//! CPUs: which a process may use, which it does use, and which are online.
//!
//! It knows no interface file.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::group::Group;
use crate::memory::{Memory, PAGE};
use crate::process::Process;
use crate::stop::{Outcome, Stop};
use crate::time::pause;

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
#[must_use]
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
    /// A bit for each CPU that one of them was on.
    seen: Memory,
}

impl Roamers {
    /// Starts `count` in `group`, bound to `cpus` if there are any.
    pub fn start(group: &Group, count: usize, cpus: &'static [usize]) -> Result<Self, Stop> {
        let seen = Memory::shmem(PAGE).map_err(Stop::broken("map a shared page"))?;
        let roam = || {
            if !cpus.is_empty() && bind(cpus).is_err() {
                return;
            }
            loop {
                // No pause instruction: an emulator leaves its loop for each.
                for turn in 0..1000 {
                    std::hint::black_box(turn);
                }
                seen.word().fetch_or(1 << sched_getcpu().unwrap_or(63), Ordering::SeqCst);
            }
        };
        let processes = (0..count).map(|_| group.spawn(roam)).collect::<Result<_, _>>()?;
        Ok(Self { processes, seen })
    }

    /// Where they have been in the next `time`, as a list.
    #[must_use]
    pub fn watch(&self, time: Duration) -> String {
        self.seen.word().store(0, Ordering::SeqCst);
        pause(time);
        list(self.seen.word().load(Ordering::SeqCst))
    }
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
        // The machine ends with the case.
        let _ = std::fs::write(&self.0, "1");
    }
}

/// Whether a list of CPUs has this one.
#[must_use]
pub fn has(list: &str, cpu: &str) -> bool {
    let Ok(cpu) = cpu.parse::<u32>() else { return false };
    list.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let bounds = from.parse::<u32>().ok().zip(to.parse::<u32>().ok());
        bounds.is_some_and(|(from, to)| (from..=to).contains(&cpu))
    })
}

/// The CPUs of a list that another does not have; "none at all" for an empty list.
#[must_use]
pub fn outside(seen: &str, allowed: &str) -> String {
    if seen.is_empty() {
        return "none at all".to_owned();
    }
    let mask = (0..64).filter(|cpu| has(seen, &cpu.to_string()) && !has(allowed, &cpu.to_string()));
    list(mask.map(|it| 1_u64 << it).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_the_kernel_does() {
        for (mask, text) in [(0, ""), (1, "0"), (0b1101, "0,2-3"), (1 << 63, "63")] {
            assert_eq!(list(mask), text);
        }
    }

    #[test]
    fn what_is_outside_a_set_is_named() {
        assert!(has("0,2-3", "2") && !has("0,2-3", "1") && !has("", "0"));
        assert_eq!(outside("1-3", "2"), "1,3");
        assert_eq!(outside("2", "0-7"), "");
        assert_eq!(outside("", "0-7"), "none at all");
    }
}
