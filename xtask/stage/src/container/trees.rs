//! What hierarchies this machine has: where they are mounted and which
//! controllers each has to give.
//!
//! It only reads, and knows nothing of what is done in them.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use cgauge_record::Hierarchy;

/// What is mounted in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// cgroup v2.
    Unified,
    /// cgroup v1 with these controllers, one or several.
    Legacy(Vec<String>),
    /// cgroup v1 without a controller: groups alone.
    Named(String),
}

/// A hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// What it is.
    pub kind: Kind,
    /// Where it is mounted.
    pub root: PathBuf,
}

impl Tree {
    /// The name by which the agent knows it: `unified`, or its controllers.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Unified => "unified".to_owned(),
            Kind::Legacy(controllers) => controllers.join(","),
            Kind::Named(name) => format!("name={name}"),
        }
    }

    /// Whether its groups have the files of `controller`, if that is enabled there.
    fn may_have(&self, controller: &str) -> bool {
        match &self.kind {
            Kind::Unified => true,
            Kind::Legacy(controllers) => controllers.iter().any(|it| it == controller),
            Kind::Named(_) => false,
        }
    }
}

/// The hierarchies of a machine, the unified one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trees {
    trees: Vec<Tree>,
    /// What the unified one gives its groups.
    given: Vec<String>,
}

impl Trees {
    /// Those of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::read(&read("/proc/self/mountinfo"), &read("/proc/cgroups"));
        if let Some(tree) = found.trees.iter().find(|it| it.kind == Kind::Unified) {
            // What it does not give is not taken: that would change a group that
            // is not ours.
            found.given = words(&tree.root.join("cgroup.subtree_control"));
        }
        found
    }

    /// Those of a table of mounts; the second table says which names are controllers.
    #[must_use]
    pub fn read(mountinfo: &str, cgroups: &str) -> Self {
        let lines = cgroups.lines().filter(|it| !it.starts_with('#'));
        let known: Vec<&str> = lines.filter_map(|it| it.split_ascii_whitespace().next()).collect();
        let mut trees: Vec<Tree> = Vec::new();
        let mut devices = Vec::new();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            let Some(kind) = mount.kind(&known) else { continue };
            // One hierarchy may be mounted in several places: the first will do.
            if !devices.contains(&mount.device) {
                devices.push(mount.device);
                trees.push(Tree { kind, root: mount.target });
            }
        }
        trees.sort_by_key(|it| it.kind != Kind::Unified);
        Self { trees, given: Vec::new() }
    }

    /// Every one.
    pub fn all(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter()
    }

    fn legacy(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter().filter(|it| matches!(it.kind, Kind::Legacy(_)))
    }

    /// Those that make up `hierarchy`: what a case on it is to see.
    #[must_use]
    pub fn of(&self, hierarchy: Hierarchy) -> Vec<&Tree> {
        let wanted = |it: &&Tree| match it.kind {
            Kind::Unified => hierarchy != Hierarchy::Legacy,
            Kind::Legacy(_) => hierarchy != Hierarchy::Unified,
            Kind::Named(_) => false,
        };
        self.trees.iter().filter(wanted).collect()
    }

    /// Whether a case can be shown `hierarchy` here.
    #[must_use]
    pub fn have(&self, hierarchy: Hierarchy) -> bool {
        let unified = self.trees.iter().any(|it| it.kind == Kind::Unified);
        let legacy = self.legacy().next().is_some();
        match hierarchy {
            Hierarchy::Unified => unified,
            Hierarchy::Legacy => legacy,
            Hierarchy::Hybrid => unified && legacy,
        }
    }

    /// The hierarchy whose groups have the files of `controller`.
    #[must_use]
    pub fn with(&self, controller: &str) -> Option<&Tree> {
        let legacy = self.legacy().find(|it| it.may_have(controller));
        let given = || self.given.iter().any(|it| it == controller);
        legacy.or_else(|| self.trees.iter().find(|it| it.kind == Kind::Unified && given()))
    }

    /// The controllers that the unified hierarchy gives its groups.
    #[must_use]
    pub fn given(&self) -> &[String] {
        &self.given
    }
}

impl fmt::Display for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.legacy().map(Tree::name).collect();
        let unified = self.trees.iter().any(|it| it.kind == Kind::Unified);
        match (unified, names.is_empty()) {
            (false, true) => f.write_str("no cgroup hierarchy is mounted"),
            (true, true) => write!(f, "unified, with {}", listed(&self.given)),
            (false, false) => write!(f, "legacy, with {}", listed(&names)),
            (true, false) => write!(
                f,
                "hybrid: legacy with {}, unified with {}",
                listed(&names),
                listed(&self.given)
            ),
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no controller".to_owned() } else { names.join(" ") }
}

