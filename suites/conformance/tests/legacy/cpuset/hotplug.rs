//! CPUs that go: a set loses them for good, and one that has none left loses
//! its processes to an ancestor.

use cgauge_lab::cpus::{Offline, affinity};
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;

use crate::{CPUS, PATIENCE, root, with_cpus};

/// The processes of a set that has lost its last CPU are moved to the nearest ancestor that has one, with all their threads.
#[rstest]
#[case::the_parent_has_one_left("2-3", "2", "parent")]
#[case::the_parent_has_none_left_either("3", "", "top")]
fn processes_of_an_emptied_set_go_to_an_ancestor(
    lab: Lab,
    #[case] of_parent: &str,
    #[case] left: &str,
    #[case] heir: &str,
) -> Outcome {
    const RULE: &str = "cpusets.rst, 1.9: where hotplug removes all the CPUs of a cpuset, \"all the tasks in that cpuset will be moved to the nearest ancestor with non-empty cpus\"";
    let root = root(&lab)?;
    let top = with_cpus(root, "top", "1-3")?;
    let parent = with_cpus(&top, "parent", of_parent)?;
    let group = with_cpus(&parent, "group", "3")?;
    let other = with_cpus(&top, "other", "1,3")?;
    let (ready, leave) = (Gate::new()?, Gate::new()?);
    let threads = group.spawn(|| {
        std::thread::scope(|scope| {
            (0..2).for_each(|_| drop(scope.spawn(|| leave.pass())));
            ready.open();
            leave.pass();
        });
    })?;
    ready.pass();
    let (sleeper, stays) = (group.sleeper()?, other.sleeper()?);
    let three = Offline::take(3)?;
    let took = wait_until(PATIENCE, || group.try_get("tasks").is_ok_and(|it| it.is_empty()));
    lab.latencies("from the CPU's end to the last process's move", took.as_slice());
    let mut tasks = threads.threads()?;
    tasks.push(sleeper.pid().as_raw());
    tasks.sort_unstable();
    let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(" ");
    for (who, set, cpus, expected) in [
        ("the set", &group, "", Vec::new()),
        ("its parent", &parent, left, if heir == "parent" { tasks.clone() } else { Vec::new() }),
        ("its grandparent", &top, "1-2", if heir == "top" { tasks.clone() } else { Vec::new() }),
        ("another", &other, "1", vec![stays.pid().as_raw()]),
    ] {
        lab.hierarchy(&format!("threads in {who} without CPU 3"))
            .covers([R185])
            .file("tasks")
            .observed(list(&set.ids("tasks")?))
            .equals(list(&expected), RULE);
        lab.hierarchy(&format!("CPUs of {who} without CPU 3"))
            .covers([R185])
            .file(CPUS)
            .observed(set.line(CPUS)?)
            .equals(cpus, "hotplug_update_tasks_legacy(): on legacy hierarchies the set itself loses what goes");
    }
    let may = if heir == "parent" { left } else { "1-2" };
    lab.enforcement("CPUs that a process of the emptied set may use")
        .covers([R185])
        .file(CPUS)
        .observed(affinity(sleeper.pid())?)
        .equals(may, "those of the set that it is in now");
    three.give_back()?;
    for (who, set, cpus) in
        [("the set", &group, ""), ("another", &other, "1"), ("the grandparent", &top, "1-2")]
    {
        lab.hierarchy(&format!("CPUs of {who} once CPU 3 is back"))
            .covers([R185])
            .file(CPUS)
            .observed(set.line(CPUS)?)
            .equals(cpus, "cpusets.rst, 1.3: it is the root's file that tracks what is online; what a set has lost it is to be given again");
    }
    lab.hierarchy("threads in the set once CPU 3 is back")
        .covers([R185])
        .file("tasks")
        .observed(list(&group.ids("tasks")?))
        .equals("", "nobody is moved back");
    Ok(())
}
