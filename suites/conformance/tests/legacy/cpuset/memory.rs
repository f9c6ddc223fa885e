//! `cpuset.mems` and `cpuset.memory_migrate`: on which node memory is.

use cgauge_lab::nodes::{Holder, needs_two_nodes};
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;

use crate::{MEMS, root, with};

const MIGRATE: &str = "cpuset.memory_migrate";
/// Longer than the kernel takes to move 200 pages, had it begun to.
const SILENCE: Duration = Duration::from_millis(200);

/// New memory comes from the set's nodes alone.
#[rstest]
fn memory_comes_from_the_nodes_of_the_set(lab: Lab, #[values("0", "1")] node: &str) -> Outcome {
    let root = root(&lab)?;
    needs_two_nodes(&lab)?;
    let group = with(root, "group", "0-7", node)?;
    let holder = Holder::start(&group)?;
    lab.enforcement(&format!("pages on the nodes of a set with node {node}"))
        .covers([R142])
        .file(MEMS)
        .observed(holder.pages()?)
        .equals(if node == "0" { "200 0" } else { "0 200" }, "cpusets.rst, 1.2: the allocator \"will not allocate a page on a node that is not allowed in the requesting task's mems_allowed vector\"");
    lab.enforcement("nodes that the kernel lets the process use")
        .covers([R142])
        .file(MEMS)
        .observed(holder.process.status("Mems_allowed_list")?.unwrap_or_default())
        .equals(node, "cpusets.rst, 1.3: Mems_allowed_list of /proc/PID/status");
    Ok(())
}

/// Memory that is there stays when the set's nodes change, unless `memory_migrate` is set: then it goes along, back and forth.
#[rstest]
fn memory_goes_along_with_the_nodes_if_it_is_to(
    lab: Lab,
    #[values("0", "1")] migrate: &str,
) -> Outcome {
    let root = root(&lab)?;
    needs_two_nodes(&lab)?;
    let group = with(root, "group", "0-7", "0")?;
    lab.interface("the flag of a new set")
        .covers([R142])
        .file(MIGRATE)
        .observed(group.line(MIGRATE)?)
        .equals("0", "cpusets.rst, 1.9: memory stays where it is unless the flag is set");
    group.set(MIGRATE, migrate)?;
    let holder = Holder::start(&group)?;
    for (written, moved) in [("1", "0 200"), ("0", "200 0"), ("0-1", "200 0"), ("1", "0 200")] {
        group.set(MEMS, written)?;
        let expected = if migrate == "1" { moved } else { "200 0" };
        pause(SILENCE);
        let (seen, _) = holder.settle(expected)?;
        lab.enforcement(&format!("pages on the nodes after {written} was written, with {migrate}"))
            .covers([R142])
            .file(MIGRATE)
            .observed(seen)
            .equals(expected, "cpusets.rst, 1.9: \"if 'cpuset.memory_migrate' is set true, then if that cpuset's 'cpuset.mems' file is modified, pages allocated to tasks in that cpuset, that were on nodes in the previous setting of 'cpuset.mems', will be moved to nodes in the new setting\"; and else a page \"stays on whatever node it was allocated\"");
        lab.enforcement(&format!("nodes that the process may use after {written}"))
            .covers([R142])
            .file(MEMS)
            .observed(holder.process.status("Mems_allowed_list")?.unwrap_or_default())
            .equals(written, "its placement is the set's, wherever its pages are");
    }
    Ok(())
}

/// A process that is moved takes its memory along if the flag is set where it goes, and leaves it where it is if not.
#[rstest]
fn memory_goes_along_with_a_process_if_it_is_to(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    needs_two_nodes(&lab)?;
    let from = with(root, "from", "0-7", "0")?;
    let (stays, goes) = (with(root, "stays", "0-7", "1")?, with(root, "goes", "0-7", "1")?);
    goes.set(MIGRATE, 1)?;
    let (holder, neighbour) = (Holder::start(&from)?, Holder::start(&from)?);
    for (what, to, expected) in [
        ("to a set without the flag", &stays, "200 0"),
        ("back", &from, "200 0"),
        ("to a set with the flag", &goes, "0 200"),
        ("back to the one without", &from, "0 200"),
    ] {
        to.admit(holder.process.pid())?;
        pause(SILENCE);
        lab.enforcement(&format!("pages on the nodes after a move {what}"))
            .covers([R142])
            .file(MIGRATE)
            .observed(holder.settle(expected)?.0)
            .equals(expected, "cpusets.rst, 1.9: with the flag set \"when tasks are attached to that cpuset, any pages that task had allocated to it on nodes in its previous cpuset are migrated to the task's new cpuset\"");
        lab.enforcement(&format!("pages of one that stayed, after a move {what}"))
            .covers([R142])
            .file(MIGRATE)
            .observed(neighbour.pages()?)
            .equals("200 0", "it was not moved");
    }
    Ok(())
}
