//! `pids.current` against the tasks that processes made and reaped.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use crate::deviation::{Allowed, Counter, Deviations};
use crate::load::{Count, bind, family};

/// `pids.current` counts every task from its fork to its reaping, at any moment.
#[rstest]
fn tasks_are_counted_from_fork_to_reaping(
    lab: Lab,
    #[values(1, 3)] cpus: usize,
    #[values(1, 10)] groups: usize,
    #[values(1, 20)] at_once: u64,
) -> Outcome {
    const ROUNDS: u64 = 12;
    let (parent, children) = family(&lab, "pids", groups)?;
    bind(0);
    let processes = groups.max(cpus);
    let [begun, made, reaping, reaped] =
        [counts(processes)?, counts(processes)?, counts(processes)?, counts(processes)?];
    let (go, rest) = (Gate::new()?, Gate::new()?);
    let forkers = (0..processes).map(|nth| {
        children[nth % groups].spawn(|| {
            bind(1 + nth % cpus);
            go.pass();
            for _ in 0..ROUNDS {
                let mut children = Vec::new();
                for _ in 0..at_once {
                    begun[nth].add(1);
                    // SAFETY: the child calls what is async-signal-safe alone.
                    match unsafe { fork() } {
                        Ok(ForkResult::Child) => {
                            // SAFETY: ends the child without what is the parent's.
                            unsafe { libc::_exit(0) }
                        }
                        Ok(ForkResult::Parent { child }) => children.push(child),
                        Err(_) => {}
                    }
                    made[nth].add(1);
                }
                for child in children {
                    reaping[nth].add(1);
                    let _ = waitpid(child, None);
                    reaped[nth].add(1);
                }
            }
            rest.pass();
        })
    });
    let _forkers = forkers.collect::<Result<Vec<_>, _>>()?;
    let all = processes as u64;
    let before = || (Count::sum(&made), Count::sum(&reaped));
    // Those that were made and whose reaping has not begun; those that were begun
    // and are not reaped.
    let between = |(made, reaped)| {
        let (reaping, begun) = (Count::sum(&reaping), Count::sum(&begun));
        (all + made - reaping.min(made), all + begun - reaped)
    };
    let current = || parent.number("pids.current");
    begun.iter().for_each(|_| go.open());
    let mut running = Deviations::since(now());
    while Count::sum(&reaped) < all * ROUNDS * at_once {
        running.sample(before, current, between)?;
        pause(Duration::from_micros(900));
    }
    let mut after = Deviations::since(now());
    for _ in 0..10 {
        after.sample(before, current, between)?;
        pause(Duration::from_micros(300));
    }
    let circumstances = format!("{cpus} CPUs, {groups} groups, {at_once} at once");
    let of = |what: &str| Counter {
        what: format!("tasks {what}, {circumstances}"),
        file: "pids.current",
        unit: Unit::Processes,
        covers: &[R134, R135],
    };
    running.tell(
        &lab,
        &of("while they come and go"),
        Allowed {
            below: 0,
            above: 0,
            reason: "a task is charged before fork() returns and let go of while it is reaped: it counts from the first to the second, at any moment",
        },
    );
    after.tell_settled(
        &lab,
        &of("once all have been reaped"),
        (0, 0),
        Duration::from_millis(1),
        "who is reaped is no task any more: the count is there at the first look or the next",
    );
    Ok(())
}

fn counts(count: usize) -> Result<Vec<Count>, Stop> {
    (0..count).map(|_| Count::new()).collect()
}
