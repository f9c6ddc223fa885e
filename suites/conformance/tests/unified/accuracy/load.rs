//! Processes that work at the same time, each on a CPU of its own or in turn with
//! others, and that say in shared memory how far they are.

use std::sync::atomic::Ordering::SeqCst;

use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::prelude::*;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Children of one parent, each with the controller.
pub fn family(lab: &Lab, controller: &str, count: usize) -> Result<(Group, Vec<Group>), Stop> {
    let parent = lab.group("parent")?;
    parent.enable(controller)?;
    let children = (0..count).map(|nth| parent.make(&format!("child-{nth}")));
    let children = children.collect::<Result<_, _>>()?;
    Ok((parent, children))
}

/// Keeps the calling process to one CPU.
pub fn bind(cpu: usize) {
    let mut set = CpuSet::new();
    // Of a CPU that is not there the kernel says so, and the load runs anywhere:
    // what it counts then is no less true.
    let _ = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
}

/// A number that a process counts up and the case reads.
pub struct Count(Memory);

impl Count {
    pub fn new() -> Result<Self, Stop> {
        let memory = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
        // The page is the case's.
        memory.touch();
        memory.word().store(0, SeqCst);
        Ok(Self(memory))
    }

    pub fn get(&self) -> u64 {
        self.0.word().load(SeqCst)
    }

    pub fn add(&self, more: u64) {
        self.0.word().fetch_add(more, SeqCst);
    }

    pub fn sum(all: &[Self]) -> u64 {
        all.iter().map(Self::get).sum()
    }
}
