//! `memory.events` and `memory.events.local`: which group counts what, at three
//! levels and under both mount options, and who hears of it.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};

use crate::support::*;

const LIMIT: u64 = 4 * MIB;
/// Far above the 10 ms that the kernel may put off a notification
/// (kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV).
const PATIENCE: Duration = Duration::from_secs(1);
/// Long enough for one that was put off to arrive.
const SILENCE: Duration = Duration::from_millis(100);

/// Three groups, one below the other.
struct Line {
    top: Group,
    middle: Group,
    leaf: Group,
}

impl Line {
    fn new(lab: &Lab) -> Result<Self, Stop> {
        no_khugepaged()?;
        let top = lab.group("top")?;
        top.enable("memory")?;
        let middle = top.make("middle")?;
        middle.enable("memory")?;
        let leaf = middle.make("leaf")?;
        Ok(Self { top, middle, leaf })
    }

    fn groups(&self) -> [(&'static str, &Group); 3] {
        [("top", &self.top), ("middle", &self.middle), ("leaf", &self.leaf)]
    }

    fn named(&self, name: &str) -> &Group {
        self.groups().into_iter().find(|it| it.0 == name).map_or(&self.leaf, |it| it.1)
    }

    fn is_at_or_above(&self, name: &str, other: &str) -> bool {
        let place = |wanted| self.groups().iter().position(|it| it.0 == wanted);
        place(name) <= place(other)
    }
}

/// A process in `group` that wants four times the limit and is killed for it.
fn overrun(group: &Group) -> Outcome {
    let mut glutton = group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(4 * LIMIT) {
            memory.touch();
        }
    })?;
    glutton.wait().map(drop)
}

/// Known bugs 7 and 8: `oom` and `max` are counted where the limit is, `oom_kill` where the victim was, each also in all above; local counts stay where they are, and with `memory_localevents` all counts do.
#[rstest]
fn bug_7_8_events_are_counted_where_they_belong(
    lab: Lab,
    #[values("top", "middle", "leaf")] limited: &str,
    #[values("", "memory_localevents")] option: &str,
) -> Outcome {
    let remounted = lab.remount(option)?;
    lab.interface("the answer to a remount with the option")
        .covers([R101])
        .answered(&remounted)
        .equals("ok", "cgroup-v2.rst, Mounting, since 5.2");
    let line = Line::new(&lab)?;
    line.named(limited).set("memory.max", LIMIT)?;
    overrun(&line.leaf)?;
    for (name, group) in line.groups() {
        let (whole, local) =
            (events(group, "memory.events")?, events(group, "memory.events.local")?);
        for (key, here) in [("oom", limited), ("oom_kill", "leaf")] {
            let own = u64::from(name == here);
            let all =
                if option.is_empty() { u64::from(line.is_at_or_above(name, here)) } else { own };
            lab.accounting(&format!("{key} of {name}"))
                .covers([R101])
                .file("memory.events")
                .unit(Unit::Events)
                .observed(whole[key])
                .equals(all, "cgroup-v2.rst, memory.events: \"all fields in this file are hierarchical\", without memory_localevents; the limit was hit once and one process killed");
            lab.accounting(&format!("{key} of {name} as a local event"))
                .covers([R102])
                .file("memory.events.local")
                .unit(Unit::Events)
                .observed(local[key])
                .equals(own, "cgroup-v2.rst, memory.events.local: \"local to the cgroup i.e. not hierarchical\"; oom belongs to the limit, oom_kill to the victim's group");
        }
        let counts = |it: u64| if it > 0 { "some" } else { "none" };
        lab.accounting(&format!("max of {name} as a local event"))
            .covers([R102])
            .file("memory.events.local")
            .observed(counts(local["max"]))
            .equals(if name == limited { "some" } else { "none" }, "the boundary is that group's");
        lab.accounting(&format!("max of {name}"))
            .covers([R101])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(whole["max"])
            .equals(
                if option.is_empty() && line.is_at_or_above(name, limited) || name == limited {
                    events(line.named(limited), "memory.events.local")?["max"]
                } else {
                    0
                },
                "the local count of the group whose limit it is, in it and in all above it without memory_localevents",
            );
        for key in ["low", "high"] {
            lab.accounting(&format!("{key} of {name}"))
                .covers([R101])
                .file("memory.events")
                .unit(Unit::Events)
                .observed(whole[key])
                .equals(0, "no group has such a boundary");
        }
    }
    Ok(())
}

