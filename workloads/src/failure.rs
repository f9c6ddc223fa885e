//! Why a load did not do what it was asked, and the exit code that says so.

use std::path::PathBuf;

use nix::errno::Errno;

use crate::Refusal;

/// Why a load could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The load would not be safe here.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel refused what the load needs for itself.
    #[error("{call} failed: {errno}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file of the load's own could not be made or written.
    #[error("{} cannot be {action}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done with it, as a participle.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        why: std::io::Error,
    },
    /// The truth could not be printed.
    #[error("the truth cannot be written to standard output: {0}")]
    Tell(#[source] std::io::Error),
}

impl Failure {
    pub(crate) fn system(call: &'static str, errno: Errno) -> Self {
        Self::System { call, errno }
    }

    /// The exit code: 2 where the load refused to start, as for arguments that
    /// make no sense; 1 where it could not go on.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 2,
            Self::System { .. } | Self::File { .. } | Self::Tell(_) => 1,
        }
    }
}
