//! `memory.max` and `memory.high`: how far above them a group comes.

use cgauge_lab::memory::{MIB, Memory, PAGE};
use cgauge_lab::prelude::*;

/// The peak of a group that asks for twice its `memory.max` is never above it, and no further below than a batch of each CPU and what reclaim takes at once.
#[rstest]
fn peak_is_at_the_limit(
    lab: Lab,
    #[values(1, 4)] processes: u64,
    #[values(2, 8, 32)] mebibytes: u64,
) -> Outcome {
    lab.needs_file("memory.peak", "since 5.19")?;
    let group = lab.group("group")?;
    let limit = mebibytes * MIB;
    group.set("memory.max", limit)?;
    // Whoever is killed is not to take the others along.
    let each = 2 * limit / processes;
    let gluttons = (0..processes).map(|_| {
        group.spawn(|| {
            if let Ok(memory) = Memory::anonymous(each) {
                memory.touch();
            }
        })
    });
    for mut glutton in gluttons.collect::<Result<Vec<_>, _>>()? {
        glutton.wait()?;
    }
    let peak = group.number("memory.peak")?;
    let name = format!("{processes} processes, {mebibytes} MiB");
    lab.value(
        &format!("peak below memory.max: {name}"),
        Unit::Bytes,
        limit.saturating_sub(peak),
        Lower,
    );
    lab.value(
        &format!("peak above memory.max: {name}"),
        Unit::Bytes,
        peak.saturating_sub(limit),
        Lower,
    );
    lab.enforcement(&format!("peak of a group that wants twice its limit: {name}"))
        .covers([R097])
        .file("memory.peak")
        .unit(Unit::Bytes)
        .observed(peak)
        .between(
            limit - 64 * PAGE,
            limit,
            "a charge that does not fit is refused (page_counter_try_charge); one of 64 pages is tried first and then the page alone, so that the last that fits is the limit, less what the batch of one CPU leaves",
        );
    Ok(())
}

/// A process that grows without end is slowed so much above `memory.high` that it stays within a few batches of it for a second.
#[rstest]
fn growth_above_high_is_slowed(lab: Lab, #[values(4, 16, 64)] mebibytes: u64) -> Outcome {
    let group = lab.group("group")?;
    let high = mebibytes * MIB;
    group.set("memory.high", high)?;
    let process = group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(8 * high) {
            memory.touch();
        }
    })?;
    let mut points = Vec::new();
    let began = cgauge_lab::time::now();
    let mut reached = None;
    for _ in 0..200 {
        cgauge_lab::time::pause(Duration::from_millis(10));
        let current = group.number("memory.current")?;
        let at = cgauge_lab::time::now() - began;
        points.push((at, current as f64));
        if current > high && reached.is_none() {
            reached = Some(at);
        }
        if reached.is_some_and(|it| at > it + Duration::from_secs(1)) {
            break;
        }
    }
    process.end()?;
    let most = points.iter().map(|it| it.1).fold(0.0, f64::max);
    let name = format!("{mebibytes} MiB");
    lab.series(
        &format!("memory.current, memory.high {name}"),
        Unit::Bytes,
        &points,
        Some(high as f64),
    );
    lab.value(
        &format!("most above memory.high in a second: {name}"),
        Unit::Bytes,
        most as u64 - high.min(most as u64),
        Lower,
    );
    lab.enforcement(&format!("most memory in the second after memory.high was reached: {name}"))
        .covers([R089, R091])
        .file("memory.high")
        .unit(Unit::Bytes)
        .observed(most as u64)
        .between(
            high,
            high + overage(high),
            "mm/memcontrol.c, calculate_high_delay(): each batch of 64 pages sleeps for 64 s times the square of the overage over memory.high, so that the sum over a second's batches bounds the overage; and three batches on the way",
        );
    Ok(())
}

/// How far the delays let a process come in a second: batch by batch, each a sleep
/// of 64 s times the square of the overage's share (2^40 of the squared precision,
/// over 2^20 and 2^14: MEMCG_DELAY_PRECISION_SHIFT, MEMCG_DELAY_SCALING_SHIFT), 2 s
/// at the most.
fn overage(high: u64) -> u64 {
    let (batch, mut over, mut slept) = (64 * PAGE, 0_u64, 0.0);
    while slept < 1.0 {
        over += batch;
        let share = over as f64 / high as f64;
        let sleep = (share * share * 64.0).min(2.0);
        // One of a hundredth of a second or less is left out.
        slept += if sleep > 0.01 { sleep } else { 0.0 };
    }
    over + 3 * batch
}
