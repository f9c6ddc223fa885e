//! How many groups a node carries, and how deep: what each costs to make, to
//! keep, to enter, to read, to fork in, to remove.

use cgauge_lab::kernel::Refusal;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{ForkRate, Mechanism as Forking, Millis};
use nix::errno::Errno;

use crate::{PATIENCE, each};

/// Operations that are timed together.
const TIMES: u32 = 40;

/// So many groups beside each other can be made, entered, read, forked in and removed.
#[rstest]
fn node_carries_groups(
    lab: Lab,
    #[values(10, 30, 100, 300, 1000, 3000, 10000)] groups: u32,
) -> Outcome {
    let crowd = lab.group("crowd")?;
    let all = crowd.line("cgroup.controllers")?;
    crowd.enable(&all)?;
    let (before, began) = (unreclaimable()?, now());
    let made = make(&crowd, groups)?;
    let took = nanoseconds(now() - began);
    let grown = unreclaimable()?.saturating_sub(before);
    if made == 0 {
        return Err(lab.skip("the guest has no memory for a single group"));
    }
    let of_each = |it: u64| it / u64::from(made);
    lab.value("kernel memory of a group", Unit::Bytes, of_each(grown), Lower);
    lab.value("making a group", Unit::Nanoseconds, of_each(took), Lower);
    if made < groups {
        lab.value("groups until memory is out", Unit::Groups, made, Higher);
        return Err(lab.skip(&format!("the guest's memory ends at {made} groups")));
    }
    let member = |nth: u32| crowd.dir().child(&nth.to_string()).map_err(Stop::Refused);
    work_in(&lab, &crowd, (&member(0)?, &member(made - 1)?))?;
    let began = now();
    for nth in 0..made {
        crowd.dir().remove(&nth.to_string()).map_err(Stop::Refused)?;
    }
    lab.value("removing a group", Unit::Nanoseconds, of_each(nanoseconds(now() - began)), Lower);
    lab.performance("groups that are left")
        .unit(Unit::Groups)
        .observed(crowd.dir().children().map_err(Stop::Refused)?.len())
        .equals(0, "each was empty and was removed");
    Ok(())
}

/// At such a depth groups can be made, entered, read, forked in and removed.
#[rstest]
fn node_carries_depth(lab: Lab, #[values(1, 2, 5, 10, 20, 40)] depth: u32) -> Outcome {
    let mut chain = vec![lab.group("level-1")?];
    for level in 2..=depth {
        let above = &chain[chain.len() - 1];
        above.enable(&above.line("cgroup.controllers")?)?;
        let below = above.make(&format!("level-{level}"))?;
        chain.push(below);
    }
    let deepest = &chain[chain.len() - 1];
    deepest.enable(&deepest.line("cgroup.controllers")?)?;
    let (took, refused) = each(TIMES, |nth| deepest.dir().make(&nth.to_string()));
    lab.value("making a group", Unit::Nanoseconds, took, Lower);
    let member = |nth: u32| deepest.dir().child(&nth.to_string()).map_err(Stop::Refused);
    work_in(&lab, deepest, (&member(0)?, &member(1)?))?;
    let (took, left) = each(TIMES, |nth| deepest.dir().remove(&nth.to_string()));
    lab.value("removing a group", Unit::Nanoseconds, took, Lower);
    lab.performance("groups that could not be made or removed")
        .unit(Unit::Groups)
        .observed(refused + left)
        .equals(0, "nothing limits the depth but cgroup.max.depth, which is max");
    Ok(())
}

/// Makes so many groups, fewer where memory is out, and says how many.
fn make(crowd: &Group, groups: u32) -> Result<u32, Stop> {
    for nth in 0..groups {
        match crowd.dir().make(&nth.to_string()) {
            Ok(_) => {}
            Err(Refusal { errno: Errno::ENOMEM, .. }) => return Ok(nth),
            Err(refusal) => return Err(Stop::Refused(refusal)),
        }
    }
    Ok(groups)
}

/// Times what is done in two groups of many.
fn work_in(
    lab: &Lab,
    parent: &Group,
    (one, other): (&cgauge_lab::kernel::Dir, &cgauge_lab::kernel::Dir),
) -> Outcome {
    let process = lab.group("waiting")?.sleeper()?;
    let pid = process.pid().to_string();
    let (moving, refused) = each(TIMES, |nth| {
        let to = if nth % 2 == 0 { one } else { other };
        to.write("cgroup.procs", &pid)
    });
    lab.value("moving a process", Unit::Nanoseconds, moving, Lower);
    let (reading, unread) = each(TIMES, |_| one.read("memory.stat"));
    lab.value("reading memory.stat of a group", Unit::Nanoseconds, reading, Lower);
    let (of_all, unread_of_all) = each(TIMES, |_| parent.dir().read("memory.stat"));
    lab.value("reading memory.stat of the parent", Unit::Nanoseconds, of_all, Lower);
    process.end()?;
    // In a group of its own beside the many, for a group with children that have
    // controllers takes no process.
    let forking = parent.make("forking")?;
    let load = ForkRate { mechanism: Forking::Fork, forks: 50, deadline: Millis(20_000) };
    let truth = forking.load(&load)?.truth(PATIENCE)?;
    lab.value("fork and exit", Unit::Nanoseconds, truth.elapsed_ns / truth.forks.max(1), Lower);
    lab.performance("requests that were refused")
        .unit(Unit::Events)
        .observed(refused + unread + unread_of_all)
        .equals(0, "what fails is quicker than what works: its time would be no price");
    Ok(())
}

/// Memory that the kernel keeps for itself, in bytes.
fn unreclaimable() -> Result<u64, Stop> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = |key: &str| -> u64 {
        let line = text.lines().find_map(|it| it.strip_prefix(key));
        line.and_then(|it| it.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Ok((kib("Slab:") + kib("Percpu:") + kib("KernelStack:")) * 1024)
}
