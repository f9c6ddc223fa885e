//! `test`: the project's own tests. First what needs no VM, then short real runs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::exit::Exit;
use crate::flags::Test;

/// One step: what it proves, and the cargo command that does.
struct Step {
    what: &'static str,
    arguments: &'static [&'static str],
}

const WITHOUT_A_VM: [Step; 3] = [
    Step { what: "the source is formatted", arguments: &["fmt", "--all", "--check"] },
    Step {
        what: "the source is free of warnings",
        arguments: &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--features",
            "cgauge-conformance/stage,cgauge-systemd/stage,cgauge-benchmarks/stage",
            "--",
            "-D",
            "warnings",
        ],
    },
    Step { what: "unit tests", arguments: &["test", "--workspace"] },
];

const WITH_GUESTS: [Step; 3] = [
    Step {
        what: "nothing is lost and nothing hangs, whatever a guest does",
        arguments: &[
            "test",
            "--package",
            "xtask",
            "--features",
            "vm",
            "--test",
            "*",
            "--",
            "--test-threads=1",
        ],
    },
    Step {
        what: "the machine is left as it was, whenever a run on its own kernel is killed",
        arguments: &[
            "test",
            "--package",
            "xtask",
            "--features",
            "container",
            "--test",
            "the_machine_is_left_as_it_was",
            "--",
            "--test-threads=1",
        ],
    },
    Step {
        what: "a short run on a real kernel",
        arguments: &["run", "--quiet", "--package", "xtask", "--", "run", "--quick"],
    },
];

/// Runs the tests, and stops at the first step that fails.
pub fn test(workspace: &Path, flags: &Test) -> Result<Exit> {
    let in_a_vm: &[Step] = if flags.unit { &[] } else { &WITH_GUESTS };
    for step in WITHOUT_A_VM.iter().chain(in_a_vm) {
        eprintln!("== {}: cargo {}", step.what, step.arguments.join(" "));
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(step.arguments)
            .current_dir(workspace)
            .stdin(Stdio::null())
            .status()
            .context("start cargo")?;
        if !status.success() {
            eprintln!("== failed: {}", step.what);
            return Ok(Exit::Failure);
        }
    }
    Ok(Exit::Fine)
}
