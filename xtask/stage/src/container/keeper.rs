//! The keeper: a process of its own that outlives the run, and then clears away
//! what it left.
//!
//! It is told what there will be before anything is made, and waits for the
//! closing of a pipe that only the run holds open. So it does not matter how the
//! run ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};

use super::estate::Estate;
use crate::Error;

/// The word on the command line of the program that is to be the keeper.
pub const WORD: &str = "keeper";

/// The keeper, seen from the run that it waits for.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Child,
    /// Open as long as the run lives.
    alive: Option<ChildStdin>,
}

impl Keeper {
    /// Starts `program` as the keeper of `estate`.
    pub(super) fn start(program: &Path, estate: &Estate) -> Result<Self, Error> {
        let failed = |source| Error::File { path: program.to_path_buf(), source };
        let mut command = Command::new(program);
        command
            .arg(WORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Ctrl-C and the end of a session are for the run.
                nix::unistd::setsid()?;
                for it in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE] {
                    signal(it, SigHandler::SigIgn)?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(failed)?;
        let mut alive = child.stdin.take();
        // The types of an estate hold nothing that JSON cannot.
        let mut line = serde_json::to_vec(estate).unwrap_or_default();
        line.push(b'\n');
        if let Some(pipe) = &mut alive {
            pipe.write_all(&line).map_err(failed)?;
        }
        Ok(Self { child, alive })
    }
}

impl Drop for Keeper {
    /// Lets it see to what is left, and waits for its end.
    fn drop(&mut self) {
        self.alive = None;
        // It is nobody's child any more after this; its exit code is said by itself.
        let _ = self.child.wait();
    }
}

/// The keeper's own life: reads what there will be, waits for the run's end, and
/// clears away. What is not understood is not touched.
pub fn keep(mut pipe: impl Read) -> Result<(), String> {
    let mut lines = BufReader::new(&mut pipe);
    let mut line = String::new();
    lines.read_line(&mut line).map_err(|it| it.to_string())?;
    // The run ended before it made anything.
    let Ok(estate) = serde_json::from_str::<Estate>(&line) else {
        return Ok(());
    };
    std::io::copy(&mut lines, &mut std::io::sink()).map_err(|it| it.to_string())?;
    estate.clear()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_leaves_is_cleared_when_its_pipe_closes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("hierarchy");
        let name = Estate::new_name().unwrap();
        std::fs::create_dir_all(root.join(&name).join("1/engine")).unwrap();
        let work = folder.path().join("work");
        std::fs::create_dir_all(work.join("bundle")).unwrap();
        let estate = Estate {
            name,
            roots: vec![root.clone()],
            folder: Some(work.clone()),
            commands: vec![],
        };
        let line = serde_json::to_string(&estate).unwrap() + "\n";
        // Half a line is no order.
        keep(&line.as_bytes()[..line.len() / 2]).unwrap();
        assert!(work.exists());
        keep(line.as_bytes()).unwrap();
        assert!(!work.exists());
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 0);
    }
}
