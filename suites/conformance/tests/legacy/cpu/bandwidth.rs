//! `cpu.cfs_quota_us` and `cpu.cfs_period_us`: what they accept, that they
//! hold, and what `cpu.stat` says of it.

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Burn, Millis, truth};

use super::{
    Counters, MILLISECOND, PATIENCE, PERIOD, QUOTA, STAT, burner, burnt, limited, ratio_of, soon,
    tick, wait_for,
};

/// A group begins without a quota, periods are 1 ms to 1 s, quotas 1 ms at least, and whatever is negative takes the quota away; the root takes none.
#[rstest]
fn quota_and_period_have_bounds(lab: Lab) -> Outcome {
    let root = lab.legacy("cpu")?;
    let group = root.make("group")?;
    for (file, expected) in [(QUOTA, "-1"), (PERIOD, "100000")] {
        lab.interface("the value in a new group")
            .covers([R168])
            .file(file)
            .observed(group.line(file)?)
            .equals(
                expected,
                "sched-bwc.rst, Management: the defaults are a quota of -1 and a period of 100 ms",
            );
    }
    for (file, written, answer, shown) in [
        (PERIOD, "999", "EINVAL", "100000"),
        (PERIOD, "1000", "ok", "1000"),
        (PERIOD, "0", "EINVAL", "1000"),
        (PERIOD, "1000001", "EINVAL", "1000"),
        (PERIOD, "-1", "EINVAL", "1000"),
        (PERIOD, "1000000", "ok", "1000000"),
        (QUOTA, "0", "EINVAL", "-1"),
        (QUOTA, "999", "EINVAL", "-1"),
        (QUOTA, "1000", "ok", "1000"),
        (QUOTA, "1001", "ok", "1001"),
        (QUOTA, "max", "EINVAL", "1001"),
        (QUOTA, "-1", "ok", "-1"),
        (QUOTA, "4000000", "ok", "4000000"),
        (QUOTA, "-7", "ok", "-1"),
    ] {
        lab.interface(&format!("the answer to {written}"))
            .covers([R168])
            .file(file)
            .answered(&group.try_set(file, written))
            .equals(answer, "sched-bwc.rst, Management: the least quota or period is 1 ms, the longest period 1 s, and \"any negative value to cpu.cfs_quota_us will remove the bandwidth limit\"");
        lab.interface(&format!("the value after {written}"))
            .covers([R168])
            .file(file)
            .observed(group.line(file)?)
            .equals(shown, "what was accepted holds, and -1 stands for no quota");
    }
    let path = root.dir().path();
    let whole =
        Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))?;
    lab.interface("the answer to a quota of the root")
        .covers([R168])
        .file(QUOTA)
        .answered(&whole.write(QUOTA, "10000"))
        .equals("EINVAL", "kernel/sched/core.c, tg_set_cfs_bandwidth: not for the root group");
    Ok(())
}

