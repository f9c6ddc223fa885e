//! The pids controller on the unified hierarchy (cgroup-v2.rst, "PID").

use cgauge_lab::prelude::*;

/// A group never holds more processes than `pids.max`: the fork above it fails with EAGAIN.
#[rstest]
fn fork_above_the_limit_fails_with_eagain(lab: Lab, #[values(1, 8, 64)] limit: u64) -> Outcome {
    let bounded = lab.group("bounded")?;
    bounded.set("pids.max", limit)?;
    let held: Vec<_> = (0..limit).map(|_| bounded.sleeper()).collect::<Result<_, _>>()?;

    lab.accounting("processes in the group at its limit")
        .covers([R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(limit, "each of the sleepers is one process");
    lab.enforcement("the answer to the clone above the limit")
        .covers([R132])
        .file("pids.max")
        .answered(&bounded.try_spawn(|| ())?)
        .equals("EAGAIN", "cgroup-v2.rst, PID: \"fork() or clone() … will return -EAGAIN\"");
    drop(held);
    Ok(())
}
