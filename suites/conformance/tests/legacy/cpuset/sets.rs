//! Where processes may run and do run.

use cgauge_lab::cpus::{Roamers, affinity, bind, outside};
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;

use crate::{CPUS, CPUS_EFFECTIVE, MEMS, MEMS_EFFECTIVE, root, whole, with, with_cpus};

/// How long the roamers are watched: each of them gets to run many times.
const WATCH: Duration = Duration::from_millis(60);
/// How long a process may still run where it was: until the next switch of tasks.
const SETTLE: Duration = Duration::from_millis(10);

/// A new cpuset is empty and takes nobody in, until it has CPUs and memory nodes; with `clone_children` it begins with its parent's.
#[rstest]
fn new_set_is_empty_unless_it_is_cloned(lab: Lab) -> Outcome {
    const CLONE: &str = "cgroup.clone_children";
    let root = root(&lab)?;
    let parent = with(root, "parent", "1-4", "0")?;
    let empty = parent.make("empty")?;
    for (what, group, clones, cpus, mems) in [
        ("a new set", &empty, "0", "", ""),
        (
            "a new set whose parent has clone_children",
            &{
                parent.set(CLONE, 1)?;
                parent.make("clone")?
            },
            "1",
            "1-4",
            "0",
        ),
    ] {
        for (file, expected, why) in [
            (CLONE, clones, "cgroup_mkdir(): the flag is inherited"),
            (
                CPUS,
                cpus,
                "cgroups.rst, 1.5: with the flag \"a new cpuset cgroup will copy its configuration from the parent during initialization\", and else it is empty",
            ),
            (MEMS, mems, "the same for memory nodes"),
        ] {
            lab.interface(&format!("what {what} begins with"))
                .covers([R139])
                .file(file)
                .observed(group.line(file)?)
                .equals(expected, why);
        }
    }
    let sleeper = root.sleeper()?;
    for (what, file, written, answer) in [
        ("with nothing", CPUS, "", "ENOSPC"),
        ("with CPUs alone", CPUS, "2", "ENOSPC"),
        ("with CPUs and memory nodes", MEMS, "0", "ok"),
    ] {
        if !written.is_empty() {
            empty.set(file, written)?;
        }
        lab.hierarchy(&format!("the answer to a move into a set {what}"))
            .covers([R139])
            .file("cgroup.procs")
            .answered(&empty.try_set("cgroup.procs", sleeper.pid()))
            .equals(answer, "cgroups.rst, 2.1: \"the user will have to populate the cpus and mems files for each new cgroup created before that group can be used\"; cpuset_can_attach()");
    }
    Ok(())
}

/// Processes run on their set's CPUs and no others, from the moment that it changes or that they are moved.
#[rstest]
fn processes_run_on_the_cpus_of_their_set(lab: Lab) -> Outcome {
    const WHY: &str = "cpusets.rst, 1.9: where 'cpuset.cpus' is modified, each task \"will have its allowed CPU placement changed immediately\", and so one whose pid is written elsewhere";
    let root = root(&lab)?;
    let (one, other) = (with_cpus(root, "one", "2,5")?, with_cpus(root, "other", "6")?);
    let roamers = Roamers::start(&one, 4, &[])?;
    let stays = Roamers::start(&one, 1, &[])?;
    let first = roamers.processes[0].pid();
    let check = |what: &str, expected: &str, all: &str| -> Outcome {
        pause(SETTLE);
        lab.enforcement(&format!("CPUs outside that 4 busy processes ran on when {what}"))
            .covers([R141])
            .file(CPUS)
            .observed(outside(&roamers.watch(WATCH), all))
            .equals("", WHY);
        lab.enforcement(&format!("CPUs that the kernel lets one use when {what}"))
            .covers([R141])
            .file(CPUS)
            .observed(affinity(first)?)
            .equals(expected, WHY);
        Ok(())
    };
    check("their set is 2,5", "2,5", "2,5")?;
    for written in ["3", "1-3", "0-7"] {
        one.set(CPUS, written)?;
        check(&format!("their set is {written}"), written, written)?;
        lab.interface(&format!("effective CPUs of the set that is {written}"))
            .covers([R139])
            .file(CPUS_EFFECTIVE)
            .observed(one.line(CPUS_EFFECTIVE)?)
            .equals(written, "on legacy hierarchies what is asked for is what holds");
    }
    one.set(CPUS, "4")?;
    for process in &roamers.processes {
        other.admit(process.pid())?;
    }
    check("they are moved to one that is 6", "6", "6")?;
    lab.enforcement("CPUs that one runs on that stayed")
        .covers([R141])
        .file(CPUS)
        .observed(stays.watch(WATCH))
        .equals("4", "the CPUs of its set");
    Ok(())
}

