//! What a case has to know of the machine besides its cgroups: the kernel's
//! release, its tick, its memory nodes.
//!
//! It knows no controller.

use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_getres};

use crate::stop::Stop;

/// The first two numbers of a kernel's release, as in 6.12.
pub type Release = (u32, u32);

/// The running kernel's release.
///
/// # Errors
/// It does not begin with two numbers: a case that asks would go by a guess.
pub fn release() -> Result<Release, Stop> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    parse(&text).ok_or_else(|| Stop::Broken(format!("{text:?} is no kernel's release")))
}

fn parse(text: &str) -> Option<Release> {
    let mut numbers = text.split(|it: char| !it.is_ascii_digit()).map_while(|it| it.parse().ok());
    numbers.next().zip(numbers.next())
}

/// The length of the kernel's tick, 1/HZ: the coarse clocks move with it.
pub fn tick() -> Result<Duration, Stop> {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map(Duration::from)
        .map_err(Stop::broken("ask for the length of a tick"))
}

/// How many memory nodes there are.
#[must_use]
pub fn nodes() -> usize {
    let is_there =
        |node: &usize| Path::new(&format!("/sys/devices/system/node/node{node}")).exists();
    (0..).take_while(is_there).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for (text, expected) in [
            ("6.12.117+deb12-cloud-amd64\n", Some((6, 12))),
            ("7.2-rc3\n", Some((7, 2))),
            ("5.10.0-40-cloud-amd64\n", Some((5, 10))),
            ("next-20261124\n", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
