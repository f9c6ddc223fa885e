//! A group in the hands of a case.
//!
//! Two ways to speak to the kernel: `set`, `get` and their kin for what the
//! kernel has promised to accept, where a refusal is a failed check and ends the
//! case; `try_…` for what the case is about, where the answer is its material.

use std::rc::Rc;
use std::time::Duration;

use cgauge_record::CheckKind;
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::check::{Question, Recorder};
use crate::kernel::{Dir, Refusal};
use crate::lies;
use crate::load::Running;
use crate::parse::{self, Limit, ParseError};
use crate::process::{Process, spawn, spawn_and_move};
use crate::stop::Stop;
use crate::time::wait_until;

/// How long the kernel may take to empty a group whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What kind of hierarchy a group is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// cgroup v2.
    Unified,
    /// cgroup v1.
    Legacy,
}

/// A group that is killed, emptied and removed, with all below it, when it goes
/// out of scope.
#[derive(Debug)]
pub struct Group {
    dir: Dir,
    /// The parent, to be removed from; none for the case's root, which is the
    /// agent's to remove.
    parent: Option<Dir>,
    tree: Tree,
    recorder: Rc<Recorder>,
}

impl Group {
    /// The case's own root in a hierarchy.
    pub(crate) fn root(dir: Dir, tree: Tree, recorder: Rc<Recorder>) -> Self {
        Self { dir, parent: None, tree, recorder }
    }

    /// Makes a child group.
    pub fn make(&self, name: &str) -> Result<Self, Stop> {
        let made = self.try_make(name);
        self.accepted(made)
    }

    /// Makes a child group, or says how the kernel refused.
    pub fn try_make(&self, name: &str) -> Result<Self, Refusal> {
        let dir = self.dir.make(name)?;
        let parent = Some(Dir::open(self.dir.path())?);
        Ok(Self { dir, parent, tree: self.tree, recorder: Rc::clone(&self.recorder) })
    }

    /// Removes the group now. Its processes and children are the case's to end.
    pub fn try_remove(&self) -> Result<(), Refusal> {
        match &self.parent {
            Some(parent) => parent.remove(self.dir.name()),
            None => self.dir.remove("."),
        }
    }

    /// Writes `value` to `file`, which the kernel has promised to accept.
    pub fn set(&self, file: &str, value: impl ToString) -> Result<(), Stop> {
        let written = self.try_set(file, value);
        self.accepted(written)
    }

    /// Writes `value` to `file`.
    pub fn try_set(&self, file: &str, value: impl ToString) -> Result<(), Refusal> {
        self.dir.write(file, &value.to_string())
    }

    /// The text of `file`, which the kernel has promised to show.
    pub fn get(&self, file: &str) -> Result<String, Stop> {
        let read = self.try_get(file);
        self.accepted(read)
    }

    /// The text of `file`.
    pub fn try_get(&self, file: &str) -> Result<String, Refusal> {
        self.dir.read(file)
    }

    /// The text of `file` without the line's end.
    pub fn line(&self, file: &str) -> Result<String, Stop> {
        Ok(self.get(file)?.trim_end_matches('\n').to_owned())
    }

    /// The whole number that `file` holds.
    pub fn number(&self, file: &str) -> Result<u64, Stop> {
        self.shaped(file, parse::number)
    }

    /// The limit that `file` holds.
    pub fn limit(&self, file: &str) -> Result<Limit, Stop> {
        self.shaped(file, str::parse)
    }

    /// The number behind `key` in `file`.
    pub fn key(&self, file: &str, key: &str) -> Result<u64, Stop> {
        self.shaped(file, |text| {
            let keys = parse::flat_keyed(text)?;
            keys.get(key).copied().ok_or_else(|| ParseError::missing(key, text))
        })
    }

