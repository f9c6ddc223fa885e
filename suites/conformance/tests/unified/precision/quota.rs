//! `cpu.max`: what is used of it in each period and over time, and how long each of
//! many threads stalls once it is used up.

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_workloads::Millis;

use crate::{PATIENCE, burner, burnt, ratio, soon};

/// What a CPU takes of a group's quota at once and may keep for the next period
/// (sched-bwc.rst, sched_cfs_bandwidth_slice_us), in microseconds.
const SLICE_US: u64 = 5000;

/// A group on four CPUs uses its quota in each period, less what CPUs keep and more by what they kept, and exactly over time.
#[rstest]
fn quota_is_kept_in_each_period_and_over_time(
    lab: Lab,
    #[values(50, 150, 350)] percent: u64,
    #[values(10_000, 100_000)] period_us: u64,
) -> Outcome {
    const PERIODS: u64 = 12;
    const CPUS: u64 = 4;
    let group = lab.group("group")?;
    let quota_us = period_us * percent / 100;
    group.set("cpu.max", format!("{quota_us} {period_us}"))?;
    let (from_ns, length) = (soon(), Millis((PERIODS + 1) * period_us / 1000));
    let running = group.load(&burner(4, 4, from_ns, length))?;
    let usage = || group.key("cpu.stat", "usage_usec");
    pause(Duration::from_nanos(from_ns).saturating_sub(now()));
    let (began, first) = (now(), usage()?);
    let (mut points, mut used, mut last) = (Vec::new(), Vec::new(), first);
    for nth in 1..=PERIODS {
        pause((began + Duration::from_micros(nth * period_us)).saturating_sub(now()));
        let seen = usage()?;
        points.push((now() - began, (seen - last) as f64));
        used.push(seen - last);
        last = seen;
    }
    let elapsed = now() - began;
    drop(running);
    let name = format!("{percent} % in periods of {} ms", period_us / 1000);
    let what = format!("CPU time in a period's length: {name}");
    lab.series(&what, Unit::Microseconds, &points, Some(quota_us as f64));
    let over = used.iter().max().copied().unwrap_or_default();
    let under = used.iter().skip(1).min().copied().unwrap_or_default();
    lab.value(
        &format!("largest over the quota: {name}"),
        Unit::Ratio,
        ratio(over, quota_us),
        Lower,
    );
    lab.value(
        &format!("least over the quota: {name}"),
        Unit::Ratio,
        ratio(under, quota_us),
        Higher,
    );
    let tick = tick()?.as_micros() as u64;
    // A length of a period lies in two periods: the end of one and the begin of
    // the next may both be in it.
    let beyond = CPUS * (SLICE_US + tick);
    lab.enforcement(&format!("most CPU time in a period's length: {name}"))
        .covers([R072, R073])
        .file("cpu.max")
        .unit(Unit::Microseconds)
        .observed(over)
        .between(
            quota_us.saturating_sub(beyond),
            (quota_us * 2 + beyond).min(CPUS * period_us + beyond),
            "a period's length that begins within a period has the rest of its quota and all of the next one's at the most; each CPU may have kept a slice of 5 ms, and goes on to its next tick",
        );
    let whole = last - first;
    let periods = elapsed.as_micros() as u64 / period_us;
    lab.value(
        &format!("used over the quota of the whole time: {name}"),
        Unit::Ratio,
        ratio(whole, periods * quota_us),
        Neither,
    );
    lab.enforcement(&format!("CPU time in {PERIODS} periods: {name}"))
        .covers([R072, R073])
        .file("cpu.max")
        .unit(Unit::Microseconds)
        .observed(whole)
        .between(
            (periods - 1) * quota_us - beyond.min((periods - 1) * quota_us),
            (periods + 1) * quota_us + beyond,
            "the quota of each period, one more for the two that are cut, and of each CPU a slice and a tick",
        );
    Ok(())
}

/// When n threads share a quota, each stalls for what the others' haste takes from the period.
#[rstest]
fn stall_grows_with_the_threads_that_share_a_quota(
    lab: Lab,
    #[values(1, 2, 3, 4, 5, 6, 7, 8)] times: u32,
) -> Outcome {
    const PERIOD_US: u64 = 100_000;
    const PERIODS: u64 = 8;
    const CPUS: u64 = 4;
    // Q/P is one half: n threads on up to four CPUs want n times the quota and more.
    const QUOTA_US: u64 = 50_000;
    let group = lab.group("group")?;
    group.set("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))?;
    let length = Millis(PERIODS * PERIOD_US / 1000);
    let load = cgauge_workloads::Burn { stall_us: 5000, ..burner(times, 4, soon(), length) };
    let truth = group.load(&load)?.truth(PATIENCE)?;
    let stalls: Vec<u64> =
        truth.threads.iter().flat_map(|it| it.stalls.iter().map(|it| it.ns)).collect();
    let times_of_all: Vec<_> = stalls.iter().map(|it| Duration::from_nanos(*it)).collect();
    lab.latencies(&format!("stall of a thread: {times} threads"), &times_of_all);
    let stalled: u64 = truth.threads.iter().map(|it| it.stalled_ns).sum();
    lab.value(
        &format!("share of its time for which a thread stalls: {times} threads"),
        Unit::Ratio,
        ratio(stalled, truth.elapsed_ns * u64::from(times)),
        Lower,
    );
    lab.value(
        &format!("CPU time over the quota: {times} threads"),
        Unit::Ratio,
        burnt(&truth) as f64 * 2.0 / truth.elapsed_ns as f64,
        Neither,
    );
    // So many run at once, and use the quota up in that part of the period.
    let at_once = u64::from(times).min(CPUS);
    let (period, tick) = (PERIOD_US * 1000, nanoseconds(tick()?));
    let running = QUOTA_US * 1000 / at_once;
    let slack = SLICE_US * 1000 * CPUS + tick * 2;
    lab.enforcement(&format!("longest stall of a thread: {times} threads"))
        .covers([S25])
        .file("cpu.max")
        .took(Duration::from_nanos(stalls.iter().max().copied().unwrap_or_default()))
        .between(
            (period - running).saturating_sub(slack),
            // Two threads of a CPU take turns: one may miss a whole period's turn.
            (period - running) + slack + if times > 4 { period } else { 0 },
            "the period less the quota divided among the CPUs that use it up at once; each may keep a slice of 5 ms or lack it, and throttles and wakes at a tick; who shares its CPU may find the quota gone before its turn",
        );
    Ok(())
}
