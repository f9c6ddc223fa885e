//! The OCI engines: which are there, and how each is asked to run a bundle.
//!
//! It knows command lines and nothing of what runs in a container.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An engine by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The reference runtime.
    Runc,
    /// The runtime in C.
    Crun,
}

impl Name {
    /// Every one, in the order in which they are tried.
    pub const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    /// The name of its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
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
        let mut folders = std::env::split_paths(search_path);
        let program = folders.find_map(|folder| {
            let program = folder.join(name.program());
            program.is_file().then_some(program)
        })?;
        let output = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().filter(|_| output.status.success())?.trim().to_owned();
        Some(Self { name, program, version })
    }

    /// The command that runs `bundle` as the container `name`, and keeps what it
    /// has to remember below `state`.
    pub(super) fn run(&self, bundle: &Path, state: &Path, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(state).arg("run").arg("--bundle").arg(bundle).arg(name);
        command
    }
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
