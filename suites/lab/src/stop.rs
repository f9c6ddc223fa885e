//! Why a case stops before its end.
//!
//! Three reasons that are never mixed up: the kernel lacks the thing, the
//! kernel refused what every case relies on, the machine under the harness broke.

use std::fmt;

use crate::kernel::Refusal;

/// What a case returns.
pub type Outcome = Result<(), Stop>;

/// A case that cannot go on. Made by the lab's own methods; `?` hands it up.
pub enum Stop {
    /// The kernel or the machine lacks something; already recorded as a skip.
    Skip(String),
    /// The kernel refused what it promises to accept; already recorded as a
    /// failed check.
    Refused(Refusal),
    /// Something that is not the kernel's word: a pipe, a load that broke.
    Broken(String),
}

impl fmt::Debug for Stop {
    /// libtest prints this form, and it is what the harness shows of an error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip(reason) => write!(f, "skipped: {reason}"),
            Self::Refused(refusal) => write!(f, "the kernel refused: {refusal}"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl Stop {
    /// The machine under the harness broke: `what` was being done.
    pub fn broken(what: &str) -> impl FnOnce(nix::errno::Errno) -> Self + '_ {
        move |errno| Self::Broken(format!("{what}: {} ({errno:?})", errno.desc()))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
