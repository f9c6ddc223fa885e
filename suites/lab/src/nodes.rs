//! On which memory node the pages of a process are, by `move_pages(2)` and not
//! by any group.

use std::ptr::null;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use crate::case::Lab;
use crate::group::Group;
use crate::memory::{Memory, PAGE};
use crate::process::{Gate, Process};
use crate::stop::{Outcome, Stop};
use crate::time::{now, wait_until};

/// Pages that a holder has.
const PAGES: u64 = 200;
/// How long the kernel may take to move them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Skips the case on a machine with one memory node.
pub fn needs_two_nodes(lab: &Lab) -> Outcome {
    let nodes = std::fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
    if nodes.trim() == "0-1" {
        return Ok(());
    }
    Err(lab.skip(
        "this machine has no two memory nodes (no SRAT, and no CONFIG_NUMA_EMU for numa=fake=2)",
    ))
}

/// A process that holds 200 pages.
#[derive(Debug)]
pub struct Holder {
    /// The process.
    pub process: Process<()>,
    /// Mapped before it was there, so that the place is known; touched in it alone.
    memory: Memory,
}

impl Holder {
    /// Starts it in `group`, and waits until it has touched its pages.
    pub fn start(group: &Group) -> Result<Self, Stop> {
        let memory = Memory::anonymous(PAGES * PAGE).map_err(Stop::broken("map memory"))?;
        let ready = Gate::new()?;
        let process = group.spawn(|| {
            memory.touch();
            ready.open();
            loop {
                nix::unistd::pause();
            }
        })?;
        ready.pass();
        Ok(Self { process, memory })
    }

    /// How many pages are on node 0 and on node 1.
    pub fn pages(&self) -> Result<String, Stop> {
        let places: Vec<u64> = (0..PAGES).map(|it| self.memory.address() + it * PAGE).collect();
        let mut nodes = vec![-1_i32; places.len()];
        // SAFETY: with no nodes given it only tells where each page is; both
        // arrays are as long as it is told.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                self.process.pid().as_raw(),
                places.len(),
                places.as_ptr(),
                null::<i32>(),
                nodes.as_mut_ptr(),
                0,
            )
        };
        Errno::result(answer).map_err(Stop::broken("ask where pages are"))?;
        let on = |node| nodes.iter().filter(|it| **it == node).count();
        Ok(format!("{} {}", on(0), on(1)))
    }

    /// The same once it is `wanted`, or after the patience; and how long it took.
    pub fn settle(&self, wanted: &str) -> Result<(String, Duration), Stop> {
        let began = now();
        wait_until(PATIENCE, || self.pages().is_ok_and(|it| it == wanted));
        Ok((self.pages()?, now() - began))
    }
}
