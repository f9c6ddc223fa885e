//! The hierarchies of this guest: how they are mounted, and the case's own
//! groups in each.
//!
//! It knows controllers by name only where one needs a word before it takes a
//! process in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cgauge_lab::kernel::{Dir, Refusal};
use nix::errno::Errno;
use nix::mount::MsFlags;

use crate::boot::{self, mount_at};

/// Where the hierarchies are mounted: the unified one right here, the legacy ones
/// in a folder each.
const MOUNT: &str = "/sys/fs/cgroup";
/// Where the unified tree of a hybrid machine is, as systemd has it.
const BESIDE: &str = "/sys/fs/cgroup/unified";
/// The group that a case may do with as it likes.
const CASE: &str = "case";
/// The group below it where the case's own process lives.
const SELF: &str = "self";
/// How long the kernel may take to let go of a group.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is mounted in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cgroup v2.
    Unified,
    /// cgroup v1 with these controllers.
    Legacy(Vec<String>),
}

impl Kind {
    /// What is shown to the agent under this name: `unified`, or `cpu,cpuacct`.
    pub fn named(name: &str) -> Self {
        match name {
            "unified" => Self::Unified,
            controllers => Self::Legacy(controllers.split(',').map(str::to_owned).collect()),
        }
    }

    /// The names under which a case asks for it.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Unified => vec!["unified"],
            Self::Legacy(controllers) => controllers.iter().map(String::as_str).collect(),
        }
    }
}

/// A hierarchy, and where in it cases are to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    kind: Kind,
    root: PathBuf,
    /// The group below which a case's own is made.
    base: PathBuf,
}

impl Tree {
    /// One that is all the agent's own.
    pub fn whole(kind: Kind, root: PathBuf) -> Self {
        Self { kind, base: root.clone(), root }
    }

    /// One of which the agent has the part below `base`.
    pub fn part(kind: Kind, root: PathBuf, base: PathBuf) -> Self {
        Self { kind, root, base }
    }

    /// What is mounted there.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The group below which a case's own is made.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Mounts what `cgauge.hierarchy=` on the kernel's command line asks for.
pub fn mount_all(asked: &str) -> Result<Vec<Tree>, boot::Error> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let unified = |target| {
        mount_at("cgroup2", target, quiet, None)?;
        Ok::<_, boot::Error>(Tree::whole(Kind::Unified, target.into()))
    };
    match asked {
        "unified" => Ok(vec![unified(MOUNT)?]),
        "legacy" => legacy(quiet),
        "hybrid" => {
            let mut trees = legacy(quiet)?;
            trees.insert(0, unified(BESIDE)?);
            Ok(trees)
        }
        other => Err(boot::Error::Hierarchy(other.to_owned())),
    }
}

/// Every legacy controller that the kernel has, each in a hierarchy of its own.
fn legacy(quiet: MsFlags) -> Result<Vec<Tree>, boot::Error> {
    mount_at("tmpfs", MOUNT, quiet, Some("mode=0755"))?;
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let mut trees = Vec::new();
    for name in controllers(&table) {
        let target = format!("{MOUNT}/{name}");
        match mount_at("cgroup", &target, quiet, Some(name)) {
            Ok(()) => {
                trees.push(Tree::whole(Kind::named(name), target.into()));
            }
            // The table lists what the unified hierarchy alone offers as well: a
            // case that asks for it is told that it is not here.
            Err(boot::Error::Mount { errno: Errno::EINVAL, .. }) => {
                let _ = std::fs::remove_dir(&target);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(trees)
}

/// The enabled controllers of `/proc/cgroups`: name, hierarchy, groups, enabled.
fn controllers(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|it| !it.starts_with('#')).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        (fields.next_back() == Some("1")).then_some(name)
    })
}

/// The case's own groups in one hierarchy.
#[derive(Debug)]
pub struct Place {
    kind: Kind,
    root: Dir,
    case: Dir,
    home: Dir,
}

impl Place {
    /// Makes the case's groups; on the unified hierarchy with every controller.
    pub fn new(tree: &Tree) -> Result<Self, Refusal> {
        let root = Dir::open(tree.base())?;
        let unified = tree.kind == Kind::Unified;
        if unified {
            enable_everything(&root)?;
        }
        let case = root.make(CASE)?;
        if unified {
            enable_everything(&case)?;
        }
        let home = case.make(SELF)?;
        Ok(Self { kind: tree.kind.clone(), root, case, home })
    }

    /// What is mounted here.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The group that the case may do with as it likes.
    pub fn case(&self) -> &Dir {
        &self.case
    }

    /// The group where the case's process lives.
    pub fn home(&self) -> &Dir {
        &self.home
    }

    /// Gives the groups what they need before a process may enter: a legacy cpuset
    /// starts empty, and CPUs come online after it was made.
    pub fn settle(&self) -> Result<(), Refusal> {
        if self.kind == Kind::Unified || !self.kind.names().contains(&"cpuset") {
            return Ok(());
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let all = self.root.read(file)?;
            self.case.write(file, all.trim())?;
            self.home.write(file, all.trim())?;
        }
        Ok(())
    }

    /// Removes the case's two groups, calling `reap` between attempts; the refusal
    /// if the kernel does not let go of them.
    pub fn clear(&self, reap: impl Fn()) -> Option<Refusal> {
        let began = std::time::Instant::now();
        loop {
            reap();
            // Gone already if the case removed its own home: then the next says so.
            let _ = self.case.remove(SELF);
            match self.root.remove(CASE) {
                Ok(()) => return None,
                Err(_) if began.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(refusal) => return Some(refusal),
            }
        }
    }
}

fn enable_everything(group: &Dir) -> Result<(), Refusal> {
    let offered = group.read("cgroup.controllers")?;
    let wanted: Vec<_> = offered.split_ascii_whitespace().map(|it| format!("+{it}")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    group.write("cgroup.subtree_control", &wanted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabled_controllers_are_read_from_the_kernels_table() {
        let table = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
            cpuset\t0\t1\t1\nmemory\t0\t40\t0\nnet_cls\t3\t1\t1\n";
        assert_eq!(controllers(table).collect::<Vec<_>>(), ["cpuset", "net_cls"]);
    }
}
