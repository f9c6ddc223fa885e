//! Work shared out among threads.
//!
//! It knows no task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;

/// How many workers there are where nobody says: one a core.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |it| it.get() as u32)
}

/// Does every task, `jobs` at a time, in order, until `stop` is set. The first
/// error sets it.
pub fn share<T: Send>(
    tasks: Vec<T>,
    jobs: u32,
    stop: &AtomicBool,
    work: impl Fn(u32, T) -> Result<()> + Sync,
) -> Result<()> {
    let queue = Mutex::new(tasks.into_iter());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for worker in 0..jobs {
            let (queue, failure, work) = (&queue, &failure, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Some(task) = locked(queue).next() else {
                        break;
                    };
                    if let Err(error) = work(worker, task) {
                        stop.store(true, Ordering::Relaxed);
                        locked(failure).get_or_insert(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The lock, whoever held it last.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panicked has left nothing half done behind these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_and_an_error_stops_the_rest() {
        let done = Mutex::new(Vec::new());
        let stop = AtomicBool::new(false);
        share((0..20).collect(), 3, &stop, |_, it| {
            locked(&done).push(it);
            Ok(())
        })
        .unwrap();
        let mut all = done.into_inner().unwrap();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        let failed = share(vec![1, 2, 3], 1, &stop, |_, it| anyhow::bail!("task {it}"));
        assert_eq!(failed.unwrap_err().to_string(), "task 1");
    }
}
