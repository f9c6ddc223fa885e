//! `cpu.weight` and `cpu.idle`: who gets how much of a CPU that several want.

use cgauge_lab::prelude::*;
use cgauge_workloads::{Burn, Millis, truth};

use super::{MILLISECOND, PATIENCE, burner, burnt, ratio, soon, tick};

/// Burns in all groups at once, and gives each one's truth.
fn contend(groups: &[&Group], load: &Burn) -> Result<Vec<truth::Burn>, Stop> {
    let load = Burn { from_ns: soon(), ..load.clone() };
    let mut running = groups.iter().map(|it| it.load(&load)).collect::<Result<Vec<_>, _>>()?;
    running.iter_mut().map(|it| it.truth(PATIENCE)).collect()
}

/// Siblings that want a CPU share it by their weights, whether on one CPU or four.
#[rstest]
#[case::equal([100, 100])]
#[case::one_to_three([100, 300])]
#[case::one_to_nine([100, 900])]
#[case::small_numbers([2, 6])]
#[case::large_numbers([10000, 5000])]
fn siblings_share_by_their_weights(
    lab: Lab,
    #[case] weights: [u64; 2],
    #[values(1, 4)] cpus: u32,
) -> Outcome {
    let groups = [lab.group("one")?, lab.group("other")?];
    for (group, weight) in groups.iter().zip(weights) {
        group.set("cpu.weight", weight)?;
    }
    // On four CPUs each ends what it runs up to four ticks late.
    let time: u64 = if cpus == 1 { 400 } else { 800 };
    let truths = contend(&[&groups[0], &groups[1]], &burner(cpus, cpus, Millis(time)))?;
    let (one, other) = (burnt(&truths[0]), burnt(&truths[1]));
    let expected = ratio(weights[0], weights[0] + weights[1]);
    let turn = if cpus == 1 { 2 } else { 3 * u64::from(cpus) };
    let late = ratio(turn * tick()?, time * MILLISECOND);
    lab.enforcement("the first one's share of what both burnt")
        .covers([R067])
        .file("cpu.weight")
        .unit(Unit::Ratio)
        .observed(ratio(one, one + other))
        .between(
            expected - late,
            expected + late,
            "cgroup-v2.rst, Weights: \"the ratio of its weight against the sum\"; a turn of two ticks more or less, where CPUs await each other one of three on each",
        );
    lab.enforcement("CPU time that both burnt")
        .covers([R067, R068])
        .file("cpu.weight")
        .unit(Unit::Nanoseconds)
        .observed(one + other)
        .between(
            u64::from(cpus) * (time * MILLISECOND - turn * tick()?),
            u64::from(cpus) * (time * MILLISECOND + turn * tick()?),
            "all CPUs all the time; the first and the last turn of each begin and end late, by as much as above",
        );
    Ok(())
}

/// The extreme weights hold against each other: the one gets next to nothing, but not nothing for ever.
#[rstest]
#[case::the_least_against_the_most(1, 10000)]
#[case::the_least_against_the_default(1, 100)]
#[case::the_default_against_the_most(100, 10000)]
fn extreme_weights_hold(lab: Lab, #[case] small: u64, #[case] large: u64) -> Outcome {
    const TIME: u64 = 2000;
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    one.set("cpu.weight", small)?;
    other.set("cpu.weight", large)?;
    let truths = contend(&[&one, &other], &burner(1, 1, Millis(TIME)))?;
    let expected = TIME * MILLISECOND * small / (small + large);
    lab.enforcement("CPU time of the group of the smaller weight")
        .covers([R067, R069])
        .file("cpu.weight")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truths[0]))
        .between(
            expected.saturating_sub(3 * tick()?).max(1),
            expected + 3 * tick()?,
            "its share of 2 s, and a turn of three ticks more or less; where its share is less than that, not nothing",
        );
    lab.enforcement("CPU time of the group of the larger weight")
        .covers([R067, R069])
        .file("cpu.weight")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truths[1]))
        .between(
            TIME * MILLISECOND - expected - 4 * tick()?,
            TIME * MILLISECOND - expected + 3 * tick()?,
            "all but the other's part, and a turn of three ticks more or less; nothing of the kernel's own takes as long as a tick",
        );
    Ok(())
}

