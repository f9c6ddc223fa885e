//! `cpuset.cpus.exclusive`: a CPU that one group has to itself no sibling can
//! have so, too.

use cgauge_lab::Group;
use cgauge_lab::prelude::*;

use crate::cpus::{needs_eight, settle};
use crate::{CPUS, EFFECTIVE, EXCLUSIVE, EXCLUSIVE_EFFECTIVE, PARTITION, SINCE_REMOTE};

/// A write that gives an exclusive CPU to a second sibling fails and changes nothing.
#[rstest]
fn exclusive_cpu_belongs_to_one_sibling(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, SINCE_REMOTE)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    parent.set(EXCLUSIVE, "2-6")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    one.set(EXCLUSIVE, "2-4")?;
    for (written, answer, shown) in [
        ("5-6", "ok", "5-6"),
        ("4-6", "EINVAL", "5-6"),
        ("2-4", "EINVAL", "5-6"),
        ("3", "EINVAL", "5-6"),
        ("5", "ok", "5"),
    ] {
        lab.hierarchy(&format!("the answer to {written} beside a sibling with 2-4"))
            .covers([R143])
            .file(EXCLUSIVE)
            .answered(&other.try_set(EXCLUSIVE, written))
            .equals(answer, "cgroup-v2.rst, cpuset.cpus.exclusive: \"A value that violates the exclusivity rule will be rejected with a write error\"");
        lab.interface("the set after it")
            .covers([R143])
            .file(EXCLUSIVE)
            .observed(other.line(EXCLUSIVE)?)
            .equals(shown, "a refused write changes nothing");
    }
    one.set(EXCLUSIVE, "2")?;
    lab.hierarchy("the answer to 3-5 once the sibling has 2 alone")
        .covers([R143])
        .file(EXCLUSIVE)
        .answered(&other.try_set(EXCLUSIVE, "3-5"))
        .equals("ok", "nobody else has these");
    Ok(())
}

/// Exclusive CPUs are effective only as far as every group above has them exclusively, too.
#[rstest]
fn exclusive_cpus_come_from_above(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, SINCE_REMOTE)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let child = parent.make("child")?;
    // The case's own group is on the way, too.
    lab.root().set(EXCLUSIVE, "1-6")?;
    for (of_parent, of_child, effective) in
        [("2-5", "2-5", "2-5"), ("2-5", "4-5", "4-5"), ("2-3", "2-3", "2-3")]
    {
        child.set(EXCLUSIVE, "\n")?;
        parent.set(EXCLUSIVE, of_parent)?;
        child.set(EXCLUSIVE, of_child)?;
        lab.hierarchy(&format!("exclusive CPUs of a child that asked for {of_child} of {of_parent}"))
            .covers([R143])
            .file(EXCLUSIVE_EFFECTIVE)
            .observed(child.line(EXCLUSIVE_EFFECTIVE)?)
            .equals(effective, "cgroup-v2.rst, cpuset.cpus.exclusive.effective: the part of cpuset.cpus.exclusive that the parent's effective set has");
    }
    Ok(())
}

/// A sibling's plain set cannot be swallowed whole by an exclusive one.
#[rstest]
fn exclusive_set_leaves_siblings_a_cpu(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, SINCE_REMOTE)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    other.set(CPUS, "3-4")?;
    for (written, answer) in [("3-5", "EINVAL"), ("3-4", "EINVAL"), ("4-5", "ok")] {
        lab.hierarchy(&format!("the answer to {written} beside a sibling that asks for 3-4"))
            .covers([R143])
            .file(EXCLUSIVE)
            .answered(&one.try_set(EXCLUSIVE, written))
            .equals(answer, "cgroup-v2.rst, cpuset.cpus.exclusive: the cpuset.cpus of a sibling \"cannot be a subset of it to leave at least one CPU available when the exclusive CPUs are taken away\"");
    }
    Ok(())
}

/// Two partitions never have one CPU, however they are made to overlap.
#[rstest]
fn partitions_never_share_a_cpu(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let (one, other) = (whole.root().make("one")?, whole.root().make("other")?);
    one.set(CPUS, "2-3")?;
    other.set(CPUS, "4-5")?;
    one.set(PARTITION, "root")?;
    other.set(PARTITION, "root")?;
    for (role, group) in [("one", &one), ("other", &other)] {
        lab.hierarchy(&format!("the state of {role} before they overlap"))
            .covers([R144])
            .file(PARTITION)
            .observed(group.line(PARTITION)?)
            .equals("root", "the two have no CPU in common");
    }
    // Kernels have refused this write, and have made partitions invalid for it.
    let answer = other.try_set(CPUS, "3-5");
    lab.value(
        "whether a set is taken that overlaps a sibling's partition",
        Unit::Count,
        u64::from(answer.is_ok()),
        Neither,
    );
    let valid = |group: &Group| Ok::<_, Stop>(group.line(PARTITION)? == "root");
    let sets = [one.line(EFFECTIVE)?, other.line(EFFECTIVE)?];
    let (first, second) = (valid(&one)?, valid(&other)?);
    let shared = first && second && sets.iter().all(|it| ["2-3", "3-5"].contains(&it.as_str()));
    lab.hierarchy("whether two valid partitions have CPU 3")
        .covers([R143])
        .file(EFFECTIVE)
        .observed(if shared { "yes" } else { "no" })
        .equals("no", "cgroup-v2.rst, cpuset.cpus.exclusive: an exclusive CPU in two sibling groups is not allowed; the write fails or a partition becomes invalid");
    let left = settle(whole.root(), EFFECTIVE, if first && second { "0-1,6-7" } else { "" })?.0;
    for (role, valid, set) in [("one", first, "2-3"), ("other", second, "4-5")] {
        lab.hierarchy(&format!("whether the root has a CPU of {role}"))
            .covers([R143, R144])
            .file(EFFECTIVE)
            .observed(if set.split('-').any(|cpu| crate::cpus::has(&left, cpu)) {
                "yes"
            } else {
                "no"
            })
            .equals(
                if valid { "no" } else { "yes" },
                "a valid partition has its CPUs to itself, an invalid one takes nothing away",
            );
    }
    Ok(())
}
