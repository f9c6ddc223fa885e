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

/// A rate, 0 where no time went by.
#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
pub(crate) fn per_second(count: u64, ns: u64) -> f64 {
    if ns == 0 { 0.0 } else { count as f64 * 1e9 / ns as f64 }
}