    /// The ids that `file` (`cgroup.procs`, `cgroup.threads`) lists, sorted.
    pub fn ids(&self, file: &str) -> Result<Vec<i32>, Stop> {
        let mut ids = self.shaped(file, parse::ids)?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether the group shows `file`.
    pub fn has(&self, file: &str) -> Result<bool, Stop> {
        let files = self.accepted(self.dir.files())?;
        Ok(files.iter().any(|it| it == file))
    }

    /// Enables controllers for the children: `enable("pids cpu")`.
    pub fn enable(&self, controllers: &str) -> Result<(), Stop> {
        let wanted: Vec<_> =
            controllers.split_ascii_whitespace().map(|it| format!("+{it}")).collect();
        self.set("cgroup.subtree_control", wanted.join(" "))
    }

    /// Starts `body` as a process that is born in this group. It is killed when
    /// the handle goes out of scope.
    pub fn spawn<T: serde::Serialize>(&self, body: impl FnOnce() -> T) -> Result<Process<T>, Stop> {
        let spawned = self.try_spawn(body)?;
        self.accepted(spawned)
    }

    /// Starts `body` as a process that is born in this group; the inner error is
    /// the kernel's refusal.
    pub fn try_spawn<T: serde::Serialize>(
        &self,
        body: impl FnOnce() -> T,
    ) -> Result<Result<Process<T>, Refusal>, Stop> {
        match self.tree {
            Tree::Unified => spawn(&self.dir, body),
            Tree::Legacy => spawn_and_move(&self.dir, body),
        }
    }

    /// A process in this group that does nothing until it is killed.
    pub fn sleeper(&self) -> Result<Process<()>, Stop> {
        self.spawn(|| {
            loop {
                nix::unistd::pause();
            }
        })
    }

    /// Starts a load that is born in this group.
    pub fn load<L: cgauge_workloads::Load>(&self, load: &L) -> Result<Running<L>, Stop> {
        Running::start(self, load)
    }

    /// Moves the process `pid` here; 0 is the caller.
    pub fn admit(&self, pid: Pid) -> Result<(), Stop> {
        self.set("cgroup.procs", pid)
    }

    /// Kills every process in the group and below it and waits until it is empty.
    pub fn kill(&self) -> Result<(), Stop> {
        // Before 5.14 there was no cgroup.kill: then one by one, until none is left.
        let killed_at_once = self.dir.write("cgroup.kill", "1").is_ok();
        let emptied = wait_until(PATIENCE, || {
            if !killed_at_once {
                kill_each(&self.dir);
            }
            !is_populated(&self.dir)
        });
        emptied.map(|_| ()).ok_or_else(|| {
            Stop::Broken(format!(
                "{} is still populated {PATIENCE:?} after a kill",
                self.dir.path().display()
            ))
        })
    }

    /// The directory, for what the methods here do not do.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    fn shaped<T>(
        &self,
        file: &str,
        read: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Result<T, Stop> {
        let text = self.get(file)?;
        read(&text).map_err(|error| {
            Question::new(Rc::clone(&self.recorder), CheckKind::Interface, "the shape of the file")
                .file(file)
                .observed(&text)
                .equals(error.shape(), "the format that the document gives for the file");
            Stop::Broken(format!("{}: {error}", self.dir.path().join(file).display()))
        })
    }

    /// What the kernel has promised to do and did; a refusal is a failed check.
    fn accepted<T>(&self, answer: Result<T, Refusal>) -> Result<T, Stop> {
        answer.map_err(|refusal| {
            let what = format!("{} {}", refusal.request, relative(&refusal, &self.dir));
            Question::new(Rc::clone(&self.recorder), CheckKind::Interface, &what)
                .answered::<()>(&Err(refusal.clone()))
                .equals("ok", "the case goes on from here, and the kernel promises to accept it");
            Stop::Refused(refusal)
        })
    }
}

fn relative(refusal: &Refusal, dir: &Dir) -> String {
    let base = dir.path().parent().unwrap_or(dir.path());
    refusal.path.strip_prefix(base).unwrap_or(&refusal.path).display().to_string()
}

fn is_populated(dir: &Dir) -> bool {
    match dir.read("cgroup.events") {
        Ok(events) => events.contains("populated 1"),
        // A legacy group does not say: then look, here and below.
        Err(_) => {
            let children = dir.children().unwrap_or_default();
            dir.read("cgroup.procs").is_ok_and(|it| !it.is_empty())
                || children.iter().any(|it| dir.child(it).is_ok_and(|it| is_populated(&it)))
        }
    }
}

/// Whether the group was not removed: every group shows its processes, if only
/// to say that in a threaded one they are not to be shown.
fn is_there(dir: &Dir) -> bool {
    !matches!(dir.read("cgroup.procs"), Err(it) if it.errno == Errno::ENODEV || it.errno == Errno::ENOENT)
}

fn kill_each(dir: &Dir) {
    let pids = dir.read("cgroup.procs").ok().and_then(|it| parse::ids(&it).ok());
    for pid in pids.unwrap_or_default() {
        // It may have ended since it was listed.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    for child in dir.children().unwrap_or_default() {
        if let Ok(child) = dir.child(&child) {
            kill_each(&child);
        }
    }
}

fn remove_below(dir: &Dir) {
    for name in dir.children().unwrap_or_default() {
        if let Ok(child) = dir.child(&name) {
            remove_below(&child);
        }
        // What will not go is found and named by the agent.
        let _ = dir.remove(&name);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(parent) = &self.parent {
            lies::aside(|| self.clear_away(parent));
        }
    }
}

impl Group {
    fn clear_away(&self, parent: &Dir) {
        // Removed by the case, or made anew under the same name by another handle.
        if !is_there(&self.dir) {
            return;
        }
        // A frozen process ends all the same, but only since 5.2, and not at all
        // on the legacy hierarchy. Where the file is not there nothing is frozen.
        let _ = self.dir.write("cgroup.freeze", "0");
        let _ = self.dir.write("freezer.state", "THAWED");
        let _ = self.kill();
        remove_below(&self.dir);
        let name = self.dir.name().to_owned();
        wait_until(PATIENCE, || parent.remove(&name).is_ok() || !is_there(&self.dir));
    }
}
