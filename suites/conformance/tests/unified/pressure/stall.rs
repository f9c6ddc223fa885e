//! Processes that stand still for a known time, and the pressure file read.
//!
//! It knows nothing of triggers.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use cgauge_lab::Group;
use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, now, pause};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What a read of [`Disk`] takes, by the parameter of its driver.
pub const READ: Duration = Duration::from_millis(20);

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last five minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

/// The lines of a pressure file by name.
pub fn read(group: &Group, file: &str) -> Result<BTreeMap<String, Line>, Stop> {
    let text = group.get(file)?;
    let broken = || Stop::Broken(format!("{file}: {text:?}"));
    let lines = parse::nested_keyed(&text).map_err(|_| broken())?;
    let line = |keys: &BTreeMap<String, String>| {
        Some(Line {
            avg10: keys.get("avg10")?.parse().ok()?,
            avg60: keys.get("avg60")?.parse().ok()?,
            avg300: keys.get("avg300")?.parse().ok()?,
            total: keys.get("total")?.parse().ok()?,
        })
    };
    lines
        .into_iter()
        .map(|(name, keys)| Some((name, line(&keys)?)))
        .collect::<Option<_>>()
        .ok_or_else(broken)
}

/// The total of one line in microseconds.
pub fn total(group: &Group, file: &str, name: &str) -> Result<u64, Stop> {
    let lines = read(group, file)?;
    let line = lines.get(name);
    line.map(|it| it.total).ok_or_else(|| Stop::Broken(format!("{file} has no line {name:?}")))
}

/// Lets the calling process use one CPU alone.
pub fn bind(cpu: usize) {
    let mut one = CpuSet::new();
    // The machine has it.
    let _ = one.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
}

/// Burns CPU time until `end`, and tells how much, in microseconds.
pub fn spin_until(end: Duration) -> u64 {
    let before = cpu_time();
    while now() < end {
        // No pause instruction: an emulator leaves its loop for each.
        (0..200).for_each(|it| {
            std::hint::black_box(it);
        });
    }
    micros(cpu_time() - before)
}

/// In whole microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A disk whose every read takes [`READ`].
#[derive(Debug)]
pub struct Disk(File);

/// A block, aligned as a direct read wants it.
#[repr(align(4096))]
struct Block([u8; 4096]);

impl Disk {
    /// Opens it, or skips the case.
    pub fn open(lab: &Lab) -> Result<Self, Stop> {
        let set = std::fs::read_to_string("/sys/module/null_blk/parameters/completion_nsec");
        if set.is_ok_and(|it| it.trim() == "20000000")
            && let Ok(disk) =
                OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open("/dev/nullb0")
        {
            return Ok(Self(disk));
        }
        Err(lab
            .skip("this kernel has no null_blk with a completion time (CONFIG_BLK_DEV_NULL_BLK)"))
    }

    /// Reads once, and tells how long that took.
    pub fn read(&self) -> Duration {
        let mut block = Block([0; 4096]);
        let began = now();
        // A read of this disk cannot fail; one that did would be short.
        let _ = (&self.0).read(&mut block.0);
        now() - began
    }
}

/// A process of `group` on CPU `cpu` that reads the disk without pause until it
/// is killed.
pub fn reader(group: &Group, disk: &Disk, cpu: usize, rest: Duration) -> Result<Process<()>, Stop> {
    group.spawn(|| {
        bind(cpu);
        loop {
            disk.read();
            if !rest.is_zero() {
                pause(rest);
            }
        }
    })
}
