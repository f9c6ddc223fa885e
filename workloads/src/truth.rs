//! What each load knows to be true, as it prints it: one JSON object on a line.
//!
//! These are counts and times of the load's own, never read from the kernel's
//! cgroup files. Fields are added, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Series;

/// How far a load had come when it told its truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has done what it was to do, and holds what it has until standard
    /// input ends.
    Standing,
    /// It has ended, and nothing of it is left.
    Over,
    /// Its time was up before it was done, and nothing of it is left.
    Overdue,
}

/// The truth of [`ForkBomb`](crate::ForkBomb).
///
/// It counts the tasks that the bomb made, not the process that set it off: the
/// group of a bomb that stands alone holds `alive + 1`. A zombie is alive
/// until it is reaped, for the kernel counts it too. Exact while the bomb is
/// left alone; a task that is killed from outside in the middle of a fork
/// may take an entry with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForkBomb {
    /// How far the bomb had come.
    pub state: State,
    /// Calls that were to make a task: `successes` and all `failures`.
    pub attempts: u64,
    /// Tasks made.
    pub successes: u64,
    /// Calls that made none, by the name of the errno.
    pub failures: BTreeMap<String, u64>,
    /// Tasks gone: `successes - alive`.
    pub exits: u64,
    /// Tasks there were when this was told.
    pub alive: u64,
    /// The most tasks that there were at once.
    pub most_alive: u64,
    /// The longest line of descent.
    pub deepest: u64,
    /// From the start to the first call that made no task.
    pub first_refusal_ns: Option<u64>,
    /// Tasks made in a second: up to the first refusal, or to the last task if
    /// there was none.
    pub forks_per_second: f64,
    /// `alive`, at every start and end of a task.
    pub alive_over_time: Series,
    /// The sum of `failures`, at every refusal.
    pub refused_over_time: Series,
}

/// The truth of [`ForkRate`](crate::ForkRate).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForkRate {
    /// Tasks made and gone.
    pub forks: u64,
    /// Calls that made none, by the name of the errno.
    pub failures: BTreeMap<String, u64>,
    /// From before the first call to after the last wait.
    pub elapsed_ns: u64,
    /// `forks` over `elapsed_ns`.
    pub forks_per_second: f64,
}

/// The truth of [`Sleep`](crate::Sleep).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// [`State::Over`] if standard input ended, [`State::Overdue`] if the time
    /// was up.
    pub state: State,
    /// How long it slept.
    pub elapsed_ns: u64,
}

/// The truth of [`Spin`](crate::Spin).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spin {
    /// CPU time that each thread burnt, by the thread's own clock.
    pub thread_cpu_ns: Vec<u64>,
    /// CPU time of the whole process since its start, by the process's clock.
    pub process_cpu_ns: u64,
    /// From before the first thread to after the last.
    pub elapsed_ns: u64,
}

/// The truth of [`HoldMemory`](crate::HoldMemory).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldMemory {
    /// [`State::Standing`]: it is told once every page is there.
    pub state: State,
    /// Pages touched.
    pub pages: u64,
    /// Bytes in a page.
    pub page_bytes: u64,
    /// How long touching them took.
    pub elapsed_ns: u64,
}

/// The truth of [`BlockIo`](crate::BlockIo).
///
/// A request that failed is in `failures` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockIo {
    /// Requests that were done.
    pub requests: u64,
    /// Bytes that they moved or discarded.
    pub bytes: u64,
    /// Requests that were refused, by the name of the errno.
    pub failures: BTreeMap<String, u64>,
    /// When the first request could begin, by CLOCK_MONOTONIC.
    pub began_ns: u64,
    /// From then to the end of the last request, and of the `fsync` if there is one.
    pub elapsed_ns: u64,
    /// CPU time of the process since its start.
    pub cpu_ns: u64,
    /// The width of a window of `windows`.
    pub window_ns: u64,
    /// Bytes of the requests that ended in each window since the beginning.
    pub windows: Vec<u64>,
    /// How long requests took and how many took so long: from their arrival,
    /// or from their start without a rate. Rounded down by 3 % at the most.
    pub latencies_ns: Vec<(u64, u64)>,
}

/// The truth of [`MemoryHog`](crate::MemoryHog).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryHog {
    /// [`State::Standing`] once it has grown and gone through all of it,
    /// [`State::Overdue`] if its time was up before; [`State::Over`] at its end.
    pub state: State,
    /// How large it has grown.
    pub bytes: u64,
    /// From the first step to the end of the last.
    pub grown_ns: u64,
    /// The longest that one step took.
    pub slowest_step_ns: u64,
    /// From the first step to the end of the last pass.
    pub elapsed_ns: u64,
    /// How large it was, at the end of every step.
    pub bytes_over_time: Series,
}

/// A rate, 0 where no time went by.
#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
pub(crate) fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 * 1e9 / ns as f64 }
}

/// The truth of [`Burn`](crate::Burn).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burn {
    /// When the threads were to begin, by CLOCK_MONOTONIC.
    pub began_ns: u64,
    /// From then to after the last thread.
    pub elapsed_ns: u64,
    /// The shortest time that any turn took: what a turn costs when nobody
    /// disturbs it. `turns` times this is CPU time by no scheduler's clock.
    pub turn_ns: u64,
    /// CPU time of the whole process since its start, by the process's clock.
    pub process_cpu_ns: u64,
    /// The width of a window of `windows`.
    pub window_ns: u64,
    /// Each thread's own view.
    pub threads: Vec<Burner>,
}

/// What one thread of [`Burn`](crate::Burn) knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burner {
    /// CPU time that it burnt, by its own clock.
    pub cpu_ns: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// The shortest time that a turn took.
    pub turn_ns: u64,
    /// Gaps between two looks at the clock that were stalls.
    pub stall_count: u64,
    /// Their sum.
    pub stalled_ns: u64,
    /// The longest of them.
    pub longest_stall_ns: u64,
    /// The longest ones, in the order of their times.
    pub stalls: Vec<Stall>,
    /// Turns that ended in each window since the beginning.
    pub windows: Vec<u32>,
}

/// A gap in which a thread of [`Burn`](crate::Burn) could do nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// When it began, after the beginning of all.
    pub at_ns: u64,
    /// How long it took.
    pub ns: u64,
    /// Turns that the thread had done by then.
    pub turns: u64,
}
