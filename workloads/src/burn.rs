//! Threads that burn CPU time, without rest or in bursts, and notice when
//! somebody keeps them from it.
//!
//! A thread counts the turns of a loop that always takes the same work, so that
//! turns are a measure of CPU time that no scheduler's clock has a part in. It
//! must not know who stalls it, nor why.

use std::ffi::OsString;
use std::hint::black_box;

use clap::ValueEnum;
use nix::errno::Errno;
use nix::libc;

use crate::options::{arguments_by_choice, options};
use crate::output::tell;
use crate::raw::{Instant, clock_ns};
use crate::{Failure, Load, Millis, truth};

/// Steps of the empty loop in a turn, and descriptors that the call of a turn
/// looks at: a turn takes some microseconds, which is how exactly a stall is seen.
const STEPS: u32 = 400;
const LOOKED_AT: usize = 200;

/// Stalls that a thread tells of one by one: the longest.
const MOST_STALLS: usize = 64;

/// What a turn is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Work {
    /// An empty loop.
    Loop,
    /// System calls that stay in the kernel for nearly all of their time.
    Calls,
}

arguments_by_choice!(Work);

options! {
    /// Burns CPU time on a number of threads until the time is up.
    pub struct Burn as "burn" {
        /// How many threads.
        "threads" => threads: u32,
        /// On how many CPUs: the first thread on the first, the next on the next,
        /// and round again. 0 leaves that to the kernel.
        "cpus" => cpus: u32,
        /// What they burn it with.
        "work" => work: Work,
        /// CPU time that each burns before it rests, in microseconds. 0 is without rest.
        "burst-us" => burst_us: u64,
        /// From the beginning of a burst to that of the next, in microseconds. The bursts
        /// of the threads are spread evenly over that time; a thread that is late begins
        /// at once, and makes up for nothing.
        "every-us" => every_us: u64,
        /// The shortest gap that is a stall, in microseconds.
        "stall-us" => stall_us: u64,
        /// The width of the windows in which progress is counted, in microseconds.
        "window-us" => window_us: u64,
        /// When all begin, by CLOCK_MONOTONIC in nanoseconds. 0 is at once.
        "from-ns" => from_ns: u64,
        /// How long they burn, in milliseconds.
        "for-ms" => time: Millis,
    }
}

impl Load for Burn {
    type Truth = truth::Burn;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl Burn {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        tell(&self.burn()?)
    }

    fn burn(&self) -> Result<truth::Burn, Failure> {
        let began = Instant(Instant::now().0.max(self.from_ns));
        let threads = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|nth| {
                    std::thread::Builder::new()
                        .spawn_scoped(scope, move || Burner::new(self, began).burn(nth))
                })
                .collect::<Result<_, _>>()
                .map_err(|why| {
                    let errno = Errno::from_raw(why.raw_os_error().unwrap_or(libc::EAGAIN));
                    Failure::system("starting a thread", errno)
                })?;
            let died = |_| Failure::system("running a thread", Errno::ESRCH);
            threads.into_iter().map(|it| it.join().map_err(died)?).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(truth::Burn {
            began_ns: began.0,
            elapsed_ns: began.elapsed_ns(),
            turn_ns: threads.iter().map(|it| it.turn_ns).min().unwrap_or(0),
            process_cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
            window_ns: self.window_us * 1000,
            threads,
        })
    }
}

/// A thread at work.
struct Burner<'a> {
    load: &'a Burn,
    /// No descriptors at all, for a `poll` that looks at each and finds nothing.
    nobody: [libc::pollfd; LOOKED_AT],
    began: Instant,
    truth: truth::Burner,
}

impl<'a> Burner<'a> {
    fn new(load: &'a Burn, began: Instant) -> Self {
        // All memory beforehand: a page fault is a stall of its own making.
        let windows = (load.time.0 * 1000).checked_div(load.window_us).map_or(0, |it| it + 1);
        let truth = truth::Burner {
            turn_ns: u64::MAX,
            stalls: Vec::with_capacity(MOST_STALLS + 1),
            windows: vec![0; usize::try_from(windows).unwrap_or(0)],
            ..truth::Burner::default()
        };
        let nobody = [libc::pollfd { fd: -1, events: 0, revents: 0 }; LOOKED_AT];
        Self { load, nobody, began, truth }
    }

