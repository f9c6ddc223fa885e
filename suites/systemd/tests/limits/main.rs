//! Limits, each as one case over two drivers: a group that the case makes, and a
//! scope that systemd makes, are to keep the same promise alike (S11).
//!
//! Where a bound is explained at length elsewhere, the suite of the controller says
//! why; here it is the same limit, and what differs is who set it.

use cgauge_lab::disk::NullDisk;
use cgauge_lab::machine;
use cgauge_lab::memory::{MIB, Memory};
use cgauge_lab::parse::flat_keyed;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_systemd::{Bound, Bounded, Driver, driver};
use cgauge_workloads::{BlockIo, Burn, Millis, Operation, Work, truth};

/// Longer than any load here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time enough to start some loads before they begin together.
const SOON: Duration = Duration::from_millis(100);
const MILLISECOND: u64 = 1_000_000;

/// The kernel's file holds what the limit says, whoever wrote it.
fn shows(lab: &Lab, bounded: &Bounded<'_>, bound: &Bound<'_>) -> Outcome {
    let (file, line) = bound.shown();
    lab.interface("the limit as the kernel shows it")
        .covers([S08, S11])
        .file(file)
        .observed(bounded.group().line(file)?)
        .equals(line, "systemd.resource-control(5): each setting \"controls\" this file; a case that writes it itself reads what it wrote");
    Ok(())
}

fn event(group: &Group, file: &str, key: &str) -> Result<u64, Stop> {
    let events = flat_keyed(&group.get(file)?).map_err(|it| Stop::Broken(it.to_string()))?;
    events.get(key).copied().ok_or_else(|| Stop::Broken(format!("{file} has no key {key:?}")))
}

/// A limit of tasks stops the fork above it with EAGAIN, and lets all below it through.
#[rstest]
fn limit_of_tasks(lab: Lab, driver: Driver, #[values(2, 8, 64)] limit: u64) -> Outcome {
    let bound = Bound::Tasks(limit);
    let bounded = driver.group(&lab, "bounded", std::slice::from_ref(&bound))?;
    shows(&lab, &bounded, &bound)?;
    let room = limit - Bounded::ANCHORS;
    let held: Vec<_> = (0..room).map(|_| bounded.group().sleeper()).collect::<Result<_, _>>()?;
    lab.enforcement("the answer to the clone above the limit")
        .covers([S08, S11, R132])
        .file("pids.max")
        .answered(&bounded.group().try_spawn(|| ())?)
        .equals("EAGAIN", "cgroup-v2.rst, PID: fork() and clone() \"return -EAGAIN if the creation of a new process would cause a cgroup policy to be violated\"");
    lab.accounting("processes in the group after the refusal")
        .covers([S11, R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.group().number("pids.current")?)
        .equals(
            limit,
            "the group's first process and the sleepers are there, and the refused one is not",
        );
    drop(held);
    Ok(())
}

/// Memory never exceeds its limit: what takes twice as much is killed.
#[rstest]
fn limit_of_memory(lab: Lab, driver: Driver) -> Outcome {
    const LIMIT: u64 = 32 * MIB;
    let bound = Bound::MemoryMax(LIMIT);
    let bounded = driver.group(&lab, "bounded", &[bound.clone(), Bound::SwapMax(0)])?;
    shows(&lab, &bounded, &bound)?;
    let group = bounded.group();
    let mut greedy = group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(2 * LIMIT) {
            memory.touch();
        }
    })?;
    lab.enforcement("the end of a process that takes twice the limit")
        .covers([S08, S11, R092])
        .file("memory.max")
        .observed(format!("{:?}", greedy.wait()?))
        .equals("Signal(SIGKILL)", "cgroup-v2.rst, memory.max: \"If a cgroup's memory usage reaches this limit and can't be reduced, the OOM killer is invoked in the cgroup\"");
    lab.accounting("processes that were killed")
        .covers([S11, R101])
        .file("memory.events:oom_kill")
        .unit(Unit::Events)
        .observed(event(group, "memory.events", "oom_kill")?)
        .equals(1, "the case saw one die");
    Ok(())
}

/// Memory above its high mark is reclaimed or slowed down, and nobody is killed for it.
#[rstest]
fn high_mark_of_memory(lab: Lab, driver: Driver) -> Outcome {
    const HIGH: u64 = 16 * MIB;
    let bound = Bound::MemoryHigh(HIGH);
    let bounded = driver.group(&lab, "bounded", &[bound.clone(), Bound::SwapMax(0)])?;
    shows(&lab, &bounded, &bound)?;
    let group = bounded.group();
    let touched = Gate::new()?;
    let above = group.spawn(|| {
        let memory = Memory::anonymous(HIGH + MIB).ok();
        if let Some(it) = &memory {
            it.touch();
        }
        touched.open();
        nix::unistd::pause();
    })?;
    pause(Duration::from_secs(2));
    lab.enforcement("a process that took a mebibyte more than the high mark")
        .covers([S08, S11])
        .file("memory.high")
        .observed(if above.ended_within(Duration::from_millis(1))? { "dead" } else { "alive" })
        .equals("alive", "cgroup-v2.rst, memory.high: \"Going over the high limit never invokes the OOM killer\"");
    lab.accounting("times that the group went over its high mark")
        .covers([S08, S11])
        .file("memory.events:high")
        .unit(Unit::Events)
        .observed(event(group, "memory.events", "high")?)
        .at_least(1, "cgroup-v2.rst, memory.events, high: the number of times that processes were throttled because the high mark was exceeded");
    Ok(())
}

