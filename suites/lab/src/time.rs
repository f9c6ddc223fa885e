//! The run's clock, and waiting with a deadline.
//!
//! On the virtual clock sleeping costs nothing on the host, so a wait may be as
//! patient as its reason needs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine came up.
#[must_use]
pub fn now() -> Duration {
    // CLOCK_MONOTONIC is there on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// CPU time that the calling process has used.
#[must_use]
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Sleeps.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Asks `done` every millisecond until it holds or `patience` is over. Returns
/// how long it took, or `None`.
pub fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> Option<Duration> {
    let began = now();
    loop {
        if done() {
            return Some(now() - began);
        }
        if now() - began >= patience {
            return None;
        }
        pause(Duration::from_millis(1));
    }
}

/// A duration in whole nanoseconds.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
