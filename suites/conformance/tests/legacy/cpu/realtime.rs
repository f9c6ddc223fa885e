//! Real-time groups: `cpu.rt_runtime_us` in each `cpu.rt_period_us`
//! (scheduler/sched-rt-group.rst).

use cgauge_lab::prelude::*;
use cgauge_workloads::{Burn, Millis};
use nix::errno::Errno;
use nix::libc;

use super::{PATIENCE, burner, burnt, soon, tick};

const RUNTIME: &str = "cpu.rt_runtime_us";
const PERIOD: &str = "cpu.rt_period_us";

/// Real-time tasks of a group run for `cpu.rt_runtime_us` in each period and no longer; a group without any time takes none.
#[rstest]
fn runtime_bounds_real_time_tasks(lab: Lab) -> Outcome {
    const PERIODS: u64 = 4;
    let root = lab.legacy("cpu")?;
    let group = root.make("group")?;
    if !group.has(RUNTIME)? {
        return Err(lab.skip("this kernel has no cpu.rt_runtime_us (CONFIG_RT_GROUP_SCHED)"));
    }
    for (file, expected) in [(RUNTIME, "0"), (PERIOD, "1000000")] {
        lab.interface("the value in a new group")
            .covers([S27])
            .file(file)
            .observed(group.line(file)?)
            .equals(
                expected,
                "sched-rt-group.rst, 2.2: a new group has no real-time, in periods of 1 s",
            );
    }
    let load = Burn { stall_us: 10_000, ..burner(1, 1, Millis(PERIODS * 100)) };
    let mut without = group.load(&Burn { from_ns: soon(), time: Millis(1), ..load.clone() })?;
    lab.enforcement("the answer to SCHED_FIFO in a group without real-time")
        .covers([S27])
        .file(RUNTIME)
        .returned(&become_real_time(without.process().pid().as_raw()))
        .equals("EPERM", "sched_setscheduler(2): EPERM where the group's rt_runtime is 0");
    without.truth(PATIENCE)?;

    for (written, answer) in [("200000", "EINVAL"), ("-2", "EINVAL")] {
        lab.interface(&format!("the answer to {written}, which its parent does not have"))
            .covers([S27])
            .file(RUNTIME)
            .answered(&group.try_set(RUNTIME, written))
            .equals(answer, "sched-rt-group.rst, 2.3: the sum of the children's time over period is at most the parent's");
    }
    root.set(RUNTIME, 500_000)?;
    for (runtime_us, period_us) in [(20_000, 100_000), (50_000, 100_000)] {
        group.set(RUNTIME, 0)?;
        group.set(PERIOD, period_us)?;
        group.set(RUNTIME, runtime_us)?;
        let mut running = group.load(&Burn { from_ns: soon(), ..load.clone() })?;
        for thread in running.process().threads()? {
            become_real_time(thread).map_err(Stop::broken("sched_setscheduler"))?;
        }
        let truth = running.truth(PATIENCE)?;
        lab.enforcement(&format!("CPU time of a SCHED_FIFO thread at {runtime_us} us"))
            .covers([S27])
            .file(RUNTIME)
            .unit(Unit::Nanoseconds)
            .observed(burnt(&truth))
            .between(
                PERIODS * runtime_us * 1000 - PERIODS * tick()?,
                (PERIODS + 1) * runtime_us * 1000 + PERIODS * tick()?,
                "sched-rt-group.rst, 2: rt_runtime in each rt_period, of four periods and the parts of two more; each may end a tick late and pay it back",
            );
    }
    Ok(())
}

/// Makes a thread a real-time one.
fn become_real_time(thread: i32) -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameters outlive the call.
    let answer =
        unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameters) };
    Errno::result(answer).map(drop)
}
