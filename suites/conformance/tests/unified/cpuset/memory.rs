//! `cpuset.mems`: on which node memory is, by `move_pages(2)` of the process
//! that has it.

use std::ptr::{null, null_mut};

use cgauge_lab::Group;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, wait_until};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;

use crate::MEMS;
use crate::cpus::PATIENCE;

/// Pages that a process touches.
const PAGES: usize = 200;
const PAGE: usize = 4096;

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

/// New memory comes from the group's nodes alone.
#[rstest]
fn memory_comes_from_the_groups_nodes(lab: Lab, #[values("0", "1")] node: &str) -> Outcome {
    needs_two_nodes(&lab)?;
    let group = lab.group("group")?;
    group.set(MEMS, node)?;
    let holder = Holder::start(&group)?;
    lab.enforcement(&format!("pages on the nodes after {node} was set"))
        .covers([R142])
        .file(MEMS)
        .observed(holder.pages()?)
        .equals(
            if node == "0" { "200 0" } else { "0 200" },
            "cgroup-v2.rst, cpuset: memory node placement of tasks is constrained to the nodes of the group",
        );
    let allowed = holder.process.status("Mems_allowed_list")?;
    lab.enforcement("nodes that the kernel lets the process use")
        .covers([R142])
        .file(MEMS)
        .observed(allowed.unwrap_or_default())
        .equals(node, "Mems_allowed_list of /proc/PID/status");
    Ok(())
}

/// Memory that is already there moves to the group's new nodes.
#[rstest]
fn change_of_nodes_moves_memory(lab: Lab) -> Outcome {
    needs_two_nodes(&lab)?;
    let group = lab.group("group")?;
    group.set(MEMS, "0")?;
    let holder = Holder::start(&group)?;
    for (written, expected) in [("1", "0 200"), ("0", "200 0"), ("0-1", "200 0"), ("1", "0 200")] {
        group.set(MEMS, written)?;
        let (seen, took) = holder.settle(expected)?;
        lab.latencies("from the write to the last page on its node", &[took]);
        lab.enforcement(&format!("pages on the nodes after {written} was written"))
            .covers([R142])
            .file(MEMS)
            .observed(seen)
            .equals(expected, "cgroup-v2.rst, cpuset.mems: a non-empty value \"causes memory of tasks within the cgroup to be migrated to the designated nodes if they are currently using memory outside of the designated nodes\"");
    }
    Ok(())
}

/// A process that moves takes its memory with it to the nodes of its new group.
#[rstest]
fn move_of_a_process_moves_its_memory(lab: Lab) -> Outcome {
    needs_two_nodes(&lab)?;
    let (zero, one) = (lab.group("zero")?, lab.group("one")?);
    zero.set(MEMS, "0")?;
    one.set(MEMS, "1")?;
    let holder = Holder::start(&zero)?;
    let neighbour = Holder::start(&zero)?;
    for (group, expected) in [(&one, "0 200"), (&zero, "200 0")] {
        group.admit(holder.process.pid())?;
        let (seen, took) = holder.settle(expected)?;
        lab.latencies("from the move to the last page on its node", &[took]);
        lab.enforcement("pages on the nodes after the process moved")
            .covers([R142])
            .file(MEMS)
            .observed(seen)
            .equals(expected, "kernel/cgroup/cpuset.c, cpuset_attach: in the unified hierarchy memory is migrated with the task");
        lab.enforcement("pages of one that stayed")
            .covers([R142])
            .file(MEMS)
            .observed(neighbour.pages()?)
            .equals("200 0", "nothing changed for it");
    }
    Ok(())
}

/// A process that holds [`PAGES`] pages.
struct Holder {
    process: Process<()>,
    start: usize,
}

impl Holder {
    fn start(group: &Group) -> Result<Self, Stop> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // Mapped here, so that the address is known; touched in the process alone.
        // SAFETY: a new mapping at an address that the kernel chooses.
        let place = unsafe { libc::mmap(null_mut(), PAGES * PAGE, access, flags, -1, 0) };
        if place == libc::MAP_FAILED {
            return Err(Stop::broken("map memory")(Errno::last()));
        }
        // SAFETY: it is the mapping just made.
        unsafe { libc::madvise(place, PAGES * PAGE, libc::MADV_NOHUGEPAGE) };
        let ready = Gate::new()?;
        let process = group.spawn(|| {
            for page in 0..PAGES {
                // SAFETY: within the mapping.
                unsafe { place.cast::<u8>().add(page * PAGE).write_volatile(1) };
            }
            ready.open();
            loop {
                nix::unistd::pause();
            }
        })?;
        ready.pass();
        Ok(Self { process, start: place as usize })
    }

    /// How many pages are on node 0 and on node 1.
    fn pages(&self) -> Result<String, Stop> {
        let pid: Pid = self.process.pid();
        let places: Vec<usize> = (0..PAGES).map(|it| self.start + it * PAGE).collect();
        let mut nodes = vec![-1_i32; PAGES];
        // SAFETY: with no nodes given it only tells where each page is; both
        // arrays are as long as it is told.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                pid.as_raw(),
                PAGES,
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
    fn settle(&self, wanted: &str) -> Result<(String, Duration), Stop> {
        let began = now();
        wait_until(PATIENCE, || self.pages().is_ok_and(|it| it == wanted));
        Ok((self.pages()?, now() - began))
    }
}
