//! The folder in which running guests keep their files: gone with the run, and
//! swept by the next one should a run be killed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A folder that is removed when it goes out of scope.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Names a folder of this process's own below `parent`, and removes those of
    /// processes that are gone. It is made by whoever needs it.
    pub fn new(parent: &Path) -> Self {
        sweep(parent);
        Self(parent.join(std::process::id().to_string()))
    }

    /// Makes it.
    pub fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.0).with_context(|| format!("cannot make {}", self.0.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is swept by the next run.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new("/proc").join(pid.to_string()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_dead_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        // Above every pid_max there is.
        for name in ["4194999", "1", "kept"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let folder = Folder::new(parent.path());
        folder.make().unwrap();
        let there = |name: &str| parent.path().join(name).exists();
        assert!(!there("4194999") && there("1") && there("kept"));
        let own = folder.path().to_path_buf();
        assert!(own.exists());
        drop(folder);
        assert!(!own.exists());
    }
}