/// Shares multiply on the way down: a child has its share of its parent's share.
#[rstest]
fn nested_shares_multiply(lab: Lab) -> Outcome {
    const TIME: u64 = 480;
    let (parent, uncle) = (lab.group("parent")?, lab.group("uncle")?);
    parent.enable("cpu")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    other.set("cpu.weight", 300)?;
    let truths = contend(&[&one, &other, &uncle], &burner(1, 1, Millis(TIME)))?;
    let all: u64 = truths.iter().map(burnt).sum();
    for (who, truth, expected) in [
        ("the child of weight 100", &truths[0], 0.125),
        ("the child of weight 300", &truths[1], 0.375),
        ("the uncle", &truths[2], 0.5),
    ] {
        lab.enforcement(&format!("the share of {who}"))
            .covers([R067])
            .file("cpu.weight")
            .unit(Unit::Ratio)
            .observed(ratio(burnt(truth), all))
            .between(
                expected - 0.035,
                expected + 0.035,
                "parent and uncle are equal, and the children share a half as 100 to 300; four ticks of 4 ms in 480 ms are a thirtieth",
            );
    }
    Ok(())
}

/// Weights are for those who run: a sleeping sibling's part is shared by the others, and one alone has all.
#[rstest]
fn sleeping_siblings_leave_their_part_to_the_others(lab: Lab) -> Outcome {
    const TIME: u64 = 300;
    let (heavy, one, other) = (lab.group("heavy")?, lab.group("one")?, lab.group("other")?);
    heavy.set("cpu.weight", 10000)?;
    other.set("cpu.weight", 200)?;
    let _asleep = [heavy.sleeper()?, heavy.sleeper()?];
    let alone = contend(&[&one], &burner(1, 1, Millis(100)))?;
    lab.enforcement("CPU time of one alone beside heavy sleepers in 100 ms")
        .covers([R068])
        .file("cpu.weight")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&alone[0]))
        .between(96 * MILLISECOND, 101 * MILLISECOND, "cgroup-v2.rst, Weights: \"work-conserving\": all of it, but a tick for the kernel itself");
    let both = contend(&[&one, &other], &burner(1, 1, Millis(TIME)))?;
    let (one, other) = (burnt(&both[0]), burnt(&both[1]));
    lab.enforcement("the share of the one of weight 100 beside one of 200 and heavy sleepers")
        .covers([R067, R068])
        .file("cpu.weight")
        .unit(Unit::Ratio)
        .observed(ratio(one, one + other))
        .between(0.28, 0.386, "cgroup-v2.rst, Weights: only children that can use the resource at the moment count: 100 of 300; four ticks of 4 ms in 300 ms are a nineteenth");
    lab.enforcement("CPU time of both in 300 ms")
        .covers([R068])
        .file("cpu.weight")
        .unit(Unit::Nanoseconds)
        .observed(one + other)
        .between(
            TIME * MILLISECOND * 96 / 100,
            TIME * MILLISECOND + tick()?,
            "all of it, but a twenty-fifth for the kernel itself",
        );
    Ok(())
}

