//! A release agent that writes down what the kernel tells it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};

use crate::whole;

/// The file that names it, in the root of a hierarchy.
pub const FILE: &str = "release_agent";
/// How long the kernel may take to have run it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Long enough for one that was started to have written: it takes some ten.
const SILENCE: Duration = Duration::from_millis(300);

/// The agent of one hierarchy; named no longer when it goes out of scope.
pub struct Agent {
    script: PathBuf,
    root: Dir,
}

/// The program that a hierarchy names, as a file that can be run.
pub fn script(name: &str) -> Result<PathBuf, Stop> {
    let script = std::env::temp_dir().join(name);
    fs::write(&script, format!("#!/bin/{} note\n", cgauge_workloads::BINARY))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

impl Agent {
    /// Names an agent for the hierarchy that the case's group `root` is in.
    pub fn of_the_hierarchy(root: &Group) -> Result<Self, Stop> {
        let (script, root) = (script("agent")?, whole(root)?);
        root.write(FILE, &script.display().to_string()).map_err(Stop::Refused)?;
        Ok(Self { script, root })
    }

    /// The path by which it is told of `group`.
    pub fn path_of(&self, group: &Group) -> String {
        let path = group.dir().path();
        format!("/{}", path.strip_prefix(self.root.path()).unwrap_or(path).display())
    }

    /// When it was run, and what for.
    pub fn runs(&self) -> Vec<(Duration, String)> {
        let text = fs::read_to_string(self.script.with_extension("log")).unwrap_or_default();
        let run = |line: &str| {
            let (at, path) = line.split_once(' ')?;
            Some((Duration::from_nanos(at.parse().ok()?), path.to_owned()))
        };
        text.lines().filter_map(run).collect()
    }

    /// What it was run for, one path a word, once it was `expected` times and no more.
    pub fn told(&self, expected: usize) -> String {
        wait_until(PATIENCE, || self.runs().len() >= expected);
        pause(SILENCE);
        self.runs().into_iter().map(|(_, path)| path).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // An empty line: a write of nothing is none.
        let _ = self.root.write(FILE, "\n");
    }
}
