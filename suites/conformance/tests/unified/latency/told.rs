//! From each kind of cause to the wake-up, after a quiet time.

use cgauge_lab::prelude::*;

use crate::causes::{AboveHigh, Cached, Freezing, LastExit, OomKill, RefusedFork, chain};
use crate::plan::Plan;

/// How deep below the watched group the cause is, this one included: with many
/// watchers the deeper alone, for what they cost.
fn depths(watchers: usize) -> &'static [usize] {
    if watchers > 10 { &[10] } else { &[1, 10] }
}

/// The last exit, at any depth, wakes every watcher of `populated` at once.
#[rstest]
fn last_exit_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for &depth in depths(watchers) {
        Plan {
            name: &format!("last exit, depth {depth}"),
            covers: &[R030, R031, S14],
            watchers,
            mechanism,
            least: 2,
            most: 2,
            reason: "one of the birth and one of the exit, far apart",
            ticks: 0,
            held_back: 0,
        }
        .run(&lab, LastExit(chain(&lab, depth, "")?))?;
    }
    Ok(())
}

/// Freezing and thawing, with the process at any depth, wake every watcher of `frozen` at once.
#[rstest]
fn freeze_and_thaw_wake_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for &depth in depths(watchers) {
        Plan {
            name: &format!("freeze and thaw, depth {depth}"),
            covers: &[R054],
            watchers,
            mechanism,
            least: 1,
            most: 1,
            reason: "cgroup-v2.rst, cgroup.freeze: one notification when the action is complete",
            ticks: 0,
            held_back: 0,
        }
        .run(&lab, Freezing::new(chain(&lab, depth, "")?)?)?;
    }
    Ok(())
}

/// A refused fork, at any depth below the limit, wakes every watcher of `pids.events` and `pids.events.local` at once.
#[rstest]
fn refused_fork_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for (depth, file) in [(1, "pids.events.local"), (10, "pids.events")] {
        let groups = chain(&lab, depth, "pids")?;
        if !groups[0].has(file)? {
            // Since 6.11; the suite of pids skips a case of its own for it.
            continue;
        }
        Plan {
            name: &format!("refused fork in {file}, depth {depth}"),
            covers: &[R137, R138],
            watchers,
            mechanism,
            least: 1,
            most: 1,
            reason: "cgroup-v2.rst, pids.events: \"a value change in this file generates a file modified event\"; one refusal, one change",
            ticks: 0,
            held_back: 0,
        }
        .run(&lab, RefusedFork::new(groups, file)?)?;
    }
    Ok(())
}

/// An OOM kill, at any depth, wakes every watcher of `memory.events`, as soon as the rate limit lets it after the hit of the limit.
#[rstest]
fn oom_kill_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for &depth in depths(watchers) {
        Plan {
            name: &format!("OOM kill, depth {depth}"),
            covers: &[R104],
            watchers,
            mechanism,
            least: 1,
            most: 4,
            reason: "max is told at once; oom and oom_kill come after 16 tries to reclaim, each of which is another max, so that one to three come after it by the rate limit",
            ticks: 0,
            held_back: 2,
        }
        .run(&lab, OomKill::new(chain(&lab, depth, "memory")?)?)?;
    }
    Ok(())
}

/// A hit of `memory.max`, at any depth, wakes every watcher of `memory.events`, and of `memory.events.local` where the limit is.
#[rstest]
fn memory_max_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for &depth in depths(watchers) {
        let local = depth == 1;
        Plan {
            name: &format!("memory.max{}, depth {depth}", suffix(local)),
            covers: &[R102, R104],
            watchers,
            mechanism,
            least: 1,
            most: 2,
            reason: "the first event of a step is told at once, and those right after it together",
            ticks: 1,
            held_back: 0,
        }
        .run(&lab, Cached::new(&lab, chain(&lab, depth, "memory")?, local)?)?;
    }
    Ok(())
}

/// Memory above `memory.high`, at any depth, wakes every watcher of `memory.events`, and of `memory.events.local` where the boundary is.
#[rstest]
fn memory_high_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10)] watchers: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    for &depth in depths(watchers) {
        let local = depth == 1;
        Plan {
            name: &format!("memory.high{}, depth {depth}", suffix(local)),
            covers: &[R102, R104],
            watchers,
            mechanism,
            least: 1,
            most: 4,
            reason: "the first event of a step is told at once; 16 tries to reclaim come after it, each an event, of which the rate limit lets one to three be told",
            ticks: 4,
            held_back: 0,
        }
        .run(&lab, AboveHigh::new(chain(&lab, depth, "memory")?, local)?)?;
    }
    Ok(())
}

fn suffix(local: bool) -> &'static str {
    if local { " as a local event" } else { "" }
}
