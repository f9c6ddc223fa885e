//! What operations cost in a group that is one of many, each of which has every
//! controller; and the kernel memory of each.
//!
//! To make ten thousand groups takes longer than anything that is timed among
//! them: one benchmark times all operations there.

use cgauge_benchmarks::groups::Crowd;
use cgauge_benchmarks::operations::ALL;
use cgauge_benchmarks::{Benchmark, Timer, from_within};
use cgauge_lab::{Lab, Outcome, Stop};
use cgauge_record::{Preference, Unit};

fn main() {
    let all = [1, 100, 1000, 10_000].map(|count| {
        Benchmark::new(format!("among::groups_{count:05}"), move |lab, timer| {
            among(lab, timer, count)
        })
    });
    cgauge_benchmarks::main(&all);
}

/// Every operation, in one group of so many.
fn among(lab: &Lab, timer: &mut Timer<'_>, count: u32) -> Outcome {
    let before = unreclaimable_memory()?;
    let crowd = Crowd::new(lab, count)?;
    let grown = unreclaimable_memory()?.saturating_sub(before);
    lab.value(
        "kernel memory of a group",
        Unit::Bytes,
        grown / u64::from(crowd.count()),
        Preference::Lower,
    );
    let parent = crowd.parent();
    timer.named("make_and_remove", || {
        parent.dir().make("one").and_then(|_| parent.dir().remove("one"))
    })?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let process = one.sleeper()?;
    let mut there = false;
    timer.named("migrate_a_process", || {
        there = !there;
        let to = if there { &other } else { &one };
        to.try_set("cgroup.procs", process.pid())
    })?;
    for file in ["memory.stat", "cpu.stat", "io.stat"] {
        timer.named(&format!("read the group's {file}"), || one.try_get(file))?;
        timer.named(&format!("read the parent's {file}"), || parent.try_get(file))?;
    }
    for (name, prepare) in ALL {
        from_within(lab, &one, || timer.named(name, &mut prepare()?))?;
    }
    Ok(())
}

/// What the kernel holds for itself and does not give back.
fn unreclaimable_memory() -> Result<u64, Stop> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = |key: &str| -> u64 {
        let line = text.lines().find_map(|it| it.strip_prefix(key));
        line.and_then(|it| it.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Ok((kib("SUnreclaim:") + kib("Percpu:") + kib("KernelStack:") + kib("SReclaimable:")) * 1024)
}
