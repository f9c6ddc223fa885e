//! From each kind of cause to the wake-up, after a quiet time.

use cgauge_lab::prelude::*;

use crate::causes::{
    AboveHigh, Cached, Freezing, LastExit, OomKill, Partition, RefusedFork, chain,
};
use crate::plan::{Comes, Plan};

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
            each: 2,
            reason: "one of the birth and one of the exit, far apart",
            comes: Comes::First,
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
            each: 1,
            reason: "cgroup-v2.rst, cgroup.freeze: one notification when the action is complete",
            comes: Comes::First,
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
            each: 1,
            reason: "cgroup-v2.rst, pids.events: \"a value change in this file generates a file modified event\"; one refusal, one change",
            comes: Comes::First,
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
            each: 1,
            reason: "max is told at once; oom and oom_kill come after 16 tries to reclaim, each of which is another max: what is still to be told is told once in 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV) until the process is reaped, and once after it",
            comes: Comes::Last,
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
        let file = if depth == 1 { "memory.events.local" } else { "memory.events" };
        Plan {
            name: &format!("memory.max in {file}, depth {depth}"),
            covers: &[R102, R104],
            watchers,
            mechanism,
            each: 1,
            reason: "the page that does not fit is told of at once; should its reclaim be another event, once in 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV) until it is there, and once after it",
            comes: Comes::First,
        }
        .run(&lab, Cached::new(&lab, chain(&lab, depth, "memory")?, file, 1)?)?;
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
        let file = if depth == 1 { "memory.events.local" } else { "memory.events" };
        Plan {
            name: &format!("memory.high in {file}, depth {depth}"),
            covers: &[R102, R104],
            watchers,
            mechanism,
            each: 1,
            reason: "the first event is told at once; 16 tries to reclaim come after it, each an event: what is still to be told is told once in 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV) for as long as the process is awake, and once after it",
            comes: Comes::First,
        }
        .run(&lab, AboveHigh::new(chain(&lab, depth, "memory")?, file)?)?;
    }
    Ok(())
}

/// A change of a partition's state, at any depth below the watched group, wakes every watcher of `cpuset.cpus.partition` at once.
#[rstest]
fn partition_change_wakes_every_watcher(
    lab: Lab,
    #[values(1, 10, 100)] watchers: usize,
) -> Outcome {
    for &depth in depths(watchers) {
        Plan {
            name: &format!("partition change, depth {depth}"),
            covers: &[R145],
            watchers,
            // inotify tells of the write to the file as well, whatever comes of it.
            mechanism: Mechanism::Poll,
            each: 1,
            reason: "cgroup-v2.rst, cpuset.cpus.partition: \"poll and inotify events are triggered whenever the state of cpuset.cpus.partition changes\", and each write is one change",
            comes: Comes::First,
        }
        .run(&lab, Partition::new(chain(&lab, depth, "cpuset")?)?)?;
    }
    Ok(())
}
