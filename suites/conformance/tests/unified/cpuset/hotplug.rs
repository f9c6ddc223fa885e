//! CPUs that go offline and come back.

use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;

use crate::cpus::{Offline, Roamers, affinity, needs_eight, settle};
use crate::{CPUS, EFFECTIVE, PARTITION};

/// A CPU that goes offline leaves every effective set and no other, and comes back to all that had it.
#[rstest]
fn bug_22_effective_sets_follow_the_cpus_that_are_online(lab: Lab) -> Outcome {
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

/// A partition below the root with CPUs 2 and 3, and what it is to look like.
struct Part {
    inside: Process<()>,
    part: Group,
    whole: Hierarchy,
}

impl Part {
    fn new(lab: &Lab) -> Result<Self, Stop> {
        let whole = lab.whole_hierarchy()?;
        let part = whole.root().make("part")?;
        part.set(CPUS, "2-3")?;
        part.set(PARTITION, "root")?;
        let inside = part.sleeper()?;
        Ok(Self { inside, part, whole })
    }

    fn look(&self, lab: &Lab, when: &str, state: &str, of_part: &str, of_root: &str) -> Outcome {
        for (role, group, file, expected) in [
            ("state", &self.part, PARTITION, state),
            ("effective CPUs", &self.part, EFFECTIVE, of_part),
            ("effective CPUs of the root", self.whole.root(), EFFECTIVE, of_root),
        ] {
            let seen = group.line(file)?;
            lab.hierarchy(&format!("{role} {when}"))
                .covers([R140, R144])
                .file(file)
                // The reason has a case of its own.
                .observed(seen.split(" (").next().unwrap_or_default())
                .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: \"External events like hotplug\" can cause a valid partition root to become invalid and vice versa; valid, it has what is online of its CPUs to itself, and invalid, it \"behaves more like a \"member\"\"");
        }
        lab.enforcement(&format!("CPUs that its process may use {when}"))
            .covers([R140, R141])
            .file(EFFECTIVE)
            .observed(affinity(self.inside.pid())?)
            .equals(of_part, "the partition's effective CPUs");
        Ok(())
    }
}

/// A partition that loses a CPU goes on with the other, and has both when it comes back.
#[rstest]
fn partition_goes_on_with_the_cpu_that_is_left(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let it = Part::new(&lab)?;
    it.look(&lab, "with both", "root", "2-3", "0-1,4-7")?;
    let three = Offline::take(3)?;
    it.look(&lab, "with one", "root", "2", "0-1,4-7")?;
    three.give_back()?;
    it.look(&lab, "with both again", "root", "2-3", "0-1,4-7")
}

/// A partition that loses its last CPU is invalid until one comes back.
#[rstest]
fn partition_without_a_cpu_is_invalid_until_one_comes_back(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let it = Part::new(&lab)?;
    let (three, two) = (Offline::take(3)?, Offline::take(2)?);
    it.look(&lab, "with none", "root invalid", "0-1,4-7", "0-1,4-7")?;
    three.give_back()?;
    it.look(&lab, "with the first that came back", "root", "3", "0-1,4-7")?;
    it.part.set(PARTITION, "member")?;
    two.give_back()
}

/// A partition that was without a CPU has all of them to itself when they are back.
#[rstest]
fn partition_has_its_cpus_to_itself_when_they_are_back(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let it = Part::new(&lab)?;
    let (three, two) = (Offline::take(3)?, Offline::take(2)?);
    three.give_back()?;
    two.give_back()?;
    it.look(&lab, "with both back", "root", "2-3", "0-1,4-7")
}
