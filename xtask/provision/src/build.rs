//! Builds a kernel's source tree with everything that the suites test and little
//! else: some minutes on two cores, and what changed alone after that.
//!
//! For whoever bisects, or tries a patch. It knows the options that controllers
//! need, not what a suite does with them.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failed::Failed;
use crate::tools::{ToolError, Tools};

/// The options, for `make allnoconfig`. One that a tree does not know is left out
/// by it; the cases that need it then skip.
const OPTIONS: &str = include_str!("kernel.config");
/// What the kernel's makefile needs besides a shell.
const PROGRAMS: [&str; 5] = ["make", "gcc", "flex", "bison", "bc"];

/// Why a kernel was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The directory holds no kernel source.
    #[error("{} holds no kernel source (there is no Kconfig)", .0.display())]
    NoSource(PathBuf),
    /// A program is missing.
    #[error("building a kernel needs {}: on Debian, apt-get install make gcc flex bison bc libelf-dev", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A file or folder.
    #[error(transparent)]
    File(#[from] Failed),
    /// make could not be started.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// make said that it failed; why, it said itself.
    #[error("this tree does not build: make {target} failed (see above)")]
    DoesNotBuild {
        /// What was made.
        target: &'static str,
    },
}

/// Builds the source tree `source` in the folder `into`, `jobs` files at a time.
/// What make says goes to this process's standard error.
///
/// # Errors
/// [`BuildError::DoesNotBuild`] where the tree is at fault.
pub fn build(
    source: &Path,
    into: &Path,
    jobs: NonZeroU32,
    tools: &Tools,
) -> Result<(), BuildError> {
    if !source.join("Kconfig").exists() {
        return Err(BuildError::NoSource(source.to_owned()));
    }
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|it| tools.find(it).is_none()).collect();
    if !missing.is_empty() {
        return Err(BuildError::Missing(missing));
    }
    fs::create_dir_all(into).map_err(Failed::to("make the directory", into))?;
    let options = into.join("cgauge.config");
    fs::write(&options, OPTIONS).map_err(Failed::to("write", &options))?;
    let make = Make { source, into, jobs, options: &options, tools };
    make.run("allnoconfig")?;
    make.run("bzImage")
}

struct Make<'a> {
    source: &'a Path,
    into: &'a Path,
    jobs: NonZeroU32,
    options: &'a Path,
    tools: &'a Tools,
}

impl Make<'_> {
    fn run(&self, target: &'static str) -> Result<(), BuildError> {
        let missing = || ToolError::Missing { program: "make".to_owned() };
        let program = self.tools.find("make").ok_or_else(missing)?;
        let mut variable = std::ffi::OsString::from("O=");
        variable.push(self.into);
        let status = Command::new(program)
            .arg("-C")
            .arg(self.source)
            .arg(variable)
            .args(["--silent", &format!("-j{}", self.jobs), target])
            .env("KCONFIG_ALLCONFIG", self.options)
            .stdin(Stdio::null())
            // Standard output is for what the caller prints.
            .stdout(std::io::stderr())
            .status()
            .map_err(|source| ToolError::NotRun { program: "make".to_owned(), source })?;
        if status.success() { Ok(()) } else { Err(BuildError::DoesNotBuild { target }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{Rights, tests::script};

    /// A machine whose make notes how it is called, and fails at `failing`.
    fn machine(failing: &str) -> (tempfile::TempDir, Tools) {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("log");
        let make = format!(
            "for it; do :; done; echo \"$it\" >> {}; [ \"$it\" != {failing} ]",
            log.display()
        );
        for program in PROGRAMS {
            script(root.path(), program, &make);
        }
        fs::write(root.path().join("Kconfig"), "").unwrap();
        let tools = Tools::new(root.path(), root.path(), Rights::User);
        (root, tools)
    }

    fn built(failing: &str) -> (String, Result<(), String>) {
        let (root, tools) = machine(failing);
        let into = root.path().join("out");
        let built = build(root.path(), &into, NonZeroU32::MIN, &tools);
        let log = fs::read_to_string(root.path().join("log")).unwrap_or_default();
        (log, built.map_err(|it| it.to_string()))
    }

    #[test]
    fn a_tree_is_configured_and_then_built() {
        assert_eq!(built("nothing"), ("allnoconfig\nbzImage\n".to_owned(), Ok(())));
    }

    #[test]
    fn a_tree_that_does_not_build_says_so() {
        let (_, built) = built("bzImage");
        insta::assert_snapshot!(built.unwrap_err(), @"this tree does not build: make bzImage failed (see above)");
    }

    #[test]
    fn what_is_missing_is_named() {
        let (root, _) = machine("nothing");
        let none = Tools::new("", root.path(), Rights::User);
        let error = build(root.path(), root.path(), NonZeroU32::MIN, &none).unwrap_err();
        insta::assert_snapshot!(error, @"building a kernel needs make, gcc, flex, bison, bc: on Debian, apt-get install make gcc flex bison bc libelf-dev");
        let (_, tools) = machine("nothing");
        let error = build(Path::new("/nowhere"), root.path(), NonZeroU32::MIN, &tools).unwrap_err();
        insta::assert_snapshot!(error, @"/nowhere holds no kernel source (there is no Kconfig)");
    }
}
