//! How long a guest is waited for.
//!
//! A deadline on the wall's clock calls a guest hung that a busy host merely kept
//! from running. So the time in which its process waited for a core does not count.

use std::fs;
use std::time::{Duration, Instant};

/// A deadline on a process, counted from the last sign of life.
#[derive(Debug)]
pub(crate) struct Patience {
    pid: u32,
    limit: Duration,
    since: Instant,
    /// What the process had waited for a core by then.
    waited: Duration,
}

impl Patience {
    /// Waits `limit` for the process `pid`, from now on.
    pub(crate) fn new(pid: u32, limit: Duration) -> Self {
        Self { pid, limit, since: Instant::now(), waited: waited_for_a_core(pid) }
    }

    /// It gave a sign of life: the time counts from here.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.pid, self.limit);
    }

    /// Whether the process had its time.
    pub(crate) fn is_over(&self) -> bool {
        let passed = self.since.elapsed();
        passed > self.limit
            && passed.saturating_sub(waited_for_a_core(self.pid).saturating_sub(self.waited))
                > self.limit
    }
}

/// How long the thread of the process that waited most was ready to run and did
/// not; nothing where the kernel does not say (`CONFIG_SCHED_INFO`).
fn waited_for_a_core(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited =
        threads.filter_map(|it| run_delay(&fs::read_to_string(it.path().join("schedstat")).ok()?));
    waited.max().unwrap_or_default()
}

/// The second number of `schedstat`: nanoseconds on the run queue.
fn run_delay(schedstat: &str) -> Option<Duration> {
    let number = schedstat.split_ascii_whitespace().nth(1)?;
    number.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_on_the_run_queue_is_read() {
        assert_eq!(run_delay("5166 2083000 14\n"), Some(Duration::from_nanos(2_083_000)));
        assert_eq!(run_delay("0"), None);
    }

    #[test]
    fn a_process_that_could_run_has_its_time_on_the_walls_clock() {
        let own = std::process::id();
        assert!(!Patience::new(own, Duration::from_secs(3600)).is_over());
        let mut over = Patience::new(own, Duration::ZERO);
        // Only what it waited for a core does not count, and it runs right now.
        while !over.is_over() {}
        over.renew();
    }
}
