//! `cgroup.stat`: how many groups and controllers' parts are alive below a
//! group, and how many are still dying.

use std::collections::BTreeMap;

use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};

/// How long a removed group that nothing holds may take to be gone: RCU grace
/// periods and two workqueues, each some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// `nr_descendants` counts every visible group below a group, at any depth, and not the group itself.
#[rstest]
fn descendants_are_those_that_can_be_seen(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let shown = |what: &str, group: &Group, expected: u64| -> Outcome {
        lab.accounting(what)
            .covers([R051])
            .file("cgroup.stat")
            .unit(Unit::Groups)
            .observed(group.key("cgroup.stat", "nr_descendants")?)
            .equals(expected, "so many directories are below");
        Ok(())
    };

    shown("groups below a new group", &top, 0)?;
    let left = top.make("left")?;
    let right = top.make("right")?;
    let below = left.make("below")?;
    let deepest = below.make("deepest")?;
    shown("groups below top with two children and two below one", &top, 4)?;
    shown("groups below the child with two", &left, 2)?;
    shown("groups below the child with none", &right, 0)?;
    drop(deepest);
    shown("groups below top once the deepest was removed", &top, 3)?;
    shown("groups below the child then", &left, 1)?;
    drop((below, left));
    shown("groups below top once only one child is left", &top, 1)?;
    Ok(())
}

/// A removed group that something still holds is dying, not a descendant, and is gone soon after it is let go.
#[rstest]
fn dying_group_is_gone_once_it_is_let_go(lab: Lab, #[values(1, 8)] count: u64) -> Outcome {
    let top = lab.group("top")?;
    let parent = top.make("parent")?;
    let stat = |group: &Group, key: &str| group.key("cgroup.stat", key);
    let mut zombies = Vec::new();
    for number in 0..count {
        // A zombie does not keep its group from being removed, yet belongs to it.
        let held = parent.make(&format!("held-{number}"))?;
        zombies.push(zombie(&held)?);
        let removed = wait_until(PATIENCE, || held.try_remove().is_ok());
        lab.hierarchy("whether a group that holds only a zombie can be removed")
            .covers([R052])
            .happened(removed)
            .equals("yes", "cgroup-v2.rst: a group with nothing but zombies counts as empty");
    }
    // Whatever else holds a removed group for a moment is done by then.
    pause(Duration::from_millis(200));

    for (what, group) in
        [("dying groups below the parent", &parent), ("dying groups below its parent", &top)]
    {
        lab.accounting(what)
            .covers([R052])
            .file("cgroup.stat")
            .unit(Unit::Groups)
            .observed(stat(group, "nr_dying_descendants")?)
            .equals(count, "each unreaped process holds the group that it ended in");
    }
    lab.accounting("descendants of the parent")
        .covers([R051, R052])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(stat(&parent, "nr_descendants")?)
        .equals(0, "a removed group is no descendant");

    for mut zombie in zombies {
        zombie.wait()?;
    }
    let gone = wait_until(PATIENCE, || stat(&top, "nr_dying_descendants").is_ok_and(|it| it == 0));
    lab.accounting("whether the dying groups were gone once the zombies were reaped")
        .covers([R052])
        .file("cgroup.stat")
        .happened(gone)
        .equals("yes", "nothing holds them, and a removed group is freed after RCU grace periods");
    lab.latencies(
        "from the last reaping to nr_dying_descendants 0",
        &gone.into_iter().collect::<Vec<_>>(),
    );
    lab.accounting("dying groups below the parent in the end")
        .covers([R052])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(stat(&parent, "nr_dying_descendants")?)
        .equals(0, "the dying are counted at every level alike");
    Ok(())
}

