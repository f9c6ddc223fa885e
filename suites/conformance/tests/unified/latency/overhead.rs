//! What watching itself costs: how much longer a watched group's work takes, and
//! which share of the CPU goes to those who watch it.

use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::machine::tick;
use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds, now, pause};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};

use crate::causes::{Cause, Freezing, QUIET, chain};
use crate::watchers::Watchers;

/// How often the group is frozen and thawed.
const CAUSES: u32 = 10;
/// CPU time of the work that a sampler looks at: ten samples of the slowest.
const WORK: Duration = Duration::from_secs(1);

/// Watchers delay who causes what they watch by no more than their own CPU time and the kernel's to wake them.
#[rstest]
fn watchers_delay_the_cause_by_their_own_time_at_most(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let mut cause = Freezing::new(chain(&lab, 1, "")?)?;
    let unwatched = time_of(&mut cause)?;
    let watching = Watchers::of_file(&lab, watchers, cause.watched(), cause.place(), mechanism)?;
    pause(QUIET);
    let before = group_time(cause.watched())?;
    let began = now();
    let watched = time_of(&mut cause)?;
    let (wall, used) = (now() - began, group_time(cause.watched())? - before);
    let cpu: Duration = watching.reports()?.iter().map(|it| it.cpu).sum();
    let added = watched.saturating_sub(unwatched);
    let with = format!("{watchers} watchers by {mechanism:?}").to_lowercase();
    lab.value(
        &format!("delay that {with} add to a freeze or thaw"),
        Unit::Nanoseconds,
        nanoseconds(added / CAUSES),
        Lower,
    );
    lab.value(
        &format!("CPU time of {with} for a freeze or thaw"),
        Unit::Nanoseconds,
        nanoseconds(cpu / CAUSES),
        Lower,
    );
    lab.value(
        &format!("CPU time of {with} over that of the watched group"),
        Unit::Ratio,
        cpu.as_secs_f64() / used.as_secs_f64().max(1e-9),
        Lower,
    );
    lab.value(
        &format!("share of the CPU that {with} take, {CAUSES} causes in {} ms", wall.as_millis()),
        Unit::Ratio,
        cpu.as_secs_f64() / wall.as_secs_f64(),
        Lower,
    );
    lab.performance("time that freezing and thawing takes longer for being watched, summed")
        .covers([R054])
        .file("cgroup.freeze")
        .beyond_lies("clocks of the case and of the watchers alone; a notification that is lost makes it less")
        .took(added)
        .at_most(
            nanoseconds(cpu) * 2,
            "one CPU: the watchers' own time, and as much of the kernel to wake them, is all that can come between",
        );
    Ok(())
}

/// A sampler that reads a group's counters delays the group's work by what it takes of the CPU, and by no more.
#[rstest]
fn sampler_delays_the_group_by_its_own_time(
    lab: Lab,
    #[values("memory.current", "memory.stat", "cpu.stat")] file: &str,
    #[values(1, 10, 100)] milliseconds: u64,
) -> Outcome {
    let (group, home) = (lab.group("sampled")?, lab.group("sampler")?);
    let (alone, _) = group.spawn(|| work(ClockId::CLOCK_PROCESS_CPUTIME_ID))?.finish()?;
    let done = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
    let sampler = home.spawn(|| {
        let began = cpu_time();
        let mut samples = 0_u64;
        while done.word().load(Relaxed) == 0 {
            if group.try_get(file).is_ok() {
                samples += 1;
            }
            pause(Duration::from_millis(milliseconds));
        }
        (samples, nanoseconds(cpu_time() - began))
    })?;
    let clock = clock_getcpuclockid(sampler.pid()).map_err(Stop::broken("find a clock"))?;
    let (sampled, cpu) = group.spawn(|| work(clock))?.finish()?;
    done.word().store(1, Relaxed);
    let (samples, of_all): (u64, u64) = sampler.finish()?;
    let (added, each) = (sampled.saturating_sub(alone), of_all / samples.max(1));
    let of = format!("{file} read every {milliseconds} ms");
    lab.value(&format!("CPU time of a sample: {of}"), Unit::Nanoseconds, each, Lower);
    lab.value(
        &format!("share of the CPU that a sampler takes: {of}"),
        Unit::Ratio,
        cpu as f64 / sampled as f64,
        Lower,
    );
    lab.value(
        &format!("share by which the group's work takes longer: {of}"),
        Unit::Ratio,
        added as f64 / alone as f64,
        Lower,
    );
    lab.performance("time that the group's work takes longer for being sampled")
        .covers([S29])
        .file(file)
        .beyond_lies("clocks of the case and of the sampler alone")
        .took(Duration::from_nanos(added))
        .between(
            cpu.saturating_sub(nanoseconds(tick()?)),
            cpu * 2,
            "one CPU: the group waits for what the sampler takes by its own clock while the work is under way, less a tick's worth of the kernel's own threads that the work alone may have met, and as much again for timers and switches",
        );
    Ok(())
}

/// Uses so much CPU time, and says how long it took, and how far `other` went on.
fn work(other: ClockId) -> (u64, u64) {
    let of_other = || clock_gettime(other).map(Duration::from).unwrap_or_default();
    let (began, used, before) = (now(), cpu_time(), of_other());
    while cpu_time() - used < WORK {}
    (nanoseconds(now() - began), nanoseconds(of_other() - before))
}

/// How long `CAUSES` causes take whoever makes them, each after a quiet time.
fn time_of(cause: &mut Freezing) -> Result<Duration, Stop> {
    let mut sum = Duration::ZERO;
    for _ in 0..CAUSES {
        let began = now();
        cause.happen()?;
        sum += now() - began;
        pause(QUIET);
    }
    Ok(sum)
}

fn group_time(group: &Group) -> Result<Duration, Stop> {
    Ok(Duration::from_micros(group.key("cpu.stat", "usage_usec")?))
}