    fn burn(mut self, nth: u32) -> Result<truth::Burner, Failure> {
        if self.load.cpus > 0 {
            stay_on(nth % self.load.cpus)?;
        }
        let every_ns = self.load.every_us * 1000;
        let first =
            Instant(self.began.0 + every_ns * u64::from(nth) / u64::from(self.load.threads));
        sleep_until(first);
        let before = clock_ns(libc::CLOCK_THREAD_CPUTIME_ID);
        let end = self.began.after(self.load.time);
        let mut slot = 0;
        while Instant::now() < end {
            // Being woken late is a stall too.
            let due = Instant(first.0 + slot * every_ns);
            let woken = Instant::now();
            self.look(due, woken, 0);
            self.one_burst(woken, end);
            if self.load.burst_us > 0 {
                slot = (slot + 1).max(first.elapsed_ns() / every_ns.max(1));
                sleep_until(Instant(first.0 + slot * every_ns).min(end));
            }
        }
        self.truth.cpu_ns = clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) - before;
        self.truth.stalls.sort_unstable_by_key(|it| it.at_ns);
        Ok(self.truth)
    }

    fn one_burst(&mut self, woken: Instant, end: Instant) {
        let until_cpu = match self.load.burst_us {
            0 => None,
            us => Some(clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) + us * 1000),
        };
        let mut last = woken;
        loop {
            match self.load.work {
                Work::Loop => (0..STEPS).for_each(|step| {
                    black_box(step);
                }),
                Work::Calls => {
                    // SAFETY: writes within the array, whose length it is told.
                    let found = unsafe {
                        libc::poll(self.nobody.as_mut_ptr(), LOOKED_AT as libc::nfds_t, 0)
                    };
                    black_box(found);
                }
            }
            let done = until_cpu.is_some_and(|it| clock_ns(libc::CLOCK_THREAD_CPUTIME_ID) >= it);
            let now = Instant::now();
            self.truth.turns += 1;
            self.look(last, now, 1);
            last = now;
            if done || now >= end {
                return;
            }
        }
    }

    /// Takes down what lies between two looks at the clock, the one before and
    /// the one after so many turns.
    fn look(&mut self, last: Instant, now: Instant, turns: u32) {
        let (gap, since) = (now.0.saturating_sub(last.0), now.0.saturating_sub(self.began.0));
        if turns > 0 {
            self.truth.turn_ns = self.truth.turn_ns.min(gap);
            if let Some(window) = since
                .checked_div(self.load.window_us * 1000)
                .and_then(|it| self.truth.windows.get_mut(usize::try_from(it).ok()?))
            {
                *window += turns;
            }
        }
        if gap < self.load.stall_us * 1000 {
            return;
        }
        let truth = &mut self.truth;
        truth.stall_count += 1;
        truth.stalled_ns += gap;
        truth.longest_stall_ns = truth.longest_stall_ns.max(gap);
        truth.stalls.push(truth::Stall {
            at_ns: since.saturating_sub(gap),
            ns: gap,
            turns: truth.turns,
        });
        if truth.stalls.len() > MOST_STALLS {
            let shortest = (0..truth.stalls.len()).min_by_key(|it| truth.stalls[*it].ns);
            truth.stalls.swap_remove(shortest.unwrap_or(0));
        }
    }
}

/// Keeps this thread on one CPU.
fn stay_on(cpu: u32) -> Result<(), Failure> {
    // SAFETY: a set of bits, for which zero is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is within the set, or the macro does nothing.
    unsafe { libc::CPU_SET(cpu as usize, &mut set) };
    // SAFETY: 0 is the caller, and the set is one.
    Errno::result(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
        .map(drop)
        .map_err(|errno| Failure::system("sched_setaffinity", errno))
}

fn sleep_until(then: Instant) {
    let time = libc::timespec {
        tv_sec: i64::try_from(then.0 / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (then.0 % 1_000_000_000).cast_signed(),
    };
    // SAFETY: reads one timespec; what is left is not asked for.
    while unsafe {
        libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            libc::TIMER_ABSTIME,
            &raw const time,
            std::ptr::null_mut(),
        )
    } == libc::EINTR
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Burn {
        Burn {
            threads: 2,
            cpus: 0,
            work: Work::Loop,
            burst_us: 0,
            every_us: 0,
            stall_us: 1_000_000,
            window_us: 1000,
            from_ns: 0,
            time: Millis(5),
        }
    }

    #[test]
    fn turns_are_a_measure_of_cpu_time() {
        let truth = load().burn().unwrap();
        assert!(truth.elapsed_ns >= 5_000_000, "{truth:?}");
        for thread in &truth.threads {
            assert!(thread.turns * truth.turn_ns <= thread.cpu_ns + 1_000_000, "{thread:?}");
            let in_windows: u64 = thread.windows.iter().map(|it| u64::from(*it)).sum();
            assert!(in_windows <= thread.turns, "{thread:?}");
            assert_eq!(thread.stall_count, 0);
        }
    }

    #[test]
    fn bursts_rest_and_the_longest_stalls_are_kept() {
        let load = Burn { burst_us: 100, every_us: 1000, stall_us: 0, work: Work::Calls, ..load() };
        let truth = load.burn().unwrap();
        for thread in &truth.threads {
            assert!(thread.cpu_ns < 4_000_000, "{thread:?}");
            assert!(thread.stalls.len() <= MOST_STALLS, "{thread:?}");
            assert!(thread.stalls.is_sorted_by_key(|it| it.at_ns), "{thread:?}");
            assert!(thread.stalls.iter().any(|it| it.ns == thread.longest_stall_ns));
        }
    }
}
