//! `memory.high`: usage above it is reclaimed, a process that grows on regardless
//! is slowed down, and nobody is ever killed.

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_lab::turns::Turns;
use cgauge_workloads::{Growth, MaybePath, MemoryHog, Millis, truth};

use crate::support::*;

/// Longer than any growth here takes, at two seconds for each 64 pages.
const PATIENCE: Duration = Duration::from_secs(58);

fn hog(bytes: u64) -> MemoryHog {
    MemoryHog {
        growth: Growth::Anonymous,
        file: MaybePath(None),
        bytes,
        step: BATCH,
        pace: Millis(0),
        passes: 0,
        deadline: Millis(50_000),
    }
}

/// When the hog, with `beside` bytes of its own besides, had come to `bytes`.
fn reached(truth: &truth::MemoryHog, beside: u64, bytes: u64) -> Option<Duration> {
    let points = &truth.bytes_over_time.points;
    points.iter().find(|it| it.1 + beside >= bytes).map(|it| Duration::from_nanos(it.0))
}

/// Pages in which a process grows, and how it went.
struct Grown {
    /// By its own clock, when each lot of 64 pages was there.
    times: Vec<u64>,
    /// The most that was charged by then.
    peak: u64,
}

impl Grown {
    /// Lets a process grow in `group` to so many pages at once.
    fn by(group: &Group, pages: u64) -> Result<Self, Stop> {
        const LOT: u64 = BATCH / PAGE;
        let turns = Turns::new()?;
        let process = group.spawn(|| {
            let mut times = vec![1; (pages / LOT) as usize];
            let Ok(memory) = Memory::anonymous(pages * PAGE) else { return Vec::new() };
            turns.step(|| 0);
            turns.step(|| {
                let began = now();
                for (lot, time) in (0..).zip(&mut times) {
                    memory.write(lot * LOT..(lot + 1) * LOT, 1);
                    *time = nanoseconds(now() - began);
                }
                pages
            });
            // Until then it tells nothing, for that would be charged too.
            turns.step(|| 0);
            times
        })?;
        turns.next()?;
        turns.next()?;
        let peak = group.number("memory.peak")?;
        turns.next()?;
        Ok(Self { times: process.finish()?, peak })
    }

    fn took(&self) -> u64 {
        self.times.last().copied().unwrap_or(0)
    }
}

/// What mm/memcontrol.c makes of the charges above `memory.high`, in ticks.
struct Curve {
    least: u64,
    most: u64,
    /// Times that it goes to reclaim, each counted as high.
    reclaims: u64,
}

impl Curve {
    /// Of a process that grew to `peak` and was charged batch by batch, without
    /// anything that could be reclaimed.
    fn up_to(peak: u64, high: u64) -> Result<Self, Stop> {
        let batch = BATCH / sleeps_a_batch()?;
        let hz = 1_000_000_000 / nanoseconds(tick()?);
        let mut curve = Self { least: 0, most: 0, reclaims: 0 };
        let batches = std::iter::successors(Some(peak), |it| it.checked_sub(batch));
        for charged in batches.take_while(|it| *it > high) {
            // calculate_high_delay: 64 s times the square of the overage, 2 s at most.
            let overage = (charged - high) as f64 / high as f64;
            let ticks = ((64.0 * overage * overage * hz as f64) as u64).min(2 * hz);
            // mem_cgroup_handle_over_high: a hundredth of a second is not worth it;
            // before it sleeps it tries to reclaim sixteen times more.
            if ticks <= hz / 100 {
                curve.reclaims += 1;
                continue;
            }
            curve.reclaims += 17;
            // A timer is never early, and late by a tick, or eight from 64 ticks on
            // (kernel/time/timer.c, LVL_GRAN).
            curve.least += ticks;
            curve.most += ticks + if ticks < 63 { 1 } else { 8 };
        }
        Ok(curve)
    }
}

