//! The directory that keeps what is dear to get: kernels, saved guests, answers
//! of probes.
//!
//! An entry is made in a scratch directory and renamed into place, so that
//! whoever breaks off, at whatever moment, leaves no half entry. Knows nothing
//! of what the entries are.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Failed;

/// Below the cache's root: directories of work in progress.
const SCRATCH: &str = "scratch";
/// Below the cache's root: files that are only there to be locked.
const LOCKS: &str = "locks";

/// An open cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// No variable says where it is.
    #[error("no place for the cache: set CGAUGE_CACHE to a directory, or HOME")]
    NoPlace,
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A directory for work in progress on the cache's own file system. Removed
/// when dropped, and at the next [`Cache::open`] when its process died.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Held as a sign of life: the kernel lets go of it however we end.
    _alive: Flock<File>,
}

/// The right to be the only one at work on something, until dropped.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

impl Cache {
    /// Where the cache is: `CGAUGE_CACHE`, else `cgauge` below
    /// `XDG_CACHE_HOME` or `HOME/.cache`. `variable` looks up the environment.
    pub fn place(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, CacheError> {
        let path = |name| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        path("CGAUGE_CACHE")
            // The XDG specification has relative paths ignored.
            .or_else(|| {
                path("XDG_CACHE_HOME").filter(|it| it.is_absolute()).map(|it| it.join("cgauge"))
            })
            .or_else(|| path("HOME").map(|it| it.join(".cache/cgauge")))
            .ok_or(CacheError::NoPlace)
    }

    /// Opens the cache at `root`, makes it if need be, and removes what dead
    /// processes left unfinished.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, CacheError> {
        let root = root.as_ref();
        let root = std::path::absolute(root).map_err(Failed::to("find", root))?;
        for directory in [SCRATCH, LOCKS] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory)
                .map_err(Failed::to("make the cache directory", &directory))?;
        }
        let cache = Self { root };
        cache.sweep()?;
        Ok(cache)
    }

    /// The cache's directory, an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new empty scratch directory.
    pub fn scratch(&self) -> Result<Scratch, CacheError> {
        // Without this a sweep elsewhere could come between making and locking.
        let _making = self.lock(SCRATCH, &|| ())?;
        let directory = tempfile::Builder::new()
            .prefix("")
            .tempdir_in(self.root.join(SCRATCH))
            .map_err(Failed::to("make a directory in", &self.root))?;
        let handle = File::open(directory.path()).map_err(Failed::to("open", directory.path()))?;
        let alive = Flock::lock(handle, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Failed::to("lock", directory.path())(errno.into()))?;
        Ok(Scratch { path: directory.keep(), _alive: alive })
    }

    /// Renames `made`, a file or directory within a scratch directory, to
    /// `entry`, a path below [`Cache::root`]. An older entry is replaced; who
    /// looks meanwhile sees the old one, none or the new one, never a mixture.
    pub fn publish(&self, made: &Path, entry: &Path) -> Result<(), CacheError> {
        if let Some(parent) = entry.parent() {
            fs::create_dir_all(parent).map_err(Failed::to("make", parent))?;
        }
        let old = self.scratch()?;
        if entry.is_dir() {
            // A directory in use cannot be renamed over.
            fs::rename(entry, old.path().join("old")).map_err(Failed::to("replace", entry))?;
        }
        fs::rename(made, entry).map_err(Failed::to("make", entry))?;
        Ok(())
    }

    /// Waits until no other process or thread holds the lock `name`, and takes
    /// it. `waiting` is called once if there is a wait.
    pub fn lock(&self, name: &str, waiting: &dyn Fn()) -> Result<Lock, CacheError> {
        let path = self.root.join(LOCKS).join(name);
        let file = File::create(&path).map_err(Failed::to("make", &path))?;
        let failed = |errno: Errno| Failed::to("lock", &path)(errno.into());
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((file, Errno::EAGAIN)) => {
                waiting();
                wait_for(file).map_err(failed)?
            }
            Err((_, errno)) => return Err(failed(errno).into()),
        };
        Ok(Lock { _held: held })
    }

    fn sweep(&self) -> Result<(), CacheError> {
        let _sweeping = self.lock(SCRATCH, &|| ())?;
        let scratch = self.root.join(SCRATCH);
        for entry in fs::read_dir(&scratch).map_err(Failed::to("read", &scratch))? {
            let path = entry.map_err(Failed::to("read", &scratch))?.path();
            let Ok(handle) = File::open(&path) else {
                continue;
            };
            if let Ok(_dead) = Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                // A child of the dead process may still write here for a
                // moment; then the next sweep has it.
                let _ = fs::remove_dir_all(&path);
            }
        }
        Ok(())
    }
}

