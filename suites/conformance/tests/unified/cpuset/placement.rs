//! Where processes really run.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use nix::unistd::Pid;

use crate::cpus::{PATIENCE, Roamers, affinity, bind, needs_eight, outside};
use crate::{CPUS, EFFECTIVE};

/// How long the roamers are watched: each of them gets to run many times.
const WATCH: Duration = Duration::from_millis(60);
/// How long a process may still run where it was: the kernel moves it by the
/// next switch of tasks.
const SETTLE: Duration = Duration::from_millis(10);

/// Processes run on the effective CPUs of their group, on no others, and follow every change.
#[rstest]
fn processes_run_on_effective_cpus_alone(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let child = parent.make("child")?;
    child.set(CPUS, "2,5")?;
    let roamers = Roamers::start(&child, 4, &[])?;
    let first = roamers.processes[0].pid();
    for (role, group, written, expected) in [
        ("its set is 2,5", &child, "2,5", "2,5"),
        ("its set is 3", &child, "3", "3"),
        ("its set is 1-3", &child, "1-3", "1-3"),
        ("its parent has 2-4", &parent, "2-4", "2-3"),
        ("its parent has 6-7", &parent, "6-7", "6-7"),
        ("its parent has all", &parent, "0-7", "1-3"),
    ] {
        group.set(CPUS, written)?;
        pause(SETTLE);
        lab.enforcement(&format!("CPUs outside that 4 busy processes ran on when {role}"))
            .covers([R141])
            .file(CPUS)
            .observed(outside(&roamers.watch(WATCH), expected))
            .equals(
                "",
                "cgroup-v2.rst, cpuset: tasks are constrained to the resources of their group",
            );
        lab.enforcement(&format!("CPUs that the kernel lets one use when {role}"))
            .covers([R141])
            .file(CPUS)
            .observed(affinity(first)?)
            .equals(expected, "sched_getaffinity(2) of it");
        lab.interface(&format!("effective CPUs when {role}"))
            .covers([R139])
            .file(EFFECTIVE)
            .observed(child.line(EFFECTIVE)?)
            .equals(expected, "the same set");
    }
    Ok(())
}

/// A process that moves runs where its new group may, and a neighbour where it always did.
#[rstest]
fn process_that_moves_takes_the_cpus_of_its_group(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    one.set(CPUS, "1")?;
    other.set(CPUS, "6")?;
    let stays = Roamers::start(&one, 1, &[])?;
    let moves = Roamers::start(&one, 1, &[])?;
    let pid = moves.processes[0].pid();
    for (group, expected) in [(&one, "1"), (&other, "6"), (&one, "1")] {
        group.admit(pid)?;
        let began = now();
        wait_until(PATIENCE, || affinity(pid).is_ok_and(|it| it == expected));
        lab.latencies("from a move to the new affinity", &[now() - began]);
        pause(SETTLE);
        for (what, seen, expected) in [
            ("the process that was moved", moves.watch(WATCH), expected),
            ("the process that stayed", stays.watch(WATCH), "1"),
        ] {
            lab.enforcement(&format!("CPUs that {what} ran on"))
                .covers([R141])
                .file(CPUS)
                .observed(seen)
                .equals(expected, "the CPUs of its group");
        }
    }
    Ok(())
}

/// `sched_setaffinity` chooses among the group's CPUs, and reaches none outside.
#[rstest]
#[case::one_of_them(&[3], "ok", "3")]
#[case::some_of_them(&[3, 4, 6, 7], "ok", "3-4")]
#[case::none_of_them(&[0, 7], "EINVAL", "2-4")]
fn affinity_stays_within_the_group(
    lab: Lab,
    #[case] wanted: &'static [usize],
    #[case] answer: &str,
    #[case] got: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let group = lab.group("group")?;
    group.set(CPUS, "2-4")?;
    let process = group.spawn(|| {
        let answer = match bind(wanted) {
            Ok(()) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        };
        (answer, affinity(Pid::from_raw(0)).unwrap_or_default())
    })?;
    let (answered, affine) = process.finish()?;
    lab.enforcement("the answer to sched_setaffinity")
        .covers([R141])
        .file(CPUS)
        .unit(Unit::Errno)
        .observed(answered)
        .equals(answer, "cpusets.rst: the request is \"filtered through that task's cpuset\"; nothing left is EINVAL");
    lab.enforcement("CPUs that the process may use after it")
        .covers([R141])
        .file(CPUS)
        .observed(affine)
        .equals(got, "what it asked for of what its group has");
    Ok(())
}

/// Each thread of a process has the CPUs of its own group, in a threaded subtree.
#[rstest]
fn threads_have_the_cpus_of_their_groups(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let domain = lab.group("domain")?;
    let (one, other) = (domain.make("one")?, domain.make("other")?);
    one.set("cgroup.type", "threaded")?;
    other.set("cgroup.type", "threaded")?;
    domain.enable("cpuset")?;
    one.set(CPUS, "1-2")?;
    other.set(CPUS, "5")?;
    let process = one.spawn(|| {
        std::thread::spawn(wait_forever);
        wait_forever();
    })?;
    wait_until(PATIENCE, || process.threads().is_ok_and(|it| it.len() == 2));
    let [stays, moves] = process.threads()?[..] else {
        return Err(Stop::Broken("a process did not start a second thread".to_owned()));
    };
    for (what, group, written, of_moved) in [
        ("it moved to a group with 5", &other, "", "5"),
        ("that group got 6-7", &other, "6-7", "6-7"),
        ("it moved back", &one, "", "1-2"),
    ] {
        if written.is_empty() {
            group.set("cgroup.threads", moves)?;
        } else {
            group.set(CPUS, written)?;
        }
        for (role, thread, expected) in
            [("the thread that moves", moves, of_moved), ("the one that stays", stays, "1-2")]
        {
            lab.enforcement(&format!("CPUs that {role} may use after {what}"))
                .covers([R141])
                .file(CPUS)
                .observed(affinity(Pid::from_raw(thread))?)
                .equals(expected, "cgroup-v2.rst, Threads: cpuset is a threaded controller, and each thread is in a group of its own choice");
        }
    }
    Ok(())
}

fn wait_forever() {
    loop {
        nix::unistd::pause();
    }
}
