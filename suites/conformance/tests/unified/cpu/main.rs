//! The cpu controller on the unified hierarchy (cgroup-v2.rst, "CPU").
//!
//! What the cases here have to know of the machine: on the virtual clock the
//! CPUs take turns, so that with n of them busy each does 1/n of the work that
//! its clock says it does. The kernel's CPU time is that clock's, and so are
//! quotas and shares; a thread's turns are work, and are held against the clock
//! only where one CPU alone is busy. A kernel ends what is over at its next
//! tick, and a CPU that awaits its turn has its tick late.

mod accounting;
mod interface;
mod quota;
mod throttling;
mod weight;

use cgauge_lab::Group;
use cgauge_lab::machine;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Burn, Millis, Work, truth};

/// Longer than any load here burns.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time enough to start some loads and to set limits before they begin.
const SOON: Duration = Duration::from_millis(100);
const MILLISECOND: u64 = 1_000_000;

/// Threads that burn without rest, one on each of so many CPUs in turn.
fn burner(threads: u32, cpus: u32, time: Millis) -> Burn {
    Burn {
        threads,
        cpus,
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: 1000,
        window_us: 10_000,
        from_ns: 0,
        time,
    }
}

/// The moment at which loads that are started now can begin together.
fn soon() -> u64 {
    nanoseconds(now() + SOON)
}

/// Three milliseconds into a period of the group's limit, when loads that are started
/// now can begin.
///
/// A thread that is throttled sees when periods begin, and they keep their beat
/// as long as the group is there, also while nobody runs. As many burn as it takes
/// to be throttled, each on a CPU of its own.
fn in_step(group: &Group, period_us: u64, threads: u32) -> Result<u64, Stop> {
    let period = period_us * 1000;
    let load = Burn { stall_us: 3000, ..burner(threads, threads, Millis(period_us * 9 / 4000)) };
    let probe = group.load(&Burn { from_ns: soon(), ..load })?.truth(PATIENCE)?;
    let stall = probe.threads[0].stalls.iter().rfind(|it| it.turns > 0);
    let stall = stall.ok_or_else(|| {
        Stop::Broken("threads without end were not throttled in two periods".into())
    })?;
    let beat = (probe.began_ns + stall.at_ns + stall.ns) % period;
    // What the probe took too much is paid back by then.
    Ok(soon().next_multiple_of(period) + period + beat + 3 * MILLISECOND)
}

/// What all threads of a load burnt, in nanoseconds.
fn burnt(load: &truth::Burn) -> u64 {
    load.threads.iter().map(|it| it.cpu_ns).sum()
}

/// The kernel's tick in nanoseconds.
fn tick() -> Result<u64, Stop> {
    machine::tick().map(nanoseconds)
}

/// One number over another.
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}
