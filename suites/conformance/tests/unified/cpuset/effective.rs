//! `cpuset.cpus` and `cpuset.mems` against `…effective`: what a group asks for
//! and what it gets.

use cgauge_lab::prelude::*;

use crate::cpus::needs_eight;
use crate::{CPUS, EFFECTIVE, MEMS, MEMS_EFFECTIVE};

/// A group without a set of its own has its parent's, whatever becomes of that.
#[rstest]
fn empty_set_inherits(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let child = parent.make("child")?;
    child.enable("cpuset")?;
    let leaf = child.make("leaf")?;
    for (written, of_child, effective) in [
        ("", "", "0-7"),
        ("2-5", "", "2-5"),
        ("2-5", "2-5", "2-5"),
        ("2-5", "\n", "2-5"),
        ("0,7", "", "0,7"),
        ("\n", "", "0-7"),
    ] {
        for (group, written) in [(&parent, written), (&child, of_child)] {
            if !written.is_empty() {
                group.set(CPUS, written)?;
            }
        }
        for (role, group) in [("the parent", &parent), ("the child", &child), ("the leaf", &leaf)] {
            lab.interface(&format!("CPUs of {role} after {written:?} was written to the parent"))
                .covers([R139])
                .file(EFFECTIVE)
                .observed(group.line(EFFECTIVE)?)
                .equals(effective, "cgroup-v2.rst, cpuset.cpus: \"An empty value indicates that the cgroup is using the same setting as the nearest cgroup ancestor with a non-empty\" one");
        }
        lab.interface("the set that the child asked for")
            .covers([R139])
            .file(CPUS)
            .observed(child.line(CPUS)?)
            .equals(of_child.trim(), "what was not written, or taken back, is empty");
        lab.interface("the set that the leaf asked for")
            .covers([R139])
            .file(CPUS)
            .beyond_lies("nothing is written to it, and no lie puts CPUs into an empty line")
            .observed(leaf.line(CPUS)?)
            .equals("", "what was never written stays empty");
    }
    Ok(())
}

/// What a group gets is what it asks for of what its parent has; nothing of it, and it gets all that its parent has.
#[rstest]
#[case::within("3-4", "3-4")]
#[case::all_of_it("2-5", "2-5")]
#[case::part_of_it("4-7", "4-5")]
#[case::more_than_it("0-7", "2-5")]
#[case::scattered("0,3,5-6", "3,5")]
#[case::none_of_it("6-7", "2-5")]
fn effective_set_is_the_part_that_the_parent_has(
    lab: Lab,
    #[case] asked: &str,
    #[case] given: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    parent.set(CPUS, "2-5")?;
    let child = parent.make("child")?;
    child.set(CPUS, asked)?;
    lab.interface("CPUs that the child gets")
        .covers([R139])
        .file(EFFECTIVE)
        .observed(child.line(EFFECTIVE)?)
        .equals(given, "cgroup-v2.rst, cpuset.cpus.effective: \"a subset of cpuset.cpus unless none of the CPUs listed in cpuset.cpus can be granted\", and then as if it were empty");
    lab.interface("CPUs that the child asked for")
        .covers([R139])
        .file(CPUS)
        .observed(child.line(CPUS)?)
        .equals(asked, "what is asked for does not depend on what is given");
    parent.set(CPUS, "0-7")?;
    lab.interface("CPUs that the child gets once its parent has all")
        .covers([R139])
        .file(EFFECTIVE)
        .observed(child.line(EFFECTIVE)?)
        .equals(asked, "all that it asked for is there now");
    Ok(())
}

/// `cpuset.cpus` takes lists of CPUs in any order and writes them back in the shortest form; nothing else is taken.
#[rstest]
fn set_reads_back_in_the_shortest_form(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let group = lab.group("group")?;
    for (written, shown) in [
        ("0-7", "0-7"),
        ("5", "5"),
        ("7,6,5", "5-7"),
        ("0,1", "0-1"),
        ("0-1,3,5-6", "0-1,3,5-6"),
        ("1-4,3-6", "1-6"),
        ("0-7:1/2", "0,2,4,6"),
        ("\n", ""),
    ] {
        group.set(CPUS, written)?;
        lab.interface(&format!("the set after {written:?} was written"))
            .covers([R139])
            .file(CPUS)
            .observed(group.line(CPUS)?)
            .equals(shown, "cgroup-v2.rst, cpuset.cpus: \"comma-separated numbers or ranges\", as bitmap_parselist() takes and bitmap_print() writes them");
    }
    group.set(CPUS, "4")?;
    for (written, answer) in [
        ("x", "EINVAL"),
        ("3-1", "EINVAL"),
        ("-1", "EINVAL"),
        ("1-", "EINVAL"),
        ("1.5", "EINVAL"),
        ("99999", "ERANGE"),
    ] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R139])
            .file(CPUS)
            .answered(&group.try_set(CPUS, written))
            .equals(answer, "bitmap_parselist(): EINVAL for what is no list, ERANGE for a CPU that no machine of this build can have");
    }
    lab.interface("the set after what was refused")
        .covers([R139])
        .file(CPUS)
        .observed(group.line(CPUS)?)
        .equals("4", "a refused write changes nothing");
    for file in [EFFECTIVE, MEMS_EFFECTIVE] {
        lab.interface("the answer to a write to what is only shown")
            .covers([R139])
            .file(file)
            .answered(&group.try_set(file, "0"))
            .equals("EINVAL", "cgroup-v2.rst: a read-only file; cgroup_file_write() answers EINVAL for a file without a write method");
    }
    Ok(())
}

/// Memory nodes are inherited and cut as CPUs are.
#[rstest]
fn nodes_are_inherited_and_cut(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    cgauge_lab::nodes::needs_two_nodes(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("cpuset")?;
    let child = parent.make("child")?;
    for (of_parent, of_child, got_parent, got_child) in [
        ("\n", "\n", "0-1", "0-1"),
        ("1", "\n", "1", "1"),
        ("1", "0-1", "1", "1"),
        ("1", "0", "1", "1"),
        ("0-1", "0", "0-1", "0"),
        ("\n", "1", "0-1", "1"),
    ] {
        parent.set(MEMS, of_parent)?;
        child.set(MEMS, of_child)?;
        for (role, group, expected) in
            [("the parent", &parent, got_parent), ("the child", &child, got_child)]
        {
            lab.interface(&format!("nodes of {role} after {of_parent:?} above and {of_child:?} below"))
                .covers([R142])
                .file(MEMS_EFFECTIVE)
                .observed(group.line(MEMS_EFFECTIVE)?)
                .equals(expected, "cgroup-v2.rst, cpuset.mems.effective: a subset of cpuset.mems unless none of its nodes can be granted; an empty value is the parent's");
        }
        lab.interface("the nodes that the child asked for")
            .covers([R142])
            .file(MEMS)
            .observed(child.line(MEMS)?)
            .equals(of_child.trim(), "what is asked for does not depend on what is given");
    }
    for (written, answer) in [("x", "EINVAL"), ("99999", "ERANGE"), ("2", "EINVAL")] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R142])
            .file(MEMS)
            .answered(&child.try_set(MEMS, written))
            .equals(answer, "nodelist_parse() and update_nodemask(): no list, beyond any machine, a node without memory");
    }
    Ok(())
}
