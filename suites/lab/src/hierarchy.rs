//! The hierarchy as a whole, for the few cases that change more than their own
//! part of it: its root, which controllers it gives out, and further mounts.
//!
//! What is changed here is put back when the handle goes out of scope. It knows
//! no controller by name.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::case::Lab;
use crate::group::{Group, Tree};
use crate::kernel::{self, Dir, Refusal, Request, errno_of};
use crate::lies;
use crate::stop::Stop;
use crate::time::wait_until;

/// How long a controller may take to come back from another hierarchy: its old
/// state is destroyed when the last reference goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The hierarchy, with a note of the controllers that it gave out.
#[derive(Debug)]
pub struct Hierarchy {
    root: Group,
    case: Dir,
    controllers: String,
}

impl Lab {
    /// The whole hierarchy. Skips the case where the stage gives it a part only.
    pub fn whole_hierarchy(&self) -> Result<Hierarchy, Stop> {
        let case = self.root().dir().path();
        let open = |path: &Path| Dir::open(path).map_err(|it| Stop::Broken(it.to_string()));
        let root = Group::root(
            open(case.parent().unwrap_or(case))?,
            Tree::Unified,
            Rc::clone(self.recorder()),
        );
        // The root of the hierarchy is the one group without a type.
        if root.has("cgroup.type")? {
            return Err(
                self.skip("this stage gives the case a part of the hierarchy, not its root")
            );
        }
        let controllers = root.line("cgroup.subtree_control")?;
        Ok(Hierarchy { root, case: open(case)?, controllers })
    }
}

impl Hierarchy {
    /// The group that every other is below.
    #[must_use]
    pub fn root(&self) -> &Group {
        &self.root
    }

    /// Takes the controllers from the case's groups and from the case itself,
    /// so that they can be bound elsewhere: `withdraw("pids misc")`.
    pub fn withdraw(&self, controllers: &str) -> Result<(), Stop> {
        let words = words('-', controllers);
        for group in [&self.case, self.root.dir()] {
            group
                .write("cgroup.subtree_control", &words)
                .map_err(|it| Stop::Broken(it.to_string()))?;
        }
        Ok(())
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        let wanted = words('+', &self.controllers);
        for group in [self.root.dir(), &self.case] {
            // A controller that stays away spoils this machine alone: the next
            // case has its own.
            let give = || group.write("cgroup.subtree_control", &wanted).is_ok();
            lies::aside(|| wait_until(PATIENCE, give));
        }
    }
}

fn words(sign: char, controllers: &str) -> String {
    let words: Vec<_> =
        controllers.split_ascii_whitespace().map(|it| format!("{sign}{it}")).collect();
    words.join(" ")
}

/// A further mount, on a folder of its own; unmounted when it goes out of scope.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts a file system of this kind with these options on a new folder
    /// called `name`.
    pub fn new(name: &str, kind: &str, options: &str) -> Result<Self, Refusal> {
        let path = std::env::temp_dir().join(name);
        let refusal = |errno| {
            let request = Request::Mount(format!("{kind} with {options}"));
            Refusal { request, path: path.clone(), errno }
        };
        std::fs::create_dir(&path).map_err(|it| refusal(errno_of(&it)))?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let ask = || mount(Some("none"), &path, Some(kind), quiet, Some(options));
        if let Err(errno) = kernel::call("mount", ask) {
            // An empty folder in a temporary one: nobody is hurt if it stays.
            let _ = std::fs::remove_dir(&path);
            return Err(refusal(errno));
        }
        Ok(Self { path })
    }

    /// The folder that it is mounted on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What will not go is found and named by the agent.
        let _ = umount2(&self.path, MntFlags::empty());
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_gets_its_sign() {
        assert_eq!(words('-', "pids  misc"), "-pids -misc");
        assert_eq!(words('+', ""), "");
    }
}
