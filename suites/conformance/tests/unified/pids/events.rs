//! `pids.events` and `pids.events.local`: which group counts a refused fork, and
//! who hears of it.
//!
//! Up to 6.10 the group that forked counted it; from 6.11 on the group whose
//! limit it was, which came together with `pids.events.local`. The mount option
//! `pids_localevents` brings the old meaning back.

use cgauge_lab::prelude::*;

/// Far above the 10 ms that the kernel may put off a notification
/// (kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV).
const PATIENCE: Duration = Duration::from_secs(1);
/// Long enough for one that was put off to arrive.
const SILENCE: Duration = Duration::from_millis(100);
/// Forks that each case has refused.
const REFUSED: u64 = 3;

/// Known bug 12: `pids.events` counts refused forks in the group whose limit it was and in all above it.
#[rstest]
fn bug_12_refused_fork_is_counted_where_the_limit_is(
    lab: Lab,
    #[values("top", "middle", "leaf")] limited: &str,
) -> Outcome {
    let line = Line::new(&lab)?;
    let by_limit = line.leaf.has("pids.events.local")?;
    let _held = line.refuse_in_leaf(&lab, limited)?;
    for (name, group) in line.groups() {
        let counts = if by_limit { line.is_at_or_above(name, limited) } else { name == "leaf" };
        let expected = if counts { REFUSED } else { 0 };
        let reason = if by_limit {
            "cgroup-v2.rst, pids.events max: times \"the cgroup's total number of processes hit the pids.max limit\", here or below"
        } else {
            "a kernel without pids.events.local (before 6.11) counts in the group that forked (kernel/cgroup/pids.c, pids_can_fork)"
        };
        lab.accounting(&format!("refusals that {name} counts"))
            .covers([R137])
            .file("pids.events")
            .unit(Unit::Events)
            .observed(group.key("pids.events", "max")?)
            .equals(expected, reason);
    }
    Ok(())
}

/// `pids.events.local` counts refused forks in the group whose limit it was, and nowhere else.
#[rstest]
fn local_events_count_the_own_limit_alone(
    lab: Lab,
    #[values("top", "middle", "leaf")] limited: &str,
) -> Outcome {
    lab.needs_file("pids.events.local", "since 6.11")?;
    let line = Line::new(&lab)?;
    let _held = line.refuse_in_leaf(&lab, limited)?;
    for (name, group) in line.groups() {
        lab.accounting(&format!("refusals that {name} counts as its own"))
            .covers([R138])
            .file("pids.events.local")
            .unit(Unit::Events)
            .observed(group.key("pids.events.local", "max")?)
            .equals(
                if name == limited { REFUSED } else { 0 },
                "cgroup-v2.rst, pids.events.local: \"local to the cgroup i.e. not hierarchical\"",
            );
    }
    Ok(())
}

/// Under `pids_localevents` the group that forked counts, as it did before 6.11, whosever limit it was.
#[rstest]
fn old_meaning_comes_back_with_the_mount_option(
    lab: Lab,
    #[values("top", "leaf")] limited: &str,
) -> Outcome {
    lab.needs_file(
        "pids.events.local",
        "since 6.11, and the mount option pids_localevents with it",
    )?;
    let remounted = lab.remount("pids_localevents")?;
    lab.interface("the answer to a remount with pids_localevents")
        .covers([R137])
        .answered(&remounted)
        .equals("ok", "cgroup-v2.rst, Mounting, lists the option");
    let line = Line::new(&lab)?;
    let _held = line.refuse_in_leaf(&lab, limited)?;
    for (name, group) in line.groups() {
        for file in ["pids.events", "pids.events.local"] {
            lab.accounting(&format!("refusals that {name} counts under the option"))
                .covers([R137, R138])
                .file(file)
                .unit(Unit::Events)
                .observed(group.key(file, "max")?)
                .equals(
                    if name == "leaf" { REFUSED } else { 0 },
                    "cgroup-v2.rst, pids_localevents: \"only local (inside cgroup proper) fork failures are counted\"",
                );
        }
    }
    drop(remounted);

    for (name, group) in line.groups() {
        lab.accounting(&format!("refusals that {name} counts without the option again"))
            .covers([R137])
            .file("pids.events")
            .unit(Unit::Events)
            .observed(group.key("pids.events", "max")?)
            .equals(0, "the two meanings have counters of their own, and the limit was hit under the option alone");
    }
    Ok(())
}

