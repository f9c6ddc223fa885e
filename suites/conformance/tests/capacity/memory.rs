//! How much headroom a group needs under a memory limit: what going through a
//! working set costs as it nears and exceeds the limit, how soon it is killed,
//! and the smallest limit in which a program starts at all.

use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::disk::NullDisk;
use cgauge_lab::memory::{MIB, Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_workloads::{Growth, MaybePath, MemoryHog, Millis, Sleep};

use crate::PATIENCE;

const LIMIT: u64 = 16 * MIB;
const PASSES: u32 = 4;
/// CPUs of the suite, and the most that each charges at a time.
const CPUS: u64 = 4;
const BATCH: u64 = 64 * PAGE;

/// Of what the working set is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Pages of a file, which are read again.
    Cache,
    /// Memory of the process, which goes to swap space.
    Swapped,
}

/// A working set is gone through at every size around the limit, and the limit holds.
#[rstest]
fn working_set_around_a_limit(
    lab: Lab,
    #[values(Of::Cache, Of::Swapped)] of: Of,
    #[values("max", "high")] limit: &str,
    #[values(50, 75, 90, 100, 110, 125, 150)] percent: u64,
) -> Outcome {
    let _swap = if of == Of::Swapped { Some(lab.swap(64 * MIB)?) } else { None };
    // It answers each request after one millisecond and keeps nothing.
    let disk = lab.null_disk(NullDisk { depth: 16, ..NullDisk::default() })?;
    let group = lab.group("group")?;
    group.set(&format!("memory.{limit}"), LIMIT)?;
    let load = MemoryHog {
        growth: if of == Of::Cache { Growth::Cache } else { Growth::Anonymous },
        file: MaybePath((of == Of::Cache).then(|| disk.path())),
        bytes: LIMIT * percent / 100 / PAGE * PAGE,
        step: MIB / 4,
        pace: Millis(0),
        passes: PASSES,
        deadline: Millis(40_000),
    };
    let refault =
        if of == Of::Cache { "workingset_refault_file" } else { "workingset_refault_anon" };
    let key = if limit == "max" { "max" } else { "high" };
    let mut running = group.load(&load)?;
    let (mut current, mut hits) = (Vec::new(), Vec::new());
    let began = now();
    let truth = loop {
        let at = now() - began;
        current.push((at, group.number("memory.current")? as f64));
        hits.push((at, group.key("memory.events", key)? as f64));
        // More often at first, when it grows.
        let next = if current.len() < 200 { 5 } else { 200 };
        if let Some(truth) = running.truth_within(Duration::from_millis(next))? {
            break truth;
        }
        if at > PATIENCE {
            return Err(Stop::Broken("the load does not come to its end".into()));
        }
    };
    let passes = truth.elapsed_ns.saturating_sub(truth.grown_ns).max(1);
    let rate = (truth.bytes * u64::from(PASSES)) as f64 * 1e9 / passes as f64;
    lab.value("bytes a second gone through", Unit::BytesPerSecond, rate, Higher);
    lab.value("refaults", Unit::Pages, group.key("memory.stat", refault)?, Lower);
    lab.value(
        "times that the limit was met",
        Unit::Events,
        group.key("memory.events", key)?,
        Lower,
    );
    lab.series("memory.current", Unit::Bytes, &current, Some(LIMIT as f64));
    lab.series("hits of the limit", Unit::Events, &hits, None);
    if limit == "max" {
        let most = current.iter().map(|it| it.1).fold(0.0, f64::max);
        lab.enforcement("the most that the group was seen to have")
            .covers([R092])
            .file("memory.max")
            .unit(Unit::Bytes)
            .observed(most)
            .at_most(
                LIMIT + CPUS * BATCH,
                "cgroup-v2.rst, memory.max: the hard limit; mm/page_counter.c, page_counter_try_charge, adds a charge before it looks whether it fits and takes it back: as long as that takes each of four CPUs may show a batch of 64 pages too much",
            );
    }
    lab.enforcement("processes that were killed")
        .covers([R090, R092])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(0, "all of the working set can be reclaimed: the killer has no cause");
    Ok(())
}

/// A process that wants more than its limit, none of which can be reclaimed, is killed.
#[rstest]
fn time_to_the_kill(lab: Lab, #[values(4, 8, 16, 32, 64)] mebibytes: u64) -> Outcome {
    let group = lab.group("group")?;
    group.set("memory.max", mebibytes * MIB)?;
    let count = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
    let began = now();
    let mut process = group.spawn(|| {
        let Ok(memory) = Memory::anonymous(2 * mebibytes * MIB) else { return };
        for page in 0..memory.pages() {
            memory.write(page..page + 1, 1);
            count.word().store(nanoseconds(now()), Relaxed);
        }
    })?;
    let end = process.wait()?;
    let over = now();
    let last = Duration::from_nanos(count.word().load(Relaxed));
    lab.value(
        "from the last page to the end",
        Unit::Nanoseconds,
        nanoseconds(over.saturating_sub(last)),
        Lower,
    );
    lab.value("from the start to the end", Unit::Nanoseconds, nanoseconds(over - began), Neither);
    lab.enforcement("the end of a process that wants twice its limit")
        .covers([R092])
        .file("memory.max")
        .observed(format!("{end:?}"))
        .equals(
            "Signal(SIGKILL)",
            "cgroup-v2.rst, memory.max: usage that cannot be reduced invokes the OOM killer",
        );
    Ok(())
}

/// There is a limit above which a static program starts, and it does not start in half of it.
#[rstest]
fn smallest_limit_for_exec(lab: Lab) -> Outcome {
    let mut tries = 0;
    let mut works = |limit: u64| -> Result<bool, Stop> {
        tries += 1;
        let group = lab.group(&format!("try-{tries}"))?;
        group.set("memory.max", limit)?;
        let load = Sleep { deadline: Millis(1) };
        // A refusal to start, a kill and silence are all no start.
        let Ok(mut running) = group.load(&load) else { return Ok(false) };
        Ok(running.truth_within(Duration::from_secs(2)).ok().flatten().is_some())
    };
    let (mut fails, mut starts) = (0, 16 * MIB);
    let begins = works(starts)?;
    while begins && starts - fails > 8 * PAGE {
        let middle = (fails + starts) / 2 / PAGE * PAGE;
        if works(middle)? { starts = middle } else { fails = middle }
    }
    lab.value("smallest memory.max in which exec works", Unit::Bytes, starts, Lower);
    for (what, limit, expected) in [("twice", 2 * starts, "yes"), ("half", starts / 2, "no")] {
        lab.performance(&format!("whether it starts in {what} the limit"))
            .file("memory.max")
            .observed(if works(limit)? { "yes" } else { "no" })
            .equals(expected, "a program needs what it needs: more is enough and much less is not");
    }
    pause(Duration::from_millis(10));
    Ok(())
}
