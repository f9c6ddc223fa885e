//! Remote partitions: their parent is no partition root, and their CPUs come
//! down to them by `cpuset.cpus.exclusive`.

use cgauge_lab::prelude::*;

use crate::cpus::{PATIENCE, affinity, needs_eight, settle};
use crate::{CPUS, EFFECTIVE, EXCLUSIVE, EXCLUSIVE_EFFECTIVE, PARTITION, SINCE_REMOTE};

/// A partition far below the root takes its CPUs from everybody, as long as every group on the way hands them down.
#[rstest]
fn remote_partition_takes_cpus_handed_down(
    lab: Lab,
    #[values("root", "isolated")] kind: &str,
) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, SINCE_REMOTE)?;
    let whole = lab.whole_hierarchy()?;
    let top = lab.group("top")?;
    top.enable("cpuset")?;
    let middle = top.make("middle")?;
    middle.enable("cpuset")?;
    let leaf = middle.make("leaf")?;
    let other = lab.group("other")?;
    let (inside, outside) = (leaf.sleeper()?, other.sleeper()?);
    // The case's own group is on the way, too.
    let way = [("the case", lab.root()), ("top", &top), ("middle", &middle)];
    for (_, group) in way {
        group.set(EXCLUSIVE, "4-6")?;
    }
    leaf.set(EXCLUSIVE, "4-5")?;
    leaf.set(PARTITION, kind)?;
    let mut watch = Watch::new(&leaf, PARTITION, Mechanism::Poll)?;
    lab.hierarchy("the state of the remote partition")
        .covers([R144])
        .file(PARTITION)
        .observed(leaf.line(PARTITION)?)
        .equals(kind, "cgroup-v2.rst, cpuset.cpus.partition: a remote partition is valid with CPUs in cpuset.cpus.exclusive of all its ancestors");
    for (role, group, expected) in [
        ("the partition", &leaf, "4-5"),
        ("its parent", &middle, "0-3,6-7"),
        ("another group", &other, "0-3,6-7"),
        ("the root", whole.root(), "0-3,6-7"),
    ] {
        lab.hierarchy(&format!("effective CPUs of {role}"))
            .covers([R144])
            .file(EFFECTIVE)
            .observed(group.line(EFFECTIVE)?)
            .equals(expected, "the partition's two CPUs are taken from everybody else; CPU 6 was handed down and not used");
    }
    for (role, process, expected) in
        [("the partition", &inside, "4-5"), ("another group", &outside, "0-3,6-7")]
    {
        lab.enforcement(&format!("CPUs that a process of {role} may use"))
            .covers([R141, R144])
            .file(PARTITION)
            .observed(affinity(process.pid())?)
            .equals(expected, "tasks run on the effective CPUs of their group");
    }
    for (role, group) in way {
        lab.hierarchy(&format!("the state of {role}, which is on the way"))
            .covers([R144])
            .file(PARTITION)
            .observed(group.line(PARTITION)?)
            .equals("member", "a remote partition needs no partition above it");
    }
    lab.hierarchy("exclusive CPUs of the partition")
        .covers([R144])
        .file(EXCLUSIVE_EFFECTIVE)
        .observed(leaf.line(EXCLUSIVE_EFFECTIVE)?)
        .equals("4-5", "it asked for these, and all above hand them down");

    // Somebody on the way takes the CPUs back.
    middle.set(EXCLUSIVE, "6")?;
    let state = watch.next(PATIENCE)?.map_or_else(String::new, |it| it.text);
    lab.notification("the state that a watcher is woken for when an ancestor takes the CPUs back")
        .covers([R144, R145])
        .file(PARTITION)
        .observed(state.split(" (").next().unwrap_or_default())
        .equals(format!("{kind} invalid"), "cgroup-v2.rst, cpuset.cpus.partition: a remote partition without its CPUs is invalid, and every change of state notifies");
    lab.hierarchy("effective CPUs of the root after it")
        .covers([R144])
        .file(EFFECTIVE)
        .observed(settle(whole.root(), EFFECTIVE, "0-7")?.0)
        .equals("0-7", "an invalid partition takes nothing away");
    leaf.set(PARTITION, "member")?;
    lab.hierarchy("the state once it is told to be a member")
        .covers([R144])
        .file(PARTITION)
        .observed(leaf.line(PARTITION)?)
        .equals("member", "a write changes an invalid partition, too");
    Ok(())
}

/// Without CPUs handed down there is no remote partition.
#[rstest]
fn remote_partition_needs_cpus_handed_down(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let child = parent.make("child")?;
    child.set(CPUS, "2-3")?;
    lab.interface("the answer to the write")
        .covers([R144])
        .file(PARTITION)
        .answered(&child.try_set(PARTITION, "root"))
        .equals("ok", "cgroup-v2.rst, cpuset.cpus.partition: the state is to be read to see whether the partition is valid");
    lab.hierarchy("the state below a member that hands nothing down")
        .covers([R144])
        .file(PARTITION)
        .observed(child.line(PARTITION)?)
        .equals(
            if child.has(EXCLUSIVE)? {
                "root invalid (Invalid cpu list in cpuset.cpus.exclusive)"
            } else {
                "root invalid (Parent is not a partition root)"
            },
            "kernel/cgroup/cpuset.c, perr_strings: a local partition wants a partition above it, and a remote one, since 6.7, CPUs handed down",
        );
    Ok(())
}
