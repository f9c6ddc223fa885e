//! Causes closer than 10 ms: the rate limit of `cgroup.events` and its kin, apart
//! from the latency itself.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};

use crate::causes::{Cached, Cause, Freezing, QUIET, RefusedFork, chain};
use crate::watchers::{Watchers, held_back};

/// How far one cause is from the next, besides what it takes itself.
const APART: Duration = Duration::from_millis(2);
/// How many there are; even, so that the last thaws.
const CAUSES: usize = 24;

/// Pages that one hit of the limit makes room for (mm/vmscan.c, SWAP_CLUSTER_MAX).
const RECLAIMED: u64 = 32;

/// However close the causes are, refused forks, freezes and hits of a limit are told no sooner than 10 ms after one another, and the last is not lost.
#[rstest]
fn close_causes_are_told_10_ms_apart_and_the_last_is_told(
    lab: Lab,
    #[values("pids.events", "cgroup.events", "memory.events")] file: &str,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let mut cause: Box<dyn Cause> = match file {
        "pids.events" => Box::new(RefusedFork::new(chain(&lab, 1, "")?, "pids.events")?),
        "cgroup.events" => Box::new(Freezing::new(chain(&lab, 1, "")?)?),
        _ => Box::new(Cached::new(&lab, chain(&lab, 1, "")?, "memory.events", RECLAIMED)?),
    };
    let (_, key) = cause.place();
    let watching = Watchers::of_file(&lab, 1, cause.watched(), (file, key), mechanism)?;
    pause(QUIET);
    let began = now();
    let mut causes = Vec::new();
    for _ in 0..CAUSES {
        causes.push(cause.happen()?.at);
        pause(APART);
    }
    // The furthest that one is from the next.
    let apart = causes.windows(2).map(|it| it[1] - it[0]).max().unwrap_or_default();
    let ended = now();
    let in_the_end = cause.watched().key(file, key)?;
    let mut reports = watching.reports()?;
    // What was still held back when the causes began is none of theirs.
    reports.iter_mut().for_each(|it| it.notices.retain(|it| it.at >= began));
    let held = held_back()?;
    let gaps: Vec<Duration> = reports
        .iter()
        .flat_map(|it| it.notices.windows(2).map(|it| it[1].at.saturating_sub(it[0].at)))
        .collect();
    lab.latencies(
        &format!("from one notification to the next, causes close together: {file}"),
        &gaps,
    );
    lab.notification("shortest time between two notifications")
        .covers([R031, R054, R104, R137])
        .file(file)
        .took(gaps.iter().min().copied().unwrap_or_default())
        .at_least(
            10_000_000,
            "kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV: not more than 100 a second",
        );
    lab.notification("longest time between two notifications")
        .covers([R031, R054, R104, R137])
        .file(file)
        .took(gaps.iter().max().copied().unwrap_or(Duration::from_secs(60)))
        .at_most(
            nanoseconds(held + apart),
            "CGROUP_FILE_NOTIFY_MIN_INTV is DIV_ROUND_UP(HZ, 100) ticks, with the tick that has begun and one of the timer; and the longest time between two causes, by the clock of who causes them",
        );
    let count: usize = reports.iter().map(|it| it.notices.len()).sum();
    let (least, most) = (
        (ended - began).as_nanos() / (held + apart).as_nanos(),
        (ended - began).as_millis() / 10 + 2,
    );
    lab.notification("notifications of all causes together")
        .covers([R031, R054, R104, R137])
        .file(file)
        .unit(Unit::Events)
        .observed(count)
        .between(
            u64::try_from(least).unwrap_or_default(),
            u64::try_from(most).unwrap_or_default(),
            "the time of the causes, over the longest and the shortest time between two, with one at the begin and one after the end",
        );
    let lasts: Vec<_> = reports.iter().filter_map(|it| it.notices.last()).collect();
    lab.notification("watchers whose last notification told of the state in the end")
        .covers([R031, R054, R104, R137])
        .file(file)
        .unit(Unit::Events)
        .observed(lasts.iter().filter(|it| it.value == Some(in_the_end)).count())
        .equals(
            1,
            "cgroup_file_notify(): one that comes too soon is put off to a timer, not dropped",
        );
    let late = lasts.iter().map(|it| it.at.saturating_sub(began)).max();
    lab.notification("time from the first cause to the last notification")
        .covers([R031, R054, R104, R137])
        .file(file)
        .took(late.unwrap_or(Duration::from_secs(60)))
        .between(
            nanoseconds(causes.last().copied().unwrap_or_default().saturating_sub(began)),
            nanoseconds(ended - began + held),
            "no sooner than the last cause begins, and no later than the rate limit holds it back once it has ended",
        );
    lab.value(
        &format!("notifications for each cause, causes close together: {file}"),
        Unit::Ratio,
        (gaps.len() + 1) as f64 / CAUSES as f64,
        Neither,
    );
    Ok(())
}
