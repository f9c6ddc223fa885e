//! The freezer controller on legacy hierarchies (cgroup-v1/freezer-subsystem.rst).

mod moves;
mod states;

use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};
use std::sync::atomic::Ordering;

const STATE: &str = "freezer.state";
const BY_ITSELF: &str = "freezer.self_freezing";
const BY_PARENT: &str = "freezer.parent_freezing";

/// How long processes may take to stop that are at no I/O.
const PATIENCE: Duration = Duration::from_secs(1);
/// Many turns of a process that runs, and none of one that is frozen.
const WATCH: Duration = Duration::from_millis(50);

/// The state once it is `wanted`, or after the patience.
fn settle(group: &Group, wanted: &str) -> Result<(String, Option<Duration>), Stop> {
    let reached = || group.try_get(STATE).is_ok_and(|it| it.trim() == wanted);
    let took = wait_until(PATIENCE, reached);
    Ok((group.line(STATE)?, took))
}

/// A process that counts its turns, one a millisecond.
struct Ticker {
    process: Process,
    turns: std::rc::Rc<Memory>,
}

impl Ticker {
    fn start(group: &Group) -> Result<Self, Stop> {
        let turns = Memory::shmem(PAGE).map_err(Stop::broken("map a shared page"))?;
        let turns = std::rc::Rc::new(turns);
        let process = group.spawn(|| {
            loop {
                turns.word().fetch_add(1, Ordering::SeqCst);
                pause(Duration::from_millis(1));
            }
        })?;
        Ok(Self { process, turns })
    }

    /// Whether it runs: `runs` or `stands still`.
    fn does(&self) -> &'static str {
        let before = self.turns.word().load(Ordering::SeqCst);
        pause(WATCH);
        if self.turns.word().load(Ordering::SeqCst) == before { "stands still" } else { "runs" }
    }
}
