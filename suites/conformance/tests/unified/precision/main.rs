//! How precisely limits and weights are kept: swept over the values that matter,
//! each with what the arithmetic of periods, slices and batches leaves open.
//!
//! The suites of the controllers check that limits hold; here it is measured how
//! well, so that one kernel can be held against another. The machine has four CPUs.

mod memory;
mod quota;
mod weight;

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Burn, Millis, Work, truth};

/// Longer than any load here burns.
const PATIENCE: Duration = Duration::from_secs(60);

/// Threads that burn without rest from `from_ns` on, one on each of so many CPUs in
/// turn.
fn burner(threads: u32, cpus: u32, from_ns: u64, time: Millis) -> Burn {
    Burn {
        threads,
        cpus,
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: 1000,
        window_us: 10_000,
        from_ns,
        time,
    }
}

/// The moment at which loads that are started now can begin together.
fn soon() -> u64 {
    nanoseconds(now() + Duration::from_millis(150))
}

/// What all threads of a load burnt, in nanoseconds.
fn burnt(load: &truth::Burn) -> u64 {
    load.threads.iter().map(|it| it.cpu_ns).sum()
}

/// One number over another.
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}
