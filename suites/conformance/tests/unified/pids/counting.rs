//! `pids.current` and `pids.peak`: what counts as a process, where, and until when.

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::errno::Errno;

/// How long the kernel may take to let go of a thread that has ended: it is
/// released after its creator could see its end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every thread counts as a process does, and a thread above the limit is refused as one is.
#[rstest]
fn threads_count(lab: Lab, #[values(1, 3, 16)] threads: u64) -> Outcome {
    let bounded = lab.group("bounded")?;
    bounded.set("pids.max", 1 + threads)?;
    let (full, leave, alone, end) = (Gate::new()?, Gate::new()?, Gate::new()?, Gate::new()?);
    let process = bounded.spawn(|| {
        let thread = || std::thread::Builder::new().stack_size(64 << 10);
        let answers = std::thread::scope(|scope| {
            let fitting = (0..threads).map(|_| thread().spawn_scoped(scope, || leave.pass()));
            let mut answers: Vec<_> = fitting.map(|it| errno_of(it.err())).collect();
            answers.push(errno_of(thread().spawn_scoped(scope, || ()).err()));
            full.open();
            answers
        });
        alone.open();
        end.pass();
        answers
    })?;

    full.pass();
    lab.accounting("tasks in a group with one process of many threads")
        .covers([R134])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(1 + threads, "cgroup-v2.rst, PID: \"PIDs used in this controller refer to TIDs\"");
    lab.interface("processes that the group lists")
        .covers([R134])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(bounded.ids("cgroup.procs")?.len())
        .equals(1, "they are threads of one process");
    (0..threads).for_each(|_| leave.open());

    alone.pass();
    let let_go =
        wait_until(PATIENCE, || bounded.try_get("pids.current").is_ok_and(|it| it == "1\n"));
    lab.accounting("whether the count comes back to 1 once the threads have ended")
        .covers([R134, R135])
        .file("pids.current")
        .happened(let_go)
        .equals("yes", "a thread that has ended is a task no longer; nobody has to reap it");

    end.open();
    let mut answers = process.finish()?;
    let last = answers.pop().unwrap_or_default();
    lab.enforcement("threads that were made below the limit")
        .covers([R134])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(answers.iter().filter(|it| *it == "ok").count())
        .equals(threads, "the limit is the process and so many threads");
    lab.enforcement("the answer to one thread more")
        .covers([R132, R134])
        .file("pids.max")
        .unit(Unit::Errno)
        .observed(last)
        .equals(
            "EAGAIN",
            "cgroup-v2.rst, PID: clone() too is to \"return -EAGAIN\" above the limit",
        );
    Ok(())
}

/// A group counts what is in it and in all groups below it.
#[rstest]
fn count_includes_all_descendants(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    top.enable("pids")?;
    let middle = top.make("middle")?;
    middle.enable("pids")?;
    let (near, far, empty) = (top.make("near")?, middle.make("far")?, middle.make("empty")?);
    let _in_near = near.sleeper()?;
    let in_far = [far.sleeper()?, far.sleeper()?, far.sleeper()?];
    let check = |expected: [u64; 5]| -> Outcome {
        let groups =
            [("top", &top), ("middle", &middle), ("near", &near), ("far", &far), ("empty", &empty)];
        for ((name, group), expected) in groups.into_iter().zip(expected) {
            lab.accounting(&format!("processes in {name} and below"))
                .covers([R135])
                .file("pids.current")
                .unit(Unit::Processes)
                .observed(group.number("pids.current")?)
                .equals(
                    expected,
                    "cgroup-v2.rst, pids.current: processes \"in the cgroup and its descendants\"",
                );
        }
        Ok(())
    };
    check([4, 3, 1, 3, 0])?;
    for process in in_far {
        process.end()?;
    }
    check([1, 0, 1, 0, 0])
}

/// Who moves is counted where it went, with all its threads, and no longer where it came from.
#[rstest]
fn count_follows_a_move(lab: Lab, #[values(0, 4)] threads: u64) -> Outcome {
    let parent = lab.group("parent")?;
    parent.enable("pids")?;
    let (from, to) = (parent.make("from")?, parent.make("to")?);
    let _stays = from.sleeper()?;
    let (ready, leave) = (Gate::new()?, Gate::new()?);
    let mover = from.spawn(|| {
        std::thread::scope(|scope| {
            (0..threads).for_each(|_| drop(scope.spawn(|| leave.pass())));
            ready.open();
            leave.pass();
        });
    })?;
    ready.pass();
    let tasks = 1 + threads;

    for (when, [in_from, in_to]) in [("before the move", [1 + tasks, 0]), ("after it", [1, tasks])]
    {
        for (name, group, expected) in
            [("from", &from, in_from), ("to", &to, in_to), ("their parent", &parent, 1 + tasks)]
        {
            lab.accounting(&format!("tasks in {name} {when}"))
                .covers([R135])
                .file("pids.current")
                .unit(Unit::Processes)
                .observed(group.number("pids.current")?)
                .equals(expected, "a process is counted once, with its threads, where it is now");
        }
        to.admit(mover.pid())?;
    }
    Ok(())
}

