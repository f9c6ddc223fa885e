//! What a program does that the kernel starts by itself: it writes down that it
//! was run, when, and with what.
//!
//! It must not know who starts it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use nix::libc;

use crate::Failure;
use crate::raw::clock_ns;

/// Appends the time and an argument to a file beside the script that names this
/// binary as its interpreter: `#!/bin/cgauge-workload note`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Note {
    /// The script; what is written goes to a file of its name with `.log` behind.
    script: PathBuf,
    /// What the script was given.
    argument: String,
}

impl Note {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let path = self.script.with_extension("log");
        let line = format!("{} {}\n", clock_ns(libc::CLOCK_MONOTONIC), self.argument);
        // One write to its end: of two that run at once, neither spoils the other's.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        written.map_err(|why| Failure::File { path, action: "written", why })
    }
}
