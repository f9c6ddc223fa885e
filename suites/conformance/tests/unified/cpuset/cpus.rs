//! What this suite needs of its machine, and how long it waits for it.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, wait_until};

pub use cgauge_lab::cpus::*;

/// How long the kernel may take to follow a change.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Skips the case on a machine with less than eight CPUs, 0 to 7.
pub fn needs_eight(lab: &Lab) -> Outcome {
    lab.needs_controller("cpuset")?;
    if std::fs::read_to_string("/sys/devices/system/cpu/online")?.trim() == "0-7" {
        return Ok(());
    }
    Err(lab.skip("this machine has other CPUs than 0 to 7 (the suite asks for eight)"))
}

/// What `file` holds once it holds `wanted`, or after the patience; and how long
/// that took.
pub fn settle(group: &Group, file: &str, wanted: &str) -> Result<(String, Duration), Stop> {
    let began = now();
    wait_until(PATIENCE, || group.line(file).is_ok_and(|it| it == wanted));
    Ok((group.line(file)?, now() - began))
}

/// Checks that the state of an invalid partition comes with a reason.
pub fn says_why(lab: &Lab, state: &str) {
    let reason = state.split_once(" invalid (").and_then(|(_, rest)| rest.strip_suffix(')'));
    lab.interface("whether the state says why the partition is invalid")
        .covers([R144])
        .file(crate::PARTITION)
        .observed(if reason.is_some_and(|it| !it.is_empty()) { "yes" } else { "no" })
        .equals("yes", "cgroup-v2.rst, cpuset.cpus.partition: \"In the case of an invalid partition root, a descriptive string on why the partition is invalid is included within parentheses\"");
}