/// Each change of `memory.events` is told to who watches it: here and above for the whole, at the limit alone for the local one.
#[rstest]
fn watchers_hear_of_events_where_they_are_counted(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let line = Line::new(&lab)?;
    line.middle.set("memory.max", LIMIT)?;
    let mut watches = Vec::new();
    for (name, group) in line.groups() {
        for file in ["memory.events", "memory.events.local"] {
            watches.push((name, file, Watch::new(group, file, mechanism)?));
        }
    }
    overrun(&line.leaf)?;
    for (name, file, mut watch) in watches {
        // The limit is middle's, and the victim in leaf.
        let expected = file == "memory.events" || name != "top";
        let heard = watch.next(if expected { PATIENCE } else { SILENCE })?;
        lab.notification(&format!("whether a watcher of {name} hears of the kill"))
            .covers([R102, R104])
            .file(file)
            .happened(heard.map(|it| it.at))
            .equals(
                if expected { "yes" } else { "no" },
                "cgroup-v2.rst, memory.events: \"a value change in this file generates a file modified event\"; memory.events.local: \"reflects only the local events\"",
            );
        // What was put off or came in parts is heard here and not below.
        while watch.next(SILENCE)?.is_some() {}
        lab.notification(&format!("whether a watcher of {name} hears of anything after that"))
            .covers([R104])
            .file(file)
            .happened(watch.next(SILENCE)?.map(|it| it.at))
            .equals("no", "nothing has changed");
    }
    Ok(())
}

/// Every single OOM kill is heard of, not only the first.
#[rstest]
fn every_kill_is_heard_of(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    no_khugepaged()?;
    let group = lab.group("group")?;
    group.set("memory.max", LIMIT)?;
    let mut watch = Watch::new(&group, "memory.events", mechanism)?;
    let mut latencies = Vec::new();
    for count in 1..=4 {
        // Past the time in which the kernel puts notifications off.
        pause(SILENCE);
        overrun(&group)?;
        let ended = now();
        let heard = watch.until(&format!("oom_kill {count}"), PATIENCE)?;
        lab.notification(&format!("whether kill {count} is heard of"))
            .covers([R104])
            .file("memory.events")
            .happened(heard.as_ref().map(|it| it.0.at))
            .equals("yes", "cgroup-v2.rst, memory.events: \"a value change in this file generates a file modified event\"");
        latencies.extend(heard.map(|it| it.0.at.saturating_sub(ended)));
        while watch.next(SILENCE)?.is_some() {}
    }
    lab.latencies("memory.events notification after the end of the killed process", &latencies);
    Ok(())
}

/// `high` and `low` are counted and told of in the group whose boundary it is and in all above it.
#[rstest]
fn high_is_counted_and_told_where_the_boundary_is(lab: Lab) -> Outcome {
    let line = Line::new(&lab)?;
    let mut watches = Vec::new();
    for (name, group) in line.groups() {
        for file in ["memory.events", "memory.events.local"] {
            watches.push((name, file, Watch::new(group, file, Mechanism::Poll)?));
        }
    }
    line.middle.set("memory.high", 4 * LIMIT)?;
    let reader = Stepper::start(&line.leaf, |turns| {
        let Ok(file) = device() else { return };
        turns.step(|| read_pages(&file, 0..8 * LIMIT / PAGE));
        turns.step(|| 0);
    })?;
    reader.next()?;
    let local = line.middle.key("memory.events.local", "high")?;
    for (name, group) in line.groups() {
        lab.accounting(&format!("high of {name}"))
            .covers([R101])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(group.key("memory.events", "high")?)
            .equals(
                if name == "leaf" { 0 } else { local },
                "the boundary is middle's, and it counts in all above",
            );
        lab.accounting(&format!("high of {name} as a local event"))
            .covers([R102])
            .file("memory.events.local")
            .observed(if group.key("memory.events.local", "high")? > 0 { "some" } else { "none" })
            .equals(if name == "middle" { "some" } else { "none" }, "the boundary is middle's");
    }
    for (name, file, mut watch) in watches {
        let expected = name == "middle" || name == "top" && file == "memory.events";
        let heard = watch.next(if expected { PATIENCE } else { SILENCE })?;
        lab.notification(&format!("whether a watcher of {name} hears of high"))
            .covers([R102, R104])
            .file(file)
            .happened(heard.map(|it| it.at))
            .equals(
                if expected { "yes" } else { "no" },
                "cgroup-v2.rst, memory.events and memory.events.local: who counts it tells of it",
            );
    }
    Ok(())
}