/// The higher a process grows above `memory.high` the slower it grows, along the kernel's curve, and it is never killed.
#[rstest]
fn growth_above_high_slows_along_the_curve(lab: Lab) -> Outcome {
    const HIGH: u64 = 16 * MIB;
    const PAGES: u64 = (HIGH + 5 * MIB / 2) / PAGE;
    lab.needs_file("memory.peak", "since 5.19")?;
    no_khugepaged()?;
    let (group, beside) = (lab.group("group")?, lab.group("beside")?);
    group.set("memory.high", HIGH)?;
    let unhindered = Grown::by(&beside, PAGES)?;
    let slowed = Grown::by(&group, PAGES)?;
    let (curve, tick) = (Curve::up_to(slowed.peak, HIGH)?, nanoseconds(tick()?));
    lab.enforcement("the most that was charged, above what the process touched")
        .covers([R089, R090])
        .file("memory.peak")
        .unit(Unit::Bytes)
        .observed(slowed.peak.saturating_sub(PAGES * PAGE))
        .between(0, BATCH + 2 * MIB / 4, "cgroup-v2.rst, memory.high: \"under extreme conditions the limit may be breached\": without swap nothing can be reclaimed, and the process gets all its 2.5 MiB above; half a MiB is for itself and its tables, and 64 pages for the next");
    lab.enforcement("time that memory.high adds to the growth to 2.5 MiB above it")
        .covers([R089, R091])
        .file("memory.high")
        .unit(Unit::Nanoseconds)
        .observed(slowed.took().saturating_sub(unhindered.took()))
        .between(curve.least * tick, (curve.most + 2 * curve.reclaims / 17) * tick, "mm/memcontrol.c, calculate_high_delay: for every 64 pages (32 before 6.1) 64 s times the square of the overage over memory.high, which is known from memory.peak and the batches before it; each sleep as much longer as its timer is coarse, and each time seventeen tries to reclaim, which take less than two ticks");
    let below = (HIGH / BATCH - 4) as usize;
    lab.enforcement("time to grow to 1 MiB below memory.high")
        .covers([R089])
        .file("memory.high")
        .unit(Unit::Nanoseconds)
        .observed(slowed.times[below])
        .between(unhindered.times[below] * 9 / 10, unhindered.times[below] * 11 / 10, "below memory.high nothing is slowed: it takes what it takes without a limit, give or take a tick's work");
    let events = events(&group, "memory.events")?;
    lab.accounting("times that processes were slowed and sent to reclaim")
        .covers([R089, R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(events["high"])
        .equals(curve.reclaims, "cgroup-v2.rst, memory.events, high; mm/memcontrol.c, reclaim_high, counts each try: for each batch of charges above one, and sixteen more (MAX_RECLAIM_RETRIES) where they free nothing and the sleep is longer than a hundredth of a second");
    for counter in ["max", "oom", "oom_kill"] {
        lab.enforcement(&format!("{counter} of a group above memory.high"))
            .covers([R090])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(events[counter])
            .equals(0, "cgroup-v2.rst, memory.high: \"Going over the high limit never invokes the OOM killer\"");
    }
    let sizes: Vec<_> = (1..)
        .zip(&slowed.times)
        .map(|(lots, at)| (Duration::from_nanos(*at), (lots * BATCH) as f64))
        .collect();
    lab.series("size with memory.high at 16 MiB", Unit::Bytes, &sizes, Some(HIGH as f64));

    group.set("memory.high", "max")?;
    lab.enforcement("time that it takes with memory.high gone, beyond what it takes without")
        .covers([R089, R091])
        .file("memory.high")
        .unit(Unit::Nanoseconds)
        .observed(Grown::by(&group, PAGES)?.took().saturating_sub(unhindered.took()))
        .at_most(10 * tick, "as fast as a group that never had the limit: less than the shortest of the sleeps above it come to");
    Ok(())
}

/// Known bug 5: far above `memory.high` a process still gets on, at the slowest pace and no slower, and is not killed.
#[rstest]
fn bug_5_far_above_high_a_process_still_gets_on(lab: Lab) -> Outcome {
    const HIGH: u64 = 4 * MIB;
    no_khugepaged()?;
    let group = lab.group("group")?;
    group.set("memory.high", HIGH)?;
    let mut slowed = group.load(&hog(2 * HIGH + HIGH / 4))?;
    // The curve takes it slowly through the first quarter above.
    let began = now();
    let truth = slowed.truth(PATIENCE)?;
    let rest = group.number("memory.current")?.saturating_sub(truth.bytes);
    let quarter = reached(&truth, rest, HIGH + HIGH / 4).unwrap_or_default();
    let far = Duration::from_nanos(truth.grown_ns).saturating_sub(quarter);
    let grown = (truth.bytes + rest).saturating_sub(HIGH + HIGH / 4);
    let rate = grown as f64 / far.as_secs_f64();
    let sleeps = sleeps_a_batch()? as f64;
    lab.enforcement("the rate of growth from a quarter above memory.high on")
        .covers([R090, R091])
        .file("memory.high")
        .unit(Unit::BytesPerSecond)
        .observed(rate)
        .between(115_000.0 / sleeps, 145_000.0 / sleeps, "mm/memcontrol.c: at most two seconds (MEMCG_MAX_HIGH_DELAY_JIFFIES) for each 64 pages, which is 131072 bytes a second, or for each 32 before 6.1; it stays runnable and grows (known bug 5 had it stand still)");
    for counter in ["max", "oom", "oom_kill"] {
        lab.enforcement(&format!("{counter} of a group far above memory.high"))
            .covers([R090])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(group.key("memory.events", counter)?)
            .equals(0, "cgroup-v2.rst, memory.high: \"Going over the high limit never invokes the OOM killer\"");
    }
    lab.value("rate of growth far above memory.high", Unit::BytesPerSecond, rate, Neither);
    lab.value(
        "time of the growth far above memory.high",
        Unit::Nanoseconds,
        u64::try_from((now() - began).as_nanos()).unwrap_or(u64::MAX),
        Neither,
    );
    lab.series(
        "size with memory.high at 4 MiB",
        Unit::Bytes,
        &truth
            .bytes_over_time
            .points
            .iter()
            .map(|(at, it)| (Duration::from_nanos(*at), (*it + rest) as f64))
            .collect::<Vec<_>>(),
        Some(HIGH as f64),
    );
    Ok(())
}

/// File cache above `memory.high` is reclaimed, and its reader hardly slowed; lowering it below what is used reclaims at once.
#[rstest]
fn file_cache_above_high_is_reclaimed(lab: Lab) -> Outcome {
    const HIGH: u64 = 8 * MIB;
    let group = lab.group("group")?;
    let reader = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        turns.step(|| {
            let began = now();
            read_pages(&file, 0..32 * MIB / PAGE);
            u64::try_from((now() - began).as_nanos()).unwrap_or(u64::MAX)
        });
        turns.step(|| read_pages(&file, 32 * MIB / PAGE..64 * MIB / PAGE));
        turns.step(|| 0);
    })?;
    let unhindered = reader.next()?;
    let (_, full) = (settle(), group.number("memory.current")?);
    group.set("memory.high", HIGH)?;
    let left = group.number("memory.current")?;
    let room = HIGH.saturating_sub(left) / PAGE;
    lab.value("memory.current after memory.high was set", Unit::Bytes, left, Higher);
    lab.enforcement("memory.current after memory.high was set to a quarter of it")
        .covers([R089])
        .file("memory.high")
        .unit(Unit::Bytes)
        .observed(left)
        .at_most(HIGH, "the write reclaims down to the limit before it returns (mm/memcontrol.c, memory_high_write); how much more it takes is nowhere promised: it looks only after each round through the lists, of which the last goes through all (mm/vmscan.c, do_try_to_free_pages)");
    lab.accounting("memory.current before it")
        .covers([R083])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(full)
        .between(
            32 * MIB,
            33 * MIB,
            "32 MiB were read; the rest is the process and the kernel's objects for the pages",
        );
    let read = reader.next()?;
    lab.enforcement("pages read with the limit")
        .covers([R089, R090])
        .file("memory.high")
        .unit(Unit::Pages)
        .beyond_lies(ITS_OWN)
        .observed(read)
        .equals(32 * MIB / PAGE, "the limit stops nobody");
    lab.enforcement("memory.current after four times the limit was read")
        .covers([R089])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?)
        .between(HIGH - MIB, HIGH + BATCH + 32 * PAGE, "cgroup-v2.rst, memory.high: \"put under heavy reclaim pressure\"; it is checked once for each 64 pages, after what a call took");
    lab.enforcement("OOM kills")
        .covers([R090])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(0, "cgroup-v2.rst, memory.high: \"never invokes the OOM killer\"");
    lab.accounting("times that the reader was sent to reclaim")
        .covers([R089, R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "high")?)
        .between(
            sleeps_a_batch()? * (32 * MIB / PAGE - room) / 128,
            sleeps_a_batch()? * (32 * MIB / PAGE / 64 + 1),
            "once for each batch of 64 pages (32 before 6.1) that finds the group above the limit: 32 MiB were read, less what there was room for; and reclaim takes the batch and less than a lot of 64 more at a time",
        );
    lab.value("time to read 32 MiB without a limit", Unit::Nanoseconds, unhindered, Neither);
    Ok(())
}