/// A group that wants all it can get burns its quota in every period, is throttled in nearly each, and the counters agree with the stall that its thread saw.
#[rstest]
#[case::two_fifths_of_50_ms(20_000, 50_000)]
#[case::a_tenth_of_200_ms(20_000, 200_000)]
fn group_burns_its_quota_in_every_period(
    lab: Lab,
    #[case] quota_us: u64,
    #[case] period_us: u64,
) -> Outcome {
    const PERIODS: u64 = 8;
    let root = lab.legacy("cpu")?;
    let account = lab.legacy("cpuacct")?.make("group")?;
    let group = root.make("group")?;
    let load = Burn { from_ns: soon(), ..burner(1, 1, Millis(PERIODS * period_us / 1000)) };
    let mut running = group.load(&load)?;
    account.admit(running.process().pid())?;
    wait_for(load.from_ns - 5 * MILLISECOND);
    group.set(PERIOD, period_us)?;
    group.set(QUOTA, quota_us)?;
    let before = Counters::of(&group)?;
    let used = account.number("cpuacct.usage")?;
    // What happens once the thread has ended no thread sees.
    let end = load.from_ns + PERIODS * period_us * 1000;
    wait_for(end - 3 * MILLISECOND);
    let looked = nanoseconds(now()) - load.from_ns;
    let counted = Counters::since(&group, before)?;
    let truth = running.truth(PATIENCE)?;
    let used = account.number("cpuacct.usage")? - used;
    let thread = &truth.threads[0];
    // The first may be its late beginning; one that lasts is counted when it is over.
    let over = |it: &&truth::Stall| it.turns > 0 && it.at_ns + it.ns <= looked;
    let stalls: Vec<_> = thread.stalls.iter().filter(over).collect();
    let stalled: u64 = stalls.iter().map(|it| it.ns).sum();
    let late = tick()?;

    lab.enforcement("CPU time that the thread burnt")
        .covers([R170])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truth))
        .between(
            PERIODS * quota_us * 1000 - late,
            (PERIODS + 1) * quota_us * 1000 + late,
            "sched-bwc.rst: \"Within each given period, a task group is allocated up to quota microseconds of CPU time\": eight periods and the parts of two more, and a tick",
        );
    lab.accounting("CPU time that cpuacct counts meanwhile")
        .covers([R170])
        .file("cpuacct.usage")
        .unit(Unit::Nanoseconds)
        .observed(used)
        .between(
            burnt(&truth),
            burnt(&truth) + 8 * MILLISECOND,
            "sched-bwc.rst, Caveats: \"cpuacct.usage will increase roughly equal to cfs_quota_us in each period\": the thread's own clock, and a few milliseconds for its beginning and its end",
        );
    lab.accounting("periods in which the group was throttled")
        .covers([R170, S26])
        .file(STAT)
        .unit(Unit::Events)
        .observed(counted.throttled)
        .equals(
            stalls.len(),
            "the one thread on its one CPU stalls once in each, and counts that itself",
        );
    lab.accounting("periods that went by")
        .covers([R170, S26])
        .file(STAT)
        .unit(Unit::Events)
        .observed(counted.periods)
        .between(PERIODS - 1, PERIODS, "so many ends of periods in eight periods less 3 ms, in each of which the thread wanted to run");
    lab.accounting("periods without throttling")
        .covers([R170])
        .file(STAT)
        .unit(Unit::Events)
        .observed(counted.periods - counted.throttled.min(counted.periods))
        .at_most(1, "sched-bwc.rst, Caveats: \"nr_periods roughly equal nr_throttled\"; the first may begin before the thread");
    lab.accounting("time for which the group was throttled")
        .covers([R170, S26])
        .file(STAT)
        .unit(Unit::Nanoseconds)
        .observed(counted.throttled_ns)
        .between(
            stalled - stalled / 50 - stalls.len() as u64 * 300_000,
            stalled,
            "in nanoseconds, the sum of the stalls that the one thread saw between two of its turns: each is as long as the throttling, the turn itself and the way from the timer to the thread, some hundred microseconds",
        );
    let points: Vec<_> =
        stalls.iter().map(|it| (Duration::from_nanos(it.at_ns), it.ns as f64)).collect();
    lab.series(
        "stalls of the thread",
        Unit::Nanoseconds,
        &points,
        Some(((period_us - quota_us) * 1000) as f64),
    );

    group.set(QUOTA, -1)?;
    let free =
        group.load(&Burn { from_ns: soon(), ..burner(1, 1, Millis(20)) })?.truth(PATIENCE)?;
    lab.enforcement("CPU time of one thread in 20 ms without a quota")
        .covers([R168])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(burnt(&free))
        .between(19 * MILLISECOND, 21 * MILLISECOND, "sched-bwc.rst: -1 is no restriction; nobody else wants the CPU, all of it but what the kernel itself needs");
    Ok(())
}

/// Many threads on many CPUs that ask for less than their quota are let be: what a CPU has left of its slice does not expire (512ac999d275, until de53fd7aedb1 in 5.4).
#[rstest]
fn slices_do_not_expire(lab: Lab) -> Outcome {
    const PERIODS: u64 = 5;
    let group = lab.legacy("cpu")?.make("group")?;
    let load = Burn {
        from_ns: soon(),
        burst_us: 300,
        every_us: 20_000,
        stall_us: 5000,
        ..burner(16, 4, Millis(PERIODS * 100))
    };
    // What they ask for, by themselves: burst, wake-up and sleep.
    let free = group.load(&load)?.truth(PATIENCE)?;
    let quota_us = burnt(&free) / PERIODS / 1000 * 5 / 4;
    let load = Burn { from_ns: soon(), ..load };
    let (truth, counted) = limited(&group, quota_us, 100_000, &load)?;
    lab.enforcement("CPU time of 16 threads that ask for four fifths of their quota")
        .covers([R171])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truth))
        .between(
            burnt(&free) * 97 / 100,
            burnt(&free) * 103 / 100,
            "what the same threads burnt without a quota",
        );
    lab.enforcement("time for which they were throttled")
        .covers([R171])
        .file(STAT)
        .unit(Unit::Nanoseconds)
        .observed(counted.throttled_ns)
        .at_most(
            4 * 5 * MILLISECOND,
            "sched-bwc.rst, Caveats: \"Once a slice is assigned to a cpu it does not expire\", which ends \"the propensity to throttle these applications while simultanously using less than quota\"; what a CPU returns is there 5 ms later (cfs_bandwidth_slack_period), and each of four may wait for that once",
        );
    lab.accounting("periods that went by")
        .covers([R171])
        .file(STAT)
        .unit(Unit::Events)
        .observed(counted.periods)
        .between(
            PERIODS - 1,
            PERIODS + 1,
            "five periods of time, in each of which some thread ran",
        );
    Ok(())
}

