//! A slowdown that is put into an operation on purpose: the proof that a gate finds
//! it. It knows no operation, and unless it is asked for it adds nothing.

use std::hint::black_box;
use std::time::Duration;

use cgauge_lab::lies::slowed_by;
use cgauge_lab::time::{nanoseconds, now};

/// How often an operation is done to see how long it takes.
const OPERATIONS: u32 = 32;
/// How many turns of the loop are made to see how long one takes.
const TURNS: u64 = 100_000;

/// How many turns of the loop make one operation slower by what was asked for.
pub(crate) fn turns<T>(operation: &mut impl FnMut() -> T) -> u64 {
    // Done as well where nothing is to be slower, so that the kernel is in the same
    // state when the timing begins.
    let thousandths = u64::from(slowed_by());
    let operations = timed(|| {
        (0..OPERATIONS).for_each(|_| {
            black_box(operation());
        });
    });
    let wanted = nanoseconds(operations) * thousandths / 1000 / u64::from(OPERATIONS);
    let of_all = nanoseconds(timed(|| burn(TURNS))).max(1);
    // Rounded up: of an operation of a few hundred instructions 1 % is a few.
    (wanted * TURNS).div_ceil(of_all)
}

/// The loop.
pub(crate) fn burn(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    now() - began
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_slowed_that_was_not_asked_for() {
        assert_eq!(turns(&mut || ()), 0);
    }
}
