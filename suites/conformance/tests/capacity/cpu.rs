//! What a CPU limit costs those who run under it: how often and how long threads
//! stall, over their number, the limit, the period and the burst.

use cgauge_lab::machine;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Burn, Millis, Work, truth};

use crate::PATIENCE;

/// On so many CPUs, as many as the suite has.
const CPUS: u32 = 4;
/// Time enough to start the load and to set the limit before it begins.
const SOON: Duration = Duration::from_millis(100);
/// The shortest gap that is a stall: CPUs that await each other make shorter ones.
const STALL_US: u64 = 4000;

/// Threads that always want to run never burn more than their group's limit.
#[rstest]
fn busy_threads_under_a_limit(
    lab: Lab,
    #[values(1, 2, 4, 8, 16, 32)] threads: u32,
    #[values(50, 100, 200)] percent: u64,
) -> Outcome {
    measure(&lab, Limit { percent, period_us: 100_000, burst_us: 0 }, &busy(threads, 1000))
}

/// Four threads that always want to run never burn more than one CPU, however long the period.
#[rstest]
fn busy_threads_by_the_period(
    lab: Lab,
    #[values(5, 10, 20, 50, 100, 200, 500)] period_ms: u64,
) -> Outcome {
    let limit = Limit { percent: 100, period_us: period_ms * 1000, burst_us: 0 };
    measure(&lab, limit, &busy(4, (period_ms * 8).max(1000)))
}

/// A thread that wants twice its limit in every third period never burns more than limit and burst.
#[rstest]
fn bursts_of_a_thread(lab: Lab, #[values(0, 25, 50, 100)] burst_percent: u64) -> Outcome {
    let limit = Limit { percent: 30, period_us: 100_000, burst_us: 300 * burst_percent };
    if limit.burst_us > 0 {
        lab.needs_file("cpu.max.burst", "since 5.14")?;
    }
    let load = Burn { burst_us: 60_000, every_us: 300_000, ..busy(1, 3000) };
    measure(&lab, limit, &load)
}

/// So much CPU time in a period, in per cent of one CPU, and what may be saved up.
#[derive(Clone, Copy)]
struct Limit {
    percent: u64,
    period_us: u64,
    burst_us: u64,
}

fn busy(threads: u32, milliseconds: u64) -> Burn {
    Burn {
        threads,
        cpus: CPUS.min(threads),
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: STALL_US,
        window_us: 10_000,
        from_ns: 0,
        time: Millis(milliseconds),
    }
}

fn measure(lab: &Lab, limit: Limit, load: &Burn) -> Outcome {
    let group = lab.group("group")?;
    let quota_us = limit.period_us * limit.percent / 100;
    group.set("cpu.max", format!("{quota_us} {}", limit.period_us))?;
    if limit.burst_us > 0 {
        group.set("cpu.max.burst", limit.burst_us)?;
    }
    let count = |key: &str| group.key("cpu.stat", key);
    let before = [count("nr_periods")?, count("nr_throttled")?];
    let load = Burn { from_ns: nanoseconds(now() + SOON), ..load.clone() };
    let truth = group.load(&load)?.truth(PATIENCE)?;
    let (periods, throttled) =
        (count("nr_periods")? - before[0], count("nr_throttled")? - before[1]);
    lab.value(
        "share of periods that were throttled",
        Unit::Ratio,
        throttled as f64 / (periods as f64).max(1.0),
        Lower,
    );
    record_stalls(lab, &truth);
    let burnt: u64 = truth.threads.iter().map(|it| it.cpu_ns).sum();
    let time = load.time.0 * 1_000_000;
    let quota = time / 100 * limit.percent;
    lab.value("CPU time over the limit", Unit::Ratio, burnt as f64 / quota as f64, Neither);
    let tick = nanoseconds(machine::tick()?);
    let late = 2 * tick * u64::from(CPUS) * 2;
    lab.enforcement("CPU time of all threads")
        .covers([R072])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(burnt)
        .at_most(
            quota + 2 * quota_us * 1000 + limit.burst_us * 1000 + late,
            "cgroup-v2.rst, cpu.max: up to the limit in each period; the parts of two more, what a burst has saved up, and two ticks of each CPU, which await each other, at either end",
        );
    Ok(())
}

/// The stalls that each thread saw: those that it tells of, the longest.
fn record_stalls(lab: &Lab, truth: &truth::Burn) {
    let stalls: Vec<Duration> = truth
        .threads
        .iter()
        .flat_map(|it| it.stalls.iter().map(|it| Duration::from_nanos(it.ns)))
        .collect();
    let longest = truth.threads.iter().map(|it| it.longest_stall_ns).max().unwrap_or(0);
    let stalled: u64 = truth.threads.iter().map(|it| it.stalled_ns).sum();
    let whole = truth.elapsed_ns * truth.threads.len() as u64;
    lab.value("longest stall", Unit::Nanoseconds, longest, Lower);
    lab.value(
        "share of a thread's time stalled",
        Unit::Ratio,
        stalled as f64 / whole.max(1) as f64,
        Lower,
    );
    if !stalls.is_empty() {
        lab.latencies("stall", &stalls);
    }
}