/// A watcher of `pids.events` hears of a refused fork, where the fork is counted.
#[rstest]
fn watcher_hears_of_a_refused_fork(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let group = lab.group("group")?;
    group.set("pids.max", 0)?;
    let mut watch = Watch::new(&group, "pids.events", mechanism)?;
    let mut latencies = Vec::new();
    for count in 1..=5 {
        // Past the time in which the kernel puts notifications off.
        cgauge_lab::time::pause(SILENCE);
        let began = cgauge_lab::time::now();
        drop(group.try_spawn(|| ())?);
        let heard = watch.until(&format!("max {count}"), PATIENCE)?;
        lab.notification(&format!("whether refusal {count} is heard of"))
            .covers([R137])
            .file("pids.events")
            .happened(heard.as_ref().map(|(wake, _)| wake.at - began))
            .equals("yes", "cgroup-v2.rst, pids.events: \"a value change in this file generates a file modified event\"");
        latencies.extend(heard.map(|(wake, _)| wake.at - began));
    }
    lab.notification("notifications without a refusal")
        .covers([R137])
        .file("pids.events")
        .happened(watch.next(SILENCE)?.map(|it| it.at))
        .equals("no", "nothing has changed");
    lab.latencies("pids.events notification", &latencies);
    Ok(())
}

/// A watcher of `pids.events.local` hears of the group's own limit and not of one below it or above.
#[rstest]
fn local_watcher_hears_of_the_own_limit_alone(
    lab: Lab,
    #[values("top", "middle", "leaf")] limited: &str,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    lab.needs_file("pids.events.local", "since 6.11")?;
    let line = Line::new(&lab)?;
    let mut watches = Vec::new();
    for (name, group) in line.groups() {
        for file in ["pids.events", "pids.events.local"] {
            watches.push((name, file, Watch::new(group, file, mechanism)?));
        }
    }
    let _held = line.refuse_in_leaf(&lab, limited)?;
    for (name, file, mut watch) in watches {
        let expected = match file {
            "pids.events.local" => name == limited,
            _ => line.is_at_or_above(name, limited),
        };
        let heard = watch.next(if expected { PATIENCE } else { SILENCE })?;
        lab.notification(&format!("whether a watcher of {name} hears of it"))
            .covers([R137, R138])
            .file(file)
            .happened(heard.map(|it| it.at))
            .equals(
                if expected { "yes" } else { "no" },
                "cgroup-v2.rst, pids.events.local: \"the file modified event generated on this file reflects only the local events\"",
            );
    }
    Ok(())
}

/// Three groups, one below the other.
struct Line {
    top: Group,
    middle: Group,
    leaf: Group,
}

impl Line {
    fn new(lab: &Lab) -> Result<Self, Stop> {
        let top = lab.group("top")?;
        top.enable("pids")?;
        let middle = top.make("middle")?;
        middle.enable("pids")?;
        let leaf = middle.make("leaf")?;
        Ok(Self { top, middle, leaf })
    }

    fn groups(&self) -> [(&'static str, &Group); 3] {
        [("top", &self.top), ("middle", &self.middle), ("leaf", &self.leaf)]
    }

    fn is_at_or_above(&self, name: &str, limited: &str) -> bool {
        let place = |wanted| self.groups().iter().position(|(name, _)| *name == wanted);
        place(name) <= place(limited)
    }

    /// Lets `limited` have one process, which is in the leaf, and has it refuse
    /// more there.
    fn refuse_in_leaf(&self, lab: &Lab, limited: &str) -> Result<Process, Stop> {
        for (name, group) in self.groups() {
            group.set("pids.max", if name == limited { "1" } else { "max" })?;
        }
        let held = self.leaf.sleeper()?;
        for _ in 0..REFUSED {
            lab.enforcement(&format!(
                "the answer to a clone into the leaf, with {limited} at its limit"
            ))
            .covers([R132])
            .file("pids.max")
            .answered(&self.leaf.try_spawn(|| ())?)
            .equals("EAGAIN", "one process is there, and one is allowed");
        }
        Ok(held)
    }
}
