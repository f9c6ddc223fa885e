//! What a set may be, by its parent, its children and its siblings
//! (cpusets.rst, 1.3 and 1.4).

use cgauge_lab::prelude::*;

use crate::{CPUS, MEMS, root, whole, with, with_cpus};

const EXCLUSIVE: &str = "cpuset.cpu_exclusive";
const MEM_EXCLUSIVE: &str = "cpuset.mem_exclusive";

/// A set is a subset of its parent's and holds those of its children, and one with processes is not emptied.
#[rstest]
#[case::of_cpus(CPUS, ["1-4", "5", "1-5", "2-3", "2", "3-4", "4"])]
#[case::of_nodes(MEMS, ["0", "1", "0-1", "0", "", "", ""])]
fn set_is_within_its_parents(lab: Lab, #[case] file: &str, #[case] sets: [&str; 7]) -> Outcome {
    let [of_parent, beyond, more, of_child, less, shifted, last] = sets;
    let root = root(&lab)?;
    let parent = with(root, "parent", "0-7", "0-1")?;
    parent.set(file, of_parent)?;
    let child = parent.make("child")?;
    for (what, group, written, answer, why) in [
        (
            "a child's set that is not its parent's",
            &child,
            beyond,
            "EACCES",
            "cpusets.rst, 1.3: \"Its CPUs and Memory Nodes must be a subset of its parents\"",
        ),
        ("a child's set that is its parent's and more", &child, more, "EACCES", "the same"),
        ("a child's set within its parent's", &child, of_child, "ok", "the same"),
        (
            "a parent's set without one of its child's",
            &parent,
            less,
            "EBUSY",
            "validate_change(): each of a cpuset's children must be a subset of it",
        ),
        ("a parent's set that overlaps its child's", &parent, shifted, "EBUSY", "the same"),
        ("a parent's larger set", &parent, more, "ok", "it holds its child's"),
        ("a child's other set within its parent's", &child, last, "ok", "the same"),
    ] {
        // With two memory nodes some of these are the same.
        if written.is_empty() {
            continue;
        }
        lab.hierarchy(&format!("the answer to {what}"))
            .covers([R139])
            .file(file)
            .answered(&group.try_set(file, written))
            .equals(answer, why);
    }
    let set = if last.is_empty() { of_child } else { last };
    lab.hierarchy("the child's set in the end")
        .covers([R139])
        .file(file)
        .observed(child.line(file)?)
        .equals(set, "what was refused changes nothing");
    let other = if file == CPUS { MEMS } else { CPUS };
    child.set(other, "0")?;
    let sleeper = child.sleeper()?;
    for (what, answer) in [("with a process", "ENOSPC"), ("without", "ok")] {
        if answer == "ok" {
            root.admit(sleeper.pid())?;
        }
        lab.hierarchy(&format!("the answer to emptying a set {what}"))
            .covers([R139])
            .file(file)
            .answered(&child.try_set(file, "\n"))
            .equals(answer, "validate_change(): cpusets with tasks can't be changed to have empty cpus_allowed or mems_allowed");
    }
    Ok(())
}

/// An exclusive set shares nothing with its siblings, whichever is written and whichever is exclusive, and needs a parent that is exclusive too.
#[rstest]
#[case::of_cpus(EXCLUSIVE, CPUS, "2-3", "3-4", "4-5")]
#[case::of_nodes(MEM_EXCLUSIVE, MEMS, "0", "0-1", "1")]
fn exclusive_set_shares_nothing_with_its_siblings(
    lab: Lab,
    #[case] flag: &str,
    #[case] file: &str,
    #[case] own: &str,
    #[case] overlapping: &str,
    #[case] apart: &str,
) -> Outcome {
    const RULE: &str = "cpusets.rst, 1.3: \"It can't be marked exclusive unless its parent is\", and \"If its cpu or memory is exclusive, they may not overlap any sibling\"";
    let root = root(&lab)?;
    // The case's own home has all CPUs and nodes: nobody is in it, and it has none.
    whole(root)?.write("cgroup.procs", "0").map_err(Stop::Refused)?;
    let home = root.dir().child("self").map_err(Stop::Refused)?;
    for file in [CPUS, MEMS] {
        home.write(file, "\n").map_err(Stop::Refused)?;
    }
    let parent = with(root, "parent", "0-7", "0-1")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    one.set(file, own)?;
    other.set(file, overlapping)?;
    for (what, group, target, written, answer) in [
        ("an exclusive set below one that is not", &one, flag, "1", "EACCES"),
        (
            "an exclusive parent below a root that is, past a group that is not",
            &parent,
            flag,
            "1",
            "EACCES",
        ),
        ("an exclusive group of the case's", root, flag, "1", "ok"),
        ("an exclusive parent then", &parent, flag, "1", "ok"),
        ("an exclusive set that overlaps its sibling", &one, flag, "1", "EINVAL"),
        ("the sibling's set apart", &other, file, apart, "ok"),
        ("an exclusive set that overlaps none", &one, flag, "1", "ok"),
        ("a sibling's set that overlaps an exclusive one", &other, file, overlapping, "EINVAL"),
        ("an exclusive set that overlaps its sibling's", &one, file, overlapping, "EINVAL"),
        ("a parent that is exclusive no longer, with a child that is", &parent, flag, "0", "EBUSY"),
        ("a set that is exclusive no longer", &one, flag, "0", "ok"),
        ("a sibling's set that overlaps it then", &other, file, overlapping, "ok"),
    ] {
        lab.hierarchy(&format!("the answer to {what}"))
            .covers([R143])
            .file(target)
            .answered(&group.try_set(target, written))
            .equals(answer, RULE);
    }
    for (who, group, target, expected) in [
        ("one", &one, flag, "0"),
        ("one", &one, file, own),
        ("the other", &other, file, overlapping),
        ("their parent", &parent, flag, "1"),
    ] {
        lab.hierarchy(&format!("what {who} has in the end"))
            .covers([R143])
            .file(target)
            .observed(group.line(target)?)
            .equals(expected, "what was refused changes nothing");
    }
    Ok(())
}

/// Sets without a flag overlap as they like.
#[rstest]
fn sets_overlap_unless_they_are_exclusive(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    let one = with_cpus(root, "one", "1-4")?;
    let other = root.make("other")?;
    for written in ["4-6", "1-4", "0-7"] {
        lab.hierarchy(&format!("the answer to {written}, with 1-4 beside it"))
            .covers([R143])
            .file(CPUS)
            .answered(&other.try_set(CPUS, written))
            .equals("ok", "neither is exclusive");
    }
    lab.hierarchy("the set beside it after that")
        .covers([R143])
        .file(CPUS)
        .observed(one.line(CPUS)?)
        .equals("1-4", "it is its own");
    Ok(())
}
