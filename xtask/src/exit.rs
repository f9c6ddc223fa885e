//! The exit codes: the one place that maps what happened to a number.

use std::process::ExitCode;

/// What the process says to the one that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done, and every check held.
    Fine,
    /// The kernel broke a promise.
    Failure,
    /// The command line makes no sense, or names what is not there.
    Usage,
    /// A figure got worse (`gate`).
    Regression,
    /// Noise left it undecided, and `--strict` was given.
    Inconclusive,
    /// The harness, the guest or the machine broke.
    Broken,
    /// Nothing could be tested: every case was skipped, or the kernel did not
    /// come up. `git bisect run` takes it as a skip.
    NothingTested,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Regression => 3,
            Self::Inconclusive => 4,
            Self::Broken => 5,
            Self::NothingTested => 125,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that has its own exit code: the user's to mend.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// An error of the user's, as an [`anyhow::Error`].
pub fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::Error::new(UsageError(error.to_string()))
}
