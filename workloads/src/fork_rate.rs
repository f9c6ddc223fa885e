//! Makes one task after the other, each of which ends at once: how fast the
//! kernel forks.
//!
//! The loop holds the calls that are measured and little else. It must not
//! know what the rate is compared with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::mapping::Mapping;
use crate::options::options;
use crate::output::tell;
use crate::raw::{self, Instant, Side};
use crate::{Failure, Load, Mechanism, Millis, truth};

options! {
    /// Makes tasks that end at once, one at a time.
    pub struct ForkRate as "fork-rate" {
        /// How tasks are made.
        "mechanism" => mechanism: Mechanism,
        /// The most tasks to make; refused ones count.
        "forks" => forks: u64,
        /// When to stop at the latest, in milliseconds.
        "for-ms" => deadline: Millis,
    }
}

impl Load for ForkRate {
    type Truth = truth::ForkRate;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl ForkRate {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        tell(&self.measure()?)
    }

    /// Does what it says, and tells what came of it.
    fn measure(&self) -> Result<truth::ForkRate, Failure> {
        let stack = Stack::new()?;
        let make = match self.mechanism {
            Mechanism::Fork => fork,
            Mechanism::Vfork => vfork,
            Mechanism::Clone3 => clone3,
            Mechanism::Thread => thread,
        };
        let mut refused = BTreeMap::<i32, u64>::new();
        let mut forks = 0;
        let start = Instant::now();
        let deadline = start.after(self.deadline);
        for _ in 0..self.forks {
            match make(&stack) {
                Ok(()) => forks += 1,
                Err(errno) => *refused.entry(errno as i32).or_default() += 1,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        let elapsed_ns = start.elapsed_ns();
        let by_name = |(errno, count)| (format!("{:?}", Errno::from_raw(errno)), count);
        Ok(truth::ForkRate {
            forks,
            failures: refused.into_iter().map(by_name).collect(),
            elapsed_ns,
            forks_per_second: truth::per_second(forks, elapsed_ns),
        })
    }
}

/// A stack for the one child that is alive at a time.
struct Stack(Mapping);

impl Stack {
    const BYTES: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

    fn new() -> Result<Self, Failure> {
        Mapping::private(Self::BYTES).map(Self)
    }

    fn top(&self) -> *mut u8 {
        // SAFETY: the end of the mapping.
        unsafe { self.0.start().as_ptr().add(self.0.bytes()) }
    }
}

fn fork(_: &Stack) -> Result<(), Errno> {
    // SAFETY: the child only exits.
    end_and_reap(unsafe { raw::fork() }?)
}

fn clone3(_: &Stack) -> Result<(), Errno> {
    // SAFETY: the child only exits.
    end_and_reap(unsafe { raw::clone3() }?)
}

fn end_and_reap(side: Side) -> Result<(), Errno> {
    match side {
        Side::Child => raw::exit(),
        Side::Parent(pid) => raw::reap(pid),
    }
}

unsafe extern "C" fn leave(_: &()) -> ! {
    raw::exit()
}

fn vfork(stack: &Stack) -> Result<(), Errno> {
    // SAFETY: the child before has been reaped, so nobody uses the stack.
    raw::reap(unsafe { raw::vfork(stack.top(), leave, ()) }?)
}

fn thread(stack: &Stack) -> Result<(), Errno> {
    let there = AtomicU32::new(1);
    // SAFETY: the thread before has left the stack, and this one leaves it, and
    // `there`, before this function returns.
    unsafe { raw::thread(stack.top(), leave, (), Some(&there)) }?;
    while there.load(Ordering::Acquire) != 0 {
        raw::futex_wait(&there, 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MECHANISMS: [Mechanism; 4] =
        [Mechanism::Fork, Mechanism::Vfork, Mechanism::Clone3, Mechanism::Thread];

    #[test]
    fn it_makes_exactly_as_many_as_it_was_told() {
        for mechanism in MECHANISMS {
            let load = ForkRate { mechanism, forks: 50, deadline: Millis(600_000) };
            let truth = load.measure().unwrap();
            assert_eq!((truth.forks, truth.failures.len()), (50, 0), "{mechanism:?}");
            assert!(truth.elapsed_ns > 0 && truth.forks_per_second > 0.0, "{mechanism:?}");
        }
    }

    #[test]
    fn it_stops_when_its_time_is_up() {
        let load = ForkRate { mechanism: Mechanism::Vfork, forks: u64::MAX, deadline: Millis(1) };
        let truth = load.measure().unwrap();
        assert!(truth.forks > 0 && truth.elapsed_ns >= 1_000_000);
    }
}
