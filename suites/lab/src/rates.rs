//! Rates: what a load did over time, held against what a limit allows.

use std::time::Duration;

use cgauge_record::Unit;
use cgauge_workloads::{BlockIo, Millis, Operation, truth};

use crate::case::Lab;
use crate::disk::Disk;

/// Longer than any load here takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a throttled group may have too much or too little, as time at its rate.
pub const SLICE: Duration = Duration::from_millis(100);

/// Why a limit is held within one slice.
pub const SLICE_REASON: &str = "block/blk-throttle.c gives budgets by slices of HZ/10, 100 ms: what went through is what the limit gives in the time, give or take one slice and one request";

/// Direct I/O in requests of 16 KiB for this long.
#[must_use]
pub fn timed(operation: Operation, disk: &Disk, time: Duration) -> BlockIo {
    let deadline = Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    BlockIo { block_bytes: BLOCK, deadline, ..BlockIo::direct(operation, disk.path(), u64::MAX) }
}

/// Bytes of a request of [`timed`].
pub const BLOCK: u64 = 16 << 10;

/// Records bytes a second over time.
pub fn record(lab: &Lab, metric: &str, truth: &truth::BlockIo, limit: Option<u64>) {
    let width = truth.window_ns as f64 / 1e9;
    // The last window is cut short by the end of the load.
    let whole = usize::try_from(truth.elapsed_ns / truth.window_ns).unwrap_or(usize::MAX);
    let points: Vec<_> = truth
        .windows
        .iter()
        .take(whole)
        .zip(0_u64..)
        .map(|(bytes, at)| (Duration::from_nanos(at * truth.window_ns), *bytes as f64 / width))
        .collect();
    lab.series(metric, Unit::BytesPerSecond, &points, limit.map(|it| it as f64));
}

/// Bytes that `limit` bytes a second give in this many nanoseconds.
#[must_use]
pub fn in_time(limit: u64, ns: u64) -> u64 {
    u64::try_from(u128::from(limit) * u128::from(ns) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// A time in nanoseconds.
#[must_use]
pub fn in_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that `limit` gives in one slice.
#[must_use]
pub fn in_slice(limit: u64) -> u64 {
    in_time(limit, in_ns(SLICE))
}

/// The most bytes in one window.
#[must_use]
pub fn most_in_a_window(truth: &truth::BlockIo) -> u64 {
    truth.windows.iter().copied().max().unwrap_or(0)
}
