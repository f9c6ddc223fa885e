//! What the machine is known by in a run whose figures hang on its speed. It must
//! not know what is measured.

use std::fs;

use cgauge_record::Clock;
use sha2::{Digest, Sha256};

/// Model and number of the processors, and a digest of the machine's identity:
/// itself it is nobody's business. Empty on the virtual clock, where the host does
/// not count.
pub fn identity(clock: Clock) -> String {
    if clock == Clock::Virtual {
        return String::new();
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    describe(&read("/proc/cpuinfo"), &read("/etc/machine-id"))
}

fn describe(cpuinfo: &str, machine_id: &str) -> String {
    let fields = || cpuinfo.lines().filter_map(|it| it.split_once(':'));
    let of = |name: &str| fields().filter(move |(key, _)| key.trim() == name).count();
    let model =
        fields().find(|(key, _)| key.trim() == "model name").map_or("", |(_, it)| it.trim());
    let digest = Sha256::digest(format!("cgauge {}", machine_id.trim()));
    let digest: String = digest.iter().take(6).map(|it| format!("{it:02x}")).collect();
    format!("{model} x {} {digest}", of("processor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_alike_are_told_apart() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: Fast 9\n\nprocessor\t: 1\nmodel name\t: Fast 9\n";
        let (one, other) = (describe(cpuinfo, "a\n"), describe(cpuinfo, "b\n"));
        assert!(one.starts_with("Fast 9 x 2 "), "{one}");
        assert_ne!(one, other);
        assert!(!one.contains('\n'));
        assert_eq!(identity(Clock::Virtual), "");
    }
}
