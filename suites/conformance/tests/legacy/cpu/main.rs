//! The cpu and cpuacct controllers on legacy hierarchies (sched-design-CFS.rst,
//! sched-bwc.rst, cgroup-v1/cpuacct.rst, sched-rt-group.rst).
//!
//! What the cases here have to know of the machine: on the virtual clock the
//! CPUs take turns, so that with n of them busy each does 1/n of the work that
//! its clock says it does. The kernel's CPU time is that clock's, and so are
//! quotas and shares. A kernel ends what is over at its next tick, and a CPU
//! that awaits its turn has its tick late.

mod accounting;
mod bandwidth;
mod ratio;
mod realtime;
mod shares;

use cgauge_lab::machine;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_workloads::{Burn, Millis, Work, truth};

/// Longer than any load here burns.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time enough to start some loads and to set limits before they begin.
const SOON: Duration = Duration::from_millis(100);
const MILLISECOND: u64 = 1_000_000;

const QUOTA: &str = "cpu.cfs_quota_us";
const PERIOD: &str = "cpu.cfs_period_us";
const STAT: &str = "cpu.stat";

/// Threads that burn without rest, one on each of so many CPUs in turn.
fn burner(threads: u32, cpus: u32, time: Millis) -> Burn {
    Burn {
        threads,
        cpus,
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: 2000,
        window_us: 10_000,
        from_ns: 0,
        time,
    }
}

/// The moment at which loads that are started now can begin together.
fn soon() -> u64 {
    nanoseconds(now() + SOON)
}

/// Sleeps until a moment of the clock that loads begin by.
fn wait_for(ns: u64) {
    pause(Duration::from_nanos(ns).saturating_sub(now()));
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
fn ratio_of(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// The counters of throttling in `cpu.stat`.
#[derive(Clone, Copy)]
struct Counters {
    periods: u64,
    throttled: u64,
    throttled_ns: u64,
}

impl Counters {
    fn of(group: &Group) -> Result<Self, Stop> {
        Ok(Self {
            periods: group.key(STAT, "nr_periods")?,
            throttled: group.key(STAT, "nr_throttled")?,
            throttled_ns: group.key(STAT, "throttled_time")?,
        })
    }

    fn since(group: &Group, before: Self) -> Result<Self, Stop> {
        let now = Self::of(group)?;
        Ok(Self {
            periods: now.periods - before.periods,
            throttled: now.throttled - before.throttled,
            throttled_ns: now.throttled_ns - before.throttled_ns,
        })
    }
}

/// Starts a load in a group without a limit, and sets one just before it begins.
fn limited(
    group: &Group,
    quota_us: u64,
    period_us: u64,
    load: &Burn,
) -> Result<(truth::Burn, Counters), Stop> {
    let mut running = group.load(load)?;
    wait_for(load.from_ns - 5 * MILLISECOND);
    group.set(PERIOD, period_us)?;
    group.set(QUOTA, quota_us)?;
    let before = Counters::of(group)?;
    let truth = running.truth(PATIENCE)?;
    Ok((truth, Counters::since(group, before)?))
}
