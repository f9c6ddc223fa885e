//! `oom_control`: a task that wants more than there is waits or is killed, and
//! an eventfd tells of it (memory.rst, 10).

use cgauge_lab::eventfd::{CONTROL, Notifier};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};

use crate::support::*;

const FILE: &str = "memory.oom_control";
/// Long enough for a notification that was sent to be there.
const MOMENT: Duration = Duration::from_millis(50);
const MADE_UP: &str =
    "it observes that the kernel's own counter stays at 0, and no lie makes a notification up";

/// With the killer off, a task that finds the limit full waits, the group says so, and it goes on once there is room.
#[rstest]
#[case::a_higher_limit("limit")]
#[case::the_end_of_another("end")]
#[case::the_move_of_another("move")]
fn task_waits_until_there_is_room(lab: Lab, #[case] room: &str) -> Outcome {
    let root = lab.legacy("memory")?;
    let (group, elsewhere) = (root.make("group")?, root.make("elsewhere")?);
    group.set(FILE, 1)?;
    elsewhere.set("memory.move_charge_at_immigrate", 1)?;
    let holder = Stepper::holding(&group, 1024)?;
    group.set(LIMIT, 8 * MIB)?;
    let notifier = match group.has(CONTROL)? {
        true => Some(Notifier::new(&group, FILE, "")?),
        false => None,
    };
    let mut waiter = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(6 * MIB) else { return };
        turns.step(|| memory.touch());
    })?;
    lab.interface("whether the group is out of memory before it is")
        .covers([R162])
        .file(FILE)
        .unit(Unit::Count)
        .observed(group.key(FILE, "under_oom")?)
        .equals(0, "half of the limit is free");
    waiter.turns().begin()?;
    let done = waiter.turns().ended_within(300)?;
    lab.enforcement("whether a task that wants 6 MiB of the 4 left got them in 0.3 s")
        .covers([R162])
        .file(FILE)
        .observed(if done.is_some() { "yes" } else { "no" })
        .equals("no", "memory.rst, 10: \"If OOM-killer is disabled, tasks under cgroup will hang/sleep in memory cgroup's OOM-waitqueue\"");
    lab.enforcement("whether it was killed")
        .covers([R162])
        .file(FILE)
        .observed(if waiter.process().ended_within(Duration::ZERO)? { "yes" } else { "no" })
        .equals("no", "the killer is off");
    for (key, expected, why) in [
        ("oom_kill_disable", 1, "it was written"),
        (
            "under_oom",
            1,
            "memory.rst, 10: \"if 1, the memory cgroup is under OOM, tasks may be stopped\"",
        ),
        ("oom_kill", 0, "nobody was killed"),
    ] {
        lab.accounting(&format!("{key} while it waits"))
            .covers([R162])
            .file(FILE)
            .unit(Unit::Count)
            .observed(group.key(FILE, key)?)
            .equals(expected, why);
    }
    lab.enforcement("usage while it waits")
        .covers([R162, R159])
        .file(USAGE)
        .unit(Unit::Bytes)
        .observed(group.number(USAGE)?)
        .between(8 * MIB - batch()? * PAGE, 8 * MIB, "the limit is full");
    if let Some(notifier) = &notifier {
        lab.notification("notifications by then")
            .covers([R162])
            .file(FILE)
            .unit(Unit::Events)
            .observed(notifier.count(MOMENT)?)
            .equals(
                1,
                "memory.rst, 10: \"notified through eventfd when OOM happens\": it happened once",
            );
        let second = Notifier::new(&group, FILE, "")?;
        lab.notification("notifications of one that registers while it lasts")
            .covers([R162])
            .file(FILE)
            .unit(Unit::Events)
            .observed(second.count(MOMENT)?)
            .equals(
                1,
                "mm/memcontrol.c, mem_cgroup_oom_register_event: who comes late is told at once",
            );
    }
    let began = now();
    match room {
        "limit" => group.set(LIMIT, 16 * MIB)?,
        "move" => elsewhere.admit(holder.pid())?,
        _ => {}
    }
    let holder = if room == "end" {
        holder.end()?;
        None
    } else {
        Some(holder)
    };
    let got = waiter.turns().ended_within(1000)?;
    let took = now() - began;
    lab.enforcement("pages that it got once there was room")
        .covers([R162])
        .file(FILE)
        .unit(Unit::Pages)
        .observed(got.unwrap_or(0))
        .equals(6 * MIB / PAGE, "memory.rst, 10: with the limit enlarged or usage reduced, \"stopped tasks will work again\"");
    lab.value("from making room to all of its pages", Unit::Nanoseconds, nanoseconds(took), Lower);
    for (key, expected) in [("under_oom", 0), ("oom_kill", 0)] {
        lab.accounting(&format!("{key} after it"))
            .covers([R162])
            .file(FILE)
            .unit(Unit::Count)
            .observed(group.key(FILE, key)?)
            .equals(expected, "there is room, and nobody was killed");
    }
    if let Some(notifier) = &notifier {
        lab.notification("notifications after it")
            .covers([R162])
            .file(FILE)
            .unit(Unit::Events)
            .beyond_lies(MADE_UP)
            .observed(notifier.count(MOMENT)?)
            .equals(0, "it did not happen again");
    }
    drop(holder);
    waiter.end()
}

