//! Charges that move with a task, and those that `force_empty` takes away.

use cgauge_lab::prelude::*;

use crate::support::*;

const MOVE: &str = "memory.move_charge_at_immigrate";
const EMPTY: &str = "memory.force_empty";

/// A task's own pages come with it where bit 0 of `move_charge_at_immigrate` says so, its mapped file pages with bit 1; without they stay.
#[rstest]
fn charge_moves_with_the_task(lab: Lab, #[values(0, 1, 2, 3)] bits: u64) -> Outcome {
    const OWN: u64 = 600;
    const SHARED: u64 = 350;
    let root = lab.legacy("memory")?;
    let (from, to) = (root.make("from")?, root.make("to")?);
    to.set(MOVE, bits)?;
    let task = Stepper::start(&from, |turns| {
        let (Ok(own), Ok(shared)) = (Memory::anonymous(OWN * PAGE), Memory::shmem(SHARED * PAGE))
        else {
            return;
        };
        turns.step(|| own.touch() + shared.touch());
        turns.step(|| own.write(0..OWN, 2));
    })?;
    let touched = task.next()?;
    let before = stat(&from)?;
    lab.accounting("pages that the task touched beside those of its group")
        .covers([R164])
        .file(STAT)
        .unit(Unit::Pages)
        .observed((before["rss"] + before["cache"]) / PAGE)
        .between(
            touched - 2 * behind()?,
            touched + 40,
            "its own count, and some pages of its stack and of what it wrote to before",
        );
    to.admit(task.pid())?;
    let (left, came) = (stat(&from)?, stat(&to)?);
    let behind = behind()?;
    for (key, moves, why) in [
        (
            "rss",
            bits & 1 == 1,
            "memory.rst, 8.2: bit 0 is \"a charge of an anonymous page used by the target task\"",
        ),
        (
            "cache",
            bits & 2 == 2,
            "memory.rst, 8.2: bit 1 is \"a charge of file pages mmapped by the target task\", shared memory as well",
        ),
    ] {
        lab.accounting(&format!("{key} where the task went with the bits {bits}"))
            .covers([R164])
            .file(MOVE)
            .unit(Unit::Pages)
            .observed(came[key] / PAGE)
            .between(
                if moves { before[key] / PAGE - behind } else { 0 },
                if moves { before[key] / PAGE + behind } else { 0 },
                why,
            );
        lab.accounting(&format!("{key} where it came from with the bits {bits}"))
            .covers([R164])
            .file(MOVE)
            .unit(Unit::Pages)
            .observed(left[key] / PAGE)
            .between(
                if moves { 0 } else { before[key] / PAGE },
                if moves { behind } else { before[key] / PAGE },
                "what moved is gone, and nothing else is; before 5.13 a CPU may be a batch of changes behind",
            );
    }
    for (group, name, expected) in [
        (&to, "where the task went", came["rss"] + came["cache"]),
        (&from, "where it came from", left["rss"] + left["cache"]),
    ] {
        lab.accounting(&format!("usage {name} beyond that"))
            .covers([R164])
            .file(USAGE)
            .unit(Unit::Bytes)
            .observed(group.number(USAGE)?.saturating_sub(expected))
            .at_most(
                (batch()? + 60) * PAGE,
                "a batch, and the kernel's memory for the task, which does not move",
            );
    }
    task.next()?;
    lab.accounting("rss where it came from after it wrote to its pages again")
        .covers([R164])
        .file(STAT)
        .unit(Unit::Pages)
        .observed(stat(&from)?["rss"] / PAGE)
        .equals(left["rss"] / PAGE, "memory.rst, 4.2: what was charged stays charged \"until the page is freed or reclaimed\"");
    task.end()
}

/// `move_charge_at_immigrate` begins as 0, takes its two bits, and nothing else.
#[rstest]
fn bits_of_moving_read_back(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    lab.interface("the bits of a new group")
        .covers([R164])
        .file(MOVE)
        .observed(group.line(MOVE)?)
        .equals("0", "memory.rst, 8.1: \"This feature is disabled by default\"");
    for (written, answer, shown) in [
        ("1", "ok", "1"),
        ("2", "ok", "2"),
        ("3", "ok", "3"),
        ("4", "EINVAL", "3"),
        ("-1", "EINVAL", "3"),
        ("0", "ok", "0"),
    ] {
        lab.interface(&format!("the answer to {written}"))
            .covers([R164])
            .file(MOVE)
            .answered(&group.try_set(MOVE, written))
            .equals(answer, "memory.rst, 8.2: there are two bits");
        lab.interface(&format!("the bits after {written}"))
            .covers([R164])
            .file(MOVE)
            .observed(group.line(MOVE)?)
            .equals(shown, "what was accepted holds");
    }
    Ok(())
}

/// `force_empty` takes away all that can be reclaimed and no page that is in use.
#[rstest]
fn force_empty_reclaims_what_it_can(lab: Lab) -> Outcome {
    const CACHED: u64 = 3000;
    let root = lab.legacy("memory")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    let held = Stepper::holding(&group, 700)?;
    let _open = device()?;
    // Which cache is whose is up to who reads first: it reads the first part.
    let theirs = neighbour.spawn(|| read_pages(0..CACHED / 2))?.finish()?;
    let read = group.spawn(|| read_pages(0..CACHED))?.finish()?;
    let before = stat(&group)?;
    lab.accounting("cache of the group")
        .covers([R164])
        .file(STAT)
        .unit(Unit::Pages)
        .observed(before["cache"] / PAGE)
        .between(
            read - theirs - behind()?,
            read - theirs,
            "pages that it read and nobody before it",
        );
    group.set(EMPTY, 0)?;
    let after = stat(&group)?;
    for (key, expected, why) in [
        (
            "cache",
            0,
            "memory.rst, 5.1: \"the cgroup will be reclaimed and as many pages reclaimed as possible\": clean cache is",
        ),
        ("rss", before["rss"] / PAGE, "there is no swap to bring them to"),
    ] {
        lab.enforcement(&format!("{key} after it"))
            .covers([R164])
            .file(EMPTY)
            .unit(Unit::Pages)
            .observed(after[key] / PAGE)
            .between(expected, expected + if key == "cache" { behind()? } else { 0 }, why);
    }
    lab.enforcement("the neighbour's cache after it")
        .covers([R164])
        .file(EMPTY)
        .unit(Unit::Pages)
        .observed(stat(&neighbour)?["cache"] / PAGE)
        .between(theirs - behind()?, theirs, "it is not the group's");
    lab.interface("the answer to it on the root")
        .covers([R164])
        .file(EMPTY)
        .answered(&whole(root)?.write(EMPTY, "0"))
        .equals("EINVAL", "mem_cgroup_force_empty_write(): not the root");
    held.end()
}