/// A group of threads that use up slices on four CPUs never gets more than its quota and 1 ms a CPU beyond.
#[rstest]
fn excess_is_a_slice_a_cpu(lab: Lab) -> Outcome {
    const PERIODS: u64 = 6;
    const QUOTA_US: u64 = 60_000;
    let group = lab.legacy("cpu")?.make("group")?;
    let load = Burn { from_ns: soon(), stall_us: 25_000, ..burner(4, 4, Millis(PERIODS * 100)) };
    let (truth, counted) = limited(&group, QUOTA_US, 100_000, &load)?;
    // What a CPU takes too much up to its next tick it pays back; at the end
    // each of the four, which await each other, owes for two ticks.
    let late = 4 * 2 * tick()?;
    lab.enforcement("CPU time of four threads on four CPUs")
        .covers([R170, R171])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truth))
        .between(
            PERIODS * QUOTA_US * 1000 - late,
            (PERIODS + 1) * QUOTA_US * 1000 + 4 * MILLISECOND + late,
            "sched-bwc.rst, Caveats: the excess is \"no more than 1ms per cpu\" over the quota of six periods and the parts of two more; and late ticks",
        );
    lab.accounting("periods in which the group was throttled")
        .covers([R170])
        .file(STAT)
        .unit(Unit::Events)
        .observed(counted.throttled)
        .between(
            PERIODS - 1,
            PERIODS + 1,
            "the quota is burnt in each; one at either end may be cut",
        );
    Ok(())
}

/// A group that is throttled runs again as soon as its bandwidth is written.
#[rstest]
#[case::a_larger_quota(QUOTA, "500000")]
#[case::no_quota(QUOTA, "-1")]
#[case::a_shorter_period(PERIOD, "20000")]
fn update_unthrottles(lab: Lab, #[case] file: &str, #[case] written: &str) -> Outcome {
    let group = lab.legacy("cpu")?.make("group")?;
    let from_ns = soon();
    let mut running = group.load(&Burn { from_ns, ..burner(1, 1, Millis(300)) })?;
    // The load's own start is not to eat up what it is given.
    wait_for(from_ns - 5 * MILLISECOND);
    group.set(PERIOD, 1_000_000)?;
    group.set(QUOTA, 10_000)?;
    // By then it is throttled for the rest of a second.
    wait_for(from_ns + 150 * MILLISECOND);
    let began = nanoseconds(now()) - from_ns;
    group.set(file, written)?;
    let ended = nanoseconds(now()) - from_ns;
    let truth = running.truth(PATIENCE)?;
    let thread = &truth.threads[0];
    let stalls: Vec<_> = thread.stalls.iter().filter(|it| it.turns > 0).collect();
    let over = stalls.iter().find(|it| it.at_ns <= began && it.at_ns + it.ns >= began);
    lab.enforcement("when the thread was throttled first")
        .covers([R172])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(stalls.first().map_or(u64::MAX, |it| it.at_ns))
        .between(
            9 * MILLISECOND,
            10 * MILLISECOND + 2 * tick()?,
            "it has 10 ms in a second, of which its waking up takes some, and ends at a tick",
        );
    lab.enforcement("when the stall in which the bandwidth was written was over")
        .covers([R172])
        .file(file)
        .unit(Unit::Nanoseconds)
        .observed(over.map_or(u64::MAX, |it| it.at_ns + it.ns))
        .between(
            began,
            began + 2 * MILLISECOND,
            "sched-bwc.rst, Management: \"Any updates to a group's bandwidth specification will result in it becoming unthrottled\"; the write itself takes a millisecond, and the way to the thread less",
        );
    lab.value(
        "from the write to the thread's next turn",
        Unit::Nanoseconds,
        over.map_or(0, |it| (it.at_ns + it.ns).saturating_sub(began)),
        Lower,
    );
    // A shorter period begins when the old one ends, but for the newest kernels.
    let after = usize::try_from(ended / truth.window_ns + 1).unwrap_or(usize::MAX);
    let turns: u32 = thread.windows.iter().skip(after).sum();
    lab.value(
        "work of the thread after the write over the time",
        Unit::Ratio,
        ratio_of(
            u64::from(turns) * truth.turn_ns,
            300 * MILLISECOND - after as u64 * truth.window_ns,
        ),
        Neither,
    );
    Ok(())
}
