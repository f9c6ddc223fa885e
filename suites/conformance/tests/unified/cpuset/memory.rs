//! `cpuset.mems`: on which node memory is, by `move_pages(2)` of the process
//! that has it.

use cgauge_lab::nodes::{Holder, needs_two_nodes};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::libc;

use crate::{CPUS, MEMS};

/// New memory comes from the group's nodes alone.
#[rstest]
fn memory_comes_from_the_groups_nodes(lab: Lab, #[values("0", "1")] node: &str) -> Outcome {
    needs_two_nodes(&lab)?;
    let group = lab.group("group")?;
    group.set(MEMS, node)?;
    // It runs beside the other node, where its memory would come from without that.
    group.set(CPUS, if node == "0" { "7" } else { "0" })?;
    let holder = Holder::start(&group)?;
    lab.enforcement(&format!("pages on the nodes after {node} was set"))
        .covers([R142])
        .file(MEMS)
        .observed(holder.pages()?)
        .equals(
            if node == "0" { "200 0" } else { "0 200" },
            "cgroup-v2.rst, cpuset: memory node placement of tasks is constrained to the nodes of the group",
        );
    let allowed = holder.process.status("Mems_allowed_list")?;
    lab.enforcement("nodes that the kernel lets the process use")
        .covers([R142])
        .file(MEMS)
        .observed(allowed.unwrap_or_default())
        .equals(node, "Mems_allowed_list of /proc/PID/status");
    Ok(())
}

/// `set_mempolicy` chooses among the group's nodes, and reaches none outside.
#[rstest]
#[case::one_of_them("0-1", 0b10, "ok")]
#[case::some_of_them("0", 0b11, "ok")]
#[case::none_of_them("0", 0b10, "EINVAL")]
#[case::none_of_the_other("1", 0b01, "EINVAL")]
fn policy_stays_within_the_group(
    lab: Lab,
    #[case] nodes: &str,
    #[case] wanted: u64,
    #[case] answer: &str,
) -> Outcome {
    const BIND: i32 = 2;
    needs_two_nodes(&lab)?;
    let group = lab.group("group")?;
    group.set(MEMS, nodes)?;
    let process = group.spawn(|| {
        // SAFETY: the kernel reads one word, of which it is told the bits.
        let bound = unsafe { libc::syscall(libc::SYS_set_mempolicy, BIND, &wanted, 64) };
        match Errno::result(bound) {
            Ok(_) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        }
    })?;
    lab.enforcement("the answer to set_mempolicy")
        .covers([R142])
        .file(MEMS)
        .unit(Unit::Errno)
        .observed(process.finish()?)
        .equals(answer, "set_mempolicy(2): the nodes are those of nodemask that the process's cpuset allows; with none left it is EINVAL");
    Ok(())
}

/// Memory that is already there moves to the group's new nodes.
#[rstest]
fn change_of_nodes_moves_memory(lab: Lab) -> Outcome {
    needs_two_nodes(&lab)?;
    let group = lab.group("group")?;
    group.set(MEMS, "0")?;
    group.set(CPUS, "7")?;
    let holder = Holder::start(&group)?;
    for (written, expected) in [("1", "0 200"), ("0-1", "0 200"), ("0", "200 0"), ("1", "0 200")] {
        group.set(MEMS, written)?;
        let (seen, took) = holder.settle(expected)?;
        lab.latencies("from the write to the last page on its node", &[took]);
        lab.enforcement(&format!("pages on the nodes after {written} was written"))
            .covers([R142])
            .file(MEMS)
            .observed(seen)
            .equals(expected, "cgroup-v2.rst, cpuset.mems: a non-empty value \"causes memory of tasks within the cgroup to be migrated to the designated nodes if they are currently using memory outside of the designated nodes\"");
    }
    Ok(())
}

/// A process that moves takes its memory with it to the nodes of its new group.
#[rstest]
fn move_of_a_process_moves_its_memory(lab: Lab) -> Outcome {
    needs_two_nodes(&lab)?;
    let (zero, one) = (lab.group("zero")?, lab.group("one")?);
    zero.set(MEMS, "0")?;
    one.set(MEMS, "1")?;
    let holder = Holder::start(&zero)?;
    let neighbour = Holder::start(&zero)?;
    for (group, expected) in [(&one, "0 200"), (&zero, "200 0")] {
        group.admit(holder.process.pid())?;
        let (seen, took) = holder.settle(expected)?;
        lab.latencies("from the move to the last page on its node", &[took]);
        lab.enforcement("pages on the nodes after the process moved")
            .covers([R142])
            .file(MEMS)
            .observed(seen)
            .equals(expected, "kernel/cgroup/cpuset.c, cpuset_attach: in the unified hierarchy memory is migrated with the task");
        lab.enforcement("pages of one that stayed")
            .covers([R142])
            .file(MEMS)
            .observed(neighbour.pages()?)
            .equals("200 0", "nothing changed for it");
    }
    Ok(())
}
