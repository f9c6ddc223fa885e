//! `cpu.max` holds: as much CPU time a period as it says, no more and no less,
//! and all that it leaves goes to the others.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_workloads::{Burn, Millis};

use super::{MILLISECOND, PATIENCE, SOON, burner, burnt, in_step, ratio, soon, tick};

/// Sleeps until a moment of the clock that loads begin by.
fn wait_for(ns: u64) {
    pause(Duration::from_nanos(ns).saturating_sub(now()));
}

/// Over many periods a group burns its limit in each, no more and no less, at every length of the period, below and above one CPU.
#[rstest]
#[case::one_cpu_of_periods_of_1_ms(1000, 1000, 2, 100)]
#[case::half_a_cpu_of_periods_of_2_ms(1000, 2000, 1, 100)]
#[case::a_fifth_of_periods_of_10_ms(2000, 10_000, 1, 40)]
#[case::three_cpus_of_periods_of_5_ms(15_000, 5000, 4, 40)]
#[case::a_tenth_of_periods_of_100_ms(10_000, 100_000, 2, 20)]
#[case::one_and_a_half_of_periods_of_20_ms(30_000, 20_000, 4, 20)]
#[case::two_and_a_half_of_periods_of_100_ms(250_000, 100_000, 4, 5)]
#[case::a_fiftieth_of_periods_of_1_s(20_000, 1_000_000, 1, 10)]
#[case::a_third_with_many_threads(10_000, 30_000, 8, 20)]
fn group_burns_its_limit_in_every_period(
    lab: Lab,
    #[case] limit_us: u64,
    #[case] period_us: u64,
    #[case] threads: u32,
    #[case] periods: u64,
) -> Outcome {
    let cpus = threads.min(4);
    let group = lab.group("group")?;
    let time = Millis(periods * period_us / 1000);
    let from_ns = soon();
    let load = Burn { from_ns, window_us: period_us, ..burner(threads, cpus, time) };
    let mut running = group.load(&load)?;
    // The load's own start is not to eat up what it is given.
    wait_for(from_ns - nanoseconds(SOON) / 10);
    group.set("cpu.max", format!("{limit_us} {period_us}"))?;
    let truth = running.truth(PATIENCE)?;

    let (limit, all) = (limit_us * 1000, burnt(&truth));
    // What a CPU takes too much up to its next tick it pays back in the next
    // period, and what it has left of a slice it keeps: once each, at the end.
    let late = tick()? * u64::from(cpus) * if cpus > 1 { 2 } else { 1 };
    // A CPU draws at its ticks alone, and the pool never holds more than one limit.
    let drawn_every_period = period_us * 1000 > tick()? * u64::from(cpus);
    let least = limit * periods * if drawn_every_period { 4 } else { 3 } / 4;
    lab.enforcement("CPU time that all threads burnt")
        .covers([R072, R073])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(all)
        .between(
            least.saturating_sub(late),
            limit * (periods + 1) + late,
            "cgroup-v2.rst, cpu.max: \"may consume up to $MAX in each $PERIOD duration\"; so many periods and the parts of two more, and a tick of each CPU that ends late, twice where CPUs await each other. Where ticks are rarer than periods a quarter may be lost: a period's limit that is not drawn at a tick is gone",
        );
    lab.value(
        "CPU time burnt over the limit of all periods",
        Unit::Ratio,
        ratio(all, limit * periods),
        Neither,
    );
    let points: Vec<_> = (0..truth.threads[0].windows.len())
        .map(|nth| {
            let turns: u32 = truth.threads.iter().map(|it| it.windows[nth]).sum();
            let at = Duration::from_nanos(truth.window_ns * nth as u64);
            (at, (u64::from(turns) * truth.turn_ns) as f64)
        })
        .collect();
    lab.series("work done in a period", Unit::Nanoseconds, &points, Some(limit as f64));

    // Without a limit nothing stalls any more.
    group.set("cpu.max", "max")?;
    let free = group
        .load(&Burn { from_ns: soon(), stall_us: 2000, ..burner(1, 1, Millis(20)) })?
        .truth(PATIENCE)?;
    lab.enforcement("CPU time of one thread in 20 ms after the limit is gone")
        .covers([R072])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&free))
        .between(19 * MILLISECOND, 21 * MILLISECOND, "nobody else wants the CPU: all of it but what the kernel itself needs, at most a tenth, and at most one turn beyond");
    Ok(())
}

