//! `pressure_level`: an eventfd tells of how hard it is to find memory, at its
//! level and above, in its group or on the way up (memory.rst, 11).

use cgauge_lab::eventfd::{CONTROL, Notifier};
use cgauge_lab::prelude::*;

use crate::support::*;

const FILE: &str = "memory.pressure_level";
/// Pages that are looked at before a level is told (mm/vmpressure.c, vmpressure_win).
const WINDOW: u64 = 512;
/// Long enough for the worker that tells to have run.
const MOMENT: Duration = Duration::from_millis(50);

/// Skips the case where the kernel has no notifications.
fn needs_notices(lab: &Lab, group: &Group) -> Outcome {
    if group.has(CONTROL)? {
        return Ok(());
    }
    Err(lab.skip("this kernel has no cgroup.event_control (not with CONFIG_PREEMPT_RT)"))
}

/// Cache that is pushed out easily is low pressure, a group without anything to reclaim is critical, and each listener is told of its level and those above.
#[rstest]
fn listener_is_told_of_its_level_and_above(lab: Lab) -> Outcome {
    const READ: u64 = 8192;
    const ROOM: u64 = 2048;
    let root = lab.legacy("memory")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    needs_notices(&lab, &group)?;
    let listeners = ["low", "medium", "critical"].map(|it| Notifier::new(&group, FILE, it));
    let [low, medium, critical] = listeners;
    let (low, medium, critical) = (low?, medium?, critical?);
    let beside = Notifier::new(&neighbour, FILE, "low")?;
    let counts = |what: &str, expected: [(u64, u64); 4], why: &str| -> Outcome {
        for ((name, listener), (least, most)) in [
            ("low", &low),
            ("medium", &medium),
            ("critical", &critical),
            ("a neighbour's low", &beside),
        ]
        .into_iter()
        .zip(expected)
        {
            lab.notification(&format!("notifications of {name} {what}"))
                .covers([R163])
                .file(FILE)
                .unit(Unit::Events)
                .observed(listener.count(MOMENT)?)
                .between(least, most, why);
        }
        Ok(())
    };

    let _open = device()?;
    group.spawn(|| read_pages(0..ROOM))?.finish()?;
    counts("while there is room", [(0, 0); 4], "there is no limit, and nothing is reclaimed")?;
    group.set(LIMIT, ROOM * PAGE)?;
    group.spawn(|| read_pages(ROOM..ROOM + READ))?.finish()?;
    let windows = READ / WINDOW;
    counts(
        "while clean cache is pushed out",
        [(windows / 2, windows + 1), (0, 0), (0, 0), (0, 0)],
        "memory.rst, 11: low means that \"the system is reclaiming memory for new allocations\"; a level is told for each 512 pages (vmpressure_win), and each page read pushes one out; the worker that tells may take two windows together",
    )?;
    let mut greedy = group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(2 * ROOM * PAGE) {
            memory.touch();
        }
    })?;
    greedy.wait()?;
    let told = [low.count(MOMENT)?, medium.count(MOMENT)?, critical.count(MOMENT)?];
    let most = [u64::MAX, told[0], told[1]];
    for ((name, told), most) in ["low", "medium", "critical"].into_iter().zip(told).zip(most) {
        lab.notification(&format!("notifications of {name} when a process is killed for want of memory"))
            .covers([R163])
            .file(FILE)
            .unit(Unit::Events)
            .observed(told)
            .between(1, most, "memory.rst, 11: critical means that the system \"is about to out of memory (OOM) or even the in-kernel OOM killer is on its way\", and who listens is told of \"the specific level (or higher)\", never less often than who listens for the next");
    }
    Ok(())
}

