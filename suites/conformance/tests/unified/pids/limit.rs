//! `pids.max`: what it accepts, what it stops, and what it lets through.

use cgauge_lab::prelude::*;
use cgauge_workloads::{ForkRate, Mechanism, Millis};

/// Longer than any load here takes; one that hangs is a broken load.
const PATIENCE: Duration = Duration::from_secs(5);

/// A group never holds more processes than `pids.max`: the fork above it fails with EAGAIN.
#[rstest]
fn fork_above_the_limit_fails_with_eagain(lab: Lab, #[values(1, 8, 64)] limit: u64) -> Outcome {
    let bounded = lab.group("bounded")?;
    bounded.set("pids.max", limit)?;
    let mut held: Vec<_> = (0..limit).map(|_| bounded.sleeper()).collect::<Result<_, _>>()?;

    lab.enforcement("the answer to the clone above the limit")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "cgroup-v2.rst, PID: fork() and clone() \"return -EAGAIN if the creation of a new process would cause a cgroup policy to be violated\"");
    lab.accounting("processes in the group after the refusal")
        .covers([R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(limit, "each sleeper is one process, and the refused one is none");

    bounded.set("pids.max", limit + 1)?;
    held.push(bounded.sleeper()?);
    lab.enforcement("the answer to the clone above the raised limit")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "the limit was raised by one process, and that one is there");
    Ok(())
}

/// No way to make a task goes round the limit, and none is stopped below it.
#[rstest]
fn every_way_to_fork_meets_the_limit(
    lab: Lab,
    #[values(Mechanism::Fork, Mechanism::Vfork, Mechanism::Clone3, Mechanism::Thread)]
    mechanism: Mechanism,
) -> Outcome {
    const FORKS: u64 = 5;
    let load = ForkRate { mechanism, forks: FORKS, deadline: Millis(1000) };
    let bounded = lab.group("bounded")?;

    // The load itself is one process. The kernel lets go of a thread only some
    // time after it has ended, so there is room for all of them at once.
    bounded.set("pids.max", 1 + FORKS)?;
    let below = bounded.load(&load)?.truth(PATIENCE)?;
    lab.enforcement("tasks made below the limit")
        .covers([R132])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(below.forks)
        .equals(FORKS, "the load and all its tasks fit under the limit");

    bounded.set("pids.max", 1)?;
    let above = bounded.load(&load)?.truth(PATIENCE)?;
    lab.enforcement("tasks made at the limit")
        .covers([R132])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(above.forks)
        .equals(0, "the load is the one process that the limit allows");
    lab.enforcement("calls answered with EAGAIN at the limit")
        .covers([R132])
        .file("pids.max")
        .unit(Unit::Events)
        .observed(above.failures.get("EAGAIN").copied().unwrap_or(0))
        .equals(FORKS, "cgroup-v2.rst, PID: fork() and clone() \"return -EAGAIN\"; every call of the load is one");
    Ok(())
}

/// Processes may be moved into a group that is full; it is fork that its limit stops.
#[rstest]
fn attach_above_the_limit_is_allowed(lab: Lab, #[values(0, 1, 3)] limit: u64) -> Outcome {
    let outside = lab.group("outside")?;
    let bounded = lab.group("bounded")?;
    bounded.set("pids.max", limit)?;
    let newcomers: Vec<_> = (0..limit + 2).map(|_| outside.sleeper()).collect::<Result<_, _>>()?;

    for newcomer in &newcomers {
        lab.enforcement("the answer to a move into the group")
            .covers([R133])
            .file("cgroup.procs")
            .answered(&bounded.try_set("cgroup.procs", newcomer.pid()))
            .equals("ok", "cgroup-v2.rst, PID: \"organisational operations are not blocked by cgroup policies\"");
    }
    lab.accounting("processes in the group beyond its limit")
        .covers([R133, R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(
            limit + 2,
            "cgroup-v2.rst, PID: \"it is possible to have pids.current > pids.max\"",
        );
    lab.enforcement("the answer to a clone beyond the limit")
        .covers([R132, R133])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "the group has more processes than its limit");

    // As many leave as brings it to its limit, then one more.
    for newcomer in &newcomers[..2] {
        outside.admit(newcomer.pid())?;
    }
    lab.enforcement("the answer to a clone once it is back at its limit")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "the group is full");
    if let Some(one_more) = newcomers.get(2) {
        outside.admit(one_more.pid())?;
        lab.enforcement("the answer to a clone once it is below its limit")
            .covers([R132, R133])
            .file("pids.max")
            .answered(&bounded.try_spawn(|| ())?)
            .equals("ok", "the group has room for one process");
    }
    Ok(())
}