/// A weight that changes while threads burn holds from then on.
#[rstest]
fn changed_weight_holds_at_once(lab: Lab) -> Outcome {
    const STEP: u64 = 200;
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    let from_ns = soon();
    let load = Burn { from_ns, window_us: STEP * 1000, ..burner(1, 1, Millis(2 * STEP)) };
    let (mut first, mut second) = (one.load(&load)?, other.load(&load)?);
    let change = Duration::from_nanos(from_ns + STEP * MILLISECOND);
    cgauge_lab::time::pause(change.saturating_sub(cgauge_lab::time::now()));
    one.set("cpu.weight", 400)?;
    let (first, second) = (first.truth(PATIENCE)?, second.truth(PATIENCE)?);
    for (when, nth, expected) in [("before", 0, 0.5), ("after", 1, 0.8)] {
        let work = [&first, &second].map(|it| u64::from(it.threads[0].windows[nth]));
        lab.enforcement(&format!("the share {when} the weight is changed from 100 to 400"))
            .covers([R067])
            .file("cpu.weight")
            .unit(Unit::Ratio)
            .observed(ratio(work[0], work[0] + work[1]))
            .between(
                expected - 0.08,
                expected + 0.08,
                "100 of 200, then 400 of 500; four ticks of 4 ms in 200 ms are an eighth of a half",
            );
    }
    Ok(())
}

/// An idle group gives way to its siblings, has what they leave, and shares nothing by weight.
#[rstest]
fn idle_group_gives_way(lab: Lab) -> Outcome {
    const TIME: u64 = 300;
    lab.needs_file("cpu.idle", "since 5.15")?;
    let (idle, busy) = (lab.group("idle")?, lab.group("busy")?);
    idle.set("cpu.idle", 1)?;
    let truths = contend(&[&idle, &busy], &burner(1, 1, Millis(TIME)))?;
    lab.enforcement("CPU time of the idle group beside a busy one in 300 ms")
        .covers([R079])
        .file("cpu.idle")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truths[0]))
        .at_most(TIME * MILLISECOND * 3 / 1027 + 3 * tick()?, "an idle group weighs 3 where the default weighs 1024 (WEIGHT_IDLEPRIO), and a turn of its own of up to three ticks");
    lab.enforcement("CPU time of the busy group beside the idle one")
        .covers([R079])
        .file("cpu.idle")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truths[1]))
        .between(
            TIME * MILLISECOND * 1024 / 1027 - 4 * tick()?,
            TIME * MILLISECOND,
            "all but the other's part and a turn of the other's of up to three ticks, and a tick for the kernel itself",
        );

    let alone = contend(&[&idle], &burner(1, 1, Millis(60)))?;
    lab.enforcement("CPU time of the idle group alone in 60 ms")
        .covers([R068, R079])
        .file("cpu.idle")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&alone[0]))
        .between(57 * MILLISECOND, 61 * MILLISECOND, "nobody else wants the CPU");

    // One that wakes beside it: how late it runs.
    let from_ns = soon();
    let mut held = idle.load(&Burn { from_ns, ..burner(1, 1, Millis(200)) })?;
    let waking =
        Burn { from_ns, burst_us: 500, every_us: 10_000, stall_us: 0, ..burner(1, 1, Millis(200)) };
    let woken = busy.load(&waking)?.truth(PATIENCE)?;
    held.truth(PATIENCE)?;
    let lateness: Vec<_> = woken.threads[0]
        .stalls
        .iter()
        .filter(|it| it.at_ns % (10 * MILLISECOND) == 0)
        .map(|it| Duration::from_nanos(it.ns))
        .collect();
    lab.latencies("from a timer to the thread that it wakes beside an idle group", &lateness);
    lab.enforcement("wake-ups of the busy group's thread that came more than half a tick late")
        .covers([R079])
        .file("cpu.idle")
        .unit(Unit::Events)
        .observed(lateness.iter().skip(1).filter(|it| it.as_nanos() as u64 > MILLISECOND * 2).count())
        .equals(0, "kernel/sched/fair.c, wakeup preemption: one that is not idle pre-empts an idle group at once, with no wait for a tick");
    lab.enforcement("wake-ups that were seen")
        .covers([R079])
        .file("cpu.idle")
        .unit(Unit::Events)
        .observed(lateness.len())
        .between(18, 21, "one in each 10 ms of 200 ms");
    Ok(())
}
