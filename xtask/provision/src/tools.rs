//! The machine that provisioning works on: its programs and its files.
//!
//! Passed as a value, so that tests bring their own programs and files, and
//! nothing reads the process's environment or `/etc` behind their back.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd;

/// Where programs and system files are found, and what may be done there.
#[derive(Clone, Debug)]
pub struct Tools {
    search_path: OsString,
    root: PathBuf,
    rights: Rights,
}

/// Whether packages may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// The process runs as root.
    Root,
    /// It does not.
    User,
}

/// A program could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("the program {program} is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It did not start.
    #[error("cannot run {program}: {source}")]
    NotRun {
        /// Its name.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It said that it failed.
    #[error("{program} failed: {complaint}")]
    Failed {
        /// Its name.
        program: String,
        /// The line of its output that says most.
        complaint: String,
    },
}

impl Tools {
    /// The programs on `PATH` and the files of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let rights = if unistd::geteuid().is_root() { Rights::Root } else { Rights::User };
        Self::new(env::var_os("PATH").unwrap_or_default(), "/", rights)
    }

    /// Programs from `search_path` (directories joined by colons), system files
    /// from below `root` in place of `/`.
    #[must_use]
    pub fn new(search_path: impl Into<OsString>, root: impl Into<PathBuf>, rights: Rights) -> Self {
        Self { search_path: search_path.into(), root: root.into(), rights }
    }

    /// Whether packages may be installed.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// A system file, named by its path below `/`.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The path of a program, if it is there and may be run.
    #[must_use]
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.search_path).map(|it| it.join(program)).find(|it| {
            fs::metadata(it).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        })
    }

    /// Runs a program to its end in `directory` and returns what it printed.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
        directory: &Path,
    ) -> Result<String, ToolError> {
        let path =
            self.find(program).ok_or_else(|| ToolError::Missing { program: program.to_owned() })?;
        let output = Command::new(path)
            .args(arguments)
            .current_dir(directory)
            .env("PATH", &self.search_path)
            // Messages are read for their meaning.
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ToolError::NotRun { program: program.to_owned(), source })?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(printed.into_owned());
        }
        let complained = String::from_utf8_lossy(&output.stderr);
        let complaint = telling_line(&complained)
            .or_else(|| telling_line(&printed))
            .map_or_else(|| output.status.to_string(), str::to_owned);
        Err(ToolError::Failed { program: program.to_owned(), complaint })
    }
}

/// The line of a failed program's output that says why: the first that apt
/// marks as an error, for what follows it only says that it gave up; else the
/// last.
fn telling_line(output: &str) -> Option<&str> {
    let mut lines = output.lines().map(str::trim).filter(|it| !it.is_empty());
    let marked = lines.clone().find_map(|it| it.strip_prefix("E: "));
    marked.or_else(|| lines.next_back())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Puts a shell script into a directory of programs.
    pub(crate) fn script(directory: &Path, name: &str, body: &str) {
        let source = directory.join(format!("{name}.sh"));
        fs::write(&source, format!("#!/bin/sh\n{body}")).unwrap();
        // Were it written here, another test's child could hold it open for
        // writing for a moment, and it could not be run.
        let copied =
            Command::new("install").arg("-m755").args([source, directory.join(name)]).status();
        assert!(copied.unwrap().success());
    }

    fn tools(directory: &Path) -> Tools {
        Tools::new(directory, "/", Rights::User)
    }

    #[test]
    fn only_what_may_be_run_is_found() {
        let bin = tempfile::tempdir().unwrap();
        script(bin.path(), "there", "");
        fs::write(bin.path().join("data"), "").unwrap();
        fs::create_dir(bin.path().join("directory")).unwrap();
        let tools = tools(bin.path());
        assert_eq!(tools.find("there"), Some(bin.path().join("there")));
        assert_eq!(tools.find("data"), None);
        assert_eq!(tools.find("directory"), None);
    }

    #[test]
    fn a_failure_tells_what_the_program_said() {
        let bin = tempfile::tempdir().unwrap();
        for (name, body) in [
            (
                "apt",
                "echo W: odd >&2; echo 'E: no such suite' >&2; echo 'E: giving up' >&2; exit 100",
            ),
            ("plain", "echo first >&2; echo last >&2; exit 1"),
            ("talker", "echo on stdout; exit 1"),
            ("mute", "exit 3"),
        ] {
            script(bin.path(), name, body);
        }
        let complaint = |name: &str| {
            let none: [&str; 0] = [];
            tools(bin.path()).run(name, none, bin.path()).unwrap_err().to_string()
        };
        assert_eq!(complaint("apt"), "apt failed: no such suite");
        assert_eq!(complaint("plain"), "plain failed: last");
        assert_eq!(complaint("talker"), "talker failed: on stdout");
        assert_eq!(complaint("mute"), "mute failed: exit status: 3");
        assert_eq!(complaint("absent"), "the program absent is not installed");
    }
}