/// In each period a thread burns the limit, and all else is its neighbour's.
#[rstest]
fn neighbour_has_what_a_limit_leaves(lab: Lab) -> Outcome {
    const PERIODS: u64 = 8;
    let (bounded, neighbour) = (lab.group("bounded")?, lab.group("neighbour")?);
    bounded.set("cpu.max", "8000 40000")?;
    // Or the two would share while the limit lets them, and the limit not bind.
    bounded.set("cpu.weight", 10000)?;
    // To a millisecond before the last period ends.
    let load =
        Burn { from_ns: in_step(&bounded, 40_000)?, ..burner(1, 1, Millis(PERIODS * 40 - 4)) };
    let mut one = bounded.load(&load)?;
    let mut other = neighbour.load(&load)?;
    let (one, other) = (one.truth(PATIENCE)?, other.truth(PATIENCE)?);
    let (all, part, late) = ((PERIODS * 40 - 4) * MILLISECOND, PERIODS * 8 * MILLISECOND, tick()?);
    lab.enforcement("CPU time of the group with the limit")
        .covers([R072])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&one))
        .between(
            part - MILLISECOND,
            part + late + MILLISECOND,
            "8 ms in each of 8 periods; up to a tick too much in the last, which the next would pay back; a millisecond may stay with the CPU from period to period (min_cfs_rq_runtime)",
        );
    lab.enforcement("CPU time of the neighbour on the same CPU")
        .covers([R068, R072])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&other))
        .between(
            all - all / 100 - part - late - MILLISECOND,
            all - part + MILLISECOND,
            "the neighbour has no limit: what 8 limits of 8 ms leave of 316 ms, with what the other may take too much, less a hundredth of the kernel's own",
        );
    Ok(())
}

/// A limit that changes while threads burn holds from then on, and "max" ends it.
#[rstest]
fn changed_limit_holds_at_once(lab: Lab) -> Outcome {
    /// Periods of 20 ms at each limit; what changes does so within the last.
    const PERIODS: u64 = 10;
    let group = lab.group("group")?;
    group.set("cpu.max", "4000 20000")?;
    let from_ns = soon();
    let load = Burn { from_ns, window_us: 20_000, ..burner(1, 1, Millis(4 * PERIODS * 20)) };
    let mut running = group.load(&load)?;
    // Where each limit holds: between the end of one write and the start of the next.
    let mut edges = vec![0];
    for (step, max) in [(1, "12000"), (2, "max"), (3, "4000 20000")] {
        wait_for(from_ns + step * PERIODS * 20 * MILLISECOND);
        let began = now();
        group.set("cpu.max", max)?;
        lab.value(
            &format!("the write of {max:?}"),
            Unit::Nanoseconds,
            nanoseconds(now() - began),
            Lower,
        );
        edges.extend([began, now()].map(|it| nanoseconds(it) - from_ns));
    }
    edges.push(4 * PERIODS * 20 * MILLISECOND);
    let truth = running.truth(PATIENCE)?;
    let late = 2 * tick()?;
    let work = |window: u32| u64::from(window) * truth.turn_ns;
    let windows = &truth.threads[0].windows;
    for (between, per_period) in edges.chunks(2).zip([4, 12, 20, 4]) {
        let [first, end] = [
            between[0].div_ceil(truth.window_ns) as usize + 1,
            (between[1] / truth.window_ns) as usize,
        ];
        let done: u32 = windows[first..end].iter().sum();
        let periods = (end - first) as u64;
        // Ticks and the like are work that no turn counts: at most a thirtieth.
        lab.enforcement(&format!("work of the thread in {periods} periods at {per_period} ms"))
            .covers([R072])
            .file("cpu.max")
            .unit(Unit::Nanoseconds)
            .observed(work(done))
            .between(
                periods * per_period * MILLISECOND * 29 / 30 - late,
                (periods * per_period * MILLISECOND + late).min(periods * 20 * MILLISECOND),
                "periods of 20 ms at 4 ms, then at 12 ms, without a limit (20 ms), and at 4 ms again: as many begin in that time wherever in a period it begins; and a late tick at either end",
            );
    }
    let points: Vec<_> = (0..)
        .zip(windows)
        .map(|(nth, window)| (Duration::from_millis(20 * nth), work(*window) as f64))
        .collect();
    lab.series("work done in 20 ms", Unit::Nanoseconds, &points, None);
    Ok(())
}

/// Of several limits on the way up the tightest holds, wherever it stands (also where an alternative scheduler forgot it: scx #3614).
#[rstest]
#[case::in_top([20, 40, 40])]
#[case::in_the_middle([40, 20, 40])]
#[case::in_the_leaf([40, 40, 20])]
#[case::none_in_the_middle([20, 0, 32])]
#[case::below_one_that_has_none([0, 0, 20])]
fn tightest_limit_on_the_way_up_holds(lab: Lab, #[case] percent: [u64; 3]) -> Outcome {
    const PERIODS: u64 = 8;
    let top = lab.group("top")?;
    top.enable("cpu")?;
    let middle = top.make("middle")?;
    middle.enable("cpu")?;
    let leaf = middle.make("leaf")?;
    let from_ns = soon();
    let mut running = leaf.load(&Burn { from_ns, ..burner(2, 2, Millis(PERIODS * 50)) })?;
    wait_for(from_ns - nanoseconds(SOON) / 10);
    for (group, percent) in [&top, &middle, &leaf].into_iter().zip(percent) {
        if percent > 0 {
            group.set("cpu.max", format!("{} 50000", percent * 500))?;
        }
    }
    let all = burnt(&running.truth(PATIENCE)?);
    let late = 4 * tick()?;
    lab.enforcement("CPU time of two threads in the leaf")
        .covers([R072, R075])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(all)
        .between(
            PERIODS * 10 * MILLISECOND - late,
            (PERIODS + 1) * 10 * MILLISECOND + late,
            "the tightest is 20 % everywhere: 10 ms in each of 8 periods and the parts of two more, and two late ticks of each CPU",
        );
    Ok(())
}

