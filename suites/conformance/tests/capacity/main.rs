//! Sweeps for planning: how the kernel's costs and limits behave as numbers grow.
//! `cargo xtask capacity` runs them and makes its report of the values.
//!
//! What a case measures at one place of a sweep it records under the same names
//! as at every other; the place is in the case's parameters. The checks say that
//! the work that was measured was done.

mod cpu;
mod groups;
mod io;
mod memory;
mod notification;
mod price;

use std::time::Duration;

use cgauge_lab::time::{nanoseconds, now};

/// Longer than any load here takes.
const PATIENCE: Duration = Duration::from_secs(55);

/// The mean time of one of so many operations, and how many were refused.
fn each<T, E>(count: u32, mut operation: impl FnMut(u32) -> Result<T, E>) -> (u64, u32) {
    let began = now();
    let refused = (0..count).filter(|nth| operation(*nth).is_err()).count();
    let each = nanoseconds(now() - began) / u64::from(count.max(1));
    (each, u32::try_from(refused).unwrap_or(u32::MAX))
}
