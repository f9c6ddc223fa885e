//! Isolated partitions: no load balancing, no unbound workers of the kernel.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};
use nix::sched::{CpuSet, sched_setaffinity};

use crate::cpus::{PATIENCE, Roamers, list, needs_eight, settle};
use crate::{CPUS, EFFECTIVE, EXCLUSIVE, PARTITION};

const WORKERS: &str = "/sys/devices/virtual/workqueue/cpumask";

/// In an isolated partition every process stays on its CPU; in another they are spread.
#[rstest]
fn isolated_partition_spreads_no_load(
    lab: Lab,
    #[values("root", "isolated")] kind: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "5-6")?;
    part.set(PARTITION, kind)?;
    lab.hierarchy("the state of the partition")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals(kind, "all the conditions of a valid partition are met");
    // Both on one CPU; then both may use the other, too.
    let roamers = Roamers::start(&part, 3, &[5])?;
    pause(Duration::from_millis(5));
    let mut both = CpuSet::new();
    both.set(5).and_then(|()| both.set(6)).map_err(Stop::broken("make a set of CPUs"))?;
    for process in &roamers.processes {
        sched_setaffinity(process.pid(), &both).map_err(Stop::broken("set an affinity"))?;
    }
    let (seen, expected, why) = if kind == "isolated" {
        (
            roamers.watch(Duration::from_millis(150)),
            "5",
            "cgroup-v2.rst, cpuset.cpus.partition: \"The CPUs in that partition root will be in an isolated state without any load balancing from the scheduler\"",
        )
    } else {
        (
            roamers.watch(Duration::from_millis(150)),
            "5-6",
            "the scheduler moves one of three busy processes to the idle CPU within some ticks",
        )
    };
    let check = lab
        .enforcement("CPUs that 3 busy processes ran on that began on CPU 5 and may use CPU 6")
        .covers([R146])
        .file(PARTITION);
    let check = if kind == "root" {
        check.beyond_lies("the load is spread wherever it is not isolated: what the isolated partition is held against")
    } else {
        check
    };
    check.observed(seen).equals(expected, why);
    Ok(())
}

/// The kernel's unbound workers leave the CPUs of an isolated partition, and come back when it ends.
#[rstest]
fn unbound_workers_leave_isolated_cpus(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, "since 6.7; unbound workers leave isolated CPUs since then")?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "5-6")?;
    for (state, expected) in [
        ("root", "0-7"),
        ("isolated", "0-4,7"),
        ("root", "0-7"),
        ("isolated", "0-4,7"),
        ("member", "0-7"),
    ] {
        part.set(PARTITION, state)?;
        lab.enforcement(&format!("CPUs of unbound workers with a partition that is {state}"))
            .covers([R146])
            .file(PARTITION)
            .observed(workers()?)
            .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: an isolated partition is \"excluded from the unbound workqueues\"");
    }
    Ok(())
}

/// Making and ending partitions leaves every bound worker of the kernel on its own CPU.
#[rstest]
fn bug_20_bound_workers_keep_their_cpu(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "5-6")?;
    for _ in 0..10 {
        for state in ["isolated", "root", "member"] {
            part.set(PARTITION, state)?;
            // Workers are made while others work.
            pause(Duration::from_millis(3));
        }
    }
    // One that is being made is not bound yet: it is before it works.
    wait_until(PATIENCE, || bound_workers(whole.root()).is_ok_and(|it| it.astray.is_empty()));
    let Bound { checked, astray } = bound_workers(whole.root())?;
    lab.enforcement("bound workers that were looked at")
        .covers([R146])
        .unit(Unit::Count)
        .observed(checked)
        .at_least(8, "every CPU has at least one");
    lab.enforcement("bound workers that may run elsewhere")
        .covers([R146])
        .file(PARTITION)
        .beyond_lies("workers are threads of the kernel, asked about in /proc; without partitions they are on their CPUs as well")
        .observed(astray.join(", "))
        .equals(
            "",
            "a worker of CPU n works for CPU n; a partition must not move it (ubicloud issue 4180)",
        );
    lab.hierarchy("effective CPUs of the root at the end")
        .covers([R144])
        .file(EFFECTIVE)
        .observed(settle(whole.root(), EFFECTIVE, "0-7")?.0)
        .equals("0-7", "no partition is left");
    Ok(())
}

/// The kernel's workers that are bound to a CPU.
struct Bound {
    checked: usize,
    /// Those that may run elsewhere, and where.
    astray: Vec<String>,
}

fn bound_workers(root: &Group) -> Result<Bound, Stop> {
    let mut found = Bound { checked: 0, astray: Vec::new() };
    for pid in root.ids("cgroup.procs")? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|it| it.strip_prefix(name))?;
            Some(line.trim_start_matches(':').trim().to_owned())
        };
        let (Some(name), Some(cpus)) = (field("Name"), field("Cpus_allowed_list")) else {
            continue;
        };
        // "kworker/3:1" is bound to CPU 3, "kworker/u16:0" to none.
        let bound = name.strip_prefix("kworker/").and_then(|it| it.split(':').next());
        let Some(cpu) = bound.and_then(|it| it.parse::<u32>().ok()) else { continue };
        found.checked += 1;
        if cpus != list(1 << cpu) {
            found.astray.push(format!("{name} on {cpus}"));
        }
    }
    Ok(found)
}

/// The CPUs that unbound workers may use, as a list.
fn workers() -> Result<String, Stop> {
    let text = std::fs::read_to_string(WORKERS)?;
    let mask = u64::from_str_radix(&text.trim().replace(',', ""), 16);
    mask.map(list).map_err(|_| Stop::Broken(format!("{WORKERS}: {text:?}")))
}
