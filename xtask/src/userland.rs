//! What a guest with systemd gets besides its userland: the agent as a service, and
//! the words on the kernel's command line that start systemd on a hierarchy.
//!
//! It knows neither how a userland is made nor what the agent does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cgauge_provision::{Initramfs, Mode, Userland};
use cgauge_record::Hierarchy;

/// The agent's place; the unit names it as well.
pub const AGENT: &str = "/usr/bin/cgauge-agent";
/// The loads' place: `/bin` is a link to `/usr/bin`.
pub const WORKLOAD: &str = "/usr/bin/cgauge-workload";

/// Files of ours in the userland, with what is in them.
pub const FILES: [(&str, &str); 3] = [
    (
        "/etc/systemd/system/cgauge.target",
        include_str!("../../suites/agent/units/cgauge.target"),
    ),
    (
        "/etc/systemd/system/cgauge-agent.service",
        include_str!("../../suites/agent/units/cgauge-agent.service"),
    ),
    // Without it each boot is a first one, which goes through every unit's presets.
    ("/etc/machine-id", "c6a09e00c6a09e00c6a09e00c6a09e00\n"),
];

/// Puts them into an archive.
pub fn files(archive: Initramfs) -> Initramfs {
    FILES.iter().fold(archive, |archive, (place, text)| archive.file(place, *text, Mode::DATA))
}

/// A userland's archive, padded: where one archive ends and a plain one follows,
/// the kernel goes on at a multiple of four bytes.
pub fn aligned(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// Whether this systemd can mount the hierarchy: 258 gave up the legacy ones.
pub fn mounts(userland: Userland, hierarchy: Hierarchy) -> bool {
    hierarchy == Hierarchy::Unified || userland != Userland::Sid
}

/// The words that start systemd with nothing but the agent, on the hierarchy.
pub fn boot_words(userland: Userland, hierarchy: Hierarchy) -> Vec<String> {
    let (unified, legacy) = match hierarchy {
        Hierarchy::Unified => ("1", "0"),
        Hierarchy::Hybrid => ("0", "0"),
        Hierarchy::Legacy => ("0", "1"),
    };
    let mut words = vec![
        "rdinit=/lib/systemd/systemd".to_owned(),
        "systemd.unit=cgauge.target".to_owned(),
        "systemd.show_status=false".to_owned(),
        format!("systemd.unified_cgroup_hierarchy={unified}"),
        format!("systemd.legacy_systemd_cgroup_controller={legacy}"),
    ];
    if hierarchy != Hierarchy::Unified && userland == Userland::Trixie {
        // 256 and 257 mount them only when told that it is meant.
        words.push("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_is_asked_for_as_its_systemd_wants_it() {
        let words = |userland, hierarchy| boot_words(userland, hierarchy)[3..].join(" ");
        insta::assert_snapshot!(words(Userland::Bookworm, Hierarchy::Unified), @"systemd.unified_cgroup_hierarchy=1 systemd.legacy_systemd_cgroup_controller=0");
        insta::assert_snapshot!(words(Userland::Bullseye, Hierarchy::Legacy), @"systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1");
        insta::assert_snapshot!(words(Userland::Trixie, Hierarchy::Hybrid), @"systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1");
        assert!(!mounts(Userland::Sid, Hierarchy::Legacy) && mounts(Userland::Sid, Hierarchy::Unified));
    }

    #[test]
    fn a_plain_archive_may_follow() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"12345").unwrap();
        assert_eq!(aligned(file.path()).unwrap(), b"12345\0\0\0");
    }

    #[test]
    fn the_unit_starts_the_agent_where_it_is() {
        let starts = format!("ExecStart={AGENT} ");
        assert!(FILES.iter().any(|(_, text)| text.contains(&starts)));
    }
}