fn burner(time: Millis) -> Burn {
    Burn {
        threads: 1,
        cpus: 1,
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: 1000,
        window_us: 10_000,
        from_ns: nanoseconds(now() + SOON),
        time,
    }
}

fn burnt(load: &truth::Burn) -> u64 {
    load.threads.iter().map(|it| it.cpu_ns).sum()
}

/// A quota gives as much CPU time a period as it says, no more and no less.
#[rstest]
fn quota_of_cpu_time(lab: Lab, driver: Driver, #[values(10_000, 50_000)] quota_us: u64) -> Outcome {
    const PERIODS: u64 = 10;
    let bound = Bound::CpuQuota(quota_us);
    let bounded = driver.group(&lab, "bounded", std::slice::from_ref(&bound))?;
    shows(&lab, &bounded, &bound)?;
    let truth = bounded.group().load(&burner(Millis(100 * PERIODS)))?.truth(PATIENCE)?;
    let (quota, tick) = (quota_us * 1000, nanoseconds(machine::tick()?));
    lab.enforcement("CPU time that was burnt in ten periods")
        .covers([S08, S11, R072])
        .file("cpu.max")
        .unit(Unit::Nanoseconds)
        .observed(burnt(&truth))
        .between(
            quota * (PERIODS - 1) - tick,
            quota * (PERIODS + 1) + tick,
            "cgroup-v2.rst, cpu.max: \"may consume up to $MAX in each $PERIOD duration\"; ten periods' time holds nine whole ones and parts of two, and a tick by which the end is late",
        );
    Ok(())
}

/// Siblings that want a CPU share it by their weights.
#[rstest]
#[case(100, 300)]
#[case(50, 50)]
fn weight_of_cpu_time(lab: Lab, driver: Driver, #[case] small: u64, #[case] large: u64) -> Outcome {
    const TIME: u64 = 400;
    let bounds = [Bound::CpuWeight(small), Bound::CpuWeight(large)];
    let one = driver.group(&lab, "one", &bounds[..1])?;
    let other = driver.group(&lab, "other", &bounds[1..])?;
    shows(&lab, &one, &bounds[0])?;
    shows(&lab, &other, &bounds[1])?;
    let load = burner(Millis(TIME));
    let (mut first, mut second) = (one.group().load(&load)?, other.group().load(&load)?);
    let (one, other) = (burnt(&first.truth(PATIENCE)?), burnt(&second.truth(PATIENCE)?));
    let expected = small as f64 / (small + large) as f64;
    let tick = nanoseconds(machine::tick()?);
    let late = (2 * tick) as f64 / (TIME * MILLISECOND) as f64;
    lab.enforcement("the first one's share of what both burnt")
        .covers([S08, S11, R067])
        .file("cpu.weight")
        .unit(Unit::Ratio)
        .observed(one as f64 / (one + other) as f64)
        .between(expected - late, expected + late, "cgroup-v2.rst, Weights: \"the ratio of its weight against the sum\"; a turn of two ticks more or less");
    Ok(())
}

/// A limit of bytes a second holds over time, no more and no less.
#[rstest]
fn limit_of_reads(lab: Lab, driver: Driver) -> Outcome {
    const RATE: u64 = 1 << 20;
    const BLOCK: u64 = 16 << 10;
    // Its own slice, 100 ms, is what blk-throttle gives at a time.
    const SLICE: u64 = RATE / 10;
    let disk = lab.null_disk(NullDisk::default())?;
    let bound = Bound::ReadRate(&disk, RATE);
    let bounded = driver.group(&lab, "bounded", std::slice::from_ref(&bound))?;
    shows(&lab, &bounded, &bound)?;
    let load = BlockIo {
        block_bytes: BLOCK,
        deadline: Millis(4000),
        ..BlockIo::direct(Operation::Read, disk.path(), u64::MAX)
    };
    let truth = bounded.group().load(&load)?.truth(PATIENCE)?;
    let given = u64::try_from(u128::from(RATE) * u128::from(truth.elapsed_ns) / 1_000_000_000)
        .unwrap_or(u64::MAX);
    lab.enforcement("bytes read in 4 s")
        .covers([S08, S11, R118])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .between(
            given.saturating_sub(SLICE + BLOCK),
            given + SLICE + BLOCK,
            "block/blk-throttle.c gives budgets by slices of HZ/10, 100 ms: what went through is what the limit gives in the time, give or take one slice and one request",
        );
    Ok(())
}
