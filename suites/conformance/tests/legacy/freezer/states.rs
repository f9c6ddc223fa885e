//! The states of a group, and what its ancestors have to do with them.

use cgauge_lab::disk::NullDisk;
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use cgauge_workloads::{BlockIo, Operation};
use nix::sys::signal::Signal;

use crate::{BY_ITSELF, BY_PARENT, PATIENCE, STATE, Ticker, settle};

/// A frozen group holds its processes, and thawed ones go on: a killed process ends only then.
#[rstest]
fn frozen_process_ends_when_it_is_thawed(lab: Lab) -> Outcome {
    let frozen = lab.legacy("freezer")?.make("frozen")?;
    let sleeper = frozen.sleeper()?;
    frozen.set(STATE, "FROZEN")?;
    // A process stops when it next returns to user space: until then it is FREEZING.
    let (state, took) = settle(&frozen, "FROZEN")?;
    lab.enforcement("the state once there was time to stop")
        .covers([R179])
        .file(STATE)
        .observed(state)
        .equals("FROZEN", "freezer-subsystem.rst: FREEZING turns into FROZEN once every task has stopped, and a sleeper does at once");
    lab.latencies("from the write to FROZEN", took.as_slice());
    sleeper.signal(Signal::SIGKILL)?;
    lab.enforcement("the process ended while it was frozen")
        .covers([R179])
        .file(STATE)
        .observed(if sleeper.ended_within(Duration::from_millis(200))? { "yes" } else { "no" })
        .equals(
            "no",
            "freezer-subsystem.rst: tasks in a frozen group are not scheduled, not even to die",
        );
    frozen.set(STATE, "THAWED")?;
    lab.enforcement("whether it has ended once it was thawed")
        .covers([R179])
        .file(STATE)
        .observed(if sleeper.ended_within(PATIENCE)? { "yes" } else { "no" })
        .equals("yes", "the signal waited for it");
    Ok(())
}

/// A group is FREEZING while one of its tasks cannot be stopped, and FROZEN by itself when it can.
#[rstest]
fn group_is_freezing_until_its_last_task_has_stopped(lab: Lab) -> Outcome {
    const LONG: Duration = Duration::from_millis(400);
    let root = lab.legacy("freezer")?;
    let parent = root.make("parent")?;
    let group = parent.make("group")?;
    let disk = lab.null_disk(NullDisk { completion: LONG, ..NullDisk::default() })?;
    let ticker = Ticker::start(&group)?;
    // A direct read is waited for in a sleep that nothing ends.
    let _reader = group.load(&BlockIo::direct(Operation::Read, disk.path(), 1))?;
    pause(Duration::from_millis(50));
    parent.set(STATE, "FROZEN")?;
    pause(Duration::from_millis(50));
    for (who, group) in [("the group", &group), ("its parent", &parent)] {
        lab.enforcement(&format!("the state of {who} while a task waits for its disk"))
            .covers([R179])
            .file(STATE)
            .observed(group.line(STATE)?)
            .equals("FREEZING", "freezer-subsystem.rst: a group is FROZEN \"when all tasks belonging to the cgroup and its descendants become frozen\"");
    }
    lab.enforcement("what another task of it does meanwhile")
        .covers([R179])
        .file(STATE)
        .observed(ticker.does())
        .equals("stands still", "it was stopped at once");
    for (who, group) in [("the group", &group), ("its parent", &parent)] {
        let (state, _) = settle(group, "FROZEN")?;
        lab.enforcement(&format!("the state of {who} once the disk has answered"))
            .covers([R179])
            .file(STATE)
            .observed(state)
            .equals("FROZEN", "all of its tasks have stopped");
    }
    // A frozen process is not even to be killed, as it is at the end.
    parent.set(STATE, "THAWED")
}

/// Two words are taken, FROZEN and THAWED, and nothing else; what only tells cannot be written, and the root has none of it.
#[rstest]
fn state_takes_two_words(lab: Lab) -> Outcome {
    let root = lab.legacy("freezer")?;
    let group = root.make("group")?;
    for (written, answer, shown, by_itself) in [
        ("", "ok", "THAWED", "0"),
        ("FREEZING", "EINVAL", "THAWED", "0"),
        ("frozen", "EINVAL", "THAWED", "0"),
        ("1", "EINVAL", "THAWED", "0"),
        ("FROZEN", "ok", "FROZEN", "1"),
        ("FREEZING", "EINVAL", "FROZEN", "1"),
        ("FROZEN THAWED", "EINVAL", "FROZEN", "1"),
        ("FROZEN", "ok", "FROZEN", "1"),
        (" THAWED \n", "ok", "THAWED", "0"),
        ("THAWED", "ok", "THAWED", "0"),
    ] {
        if !written.is_empty() {
            lab.interface(&format!("the answer to {written:?} in a group without processes"))
                .covers([R179])
                .file(STATE)
                .answered(&group.try_set(STATE, written))
                .equals(
                    answer,
                    "freezer-subsystem.rst: \"Two values are allowed - \"FROZEN\" and \"THAWED\"\"",
                );
        }
        for (file, expected) in [(STATE, shown), (BY_ITSELF, by_itself), (BY_PARENT, "0")] {
            lab.interface(&format!("what the group shows after {written:?}"))
                .covers([R179, R180])
                .file(file)
                .observed(group.line(file)?)
                .equals(expected, "freezer-subsystem.rst, self_freezing: \"1 iff the last write to freezer.state was \"FROZEN\"\"");
        }
    }
    for file in [BY_ITSELF, BY_PARENT] {
        lab.interface("the answer to a write to what only tells")
            .covers([R180])
            .file(file)
            .answered(&group.try_set(file, 1))
            .equals("EINVAL", "freezer-subsystem.rst: read only");
    }
    let whole = root.dir().path().parent().map(|it| it.join(STATE).exists());
    lab.interface("whether the root shows a state")
        .covers([R179])
        .beyond_lies("it is looked for by its path")
        .observed(whole.unwrap_or(false).to_string())
        .equals("false", "freezer-subsystem.rst: \"The root cgroup is non-freezable and the above interface files don't exist\"");
    Ok(())
}