fn words(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// A line of a table of mounts.
struct Mount<'a> {
    device: &'a str,
    target: PathBuf,
    file_system: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let (device, target) = (before.next()?, before.nth(1)?);
        let mut behind = behind.split(' ');
        let file_system = behind.next()?;
        let options = behind.nth(1)?;
        Some(Self { device, target: unescaped(target), file_system, options })
    }

    fn kind(&self, known: &[&str]) -> Option<Kind> {
        match self.file_system {
            "cgroup2" => Some(Kind::Unified),
            "cgroup" => {
                let options = || self.options.split(',');
                let controllers: Vec<String> =
                    options().filter(|it| known.contains(it)).map(str::to_owned).collect();
                if controllers.is_empty() {
                    let name = options().find_map(|it| it.strip_prefix("name="))?;
                    return Some(Kind::Named(name.to_owned()));
                }
                Some(Kind::Legacy(controllers))
            }
            _ => None,
        }
    }
}

/// A path in which the kernel wrote blanks and the like as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = (*first == b'\\').then(|| behind.get(..3)).flatten();
        let code = digits.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 8).ok());
        rest = match code {
            Some(byte) => {
                bytes.push(byte);
                &behind[3..]
            }
            None => {
                bytes.push(*first);
                behind
            }
        };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
        cpuset\t3\t1\t1\ncpu\t1\t1\t1\ncpuacct\t2\t1\t1\nblkio\t7\t1\t1\nmemory\t4\t42\t1\n\
        devices\t5\t1\t1\nfreezer\t6\t1\t1\nnet_cls\t0\t1\t1\nhugetlb\t0\t1\t1\npids\t8\t1\t1\n";
    /// Legacy controllers each apart, and a unified tree beside.
    const APART: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    /// As systemd mounts them: some together, and with optional fields.
    const TOGETHER: &str = "\
        25 30 0:22 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd\n\
        34 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
        36 30 0:30 / /mnt/the\\040same rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 30 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory\n";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - \
        cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";

    fn names(trees: &[&Tree]) -> Vec<String> {
        trees.iter().map(|it| format!("{} {}", it.name(), it.root.display())).collect()
    }

    #[test]
    fn every_kind_of_machine_is_read() {
        for (mounts, shown) in [
            (APART, "hybrid: legacy with cpu cpuacct memory pids, unified with no controller"),
            (TOGETHER, "legacy, with cpu,cpuacct memory"),
            (UNIFIED, "unified, with no controller"),
            ("22 27 0:21 / /proc rw - proc proc rw\nnonsense\n", "no cgroup hierarchy is mounted"),
        ] {
            assert_eq!(Trees::read(mounts, CGROUPS).to_string(), shown);
        }
    }

    #[test]
    fn a_case_sees_the_trees_of_its_hierarchy() {
        let trees = Trees::read(APART, CGROUPS);
        assert_eq!(names(&trees.of(Hierarchy::Unified)), ["unified /sys/fs/cgroup/unified"]);
        assert_eq!(trees.of(Hierarchy::Legacy).len(), 4);
        assert_eq!(names(&trees.of(Hierarchy::Hybrid))[0], "unified /sys/fs/cgroup/unified");
        let together = Trees::read(TOGETHER, CGROUPS);
        assert_eq!(
            names(&together.of(Hierarchy::Legacy)),
            ["cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct", "memory /sys/fs/cgroup/memory"]
        );
        assert!(!together.have(Hierarchy::Unified) && !together.have(Hierarchy::Hybrid));
        assert_eq!(together.with("cpuacct").unwrap().name(), "cpu,cpuacct");
        assert_eq!(together.with("pids"), None);
    }

    #[test]
    fn the_unified_tree_bounds_only_by_what_it_gives() {
        let mut trees = Trees::read(UNIFIED, CGROUPS);
        assert_eq!(trees.with("memory"), None);
        trees.given = vec!["memory".to_owned()];
        assert_eq!(trees.with("memory").unwrap().name(), "unified");
    }

    #[test]
    fn blanks_in_a_mounts_path_are_read() {
        assert_eq!(unescaped("/mnt/the\\040same\\"), Path::new("/mnt/the same\\"));
    }
}
