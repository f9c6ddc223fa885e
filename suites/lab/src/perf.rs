//! Software events of a group by `perf_event_open(2)`, one on every CPU
//! (include/uapi/linux/perf_event.h).
//!
//! It knows no load.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};

use nix::errno::Errno;
use nix::libc;

use crate::case::Lab;
use crate::group::Group;
use crate::kernel;
use crate::stop::Stop;

/// `PERF_FLAG_PID_CGROUP`: the "process" is the descriptor of a group.
const BY_GROUP: u64 = 1 << 2;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: u64 = 1 << 3;
/// `PERF_TYPE_SOFTWARE`.
const SOFTWARE: u32 = 1;

/// What is counted: `PERF_COUNT_SW_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nanoseconds by the CPU's clock.
    CpuClock = 0,
    /// Nanoseconds by the task's clock.
    TaskClock = 1,
    /// Page faults.
    PageFaults = 2,
    /// Switches from one task to another.
    ContextSwitches = 3,
}

/// Opens an event of the group behind `group` on one CPU; -1 is every CPU.
pub fn open(event: Event, group: Option<BorrowedFd<'_>>, cpu: i32) -> Result<File, Errno> {
    // type, size, config, …: the first 64 bytes are PERF_ATTR_SIZE_VER0.
    let mut attributes = [0_u64; 8];
    attributes[0] = u64::from(SOFTWARE) | 64 << 32;
    attributes[1] = event as u64;
    let group = group.map_or(-1, |it| it.as_raw_fd());
    // SAFETY: the attributes outlive the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            group,
            cpu,
            -1,
            BY_GROUP | CLOSE_ON_EXEC,
        )
    };
    let fd = i32::try_from(Errno::result(fd)?).unwrap_or(i32::MAX);
    // SAFETY: the kernel just made it, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A group's counter on all CPUs.
#[derive(Debug)]
pub struct Counter(Vec<File>);

impl Counter {
    /// Counts from now on. Skips the case on a kernel that cannot.
    pub fn new(lab: &Lab, group: &Group, event: Event) -> Result<Self, Stop> {
        let cpus = std::thread::available_parallelism()?.get();
        let cpus = i32::try_from(cpus).unwrap_or(i32::MAX);
        let opened: Result<Vec<_>, _> =
            (0..cpus).map(|cpu| open(event, Some(group.dir().as_fd()), cpu)).collect();
        match opened {
            Ok(opened) => Ok(Self(opened)),
            Err(Errno::ENOSYS | Errno::EINVAL) => {
                Err(lab.skip("this kernel has no perf events by group (CONFIG_CGROUP_PERF)"))
            }
            Err(errno) => Err(Stop::broken("open a perf event")(errno)),
        }
    }

    /// What it counted so far.
    pub fn get(&self) -> Result<u64, Stop> {
        let mut sum = 0;
        for mut event in &self.0 {
            let mut bytes = [0; 8];
            event.read_exact(&mut bytes)?;
            sum += u64::from_ne_bytes(bytes);
        }
        Ok(kernel::figure("perf event", sum))
    }
}
