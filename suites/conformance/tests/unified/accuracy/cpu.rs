//! `cpu.stat`: CPU time of a group against the time for which its processes had
//! CPUs to themselves.

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};

use crate::deviation::{Allowed, Counter, Deviations};
use crate::load::{bind, family};

/// What a process uses to be woken and to fall asleep again, in microseconds.
const EDGES: u64 = 200;

/// The CPU time of a group is at most a tick of each CPU behind while it runs, and the truth as soon as it stops.
#[rstest]
fn cpu_time_is_a_tick_behind_and_then_true(
    lab: Lab,
    #[values(1, 3)] cpus: usize,
    #[values(1, 10)] groups: usize,
    #[values(10, 400)] milliseconds: u64,
) -> Outcome {
    let (parent, children) = family(&lab, "cpu", groups)?;
    bind(0);
    let processes = groups.max(cpus);
    let length = Duration::from_millis(milliseconds);
    let start = now() + Duration::from_millis(100);
    let (end, rest) = (start + length, Gate::new()?);
    let spinners = (0..processes).map(|nth| {
        children[nth % groups].spawn(|| {
            bind(1 + nth % cpus);
            pause(start.saturating_sub(now()));
            while now() < end {}
            rest.pass();
        })
    });
    let _spinners = spinners.collect::<Result<Vec<_>, _>>()?;
    let usage = || parent.key("cpu.stat", "usage_usec");
    // All of them sleep by now.
    pause((start - Duration::from_millis(5)).saturating_sub(now()));
    let before = usage()?;
    let counted = || Ok::<_, Stop>(usage()?.saturating_sub(before));
    let truth = || {
        let each = now().saturating_sub(start).min(length);
        each.as_micros() as u64 * cpus as u64
    };
    let (mut running, mut after) = (Deviations::since(start), Deviations::since(end));
    pause(start.saturating_sub(now()));
    while now() + length / 20 < end {
        running.sample(truth, counted, |least| (least, truth()))?;
        pause(length / 23);
    }
    // To the last microsecond that anybody spins.
    pause(end.saturating_sub(now()));
    for nth in 0..20_u32 {
        after.sample(truth, counted, |least| (least, truth()))?;
        pause(Duration::from_micros(50) * (nth + 1));
    }
    let (n, tick) = (cpus as u64, tick()?.as_micros() as u64);
    // On the virtual clock CPUs take turns, and who waits for his CPU's turn runs by
    // the kernel's clock: a turn ends at a tick.
    let edges = processes as u64 * EDGES + n * tick;
    let circumstances = format!("{cpus} CPUs, {groups} groups, {milliseconds} ms");
    let of = |what: &str| Counter {
        what: format!("CPU time {what}, {circumstances}"),
        file: "cpu.stat:usage_usec",
        unit: Unit::Microseconds,
        covers: &[R064, R066],
    };
    running.tell(
        &lab,
        &of("while it is used"),
        Allowed {
            below: n * (2 * tick) + edges,
            above: edges,
            reason: "a running task is accounted at each tick of its CPU, which comes up to a tick late where the CPU has to wait for its turn on the virtual clock; and 0.2 ms of each process and a turn of each CPU to be woken and to stop",
        },
    );
    let most = n * EDGES + groups as u64;
    after.tell(
        &lab,
        &of("once it is no longer used"),
        Allowed {
            below: n * 2 * tick + edges,
            above: edges,
            reason: "who stops last is accounted at the latest a tick after the end; 0.2 ms of each process and a turn of each CPU to be woken and to stop",
        },
    );
    after.tell_settled(
        &lab,
        &of("once it is no longer used"),
        (most, edges),
        tick_after(cpus)?,
        "reading cpu.stat brings it up to date (cgroup_rstat_flush), and who stops running is accounted then; a tick of each CPU for who stops last; 0.2 ms of each process and a turn of each CPU to be woken and to stop, and a microsecond of each group that is rounded away",
    );
    Ok(())
}

/// How long after the end the last of the spinners may see it.
fn tick_after(cpus: usize) -> Result<Duration, Stop> {
    Ok(tick()? * u32::try_from(cpus).unwrap_or(1))
}