/// A group is frozen if it or any ancestor is told to, says which, and thaws when none is left that is.
#[rstest]
fn state_is_the_own_and_that_of_all_above(lab: Lab) -> Outcome {
    const WHY: &str = "freezer-subsystem.rst: \"Each cgroup has its own state (self-state) and the state inherited from the parent (parent-state). Iff both states are THAWED, the cgroup is THAWED\"";
    let root = lab.legacy("freezer")?;
    let top = root.make("top")?;
    let middle = top.make("middle")?;
    let (leaf, beside) = (middle.make("leaf")?, top.make("beside")?);
    let ticker = Ticker::start(&leaf)?;
    let other = Ticker::start(&beside)?;
    // Each line: who is told what, and then of the top, the middle, the leaf and
    // the one beside: the state and whether it is by itself and by its parent.
    for (who, group, word, expected) in [
        ("nobody", None, "", ["THAWED 0 0", "THAWED 0 0", "THAWED 0 0", "THAWED 0 0"]),
        (
            "the middle",
            Some(&middle),
            "FROZEN",
            ["THAWED 0 0", "FROZEN 1 0", "FROZEN 0 1", "THAWED 0 0"],
        ),
        (
            "the leaf",
            Some(&leaf),
            "THAWED",
            ["THAWED 0 0", "FROZEN 1 0", "FROZEN 0 1", "THAWED 0 0"],
        ),
        ("the top", Some(&top), "FROZEN", ["FROZEN 1 0", "FROZEN 1 1", "FROZEN 0 1", "FROZEN 0 1"]),
        (
            "the middle",
            Some(&middle),
            "THAWED",
            ["FROZEN 1 0", "FROZEN 0 1", "FROZEN 0 1", "FROZEN 0 1"],
        ),
        (
            "the leaf",
            Some(&leaf),
            "FROZEN",
            ["FROZEN 1 0", "FROZEN 0 1", "FROZEN 1 1", "FROZEN 0 1"],
        ),
        ("the top", Some(&top), "THAWED", ["THAWED 0 0", "THAWED 0 0", "FROZEN 1 0", "THAWED 0 0"]),
        (
            "the leaf",
            Some(&leaf),
            "THAWED",
            ["THAWED 0 0", "THAWED 0 0", "THAWED 0 0", "THAWED 0 0"],
        ),
    ] {
        if let Some(group) = group {
            group.set(STATE, word)?;
        }
        let told = format!("{who} was told {word:?}");
        let groups = [
            ("the top", &top),
            ("the middle", &middle),
            ("the leaf", &leaf),
            ("the one beside", &beside),
        ];
        for ((role, group), expected) in groups.into_iter().zip(expected) {
            let state = expected.split(' ').next().unwrap_or_default();
            let (seen, _) = settle(group, state)?;
            for (file, seen, expected) in [
                (STATE, seen, state),
                (BY_ITSELF, group.line(BY_ITSELF)?, expected.split(' ').nth(1).unwrap_or_default()),
                (BY_PARENT, group.line(BY_PARENT)?, expected.split(' ').nth(2).unwrap_or_default()),
            ] {
                lab.hierarchy(&format!("what {role} shows once {told}"))
                    .covers([R180])
                    .file(file)
                    .observed(seen)
                    .equals(expected, WHY);
            }
        }
        for (role, ticker, expected) in
            [("the leaf", &ticker, expected[2]), ("the one beside", &other, expected[3])]
        {
            let frozen = expected.starts_with("FROZEN");
            let question = lab.enforcement(&format!("what a process in {role} does once {told}"));
            let question = match group {
                Some(_) => question,
                None => question.beyond_lies("nothing was asked of the controller yet"),
            };
            question
                .covers([R179, R180])
                .file(STATE)
                .observed(ticker.does())
                .equals(if frozen { "stands still" } else { "runs" }, "freezer-subsystem.rst: \"Freezing a cgroup freezes all tasks belonging to the cgroup and all its descendant cgroups\"");
        }
    }
    top.set(STATE, "FROZEN")?;
    let late = middle.make("late")?;
    for (file, expected) in [(STATE, "FROZEN"), (BY_ITSELF, "0"), (BY_PARENT, "1")] {
        lab.hierarchy("what a group shows that is made below a frozen one")
            .covers([R180])
            .file(file)
            .observed(late.line(file)?)
            .equals(expected, WHY);
    }
    top.set(STATE, "THAWED")
}
