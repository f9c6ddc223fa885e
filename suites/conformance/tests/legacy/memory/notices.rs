//! Thresholds on usage: an eventfd tells when one is crossed, upwards and
//! downwards (memory.rst, 9).

use cgauge_lab::eventfd::{CONTROL, Notifier};
use cgauge_lab::prelude::*;
use cgauge_lab::time::now;
use nix::libc;

use crate::support::*;

/// Thresholds are looked at once in so many pages that come or go
/// (mm/memcontrol.c, THRESHOLDS_EVENTS_TARGET).
const LOOK: u64 = 128;
/// Pages that come or go in a step.
const STEP: u64 = 16;
/// Long enough for a notification that was sent to be there.
const MOMENT: Duration = Duration::from_millis(5);

/// Skips the case where the kernel has no notifications.
fn needs_notices(lab: &Lab, group: &Group) -> Outcome {
    if group.has(CONTROL)? {
        return Ok(());
    }
    Err(lab.skip("this kernel has no cgroup.event_control (not with CONFIG_PREEMPT_RT)"))
}

/// A threshold tells once when usage crosses it upwards and once when it crosses it downwards, and is silent otherwise.
#[rstest]
#[case::of_memory(USAGE)]
#[case::of_memory_and_swap(BOTH_USAGE)]
fn threshold_tells_in_both_directions(lab: Lab, #[case] file: &str) -> Outcome {
    const PAGES: u64 = 2048;
    let root = lab.legacy("memory")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    needs_notices(&lab, &group)?;
    let stepper = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(PAGES * PAGE) else { return };
        // The tables first: one page in each 2 MiB.
        turns.step(|| (0..PAGES).step_by(512).map(|it| memory.write(it..it + 1, 1)).sum());
        for _ in 0..2 {
            for at in (0..PAGES).step_by(STEP as usize) {
                turns.step(|| memory.write(at..at + STEP, 1));
            }
            for at in (0..PAGES / STEP).rev().map(|it| it * STEP) {
                turns.step(|| {
                    u64::from(memory.advise_part(at..at + STEP, libc::MADV_DONTNEED).is_ok())
                });
            }
        }
    })?;
    stepper.next()?;
    let base = group.number(file)?;
    let levels = [base + 600 * PAGE, base + 1400 * PAGE];
    let notifiers = [
        Notifier::new(&group, file, &levels[0].to_string())?,
        Notifier::new(&group, file, &format!("{}K", levels[1] / 1024))?,
        Notifier::new(&neighbour, file, &levels[0].to_string())?,
    ];
    let slack = (LOOK + batch()?) * PAGE;
    let mut late = Vec::new();
    for round in ["first", "second"] {
        for direction in ["upwards", "downwards"] {
            // What each was told, and the usage when it was.
            let mut told = [(0, 0); 3];
            for _ in 0..PAGES / STEP {
                stepper.next()?;
                let stepped = now();
                let usage = group.number(file)?;
                for (notifier, told) in notifiers.iter().zip(&mut told) {
                    if let Some(notice) = notifier.next(Duration::ZERO)? {
                        told.0 += notice.count;
                        told.1 = usage;
                        late.push(notice.at - stepped);
                    }
                }
            }
            for (notifier, told) in notifiers.iter().zip(&mut told) {
                told.0 += notifier.count(MOMENT)?;
            }
            for (nth, level) in levels.iter().enumerate() {
                lab.notification(&format!(
                    "notifications of threshold {} while usage goes {direction} for the {round} time",
                    nth + 1
                ))
                .covers([R161])
                .file(file)
                .unit(Unit::Events)
                .observed(told[nth].0)
                .equals(1, "memory.rst, 9: notified \"when memory usage crosses threshold in any direction\"; it does so once");
                let (least, most) = match direction {
                    "upwards" => (*level, level + slack),
                    _ => (level - slack, level - 1),
                };
                lab.notification(&format!(
                    "usage when threshold {} told so {direction} for the {round} time",
                    nth + 1
                ))
                .covers([R161])
                .file(file)
                .unit(Unit::Bytes)
                .observed(told[nth].1)
                .between(least, most, "beyond the threshold, by no more than the 128 pages after which the kernel looks at it (THRESHOLDS_EVENTS_TARGET) and a batch");
            }
            lab.notification(&format!(
                "notifications of a neighbour's threshold ({round}, {direction})"
            ))
            .covers([R161])
            .file(file)
            .unit(Unit::Events)
            .observed(told[2].0)
            .equals(0, "nobody uses memory there");
        }
    }
    lab.latencies("from the step that was told of to the notification", &late);
    stepper.end()
}

/// What is no registration is refused, and one tells a last time when its group goes.
#[rstest]
fn registration_is_checked(lab: Lab) -> Outcome {
    let root = lab.legacy("memory")?;
    let group = root.make("group")?;
    needs_notices(&lab, &group)?;
    for (file, arguments, answer, why) in [
        (USAGE, "1M", "ok", "a size"),
        (USAGE, "many", "EINVAL", "no size"),
        ("memory.oom_control", "", "ok", "it takes no argument"),
        ("memory.pressure_level", "low", "ok", "a level"),
        ("memory.pressure_level", "critical,hierarchy", "ok", "a level and a mode"),
        ("memory.pressure_level", "high", "EINVAL", "no level"),
        ("memory.pressure_level", "low,sideways", "EINVAL", "no mode"),
        (MOST, "1M", "EINVAL", "a file that notifies of nothing"),
    ] {
        lab.interface(&format!("the answer to registering {arguments:?} for {file}, {why}"))
            .covers([R161, R162, R163])
            .file(CONTROL)
            .answered(&Notifier::register(&group, file, arguments)?)
            .equals(answer, "memory.rst, 9 to 11: \"<event_fd> <fd of the file> <argument>\"");
    }
    for refused in ["many", "99999 99999 1M"] {
        lab.interface(&format!("whether {refused:?} is accepted"))
            .covers([R161])
            .file(CONTROL)
            .observed(if group.try_set(CONTROL, refused).is_ok() { "yes" } else { "no" })
            .equals("no", "these are no descriptors");
    }
    let doomed = root.make("doomed")?;
    let notifier = Notifier::new(&doomed, USAGE, "1G")?;
    lab.notification("notifications before the group is removed")
        .covers([R161])
        .file(USAGE)
        .unit(Unit::Events)
        .observed(notifier.count(MOMENT)?)
        .equals(0, "nothing was crossed");
    doomed.try_remove().map_err(Stop::Refused)?;
    lab.notification("notifications once it is removed")
        .covers([R161])
        .file(USAGE)
        .unit(Unit::Events)
        .observed(notifier.count(Duration::from_millis(100))?)
        .equals(
            1,
            "mm/memcontrol.c, memcg_event_remove: user space is told that the event goes away",
        );
    Ok(())
}
