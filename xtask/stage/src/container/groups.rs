//! The groups that bound what runs on the machine's own kernel: one of a unique
//! name in each hierarchy, in it one for each guest, with limits before anything
//! enters it.
//!
//! Nothing above the run's own group is written to. It knows no case.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cgauge_record::Hierarchy;

use super::estate::{Estate, lock};
use super::keeper::Keeper;
use super::trees::{Kind, Tree, Trees};
use crate::Error;

/// The length over which the CPU time of a guest is bounded.
const PERIOD_US: u64 = 100_000;
/// What of it every guest leaves to the machine.
const LEFT_US: u64 = 10_000;

/// How much of the machine a guest may take at most, whatever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Memory; there is no swap beside it.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
    /// CPUs of the machine: all but a tenth of one are a guest's at most.
    pub cpus: u32,
}

impl Bounds {
    fn quota_us(self) -> u64 {
        u64::from(self.cpus) * PERIOD_US - LEFT_US
    }

    /// What to write for `controller`, each with whether the file may be missing.
    fn of(self, controller: &str, kind: &Kind) -> Vec<(&'static str, String, Presence)> {
        use Presence::{Always, WithSwap};
        let (memory, pids, quota) =
            (self.memory_bytes.to_string(), self.pids.to_string(), self.quota_us().to_string());
        match (controller, kind) {
            ("memory", Kind::Unified) => {
                vec![("memory.max", memory, Always), ("memory.swap.max", "0".into(), WithSwap)]
            }
            ("memory", _) => vec![
                ("memory.limit_in_bytes", memory.clone(), Always),
                // Of memory and swap together.
                ("memory.memsw.limit_in_bytes", memory, WithSwap),
            ],
            ("cpu", Kind::Unified) => {
                vec![("cpu.max", format!("{quota} {PERIOD_US}"), Always)]
            }
            ("cpu", _) => vec![
                ("cpu.cfs_period_us", PERIOD_US.to_string(), Always),
                ("cpu.cfs_quota_us", quota, Always),
            ],
            ("pids", _) => vec![("pids.max", pids, Always)],
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    WithSwap,
}

/// The controllers without which no load is let loose.
const BOUNDING: [&str; 3] = ["memory", "pids", "cpu"];

/// Why no load can be bounded here, whatever it is; nothing if it can.
#[must_use]
pub fn why_unbounded(trees: &Trees) -> Option<String> {
    let missing = BOUNDING.into_iter().find(|it| trees.with(it).is_none())?;
    let mend = match trees.all().find(|it| it.kind == Kind::Unified) {
        Some(tree) => format!(
            "; if its hierarchy has one, echo +{missing} > {}/cgroup.subtree_control gives it to groups",
            tree.root.display()
        ),
        None => String::new(),
    };
    Some(format!(
        "nothing would bound the {missing} of a load: groups of this machine have no {missing} controller ({trees}){mend}"
    ))
}

/// Why loads within these bounds may not run here; nothing if they may.
#[must_use]
pub fn obstacle(trees: &Trees, bounds: Bounds, spare_bytes: u64, most_pids: u64) -> Option<String> {
    if let Some(why) = why_unbounded(trees) {
        return Some(why);
    }
    if bounds.memory_bytes > spare_bytes / 2 {
        return Some(format!(
            "it may take {} MiB of memory, which is more than half of the {} MiB that this machine has to spare",
            bounds.memory_bytes >> 20,
            spare_bytes >> 20
        ));
    }
    if bounds.pids > most_pids / 2 {
        return Some(format!(
            "it may take {} processes, which is more than half of the {most_pids} that this machine allows",
            bounds.pids
        ));
    }
    None
}

/// The run's own group in each hierarchy. Gone with all below when it goes out of
/// scope, and should the run be killed, cleared away by the keeper.
#[derive(Debug)]
pub struct Holder {
    estate: Estate,
    trees: Trees,
    /// Held as long as the run lives; what is unlocked is a dead run's.
    _locks: Vec<File>,
    guests: AtomicU32,
    // The last field: it sees to what the rest could not clear away.
    _keeper: Keeper,
}

impl Holder {
    /// Makes the groups. `keeper` is the program that clears away should this
    /// process be killed, and `folder` what it is to remove besides.
    pub fn new(trees: Trees, keeper: &Path, folder: &Path) -> Result<Self, Error> {
        let name = Estate::new_name()
            .map_err(|source| Error::File { path: "/dev/urandom".into(), source })?;
        let roots = trees.all().map(|it| it.root.clone()).collect();
        let estate =
            Estate { name, roots, folder: Some(folder.to_path_buf()), commands: Vec::new() };
        // Before anything is made there is somebody who clears it away.
        let keeper = Keeper::start(keeper, &estate)?;
        let mut holder =
            Self { estate, trees, _locks: Vec::new(), guests: AtomicU32::new(0), _keeper: keeper };
        for tree in holder.trees.all() {
            let group = tree.root.join(&holder.estate.name);
            make(&group)?;
            holder._locks.push(held(&group)?);
            prepare(tree, &group, holder.trees.given())?;
        }
        Ok(holder)
    }

    /// The groups' name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.estate.name
    }

    /// Clears the groups away, whatever lives in them; what stays, in one sentence.
    pub fn clear(&self) -> Result<(), String> {
        // The folder is the run's to remove.
        Estate { folder: None, ..self.estate.clone() }.clear()
    }

    /// Makes the groups of one guest, and bounds them.
    pub(super) fn room(&self, bounds: Bounds) -> Result<Room<'_>, Error> {
        let number = self.guests.fetch_add(1, Ordering::Relaxed).to_string();
        let room = Room { holder: self, number };
        for tree in self.trees.all() {
            let group = room.group(tree);
            make(&group)?;
            prepare(tree, &group, self.trees.given())?;
            for controller in BOUNDING {
                if self.trees.with(controller) == Some(tree) {
                    for (file, value, presence) in bounds.of(controller, &tree.kind) {
                        bound(&group, file, &value, presence)?;
                    }
                }
            }
            for name in [ENGINE, ROOT] {
                make(&group.join(name))?;
                inherit_cpuset(tree, &group.join(name))?;
            }
        }
        Ok(room)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The keeper tries again what stays.
        let _ = self.clear();
    }
}