/// Reclaim that finds little but what is in use is medium pressure at times and critical at others: who listens for low is told more often than who listens for medium, and he more often than who listens for critical.
#[rstest]
fn reclaim_that_finds_little_is_medium(lab: Lab) -> Outcome {
    const ROOM: u64 = 2048;
    const HOT: u64 = 1433;
    const COLD: u64 = 2048;
    let group = lab.legacy("memory")?.make("group")?;
    needs_notices(&lab, &group)?;
    let _swap = lab.swap(32 * MIB)?;
    let listeners = ["low", "medium", "critical"].map(|it| Notifier::new(&group, FILE, it));
    let [low, medium, critical] = listeners;
    let (low, medium, critical) = (low?, medium?, critical?);
    group.set(LIMIT, ROOM * PAGE)?;
    let process = group.spawn(|| {
        let (Ok(hot), Ok(cold)) = (Memory::anonymous(HOT * PAGE), Memory::anonymous(COLD * PAGE))
        else {
            return 0;
        };
        let mut touched = hot.touch();
        for at in (0..COLD).step_by(32) {
            touched += cold.write(at..at + 32, 1);
            touched += hot.touch();
        }
        touched
    })?;
    let touched = process.finish()?;
    let told = [low.count(MOMENT)?, medium.count(MOMENT)?, critical.count(MOMENT)?];
    lab.notification("notifications of low")
        .covers([R163])
        .file(FILE)
        .unit(Unit::Events)
        .observed(told[0])
        .between(
            COLD / WINDOW,
            touched / WINDOW,
            "each page that is touched once pushes one out, and a level is told for each 512 that are looked at (vmpressure_win); none is looked at more often than it is touched",
        );
    for (name, other, often, seldom) in
        [("low", "medium", told[0], told[1]), ("medium", "critical", told[1], told[2])]
    {
        lab.notification(&format!("notifications of {name} that {other} was not told of"))
            .covers([R163])
            .file(FILE)
            .unit(Unit::Events)
            .observed(often.saturating_sub(seldom))
            .between(
                1,
                told[0].saturating_sub(told[2]),
                "mm/vmpressure.c: low below 60, medium from 60 and critical from 95 of 100 pages that were looked at and stay: seven tenths of the group are touched again and again; memory.rst, 11: told \"at the specific level (or higher)\"",
            );
    }
    Ok(())
}

/// Pressure is told to the nearest listener on the way up, with `hierarchy` to each on it, and with `local` only where it is felt.
#[rstest]
#[case::nearest(["low", "low", "low"], [0, 0, 1])]
#[case::nearest_of_two(["low", "low", ""], [0, 1, 0])]
#[case::only_one_at_the_top(["low", "", ""], [1, 0, 0])]
#[case::named_default(["low,default", "low,default", ""], [0, 1, 0])]
#[case::each_on_the_way(["low,hierarchy", "low,hierarchy", "low,hierarchy"], [1, 1, 1])]
#[case::each_beside_the_nearest(["low,hierarchy", "low", "low"], [1, 0, 1])]
#[case::where_it_is_felt(["low,local", "low,local", "low,local"], [0, 0, 1])]
#[case::not_where_it_is_not(["low", "low,local", ""], [1, 0, 0])]
fn mode_says_who_is_told(lab: Lab, #[case] modes: [&str; 3], #[case] told: [u64; 3]) -> Outcome {
    let top = hierarchical(lab.legacy("memory")?, "top")?;
    needs_notices(&lab, &top)?;
    let middle = top.make("middle")?;
    let bottom = middle.make("bottom")?;
    let groups = [("top", &top), ("middle", &middle), ("bottom", &bottom)];
    let mut listeners = Vec::new();
    for ((name, group), mode) in groups.into_iter().zip(modes) {
        if !mode.is_empty() {
            listeners.push((name, mode, Notifier::new(group, FILE, mode)?));
        }
    }
    let _open = device()?;
    bottom.set(LIMIT, 1024 * PAGE)?;
    bottom.spawn(|| read_pages(0..4096))?.finish()?;
    for (name, mode, listener) in &listeners {
        let nth = groups.iter().position(|(it, _)| it == name).unwrap_or(0);
        lab.notification(&format!("whether {name}, which listens for {mode:?}, is told of pressure in bottom"))
            .covers([R163])
            .file(FILE)
            .unit(Unit::Count)
            .observed(u64::from(listener.count(MOMENT)? > 0))
            .equals(told[nth], "memory.rst, 11: events are \"propagated upward until the event is handled\"; with hierarchy they \"always propagate up to the root\"; local ones are \"only\" for pressure in that group");
    }
    Ok(())
}
