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

    group.spawn(|| read_pages(READ / 4))?.finish()?;
    counts("while there is room", [(0, 0); 4], "there is no limit, and nothing is reclaimed")?;
    group.set(LIMIT, ROOM * PAGE)?;
    group.spawn(|| read_pages(READ))?.finish()?;
    // Some pages of the cache were there before.
    let windows = (READ - ROOM) / WINDOW;
    counts(
        "while clean cache is pushed out",
        [(windows / 2, windows), (0, 0), (0, 0), (0, 0)],
        "memory.rst, 11: low means that \"the system is reclaiming memory for new allocations\"; a level is told for each 512 pages (vmpressure_win), which all could go, and a worker may take two together",
    )?;
    let mut greedy = group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(2 * ROOM * PAGE) {
            memory.touch();
        }
    })?;
    greedy.wait()?;
    counts(
        "when a process is killed for want of memory",
        [(1, 2 * windows), (1, windows), (1, windows), (0, 0)],
        "memory.rst, 11: critical means that the system \"is about to out of memory (OOM) or even the in-kernel OOM killer is on its way\", and who waits for a level is told of those above",
    )
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
    bottom.set(LIMIT, 1024 * PAGE)?;
    bottom.spawn(|| read_pages(4096))?.finish()?;
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