/// Where what starts a guest lives.
const ENGINE: &str = "engine";
/// What the guest is shown as the root of the hierarchy: the limits are above it.
const ROOT: &str = "root";

/// The groups of one guest, in each hierarchy. Gone with all that lives in them
/// when it goes out of scope.
#[derive(Debug)]
pub(super) struct Room<'a> {
    holder: &'a Holder,
    number: String,
}

impl Room<'_> {
    fn group(&self, tree: &Tree) -> PathBuf {
        tree.root.join(&self.holder.estate.name).join(&self.number)
    }

    /// A name that no other guest of this machine has.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.holder.estate.name, self.number)
    }

    /// The path from a hierarchy's root to the group that has the limits.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", self.holder.estate.name, self.number)
    }

    /// The files by which a process enters the room in every hierarchy.
    pub(super) fn doors(&self) -> Vec<CString> {
        let door = |tree: &Tree| {
            let path = self.group(tree).join(ENGINE).join("cgroup.procs");
            CString::new(path.as_os_str().as_bytes()).ok()
        };
        self.holder.trees.all().filter_map(door).collect()
    }

    /// For each tree of `hierarchy` its name and the group to show as its root.
    pub(super) fn shown(&self, hierarchy: Hierarchy) -> Vec<(String, PathBuf)> {
        let trees = self.holder.trees.of(hierarchy);
        trees.iter().map(|it| (it.name(), self.group(it).join(ROOT))).collect()
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let name = format!("{}/{}", self.holder.estate.name, self.number);
        // What stays goes with the run's own group.
        let _ = Estate { name, folder: None, ..self.holder.estate.clone() }.clear();
    }
}

fn refused(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_path_buf(), source }
}

fn make(group: &Path) -> Result<(), Error> {
    fs::create_dir(group).map_err(|it| refused(group, it))
}

/// Locks the group that was just made, which must still be the same then.
fn held(group: &Path) -> Result<File, Error> {
    let gone = || {
        let reason = "another run took it for a dead one's; start again".to_owned();
        Error::Unbounded { reason: format!("{}: {reason}", group.display()) }
    };
    let held = lock(group).map_err(|_| gone())?;
    let same = fs::metadata(group).ok().zip(held.metadata().ok());
    same.filter(|(there, held)| there.ino() == held.ino()).map(|_| held).ok_or_else(gone)
}