/// Children share the limit of their parent by weight, and a sleeping one's part goes to the other.
#[rstest]
fn siblings_share_the_limit_of_their_parent(lab: Lab) -> Outcome {
    const PERIODS: u64 = 6;
    let parent = lab.group("parent")?;
    parent.enable("cpu")?;
    parent.set("cpu.max", "40000 100000")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    one.set("cpu.weight", 300)?;
    let from_ns = soon();
    let load = Burn { from_ns, ..burner(1, 1, Millis(PERIODS * 100)) };
    let mut first = one.load(&load)?;
    let mut second = other.load(&load)?;
    let (first, second) = (burnt(&first.truth(PATIENCE)?), burnt(&second.truth(PATIENCE)?));
    let late = tick()?;
    lab.enforcement("CPU time of both children")
        .covers([R075])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(first + second)
        .between(
            PERIODS * 40 * MILLISECOND - late,
            (PERIODS + 1) * 40 * MILLISECOND + late,
            "40 ms in each of 6 periods and the parts of two more, and a tick",
        );
    lab.enforcement("the share of the child of weight 300")
        .covers([R067, R075])
        .file("cpu.weight")
        .unit(Unit::Ratio)
        .observed(ratio(first, first + second))
        .between(0.70, 0.80, "300 of 400, and a turn of three ticks in some 240 ms is a twentieth");
    Ok(())
}

/// Every runnable thread of a tree with limits at each level makes progress within two periods (fdaba61ef8a2 and the five before it: a parent was not put back after its throttling).
#[rstest]
fn nobody_starves_below_limits_at_every_level(lab: Lab) -> Outcome {
    const PERIOD: u64 = 40;
    const PERIODS: u64 = 10;
    let mut groups = vec![lab.group("top")?];
    let mut leaves = Vec::new();
    for (limit, name) in [(32, "middle"), (20, "low"), (12, "")] {
        let Some(group) = groups.last() else { continue };
        group.enable("cpu")?;
        group.set("cpu.max", format!("{} {}", limit * 1000, PERIOD * 1000))?;
        leaves.push(group.make("leaf")?);
        if !name.is_empty() {
            let next = group.make(name)?;
            groups.push(next);
        }
    }
    // Each leaf has its own limit too, so that all levels throttle.
    for leaf in &leaves {
        leaf.set("cpu.max", format!("10000 {}", PERIOD * 1000))?;
    }
    let load = Burn { from_ns: soon(), stall_us: 2000, ..burner(1, 1, Millis(PERIODS * PERIOD)) };
    let mut running = leaves.iter().map(|it| it.load(&load)).collect::<Result<Vec<_>, _>>()?;
    let truths = running.iter_mut().map(|it| it.truth(PATIENCE)).collect::<Result<Vec<_>, _>>()?;
    for (level, truth) in truths.iter().enumerate() {
        lab.enforcement(&format!("the longest stall of the thread at level {}", level + 1))
            .covers([R072, R075])
            .file("cpu.max")
            .unit(Unit::Nanoseconds)
            .observed(truth.threads[0].longest_stall_ns)
            .between(
                (PERIOD - 10) * MILLISECOND - 2 * tick()?,
                2 * PERIOD * MILLISECOND,
                "each has 10 ms of 40 at most, so it stalls for 30 ms less two ticks; and each is let run in every period, if not throttled for what it took too much in the last",
            );
        lab.enforcement(&format!("CPU time of the thread at level {}", level + 1))
            .covers([R072, R075])
            .file("cpu.max")
            .unit(Unit::Nanoseconds)
            .observed(burnt(truth))
            .at_most(
                (PERIODS + 1) * 10 * MILLISECOND + tick()?,
                "its own limit of 10 ms, of each period and of the parts of two more, and a tick",
            );
    }
    let below = |level: usize| truths[level..].iter().map(burnt).sum::<u64>();
    for (level, limit) in [(0, 30), (1, 20), (2, 10)] {
        lab.enforcement(&format!("CPU time of all at level {} and below", level + 1))
            .covers([R075])
            .file("cpu.max")
            .unit(Unit::Nanoseconds)
            .observed(below(level))
            .between(
                (PERIODS - 1) * (limit * MILLISECOND - tick()?),
                (PERIODS + 1) * limit * MILLISECOND + tick()?,
                "what the leaves and the levels let through: 30, 20 and 10 ms of each period, one period more or less for its parts at both ends; what one takes too much up to a tick may be another's that period",
            );
    }
    Ok(())
}
