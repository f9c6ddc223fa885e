//! Processes that come to a frozen group and go from one.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};
use nix::unistd::{ForkResult, fork};

use crate::{STATE, Ticker, settle};

/// A process that is moved into a frozen group stops, and one that is moved out goes on.
#[rstest]
#[case::as_a_process("cgroup.procs")]
#[case::as_a_thread("tasks")]
fn process_has_the_state_of_the_group_that_it_is_in(lab: Lab, #[case] file: &str) -> Outcome {
    let root = lab.legacy("freezer")?;
    let (frozen, thawed) = (root.make("frozen")?, root.make("thawed")?);
    let (resident, mover) = (Ticker::start(&frozen)?, Ticker::start(&thawed)?);
    frozen.set(STATE, "FROZEN")?;
    settle(&frozen, "FROZEN")?;
    for (what, to, expected) in [
        ("before it is moved", None, "runs"),
        ("in the frozen group", Some(&frozen), "stands still"),
        ("once it is moved out again", Some(&thawed), "runs"),
        ("in the frozen group again", Some(&frozen), "stands still"),
    ] {
        if let Some(to) = to {
            lab.hierarchy(&format!("the answer to a move: {what}"))
                .covers([R181])
                .file(file)
                .answered(&to.try_set(file, mover.process.pid()))
                .equals("ok", "kernel/cgroup/legacy_freezer.c, freezer_attach, since 3.8: migrations are allowed, and make a task conform to the state of where it goes; before, one out of a frozen group was refused");
            settle(&frozen, "FROZEN")?;
        }
        let question = lab.enforcement(&format!("what a process does {what}"));
        let question = match to {
            Some(_) => question,
            None => question.beyond_lies("its group was asked for nothing yet"),
        };
        question
            .covers([R181])
            .file(file)
            .observed(mover.does())
            .equals(expected, "freezer_attach(): a task in a group that freezes is frozen, and in one that does not it is thawed");
        lab.enforcement(&format!("what a process does that stays in the frozen group, {what}"))
            .covers([R181])
            .file(STATE)
            .observed(resident.does())
            .equals("stands still", "it was not moved");
        lab.enforcement(&format!("the state of the frozen group, {what}"))
            .covers([R179])
            .file(STATE)
            .observed(frozen.line(STATE)?)
            .equals("FROZEN", "freezer-subsystem.rst: it reverts to FREEZING \"until the new task is frozen\", and that takes a moment");
    }
    frozen.set(STATE, "THAWED")?;
    lab.enforcement("what a process does that was moved in, once the group is thawed")
        .covers([R181])
        .file(STATE)
        .observed(mover.does())
        .equals("runs", "it is the group's like any other");
    Ok(())
}

/// A group into which processes are moved while it freezes comes to be FROZEN, without being thawed in between (runc #2774 saw it stay FREEZING).
#[rstest]
fn bug_23_freezing_with_attaches_comes_to_an_end(lab: Lab) -> Outcome {
    const ROUNDS: u64 = 20;
    const NEWCOMERS: usize = 6;
    let root = lab.legacy("freezer")?;
    let (group, outside) = (root.make("group")?, root.make("outside")?);
    let _resident = Ticker::start(&group)?;
    let (mut times, mut reached, mut still) = (Vec::new(), 0, 0);
    for round in 0..ROUNDS {
        let newcomers =
            (0..NEWCOMERS).map(|_| Ticker::start(&outside)).collect::<Result<Vec<_>, _>>()?;
        let attacher = root.make("attacher")?;
        let attaching = attacher.spawn(|| {
            for newcomer in &newcomers {
                if group.try_set("cgroup.procs", newcomer.process.pid()).is_err() {
                    return false;
                }
                pause(Duration::from_micros(300));
            }
            true
        })?;
        // Now before the first, now between two of them.
        pause(Duration::from_micros(100 * round));
        group.set(STATE, "FROZEN")?;
        let (state, took) = settle(&group, "FROZEN")?;
        lab.hierarchy(&format!("whether all were moved in round {round}"))
            .covers([R179])
            .file("cgroup.procs")
            .observed(attaching.finish()?.to_string())
            .equals("true", "a group that freezes takes processes in");
        let (after, _) = settle(&group, "FROZEN")?;
        times.extend(took);
        reached += u64::from(state == "FROZEN" && after == "FROZEN");
        still += u64::from(newcomers.iter().all(|it| it.does() == "stands still"));
        group.set(STATE, "THAWED")?;
        for newcomer in newcomers {
            newcomer.process.end()?;
        }
    }
    lab.latencies("from the write to FROZEN", &times);
    for (what, observed) in [
        ("in which the group came to be FROZEN", reached),
        ("in which all newcomers stood still", still),
    ] {
        lab.enforcement(&format!("rounds {what}"))
            .covers([R179])
            .file(STATE)
            .unit(Unit::Count)
            .observed(observed)
            .equals(ROUNDS, "freezer-subsystem.rst: a group \"reverts to FREEZING from FROZEN after a new task is added\" and \"until the new task is frozen\": with nobody else added it ends");
    }
    Ok(())
}

/// A group whose processes fork while it freezes comes to be FROZEN, children included.
#[rstest]
fn group_that_forks_comes_to_be_frozen(lab: Lab) -> Outcome {
    const ROUNDS: u64 = 20;
    let group = lab.legacy("freezer")?.make("group")?;
    let forkers: Vec<_> = (0..3).map(|_| group.spawn(fork_for_ever)).collect::<Result<_, _>>()?;
    let mut reached = 0;
    let mut changes = 0;
    for round in 0..ROUNDS {
        pause(Duration::from_micros(700 + 130 * round));
        group.set(STATE, "FROZEN")?;
        reached += u64::from(settle(&group, "FROZEN")?.0 == "FROZEN");
        let before = group.ids("tasks")?;
        pause(Duration::from_millis(20));
        changes += u64::from(group.ids("tasks")? != before);
        group.set(STATE, "THAWED")?;
    }
    for (what, observed, expected) in [
        ("in which the group came to be FROZEN", reached, ROUNDS),
        ("in which its tasks changed while it was", changes, 0),
    ] {
        lab.enforcement(&format!("rounds {what}"))
            .covers([R179])
            .file(STATE)
            .unit(Unit::Count)
            .observed(observed)
            .equals(expected, "kernel/cgroup/legacy_freezer.c, freezer_fork: a task that is made in a group that freezes is frozen as well, and a frozen one makes none");
    }
    drop(forkers);
    wait_until(Duration::from_secs(1), || group.try_get("tasks").is_ok_and(|it| it.is_empty()));
    Ok(())
}

/// Makes a child that ends at once, again and again.
fn fork_for_ever() {
    loop {
        // SAFETY: the caller has one thread, and the child only ends.
        match unsafe { fork() } {
            // SAFETY: ends the child without running what belongs to its parent.
            Ok(ForkResult::Child) => unsafe { nix::libc::_exit(0) },
            Ok(ForkResult::Parent { child }) => {
                let _ = nix::sys::wait::waitpid(child, None);
            }
            Err(_) => return,
        }
    }
}