/// A process chooses among the CPUs of its set, and a change of the set takes the choice back.
#[rstest]
fn affinity_is_filtered_through_the_set(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    let (one, other) = (with_cpus(root, "one", "2-4")?, with_cpus(root, "other", "2-5")?);
    let (go, done) = (Gate::new()?, Gate::new()?);
    let process = one.spawn(|| {
        let answers = [&[3][..], &[3, 4, 6, 7], &[0, 7]].map(|wanted| {
            let answer = bind(wanted).map_or_else(|it| format!("{it:?}"), |()| "ok".to_owned());
            let got = affinity(nix::unistd::Pid::from_raw(0)).unwrap_or_default();
            format!("{answer} {got}")
        });
        let _ = bind(&[3]);
        done.open();
        go.pass();
        answers
    })?;
    done.pass();
    for (what, group, expected) in
        [("its set is changed", &one, "2-5"), ("it is moved to another set", &other, "2-5")]
    {
        if group.line(CPUS)? == "2-4" {
            group.set(CPUS, "2-5")?;
        } else {
            group.admit(process.pid())?;
        }
        lab.enforcement(&format!("CPUs of a process that had chosen one, once {what}"))
            .covers([R141])
            .file(CPUS)
            .observed(affinity(process.pid())?)
            .equals(expected, "cpusets.rst, 1.9: it may run on any CPU of the new set, \"negating the effect of the prior sched_setaffinity() call\"");
    }
    go.open();
    let why = "cpusets.rst, 1.2: requests by sched_setaffinity(2) are \"filtered through that task's cpuset\"; where nothing is left it is EINVAL";
    for ((what, expected), answer) in [("3", "ok 3"), ("3,4,6,7", "ok 3-4"), ("0,7", "EINVAL 3-4")]
        .into_iter()
        .zip(process.finish()?)
    {
        lab.enforcement(&format!("the answer to sched_setaffinity for {what}, and what is got"))
            .covers([R141])
            .file(CPUS)
            .observed(answer)
            .equals(expected, why);
    }
    Ok(())
}

/// Sets are written as lists and read back in order; what is no list is refused; the root's cannot be written.
#[rstest]
fn sets_are_written_as_lists(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    let group = root.make("group")?;
    for (written, answer, shown) in [
        ("0-7", "ok", "0-7"),
        ("5,1-3", "ok", "1-3,5"),
        ("1,2,3", "ok", "1-3"),
        ("0-6:2/3", "ok", "0-1,3-4,6"),
        ("8", "EINVAL", "0-1,3-4,6"),
        ("7-9", "EINVAL", "0-1,3-4,6"),
        ("3-1", "EINVAL", "0-1,3-4,6"),
        ("all of them", "EINVAL", "0-1,3-4,6"),
        ("\n", "ok", ""),
    ] {
        let answered = group.try_set(CPUS, written);
        // More CPUs than the kernel was ever to have is out of range.
        let errno = answered.as_ref().err().map(|it| format!("{:?}", it.errno));
        lab.interface(&format!("whether {written:?} is taken"))
            .covers([R139])
            .file(CPUS)
            .observed(errno.map_or("ok", |it| {
                if it == "ERANGE" || it == "EINVAL" { "EINVAL" } else { "other" }
            }))
            .equals(
                answer,
                "cpusets.rst, 2.2: a list of numbers and ranges, of CPUs that are there",
            );
        lab.interface(&format!("the set after {written:?}"))
            .covers([R139])
            .file(CPUS)
            .observed(group.line(CPUS)?)
            .equals(
                shown,
                "bitmaps are shown as ranges in order, and what was refused changes nothing",
            );
    }
    let whole = whole(root)?;
    for (file, value) in [(CPUS, "0-3"), (MEMS, "0")] {
        lab.interface("the answer to a set of the root")
            .covers([R139])
            .file(file)
            .answered(&whole.write(file, value))
            .equals("EACCES", "cpusets.rst, 1.3: \"The cpus and mems files in the root (top_cpuset) cpuset are read-only\"");
    }
    for (file, expected) in [(CPUS_EFFECTIVE, ""), (MEMS_EFFECTIVE, "")] {
        lab.interface("effective sets of an empty one")
            .covers([R139])
            .file(file)
            .observed(group.line(file)?)
            .equals(expected, "on legacy hierarchies nothing is inherited");
    }
    Ok(())
}