/// Gives the group what its children need: controllers, CPUs, one account.
fn prepare(tree: &Tree, group: &Path, given: &[String]) -> Result<(), Error> {
    inherit_cpuset(tree, group)?;
    match &tree.kind {
        Kind::Unified if !given.is_empty() => {
            let words: Vec<_> = given.iter().map(|it| format!("+{it}")).collect();
            write(&group.join("cgroup.subtree_control"), &words.join(" "))
        }
        Kind::Legacy(controllers) if controllers.iter().any(|it| it == "memory") => {
            // Where it is off, limits would not hold for the groups below.
            write(&group.join("memory.use_hierarchy"), "1")
        }
        _ => Ok(()),
    }
}

/// A legacy cpuset begins empty, and nobody may enter it then.
fn inherit_cpuset(tree: &Tree, group: &Path) -> Result<(), Error> {
    let Kind::Legacy(controllers) = &tree.kind else { return Ok(()) };
    if !controllers.iter().any(|it| it == "cpuset") {
        return Ok(());
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = group.parent().unwrap_or(group).join(file);
        let all = fs::read_to_string(&path).map_err(|it| refused(&path, it))?;
        write(&group.join(file), all.trim())?;
    }
    Ok(())
}

/// Writes a limit and sees that it is there.
fn bound(group: &Path, file: &str, value: &str, presence: Presence) -> Result<(), Error> {
    let path = group.join(file);
    if presence == Presence::WithSwap && !path.exists() {
        return Ok(());
    }
    write(&path, value)?;
    let shown = fs::read_to_string(&path).map_err(|it| refused(&path, it))?;
    if shown.trim() == value {
        return Ok(());
    }
    let shown = shown.trim();
    let reason = format!("{} shows {shown:?} after {value:?} was written", path.display());
    Err(Error::Unbounded { reason })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|it| refused(path, it))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { memory_bytes: 512 << 20, pids: 4096, cpus: 2 };
    const MIB: u64 = 1 << 20;

    fn legacy(controllers: &[&str]) -> Trees {
        let line = |it: &&str| format!("1 1 0:{it} / /c/{it} rw - cgroup cgroup rw,{it}\n");
        let mounts: String = controllers.iter().map(line).collect();
        Trees::read(&mounts, &controllers.join("\n"))
    }

    #[test]
    fn every_bound_is_written_for_either_kind() {
        let shown = |kind: &Kind| {
            let lines = BOUNDING.iter().flat_map(|it| BOUNDS.of(it, kind));
            lines.map(|(file, value, _)| format!("{file} {value}\n")).collect::<String>()
        };
        insta::assert_snapshot!(shown(&Kind::Unified), @"
        memory.max 536870912
        memory.swap.max 0
        pids.max 4096
        cpu.max 190000 100000
        ");
        insta::assert_snapshot!(shown(&Kind::Legacy(Vec::new())), @"
        memory.limit_in_bytes 536870912
        memory.memsw.limit_in_bytes 536870912
        pids.max 4096
        cpu.cfs_period_us 100000
        cpu.cfs_quota_us 190000
        ");
    }

    #[test]
    fn what_cannot_be_bounded_is_refused_with_the_reason() {
        let all = legacy(&["memory", "pids", "cpu"]);
        let told = |trees: &Trees, spare, pids| obstacle(trees, BOUNDS, spare, pids).unwrap();
        assert_eq!(obstacle(&all, BOUNDS, 2048 * MIB, 32_768), None);
        insta::assert_snapshot!(told(&legacy(&["memory", "cpu"]), 2048 * MIB, 32_768), @"nothing would bound the pids of a load: groups of this machine have no pids controller (legacy, with memory cpu)");
        insta::assert_snapshot!(told(&all, 1000 * MIB, 32_768), @"it may take 512 MiB of memory, which is more than half of the 1000 MiB that this machine has to spare");
        insta::assert_snapshot!(told(&all, 2048 * MIB, 5000), @"it may take 4096 processes, which is more than half of the 5000 that this machine allows");
        let unified = Trees::read("1 1 0:1 / /c rw - cgroup2 cgroup2 rw\n", "memory\n");
        insta::assert_snapshot!(told(&unified, 2048 * MIB, 32_768), @"nothing would bound the memory of a load: groups of this machine have no memory controller (unified, with no controller); if its hierarchy has one, echo +memory > /c/cgroup.subtree_control gives it to groups");
    }
}