/// A zombie is counted, and takes up room under the limit, until it is reaped.
#[rstest]
fn zombie_counts_until_it_is_reaped(lab: Lab) -> Outcome {
    let bounded = lab.group("bounded")?;
    let mut zombie = bounded.spawn(|| ())?;
    if !zombie.ended_within(PATIENCE)? {
        return Err(Stop::Broken("a process with nothing to do has not ended".to_owned()));
    }
    bounded.set("pids.max", 1)?;
    lab.accounting("processes in a group with one zombie")
        .covers([R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(1, "kernel/cgroup/pids.c uncharges in pids_release, which runs when the zombie is reaped: it has its id until then");
    lab.enforcement("the answer to a clone beside the zombie")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "the zombie is the one process that the limit allows");
    zombie.wait()?;
    lab.accounting("processes in the group once it is reaped")
        .covers([R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(0, "nothing is left of it");
    lab.enforcement("the answer to a clone then")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("ok", "the group is empty");
    Ok(())
}

/// `pids.peak` is the most that `pids.current` ever was, at every level, however it came about.
#[rstest]
fn peak_is_the_most_there_ever_was(lab: Lab) -> Outcome {
    lab.needs_file("pids.peak", "since 6.1")?;
    let parent = lab.group("parent")?;
    parent.enable("pids")?;
    let (group, outside) = (parent.make("group")?, lab.group("outside")?);
    let check = |when: &str, of_group: u64, of_parent: u64| -> Outcome {
        for (name, group, expected) in
            [("the group", &group, of_group), ("its parent", &parent, of_parent)]
        {
            lab.accounting(&format!("the peak of {name} {when}"))
                .covers([R136])
                .file("pids.peak")
                .unit(Unit::Processes)
                .observed(group.number("pids.peak")?)
                .equals(expected, "cgroup-v2.rst, pids.peak: \"the maximum value that the number of processes in the cgroup and its descendants has ever reached\"");
        }
        Ok(())
    };
    check("while nobody was ever there", 0, 0)?;

    let mut held = vec![group.sleeper()?, group.sleeper()?, group.sleeper()?];
    check("with three processes there", 3, 3)?;

    held.truncate(1);
    check("after two have gone", 3, 3)?;

    held.push(group.sleeper()?);
    check("after one has come back", 3, 3)?;

    // The limit has to stop the clone before the peak sees it.
    group.set("pids.max", 2)?;
    let refused = (0..3).map(|_| group.try_spawn(|| ())).collect::<Result<Vec<_>, _>>()?;
    lab.enforcement("clones that the full group refused")
        .covers([R132])
        .file("pids.max")
        .unit(Unit::Events)
        .observed(
            refused
                .iter()
                .filter(|it| it.as_ref().is_err_and(|it| it.errno == Errno::EAGAIN))
                .count(),
        )
        .equals(3, "the group is at its limit of 2");
    check("after clones that were refused", 3, 3)?;

    let movers = [outside.sleeper()?, outside.sleeper()?];
    check("with two outside", 3, 3)?;
    for mover in &movers {
        group.admit(mover.pid())?;
    }
    check("after these two have moved in", 4, 4)
}

/// A task in passing raises a peak by one at most: one that moves, or that a limit further up refuses.
#[rstest]
fn peak_takes_in_one_task_in_passing_at_most(lab: Lab) -> Outcome {
    lab.needs_file("pids.peak", "since 6.1")?;
    let parent = lab.group("parent")?;
    parent.enable("pids")?;
    let (from, to) = (parent.make("from")?, parent.make("to")?);
    let movers = [from.sleeper()?, from.sleeper()?, from.sleeper()?];
    for mover in &movers {
        to.admit(mover.pid())?;
    }
    lab.accounting("the peak of a group within which three processes moved")
        .covers([R136])
        .file("pids.peak")
        .unit(Unit::Processes)
        .observed(parent.number("pids.peak")?)
        .between(3, 4, "there were never more than three; kernel/cgroup/pids.c, pids_can_attach, charges where a task goes before it uncharges where it was, so that above both it counts twice in passing");

    parent.set("pids.max", 3)?;
    for _ in 0..3 {
        lab.enforcement("the answer to a clone into a full group's child")
            .covers([R132])
            .file("pids.max")
            .answered(&to.try_spawn(|| ())?)
            .equals("EAGAIN", "three processes are there, and three are allowed");
    }
    lab.accounting("the peak of the child whose parent refused three forks")
        .covers([R136])
        .file("pids.peak")
        .unit(Unit::Processes)
        .observed(to.number("pids.peak")?)
        .between(3, 4, "there were never more than three; kernel/cgroup/pids.c, pids_try_charge: \"not technically accurate if we go over limit somewhere up the hierarchy, but that's tolerable for the watermark\"");
    Ok(())
}

/// What the controller counts can be read and not written.
#[rstest]
fn counters_cannot_be_written(
    lab: Lab,
    #[values("pids.current", "pids.peak", "pids.events")] file: &str,
) -> Outcome {
    lab.needs_file(file, if file == "pids.peak" { "since 6.1" } else { "since 4.5" })?;
    let group = lab.group("group")?;
    let _held = group.sleeper()?;
    let (promise, shown) = match file {
        "pids.current" => (R135, "1"),
        "pids.peak" => (R136, "1"),
        _ => (R137, "max 0"),
    };
    lab.interface("the answer to a write")
        .covers([promise])
        .file(file)
        .answered(&group.try_set(file, 0))
        .equals("EINVAL", "cgroup-v2.rst calls it \"read-only\", and kernel/cgroup/cgroup.c, cgroup_file_write, has this for a file that no handler writes");
    lab.interface("the text after it")
        .covers([promise])
        .file(file)
        .observed(group.line(file)?)
        .equals(shown, "one process, and no fork refused: a refused write changes nothing");
    Ok(())
}

/// `ok`, or the name of the errno.
fn errno_of(error: Option<std::io::Error>) -> String {
    error.map_or("ok".to_owned(), |it| format!("{:?}", cgauge_lab::kernel::errno_of(&it)))
}
