//! The bundle of a guest: the description that an OCI runtime reads
//! (`config.json`). It knows no runtime, and starts nothing.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What a guest may do with the machine: all that the safe cases need of root, and
/// nothing that reaches beyond its groups. No mounts, modules, devices, clock,
/// reboot.
/// By number, as `linux/capability.h` has them, and name.
pub(super) const CAPABILITIES: [(u32, &str); 12] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (2, "CAP_DAC_READ_SEARCH"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (14, "CAP_IPC_LOCK"),
    (19, "CAP_SYS_PTRACE"),
    (23, "CAP_SYS_NICE"),
];
/// Where the groups are in the container.
pub(super) const GROUPS: &str = "/groups";

/// What differs from one container to the next.
#[derive(Debug)]
pub(super) struct Container<'a> {
    /// The folder that is its root.
    pub(super) rootfs: &'a Path,
    /// The program and its arguments.
    pub(super) words: Vec<String>,
    /// The group in which the engine makes its own, from a hierarchy's root.
    pub(super) parent: String,
    /// For each tree its name and the group to show as its root.
    pub(super) shown: &'a [(String, PathBuf)],
}

/// Where a tree is mounted in the container.
pub(super) fn place_of(tree: &str) -> String {
    format!("{GROUPS}/{tree}")
}

/// The text of `config.json`.
pub(super) fn config(container: &Container<'_>) -> Value {
    let capabilities = CAPABILITIES.map(|(_, name)| name);
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]),
    ];
    for (tree, group) in container.shown {
        let mut it = mount(&place_of(tree), "bind", &["bind", "rw", "nosuid", "noexec", "nodev"]);
        it["source"] = json!(group);
        mounts.push(it);
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": container.words,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": {"path": container.rootfs, "readonly": true},
        "hostname": "cgauge",
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("{}/inside", container.parent),
            "namespaces": [
                {"type": "pid"},
                {"type": "mount"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "network"},
            ],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"],
        },
    })
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Value {
    json!({"destination": target, "type": kind, "source": kind, "options": options})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_sees_its_own_groups_and_cannot_mount_others() {
        let shown = [("cpu,cpuacct".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu/x/0/root"))];
        let config = config(&Container {
            rootfs: Path::new("/work/rootfs"),
            words: vec!["/bin/agent".to_owned(), "stdio".to_owned()],
            parent: "/x/0".to_owned(),
            shown: &shown,
        });
        insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap(), @r#"
        {
          "hostname": "cgauge",
          "linux": {
            "cgroupsPath": "/x/0/inside",
            "maskedPaths": [
              "/proc/kcore",
              "/proc/keys",
              "/proc/timer_list",
              "/sys/firmware"
            ],
            "namespaces": [
              {
                "type": "pid"
              },
              {
                "type": "mount"
              },
              {
                "type": "ipc"
              },
              {
                "type": "uts"
              },
              {
                "type": "network"
              }
            ],
            "readonlyPaths": [
              "/proc/sys",
              "/proc/sysrq-trigger",
              "/proc/irq",
              "/proc/bus"
            ],
            "resources": {
              "devices": [
                {
                  "access": "rwm",
                  "allow": true
                }
              ]
            }
          },
          "mounts": [
            {
              "destination": "/proc",
              "options": [
                "nosuid",
                "noexec",
                "nodev"
              ],
              "source": "proc",
              "type": "proc"
            },
            {
              "destination": "/sys",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "ro"
              ],
              "source": "sysfs",
              "type": "sysfs"
            },
            {
              "destination": "/dev",
              "options": [
                "nosuid",
                "strictatime",
                "mode=755",
                "size=64k"
              ],
              "source": "tmpfs",
              "type": "tmpfs"
            },
            {
              "destination": "/dev/shm",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "mode=1777"
              ],
              "source": "tmpfs",
              "type": "tmpfs"
            },
            {
              "destination": "/tmp",
              "options": [
                "nosuid",
                "nodev",
                "mode=1777"
              ],
              "source": "tmpfs",
              "type": "tmpfs"
            },
            {
              "destination": "/run",
              "options": [
                "nosuid",
                "nodev",
                "mode=755"
              ],
              "source": "tmpfs",
              "type": "tmpfs"
            },
            {
              "destination": "/groups/cpu,cpuacct",
              "options": [
                "bind",
                "rw",
                "nosuid",
                "noexec",
                "nodev"
              ],
              "source": "/sys/fs/cgroup/cpu/x/0/root",
              "type": "bind"
            }
          ],
          "ociVersion": "1.0.2",
          "process": {
            "args": [
              "/bin/agent",
              "stdio"
            ],
            "capabilities": {
              "bounding": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_IPC_LOCK",
                "CAP_SYS_PTRACE",
                "CAP_SYS_NICE"
              ],
              "effective": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_IPC_LOCK",
                "CAP_SYS_PTRACE",
                "CAP_SYS_NICE"
              ],
              "permitted": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_IPC_LOCK",
                "CAP_SYS_PTRACE",
                "CAP_SYS_NICE"
              ]
            },
            "cwd": "/",
            "env": [
              "PATH=/bin"
            ],
            "noNewPrivileges": true,
            "terminal": false,
            "user": {
              "gid": 0,
              "uid": 0
            }
          },
          "root": {
            "path": "/work/rootfs",
            "readonly": true
          }
        }
        "#);
    }
}
