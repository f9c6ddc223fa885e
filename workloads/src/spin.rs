//! Threads that burn CPU time and know how much each has burnt.
//!
//! It must not know how the CPU is shared out.

use std::ffi::OsString;
use std::hint::black_box;

use nix::errno::Errno;
use nix::libc;

use crate::options::options;
use crate::output::tell;
use crate::raw::{Instant, clock_ns};
use crate::{Failure, Load, Millis, truth};

/// Turns of the empty loop between two looks at the clocks: some microseconds.
const TURNS: u32 = 10_000;

options! {
    /// Burns CPU time on a number of threads.
    pub struct Spin as "spin" {
        /// How many threads.
        "threads" => threads: u32,
        /// How much CPU time each burns, in milliseconds.
        "cpu-ms" => cpu: Millis,
        /// When they stop at the latest, in milliseconds.
        "for-ms" => deadline: Millis,
    }
}

impl Load for Spin {
    type Truth = truth::Spin;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl Spin {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        tell(&self.burn()?)
    }

    fn burn(&self) -> Result<truth::Spin, Failure> {
        let start = Instant::now();
        let deadline = start.after(self.deadline);
        let cpu_ns = Instant(0).after(self.cpu).0;
        let thread_cpu_ns = std::thread::scope(|scope| {
            let spin = move || {
                while clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) < cpu_ns && Instant::now() < deadline
                {
                    for turn in 0..TURNS {
                        black_box(turn);
                    }
                }
                clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
            };
            let threads: Vec<_> = (0..self.threads)
                .map(|_| std::thread::Builder::new().spawn_scoped(scope, spin))
                .collect::<Result<_, _>>()
                .map_err(|why| {
                    let errno = Errno::from_raw(why.raw_os_error().unwrap_or(libc::EAGAIN));
                    Failure::system("starting a thread", errno)
                })?;
            let burnt = threads.into_iter().map(|thread| thread.join().unwrap_or(0));
            Ok::<_, Failure>(burnt.collect::<Vec<u64>>())
        })?;
        Ok(truth::Spin {
            thread_cpu_ns,
            process_cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
            elapsed_ns: start.elapsed_ns(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_burns_what_it_was_told() {
        let load = Spin { threads: 3, cpu: Millis(2), deadline: Millis(600_000) };
        let truth = load.burn().unwrap();
        assert_eq!(truth.thread_cpu_ns.len(), 3);
        assert!(truth.thread_cpu_ns.iter().all(|it| *it >= 2_000_000), "{truth:?}");
        assert!(truth.process_cpu_ns >= truth.thread_cpu_ns.iter().sum(), "{truth:?}");
    }

    #[test]
    fn the_deadline_ends_it_whatever_was_burnt() {
        let load = Spin { threads: 1, cpu: Millis(600_000), deadline: Millis(1) };
        let truth = load.burn().unwrap();
        assert!(truth.elapsed_ns >= 1_000_000);
        assert!(truth.thread_cpu_ns[0] < 600_000_000_000);
    }
}