/// The eventfd tells of each kill once, in the group whose limit it was and in those below it (after the rework of 4.19 it told of none: containerd/cgroups #74).
#[rstest]
#[case::by_its_own_limit("group")]
#[case::by_its_parents_limit("parent")]
fn bug_9_each_kill_is_told_once(lab: Lab, #[case] limited: &str) -> Outcome {
    const KILLS: u64 = 3;
    let root = lab.legacy("memory")?;
    let parent = hierarchical(root, "parent")?;
    let (group, neighbour) = (parent.make("group")?, root.make("neighbour")?);
    if !group.has(CONTROL)? {
        return Err(
            lab.skip("this kernel has no cgroup.event_control (not with CONFIG_PREEMPT_RT)")
        );
    }
    let bounded = if limited == "group" { &group } else { &parent };
    bounded.set(LIMIT, 4 * MIB)?;
    let notifiers = [&group, &parent, &neighbour].map(|it| Notifier::new(it, FILE, ""));
    let [of_group, of_parent, of_neighbour] = notifiers;
    let (of_group, of_parent, of_neighbour) = (of_group?, of_parent?, of_neighbour?);
    let mut told_within = Vec::new();
    for kill in 1..=KILLS {
        let mut greedy = group.spawn(|| {
            if let Ok(memory) = Memory::anonymous(8 * MIB) {
                memory.touch();
            }
        })?;
        let exit = greedy.wait()?;
        let ended = now();
        lab.enforcement(&format!("the end of process {kill} that wants twice the limit"))
            .covers([R162])
            .file(FILE)
            .observed(format!("{exit:?}"))
            .equals("Signal(SIGKILL)", "the killer is on");
        for (name, notifier, expected, why) in [
            (
                "the group",
                &of_group,
                1,
                "its process could get nothing more: memory.rst, 10: \"notified through eventfd when OOM happens\"",
            ),
            (
                "its parent",
                &of_parent,
                u64::from(limited == "parent"),
                "mem_cgroup_oom_notify() tells where the limit is, and below",
            ),
            ("a neighbour", &of_neighbour, 0, "it has nothing to do with it"),
        ] {
            let mut count = 0;
            if let Some(notice) = notifier.next(MOMENT)? {
                told_within.push(notice.at.saturating_sub(ended));
                count = notice.count + notifier.count(MOMENT)?;
            }
            lab.notification(&format!("notifications of {name} of kill {kill}"))
                .covers([R162])
                .file(FILE)
                .unit(Unit::Events)
                .beyond_lies(if expected == 0 { MADE_UP } else { "" })
                .observed(count)
                .equals(expected, why);
        }
        for (name, counted, expected) in [
            ("the group", &group, kill),
            ("its parent", &parent, 0),
            ("a neighbour", &neighbour, 0),
        ] {
            lab.accounting(&format!("kills counted in {name} after kill {kill}"))
                .covers([R162])
                .file(FILE)
                .unit(Unit::Events)
                .observed(counted.key(FILE, "oom_kill")?)
                .equals(expected, "memory.rst, 10: \"The number of processes belonging to this cgroup killed by any kind of OOM killer\"");
        }
        lab.accounting(&format!("under_oom after kill {kill}"))
            .covers([R162])
            .file(FILE)
            .unit(Unit::Count)
            .observed(bounded.key(FILE, "under_oom")?)
            .equals(0, "with the process its memory is gone");
    }
    lab.latencies("from the process's end to the notification", &told_within);
    Ok(())
}

/// `oom_control` takes 0 and 1, which switch the killer on and off, and nothing else; the root takes neither.
#[rstest]
fn killer_is_switched(lab: Lab) -> Outcome {
    let root = lab.legacy("memory")?;
    let group = root.make("group")?;
    lab.interface("the file of a new group")
        .covers([R162])
        .file(FILE)
        .observed(group.get(FILE)?)
        .equals(
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
            "memory.rst, 10: three keys; the killer is on, and nobody was killed",
        );
    for (written, answer, shown) in [
        ("1", "ok", 1),
        ("2", "EINVAL", 1),
        ("-1", "EINVAL", 1),
        ("off", "EINVAL", 1),
        ("0", "ok", 0),
    ] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R162])
            .file(FILE)
            .answered(&group.try_set(FILE, written))
            .equals(answer, "mem_cgroup_oom_control_write(): 0 and 1 alone");
        lab.interface(&format!("oom_kill_disable after {written:?}"))
            .covers([R162])
            .file(FILE)
            .unit(Unit::Count)
            .observed(group.key(FILE, "oom_kill_disable")?)
            .equals(shown, "what was accepted holds");
    }
    lab.interface("the answer to 1 on the root")
        .covers([R162])
        .file(FILE)
        .answered(&whole(root)?.write(FILE, "1"))
        .equals("EINVAL", "mem_cgroup_oom_control_write(): \"cannot set to root\"");
    group.set(FILE, 1)?;
    lab.interface("oom_kill_disable of a child of one that has it off")
        .covers([R162])
        .file(FILE)
        .unit(Unit::Count)
        .observed(group.make("child")?.key(FILE, "oom_kill_disable")?)
        .equals(1, "mem_cgroup_css_alloc(): a child begins as its parent");
    Ok(())
}