/// `nr_subsys_…` counts the groups at and below that have the controller.
#[rstest]
fn controllers_are_counted_where_they_are_enabled(
    lab: Lab,
    #[values("pids", "memory", "cpu", "io", "cpuset")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let top = lab.group("top")?;
    let key = format!("nr_subsys_{controller}");
    if !counts(&top)?.contains_key(&key) {
        return Err(lab.skip("cgroup.stat of this kernel has no nr_subsys_… keys (since 6.12)"));
    }
    let shown = |what: &str, group: &Group, expected: u64, reason: &str| -> Outcome {
        lab.accounting(what)
            .covers([R053])
            .file("cgroup.stat")
            .unit(Unit::Groups)
            .observed(group.key("cgroup.stat", &key)?)
            .equals(expected, reason);
        Ok(())
    };

    let with = top.make("with")?;
    let without = top.make("without")?;
    shown(
        "groups that have the controller: top, whose parent enables it",
        &top,
        1,
        "itself alone: it enables nothing for its children",
    )?;
    shown("groups that have it: a child without it", &with, 0, "its parent does not enable it")?;
    top.enable(controller)?;
    shown("groups that have it: top with two children", &top, 3, "itself and both children")?;
    with.enable(controller)?;
    let below = with.make("below")?;
    let _beyond = without.make("beyond")?;
    shown(
        "groups that have it: top with one grandchild that has it, one that has not",
        &top,
        4,
        "itself, both children, one grandchild",
    )?;
    shown(
        "groups that have it: the child with a grandchild that has it",
        &with,
        2,
        "itself and its child",
    )?;
    shown(
        "groups that have it: the child with a grandchild that has it not",
        &without,
        1,
        "itself",
    )?;
    drop(below);
    shown(
        "groups that have it: top once the grandchild was removed",
        &top,
        3,
        "itself and both children",
    )?;
    Ok(())
}

/// `nr_dying_subsys_…` counts controllers' parts that were switched off or removed, and falls to 0 in the end.
#[rstest]
fn dying_controllers_are_counted_until_they_are_gone(
    lab: Lab,
    #[values("removed", "switched off")] how: &str,
) -> Outcome {
    let top = lab.group("top")?;
    if !counts(&top)?.contains_key("nr_dying_subsys_pids") {
        return Err(
            lab.skip("cgroup.stat of this kernel has no nr_dying_subsys_… keys (since 6.12)")
        );
    }
    top.enable("pids")?;
    let (first, second) = (top.make("first")?, top.make("second")?);
    let shown = |what: &str, key: &str, expected: u64, reason: &str| -> Outcome {
        lab.accounting(what)
            .covers([R053])
            .file("cgroup.stat")
            .unit(Unit::Groups)
            .observed(top.key("cgroup.stat", key)?)
            .equals(expected, reason);
        Ok(())
    };
    // A group's part of a controller stays as long as a process that was its own.
    let zombies = [zombie(&first)?, zombie(&second)?];

    shown("living parts before", "nr_subsys_pids", 3, "top and both children")?;
    shown("dying parts before", "nr_dying_subsys_pids", 0, "nothing was removed")?;
    if how == "removed" {
        for group in [&first, &second] {
            if wait_until(PATIENCE, || group.try_remove().is_ok()).is_none() {
                return Err(Stop::Broken(
                    "a group that holds only a zombie cannot be removed".to_owned(),
                ));
            }
        }
    } else {
        top.set("cgroup.subtree_control", "-pids")?;
    }
    shown(
        "living parts at once after",
        "nr_subsys_pids",
        1,
        "top alone: kill_css() counts at once",
    )?;
    shown(
        "dying parts at once after",
        "nr_dying_subsys_pids",
        2,
        "those of both children, alive before",
    )?;
    // What nothing holds is gone by then.
    pause(Duration::from_millis(200));
    shown(
        "dying parts while the zombies are there",
        "nr_dying_subsys_pids",
        2,
        "each unreaped process holds one",
    )?;
    for mut zombie in zombies {
        zombie.wait()?;
    }
    let gone = wait_until(PATIENCE, || {
        top.key("cgroup.stat", "nr_dying_subsys_pids").is_ok_and(|it| it == 0)
    });
    lab.accounting("whether the dying parts were gone in the end")
        .covers([R053])
        .file("cgroup.stat")
        .happened(gone)
        .equals("yes", "nothing holds them");
    Ok(())
}

fn counts(group: &Group) -> Result<BTreeMap<String, u64>, Stop> {
    parse::flat_keyed(&group.get("cgroup.stat")?).map_err(|it| Stop::Broken(it.to_string()))
}

/// A process that has ended in `group` and is not reaped.
fn zombie(group: &Group) -> Result<Process, Stop> {
    let process = group.spawn(|| ())?;
    if process.ended_within(PATIENCE)? {
        return Ok(process);
    }
    Err(Stop::Broken("a process that does nothing did not end".to_owned()))
}