/// Known bug 6: one call that takes four times `memory.high` is held to it on its way, not only at its end.
#[rstest]
fn bug_6_one_large_call_is_held_to_high_on_its_way(lab: Lab) -> Outcome {
    const HIGH: u64 = 8 * MIB;
    lab.needs_file("memory.peak", "since 5.19")?;
    let group = lab.group("group")?;
    group.set("memory.high", HIGH)?;
    let reader = Stepper::start(&group, |turns| {
        use std::os::unix::fs::FileExt;
        // One buffer that is nobody's but this call's: it is charged in the same
        // group, so it is small and the file's pages are many.
        let (Ok(file), Ok(window)) = (device(), Memory::anonymous(MIB)) else { return };
        window.touch();
        turns.step(|| {
            // MAP_POPULATE in one call takes the pages without a return to the process.
            let read = Memory::of_file(&file, 0, 4 * HIGH)
                .and_then(|it| it.advise(POPULATE_READ).map(|()| it.pages()));
            match read {
                Ok(pages) => pages,
                // Before 5.14 there is no such advice: a large read does the same.
                Err(_) => {
                    let mut buffer = vec![0; MIB as usize];
                    (0..4 * HIGH / MIB)
                        .filter(|it| file.read_exact_at(&mut buffer, it * MIB).is_ok())
                        .count() as u64
                        * MIB
                        / PAGE
                }
            }
        });
        turns.step(|| 0);
    })?;
    let pages = reader.next()?;
    lab.enforcement("pages that the call brought in")
        .covers([R089])
        .file("memory.high")
        .unit(Unit::Pages)
        .beyond_lies(ITS_OWN)
        .observed(pages)
        .equals(4 * HIGH / PAGE, "the limit stops nobody");
    lab.enforcement("the most that the group had on the way, above memory.high")
        .covers([R089])
        .file("memory.peak")
        .unit(Unit::Bytes)
        .observed(group.number("memory.peak")?.saturating_sub(HIGH))
        .at_most(4 * BATCH, "mm/memcontrol.c, try_charge_memcg: more than 64 pages above, and the call itself reclaims before it goes on; twice that and a batch for what one lot of pages takes");
    lab.enforcement("OOM kills")
        .covers([R090])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(0, "cgroup-v2.rst, memory.high: \"never invokes the OOM killer\"");
    Ok(())
}

/// `MADV_POPULATE_READ` of asm-generic/mman-common.h, since 5.14.
const POPULATE_READ: i32 = 22;
