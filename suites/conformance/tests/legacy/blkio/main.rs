//! The blkio controller on legacy hierarchies (cgroup-v1/blkio-controller.rst).
//!
//! Limits and counters are each group's own: neither goes up or down the
//! hierarchy but where a file says so by its name.

mod counters;
mod limits;
mod stacked;
mod weights;
mod writeback;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;

const READ_BPS: &str = "blkio.throttle.read_bps_device";
const WRITE_BPS: &str = "blkio.throttle.write_bps_device";
const READ_IOPS: &str = "blkio.throttle.read_iops_device";
const WRITE_IOPS: &str = "blkio.throttle.write_iops_device";

/// Some five thousand requests a second.
fn fast(lab: &Lab) -> Result<Disk, Stop> {
    lab.null_disk(NullDisk {
        completion: Duration::from_micros(200),
        depth: 8,
        ..NullDisk::default()
    })
}

/// Limits a device, or takes the limit away with 0.
fn limit(group: &Group, file: &str, disk: &Disk, limit: u64) -> Outcome {
    group.set(file, format!("{} {limit}", disk.number()))
}
