//! The OCI engines: which are there, and how each is asked to run a bundle.
//!
//! It knows command lines and nothing of what runs in a container.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};

use super::oci::{CAPABILITIES, Container, place_of};

/// An engine by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The reference runtime.
    Runc,
    /// The runtime in C.
    Crun,
    /// The engine without a daemon.
    Podman,
}

impl Name {
    /// Every one, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Runc, Self::Crun, Self::Podman];

    /// The name of its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Podman => "podman",
        }
    }
}

/// An engine that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Which one.
    pub name: Name,
    /// Its program.
    pub program: PathBuf,
    /// What it says of itself, as `runc version 1.1.5`.
    pub version: String,
    /// What podman is to start containers with: runc where it is, for crun does not
    /// know every hierarchy.
    pub runtime: Option<PathBuf>,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

impl Engine {
    /// The engines on this search path, those that answer.
    #[must_use]
    pub fn find_all(search_path: &OsStr) -> Vec<Self> {
        Name::ALL.iter().filter_map(|it| Self::find(*it, search_path)).collect()
    }

    fn find(name: Name, search_path: &OsStr) -> Option<Self> {
        let program = on_path(name, search_path)?;
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().filter(|_| output.status.success())?.trim().to_owned();
        let runtime = match name {
            Name::Podman => on_path(Name::Runc, search_path),
            Name::Runc | Name::Crun => None,
        };
        Some(Self { name, program, version, runtime })
    }

    /// The command that runs `container`, whose bundle is in `folder`, under this
    /// name. What the engine has to remember it keeps in the folder.
    pub(super) fn run(&self, container: &Container<'_>, folder: &Path, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        let state = folder.join("state");
        match self.name {
            Name::Runc | Name::Crun => {
                command.arg("--root").arg(state).arg("run").arg("--bundle").arg(folder).arg(name);
            }
            Name::Podman => {
                // Its own `/run` goes with it; the path may not be long.
                command.arg("--root").arg(state).args([
                    "--runroot",
                    "/run/r",
                    "--tmpdir",
                    "/run/t",
                ]);
                if let Some(runtime) = &self.runtime {
                    command.arg("--runtime").arg(runtime);
                }
                command.args(podman(container, name));
            }
        }
        command
    }
}

fn on_path(name: Name, search_path: &OsStr) -> Option<PathBuf> {
    let mut programs = std::env::split_paths(search_path).map(|it| it.join(name.program()));
    programs.find(|it| it.is_file())
}

/// What podman is told: all that the bundle says, in its own words.
fn podman(container: &Container<'_>, name: &str) -> Vec<String> {
    let line = "--cgroup-manager cgroupfs --storage-driver vfs --events-backend none run --rm \
                --interactive --network none --cgroupns host --pid private --ipc private \
                --uts private --hostname cgauge --no-hosts --log-driver none --pids-limit -1 \
                --read-only --read-only-tmpfs=false --tmpfs /tmp:mode=1777 --tmpfs /run:mode=755 \
                --security-opt no-new-privileges --security-opt seccomp=unconfined \
                --security-opt apparmor=unconfined --security-opt label=disable --cap-drop all";
    let mut words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    words.extend(CAPABILITIES.map(|(_, name)| format!("--cap-add={name}")));
    // Its own wish is more than who lacks CAP_SYS_RESOURCE may grant.
    for (name, resource) in [("nofile", Resource::RLIMIT_NOFILE), ("nproc", Resource::RLIMIT_NPROC)]
    {
        if let Ok((soft, hard)) = getrlimit(resource) {
            words.push(format!("--ulimit={name}={soft}:{hard}"));
        }
    }
    words.extend([
        "--name".into(),
        name.into(),
        "--cgroup-parent".into(),
        container.parent.clone(),
    ]);
    for (tree, group) in container.shown {
        let to = place_of(tree);
        words.push(format!("--mount=type=bind,source={},destination={to}", group.display()));
    }
    words.extend(["--rootfs".to_owned(), container.rootfs.display().to_string()]);
    words.extend(container.words.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn an_engine_is_there_if_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        let found = || {
            let engines = Engine::find_all(folder.path().as_os_str());
            engines.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(found().is_empty());
        program(folder.path(), "crun", "echo crun version 1.8.1; echo commit: abc");
        program(folder.path(), "runc", "exit 1");
        assert_eq!(found(), ["crun version 1.8.1"]);
        program(folder.path(), "runc", "echo runc version 1.1.5");
        assert_eq!(found(), ["runc version 1.1.5", "crun version 1.8.1"]);
    }
}
