//! What a guest with systemd gets besides its userland: the agent as a service, and
//! the words on the kernel's command line that start systemd on a hierarchy.
//!
//! It knows neither how a userland is made nor what the agent does.

use cgauge_provision::{Initramfs, Mode, Userland};
use cgauge_record::Hierarchy;

/// The agent's place; the unit names it as well.
pub const AGENT: &str = "/usr/bin/cgauge-agent";
/// The loads' place: `/bin` is a link to `/usr/bin`.
pub const WORKLOAD: &str = "/usr/bin/cgauge-workload";

const ALONE: &str = "[Unit]\nDefaultDependencies=no\n";

/// Files of ours in the userland, with what is in them.
pub const FILES: [(&str, &str); 5] = [
    ("/etc/systemd/system/cgauge.target", include_str!("../../suites/agent/units/cgauge.target")),
    (
        "/etc/systemd/system/cgauge-agent.service",
        include_str!("../../suites/agent/units/cgauge-agent.service"),
    ),
    // The bus needs nothing of what else a boot brings up.
    ("/etc/systemd/system/dbus.service.d/cgauge.conf", ALONE),
    ("/etc/systemd/system/dbus.socket.d/cgauge.conf", ALONE),
    // Without it each boot is a first one, which goes through every unit's presets.
    ("/etc/machine-id", "c6a09e00c6a09e00c6a09e00c6a09e00\n"),
];

/// Puts them into an archive.
pub fn files(archive: Initramfs) -> Initramfs {
    FILES.iter().fold(archive, |archive, (place, text)| archive.file(place, *text, Mode::DATA))
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
        assert!(
            !mounts(Userland::Sid, Hierarchy::Legacy) && mounts(Userland::Sid, Hierarchy::Unified)
        );
    }

    #[test]
    fn the_unit_starts_the_agent_where_it_is() {
        let starts = format!("ExecStart={AGENT} ");
        assert!(FILES.iter().any(|(_, text)| text.contains(&starts)));
    }
}
