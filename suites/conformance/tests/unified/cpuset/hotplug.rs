//! CPUs that go offline and come back.

use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;

use crate::cpus::{Offline, Roamers, affinity, needs_eight, says_why, settle};
use crate::{CPUS, EFFECTIVE, PARTITION};

/// A CPU that goes offline leaves every effective set and no other, and comes back to all that had it.
#[rstest]
fn effective_sets_follow_the_cpus_that_are_online(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    group.enable("cpuset")?;
    group.set(CPUS, "1-3")?;
    let leaf = group.make("leaf")?;
    leaf.set(CPUS, "2")?;
    let roamers = Roamers::start(&leaf, 1, &[])?;
    let neighbour = lab.group("neighbour")?;
    neighbour.set(CPUS, "4-5")?;
    let mut took = Vec::new();
    let mut look = |when: &str, expected: [&str; 4]| -> Outcome {
        let groups = [
            ("the root", whole.root()),
            ("the group", &group),
            ("the leaf", &leaf),
            ("the neighbour", &neighbour),
        ];
        for ((role, group), expected) in groups.into_iter().zip(expected) {
            let (seen, time) = settle(group, EFFECTIVE, expected)?;
            took.push(time);
            lab.hierarchy(&format!("effective CPUs of {role} {when}"))
                .covers([R139, R140])
                .file(EFFECTIVE)
                .observed(seen)
                .equals(expected, "cgroup-v2.rst, cpuset.cpus.effective: \"Its value will be affected by memory nodes/CPU hotplug events\"; a set with nothing left is the parent's");
        }
        for (role, group, expected) in [("the group", &group, "1-3"), ("the leaf", &leaf, "2")] {
            lab.interface(&format!("CPUs that {role} asked for {when}"))
                .covers([R140])
                .file(CPUS)
                .observed(group.line(CPUS)?)
                .equals(expected, "cgroup-v2.rst, cpuset.cpus: its value \"stays constant until the next update and won't be affected by any CPU hotplug events\"");
        }
        Ok(())
    };
    look("with all online", ["0-7", "1-3", "2", "4-5"])?;
    let two = Offline::take(2)?;
    look("without CPU 2", ["0-1,3-7", "1,3", "1,3", "4-5"])?;
    lab.enforcement("CPUs that the leaf's process may use without CPU 2")
        .covers([R140, R141])
        .file(EFFECTIVE)
        .observed(affinity(roamers.processes[0].pid())?)
        .equals("1,3", "the leaf's effective CPUs");
    let three = Offline::take(3)?;
    look("without CPUs 2 and 3", ["0-1,4-7", "1", "1", "4-5"])?;
    pause(Duration::from_millis(10));
    lab.enforcement("CPUs that the leaf's process ran on without CPUs 2 and 3")
        .covers([R140, R141])
        .file(EFFECTIVE)
        .observed(roamers.watch(Duration::from_millis(20)))
        .equals("1", "the one CPU that is left");
    two.give_back()?;
    look("without CPU 3", ["0-2,4-7", "1-2", "2", "4-5"])?;
    three.give_back()?;
    look("with all online again", ["0-7", "1-3", "2", "4-5"])?;
    pause(Duration::from_millis(10));
    lab.enforcement("CPUs that the leaf's process ran on with all online again")
        .covers([R140, R141])
        .file(EFFECTIVE)
        .observed(roamers.watch(Duration::from_millis(20)))
        .equals("2", "its own CPU is back");
    lab.latencies("from the CPU's change to the effective set", &took);
    Ok(())
}

/// A partition that loses a CPU goes on with the others; one that loses its last is invalid until one comes back.
#[rstest]
fn partition_follows_the_cpus_that_are_online(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "2-3")?;
    part.set(PARTITION, "root")?;
    let inside = part.sleeper()?;
    let look = |when: &str, state: &str, of_part: &str, of_root: &str| -> Outcome {
        for (role, group, file, expected) in [
            ("state", &part, PARTITION, state),
            ("effective CPUs", &part, EFFECTIVE, of_part),
            ("effective CPUs of the root", whole.root(), EFFECTIVE, of_root),
        ] {
            lab.hierarchy(&format!("{role} {when}"))
                .covers([R140, R144])
                .file(file)
                .observed(settle(group, file, expected)?.0)
                .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: hotplug makes a partition invalid when none of its CPUs is left, and valid again when one comes back");
        }
        lab.enforcement(&format!("CPUs that its process may use {when}"))
            .covers([R140, R141])
            .file(EFFECTIVE)
            .observed(affinity(inside.pid())?)
            .equals(of_part, "the partition's effective CPUs");
        Ok(())
    };
    look("with both", "root", "2-3", "0-1,4-7")?;
    let three = Offline::take(3)?;
    look("with one", "root", "2", "0-1,4-7")?;
    let two = Offline::take(2)?;
    let state = part.line(PARTITION)?;
    lab.hierarchy("state with none")
        .covers([R140, R144])
        .file(PARTITION)
        .observed(state.split(" (").next().unwrap_or_default())
        .equals("root invalid", "cgroup-v2.rst, cpuset.cpus.partition: hotplug makes a partition invalid when none of its CPUs is left");
    says_why(&lab, "the state with none", &state);
    lab.hierarchy("effective CPUs with none")
        .covers([R140])
        .file(EFFECTIVE)
        .observed(settle(&part, EFFECTIVE, "0-1,4-7")?.0)
        .equals("0-1,4-7", "a set with nothing left is the parent's");
    three.give_back()?;
    look("with the other", "root", "3", "0-1,4-7")?;
    two.give_back()?;
    look("with both again", "root", "2-3", "0-1,4-7")?;
    Ok(())
}
