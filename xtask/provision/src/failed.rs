//! The one error for a file that the system would not let us use.

use std::io;
use std::path::{Path, PathBuf};

/// The system refused something on a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Failed {
    /// What was tried, as a verb: `read`, `make a directory in`.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl Failed {
    /// For `map_err`: the error of having tried to `action` `path`.
    pub(crate) fn to(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}
