//! Whether two configurations can be held against each other at all. It must not
//! know what was measured in them.

use std::fmt;

use cgauge_record::{Clock, GuestBinary, RunStart};

/// Something that two configurations do not share and that their figures hang on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What: `stage`, `clock`, `QEMU`.
    pub what: &'static str,
    /// As it was in the base.
    pub base: String,
    /// As it is now.
    pub new: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |it: &str| if it.is_empty() { "unknown".to_owned() } else { it.to_owned() };
        write!(f, "another {}: {} against {}", self.what, shown(&self.base), shown(&self.new))
    }
}

/// Everything that keeps `new` from being held against `base`.
///
/// The kernel is not among it: that is what the comparison is for. On the
/// virtual clock the host is not either, but the program that counts the
/// instructions is; on the wall clock it is the other way round.
pub(super) fn mismatches(base: &RunStart, new: &RunStart) -> Vec<Mismatch> {
    let mut found = Vec::new();
    let mut same = |what, base: String, new: String| {
        if base != new {
            found.push(Mismatch { what, base, new });
        }
    };
    same("schema", base.schema.to_string(), new.schema.to_string());
    same("stage", word(&base.stage), word(&new.stage));
    same("clock", word(&base.clock), word(&new.clock));
    same("hierarchy", word(&base.hierarchy), word(&new.hierarchy));
    same("driver", word(&base.driver), word(&new.driver));
    same("accelerator", base.accel.clone(), new.accel.clone());
    same("machine profile", profile(base), profile(new));
    match base.clock {
        Clock::Virtual => {
            same("QEMU", base.qemu.clone(), new.qemu.clone());
            same("way to start a guest", base.guest.clone(), new.guest.clone());
        }
        Clock::Wall => same("host", base.host.clone(), new.host.clone()),
    }
    // Two unknown hosts are not the same one.
    if base.clock == Clock::Wall && base.host.is_empty() && new.host.is_empty() {
        found.push(Mismatch { what: "host", base: String::new(), new: String::new() });
    }
    found
}

/// The guest's programs that are others now, of those that both know. It keeps
/// nothing from being compared, but where a program's instructions lie moves the
/// figures of the virtual clock.
pub(super) fn other_binaries(base: &RunStart, new: &RunStart) -> Vec<String> {
    let other = |it: &&GuestBinary| {
        new.binaries.iter().any(|new| new.name == it.name && new.sha256 != it.sha256)
    };
    base.binaries.iter().filter(other).map(|it| it.name.clone()).collect()
}

/// Lower case, as in the records.
fn word(it: &impl fmt::Debug) -> String {
    format!("{it:?}").to_lowercase()
}

fn profile(it: &RunStart) -> String {
    let cpus = if it.cpus == 1 { "CPU" } else { "CPUs" };
    format!("{} {} {cpus} {} MiB", it.machine, it.cpus, it.memory_bytes >> 20)
}