/// Blocks until the lock is free, whatever signals come.
fn wait_for(mut file: File) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(held) => return Ok(held),
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno),
        }
    }
}

impl Scratch {
    /// The directory, an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The bytes below `path`, or of the file; what vanishes meanwhile counts nothing.
pub(crate) fn size_bytes(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(path).and_then(Iterator::collect);
    entries.unwrap_or_default().iter().map(|it| size_bytes(&it.path())).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn place(variables: &[(&str, &str)]) -> Result<PathBuf, CacheError> {
        Cache::place(|name| variables.iter().find(|it| it.0 == name).map(|it| OsString::from(it.1)))
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_most_specific_variable_wins() {
        let all = [("CGAUGE_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(place(&all).unwrap(), Path::new("/c"));
        assert_eq!(place(&all[1..]).unwrap(), Path::new("/x/cgauge"));
        assert_eq!(place(&all[2..]).unwrap(), Path::new("/h/.cache/cgauge"));
        let useless = [("CGAUGE_CACHE", ""), ("XDG_CACHE_HOME", "relative")];
        insta::assert_snapshot!(
            place(&useless).unwrap_err(),
            @"no place for the cache: set CGAUGE_CACHE to a directory, or HOME"
        );
    }

    #[test]
    fn an_entry_is_replaced_as_a_whole() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().join("c")).unwrap();
        let entry = cache.root().join("kernels/one");
        for content in ["old", "new"] {
            let scratch = cache.scratch().unwrap();
            let made = scratch.path().join("made");
            fs::create_dir(&made).unwrap();
            fs::write(made.join(content), content).unwrap();
            cache.publish(&made, &entry).unwrap();
            assert_eq!(names(&entry), [content]);
        }
        assert_eq!(names(&cache.root().join(SCRATCH)), [""; 0]);
    }

    #[test]
    fn opening_removes_what_the_dead_left_and_spares_the_living() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let living = cache.scratch().unwrap();
        let left = home.path().join(SCRATCH).join("left");
        fs::create_dir_all(left.join("deep")).unwrap();
        fs::write(left.join("deep/half"), "half").unwrap();
        Cache::open(home.path()).unwrap();
        assert!(!left.exists());
        assert!(living.path().exists());
    }

    #[test]
    fn a_second_locker_waits_for_the_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let first = cache.lock("it", &|| panic!("nobody else is there")).unwrap();
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let waiter = tell.clone();
            let cache = &cache;
            scope.spawn(move || {
                let _second = cache.lock("it", &|| waiter.send("waits").unwrap()).unwrap();
                waiter.send("has it").unwrap();
            });
            assert_eq!(told.recv().unwrap(), "waits");
            tell.send("let go").unwrap();
            drop(first);
            assert_eq!(told.recv().unwrap(), "let go");
            assert_eq!(told.recv().unwrap(), "has it");
        });
    }

    #[test]
    fn a_root_that_cannot_be_made_is_named() {
        let error = Cache::open("/dev/null/cache").unwrap_err().to_string();
        insta::assert_snapshot!(
            error,
            @"cannot make the cache directory /dev/null/cache/scratch: Not a directory (os error 20)"
        );
    }
}