/// A limit may be set below what the group holds: nobody dies, and nobody is born until there is room.
#[rstest]
fn limit_lowered_below_what_is_there_ends_nobody(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    let mut held: Vec<_> = (0..4).map(|_| bounded.sleeper()).collect::<Result<_, _>>()?;
    lab.interface("the answer to a limit below the number of processes")
        .covers([R133])
        .file("pids.max")
        .answered(&bounded.try_set("pids.max", 2))
        .equals("ok", "cgroup-v2.rst, PID: pids.current > pids.max comes about \"by either setting the limit to be smaller than pids.current, or attaching\"");
    lab.accounting("processes in the group after it")
        .covers([R133, R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(4, "a limit stops forks and ends no process");

    // 4, 3 and 2 processes are too many for one more, 1 is not.
    for (left, expected) in [(4, "EAGAIN"), (3, "EAGAIN"), (2, "EAGAIN"), (1, "ok")] {
        while held.len() > left {
            held.pop().map_or(Ok(()), Process::end)?;
        }
        lab.enforcement(&format!("the answer to a clone with {left} there and a limit of 2"))
            .covers([R132])
            .file("pids.max")
            .answered(&bounded.try_spawn(|| ())?)
            .equals(expected, "the clone makes one more than are there");
    }
    Ok(())
}

/// A limit of 0 is a limit: no process is born in the group.
#[rstest]
fn limit_of_zero_lets_nobody_be_born(lab: Lab) -> Outcome {
    let outside = lab.group("outside")?;
    let bounded = lab.group("bounded")?;
    bounded.set("pids.max", 0)?;
    lab.enforcement("the answer to a clone into the empty group")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "one process is more than none");

    // The one inside came by a move, which no limit stops.
    let inside = Gate::new()?;
    let forker = outside.spawn(|| {
        inside.pass();
        fork_and_reap()
    })?;
    bounded.admit(forker.pid())?;
    inside.open();
    lab.enforcement("the answer to a fork by one that was moved in")
        .covers([R132, R133])
        .file("pids.max")
        .observed(forker.finish()?)
        .equals("EAGAIN", "two processes are more than none");
    Ok(())
}

/// Of several limits on the way up the tightest holds, wherever it stands.
#[rstest]
fn tightest_limit_on_the_way_up_holds(
    lab: Lab,
    #[values("top", "middle", "leaf")] tightest: &str,
) -> Outcome {
    let top = lab.group("top")?;
    top.enable("pids")?;
    let middle = top.make("middle")?;
    middle.enable("pids")?;
    let leaf = middle.make("leaf")?;
    for (name, group) in [("top", &top), ("middle", &middle), ("leaf", &leaf)] {
        group.set("pids.max", if name == tightest { 3 } else { 5 })?;
    }
    let held: Vec<_> = (0..3).map(|_| leaf.sleeper()).collect::<Result<_, _>>()?;
    lab.enforcement("the answer to a clone above the tightest limit")
        .covers([R132])
        .file("pids.max")
        .answered(&leaf.try_spawn(|| ())?)
        .equals("EAGAIN", "kernel/cgroup/pids.c: \"PID limits are hierarchical, so the most stringent limit in the hierarchy is followed\"");
    for (name, group) in [("top", &top), ("middle", &middle), ("leaf", &leaf)] {
        lab.accounting(&format!("processes in {name} after the refusal"))
            .covers([R135])
            .file("pids.current")
            .unit(Unit::Processes)
            .observed(group.number("pids.current")?)
            .equals(held.len(), "a charge that one level refuses is taken back at all levels");
    }
    Ok(())
}

/// Children share what their parent may have: one's processes take the other's room.
#[rstest]
fn siblings_share_the_limit_of_their_parent(lab: Lab) -> Outcome {
    let parent = lab.group("parent")?;
    parent.enable("pids")?;
    parent.set("pids.max", 3)?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let _held = [one.sleeper()?, one.sleeper()?];
    let last = other.sleeper()?;
    for (name, group) in [("one", &one), ("other", &other)] {
        lab.enforcement(&format!(
            "the answer to a clone into {name}, which has no limit of its own"
        ))
        .covers([R132])
        .file("pids.max")
        .answered(&group.try_spawn(|| ())?)
        .equals("EAGAIN", "the two have all that their parent may have");
    }
    last.end()?;
    lab.enforcement("the answer to a clone into one after a process of other has gone")
        .covers([R132])
        .file("pids.max")
        .answered(&one.try_spawn(|| ())?)
        .equals("ok", "there is room under the parent's limit again");
    Ok(())
}

/// `pids.max` begins as "max", takes every number of processes and "max", and nothing else.
#[rstest]
fn limit_reads_back_what_it_took(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    lab.interface("the limit of a new group")
        .covers([R045])
        .file("pids.max")
        .observed(bounded.line("pids.max")?)
        .equals("max", "cgroup-v2.rst gives max as the default of pids.max");
    // PID_MAX_LIMIT of a 64-bit kernel, include/linux/threads.h.
    for accepted in ["0", "1", "4194304", "max"] {
        bounded.set("pids.max", accepted)?;
        lab.interface(&format!("the limit after {accepted:?} was written"))
            .covers([R045])
            .file("pids.max")
            .observed(bounded.line("pids.max")?)
            .equals(accepted, "what was written is what holds");
    }
    bounded.set("pids.max", 7)?;
    for refused in ["-1", "4194305", "many", "1.5", "8 9", "maximum", "\n"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R045])
            .file("pids.max")
            .answered(&bounded.try_set("pids.max", refused))
            .equals(
                "EINVAL",
                "kernel/cgroup/pids.c, pids_max_write: neither \"max\" nor 0 to PID_MAX_LIMIT",
            );
    }
    lab.interface("the limit after what was refused")
        .covers([R045])
        .file("pids.max")
        .observed(bounded.line("pids.max")?)
        .equals("7", "a refused write changes nothing");
    Ok(())
}

/// Forks as the C library does, and says what came of it: `ok` or the errno's name.
fn fork_and_reap() -> String {
    // SAFETY: the caller has one thread, and the child only ends.
    match unsafe { nix::unistd::fork() } {
        // SAFETY: ends the child without running what belongs to its parent.
        Ok(nix::unistd::ForkResult::Child) => unsafe { nix::libc::_exit(0) },
        Ok(nix::unistd::ForkResult::Parent { child }) => {
            let _ = nix::sys::wait::waitpid(child, None);
            "ok".to_owned()
        }
        Err(errno) => format!("{errno:?}"),
    }
}
