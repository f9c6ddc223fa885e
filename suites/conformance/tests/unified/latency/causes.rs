//! What there is to be told of, each made to happen on demand, and when it
//! happened by the clock of who did it.
//!
//! It knows no watcher.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::memory::{MIB, Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_lab::turns::Turns;

/// Longer than the kernel holds any notification back.
pub const QUIET: Duration = Duration::from_millis(50);
/// Pages that a step of [`AboveHigh`] touches: a batch of charges, so that each
/// step charges once, whatever the CPU has kept (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
const STEP: u64 = 64;
/// Pages that a step of [`Cached`] reads: a batch more, for what the reclaim of
/// the step before has made room for.
const READ: u64 = 128;
/// The limit of memory that is filled with the pages of a file.
const CACHE: u64 = MIB;
/// Pages of a process before it comes to its `memory.high`.
const HELD: u64 = 4 * MIB / PAGE;
/// The limit of memory that a process is killed at.
const LIMIT: u64 = MIB / 2;

/// What the watched key holds once the cause was told.
#[derive(Clone, Copy, Debug)]
pub enum Becomes {
    /// This.
    Exactly(u64),
    /// More than this.
    MoreThan(u64),
}

impl Becomes {
    /// Whether `value` is that.
    pub fn is(self, value: Option<u64>) -> bool {
        match self {
            Self::Exactly(wanted) => value == Some(wanted),
            Self::MoreThan(old) => value.is_some_and(|it| it > old),
        }
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub struct Caused {
    /// When, just before it did.
    pub at: Duration,
    /// What comes of it.
    pub becomes: Becomes,
}

/// Something that can be made to happen again and again.
pub trait Cause {
    /// The group that tells of it.
    fn watched(&self) -> &Group;
    /// The file and the key in it.
    fn place(&self) -> (&'static str, &'static str);
    /// Makes it happen.
    fn happen(&mut self) -> Result<Caused, Stop>;
}

/// Groups one below the other, the outermost first, with the controllers that
/// `controllers` names in each.
pub fn chain(lab: &Lab, depth: usize, controllers: &str) -> Result<Vec<Group>, Stop> {
    let mut groups = vec![lab.group("outermost")?];
    while groups.len() < depth {
        let above = &groups[groups.len() - 1];
        if !controllers.is_empty() {
            above.enable(controllers)?;
        }
        let inner = above.make("inner")?;
        groups.push(inner);
    }
    Ok(groups)
}

/// The last process of the innermost group exits; the outermost tells.
pub struct LastExit(pub Vec<Group>);

impl Cause for LastExit {
    fn watched(&self) -> &Group {
        &self.0[0]
    }

    fn place(&self) -> (&'static str, &'static str) {
        ("cgroup.events", "populated")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        let gate = Gate::new()?;
        let process = self.0[self.0.len() - 1].spawn(|| {
            gate.pass();
            now()
        })?;
        // The birth is told as well: the exit waits until that is long past.
        pause(QUIET);
        gate.open();
        Ok(Caused { at: process.finish()?, becomes: Becomes::Exactly(0) })
    }
}

/// The outermost group is frozen and thawed in turn, with a process in the innermost.
pub struct Freezing {
    // It ends before its group goes.
    _process: Process<()>,
    groups: Vec<Group>,
    frozen: bool,
}

impl Freezing {
    pub fn new(groups: Vec<Group>) -> Result<Self, Stop> {
        Ok(Self { _process: groups[groups.len() - 1].sleeper()?, groups, frozen: false })
    }
}

impl Cause for Freezing {
    fn watched(&self) -> &Group {
        &self.groups[0]
    }

    fn place(&self) -> (&'static str, &'static str) {
        ("cgroup.events", "frozen")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        self.frozen = !self.frozen;
        let at = now();
        self.groups[0].set("cgroup.freeze", u64::from(self.frozen))?;
        Ok(Caused { at, becomes: Becomes::Exactly(u64::from(self.frozen)) })
    }
}

/// A fork into the innermost group is refused for the limit of the outermost.
pub struct RefusedFork {
    groups: Vec<Group>,
    file: &'static str,
    /// Whether the group whose limit it is counts, since 6.11, and not the one of the fork.
    by_limit: bool,
    refused: u64,
}

impl RefusedFork {
    pub fn new(groups: Vec<Group>, file: &'static str) -> Result<Self, Stop> {
        groups[0].set("pids.max", 0)?;
        let by_limit = groups[0].has("pids.events.local")?;
        Ok(Self { groups, file, by_limit, refused: 0 })
    }
}

impl Cause for RefusedFork {
    fn watched(&self) -> &Group {
        if self.by_limit { &self.groups[0] } else { &self.groups[self.groups.len() - 1] }
    }

    fn place(&self) -> (&'static str, &'static str) {
        (self.file, "max")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        let at = now();
        if self.groups[self.groups.len() - 1].try_spawn(|| ())?.is_err() {
            self.refused += 1;
        }
        Ok(Caused { at, becomes: Becomes::Exactly(self.refused) })
    }
}

/// A process of the innermost group is killed for the innermost group's limit.
pub struct OomKill {
    groups: Vec<Group>,
    /// When the process touched its last page.
    touched: Memory,
    killed: u64,
}

impl OomKill {
    pub fn new(groups: Vec<Group>) -> Result<Self, Stop> {
        groups[groups.len() - 1].set("memory.max", LIMIT)?;
        // The report of a kill takes longer than the kill.
        std::fs::write("/proc/sys/kernel/printk", "1")?;
        std::fs::write("/proc/sys/vm/oom_dump_tasks", "0")?;
        let touched = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
        // The page is the case's.
        touched.touch();
        Ok(Self { groups, touched, killed: 0 })
    }
}

impl Cause for OomKill {
    fn watched(&self) -> &Group {
        &self.groups[0]
    }

    fn place(&self) -> (&'static str, &'static str) {
        ("memory.events", "oom_kill")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        let mut glutton = self.groups[self.groups.len() - 1].spawn(|| {
            let Ok(memory) = Memory::anonymous(2 * LIMIT) else { return };
            for page in 0..memory.pages() {
                self.touched.word().store(nanoseconds(now()), Relaxed);
                memory.write(page..page + 1, 1);
            }
        })?;
        if matches!(glutton.wait()?, Exit::Signal(_)) {
            self.killed += 1;
        }
        let at = Duration::from_nanos(self.touched.word().load(Relaxed));
        Ok(Caused { at, becomes: Becomes::Exactly(self.killed) })
    }
}

/// The innermost group's memory, full of a file's pages, comes to its limit once more.
pub struct Cached {
    // It ends before its group goes.
    _reader: Process<()>,
    turns: Turns,
    groups: Vec<Group>,
    local: bool,
    _disk: Disk,
}

impl Cached {
    /// Told of in `memory.events` of the outermost group, or in
    /// `memory.events.local` of the innermost.
    pub fn new(lab: &Lab, groups: Vec<Group>, local: bool) -> Result<Self, Stop> {
        let completion = Duration::from_micros(10);
        let disk = lab.null_disk(NullDisk { megabytes: 256, completion, ..NullDisk::default() })?;
        let file = OpenOptions::new().read(true).open(disk.path())?;
        read_as_told(&file);
        let inner = &groups[groups.len() - 1];
        inner.set("memory.max", CACHE)?;
        let turns = Turns::new()?;
        let reader = inner.spawn(|| {
            let mut at = 0;
            // It is full before the first cause.
            turns.step(|| read(&file, &mut at, 2 * CACHE / PAGE));
            loop {
                turns.step(|| read(&file, &mut at, READ));
            }
        })?;
        turns.next()?;
        Ok(Self { _reader: reader, turns, groups, local, _disk: disk })
    }
}

impl Cause for Cached {
    fn watched(&self) -> &Group {
        &self.groups[if self.local { self.groups.len() - 1 } else { 0 }]
    }

    fn place(&self) -> (&'static str, &'static str) {
        (if self.local { "memory.events.local" } else { "memory.events" }, "max")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        let (file, key) = self.place();
        let before = self.watched().key(file, key)?;
        let at = now();
        self.turns.next()?;
        Ok(Caused { at, becomes: Becomes::MoreThan(before) })
    }
}

/// A process of the innermost group grows on above the group's `memory.high`.
pub struct AboveHigh {
    // It ends before its group goes.
    _process: Process<()>,
    turns: Turns,
    groups: Vec<Group>,
    local: bool,
}

impl AboveHigh {
    /// Told of as for [`Cached`].
    pub fn new(groups: Vec<Group>, local: bool) -> Result<Self, Stop> {
        let turns = Turns::new()?;
        let inner = &groups[groups.len() - 1];
        let process = inner.spawn(|| {
            let Ok(memory) = Memory::anonymous(16 * MIB) else { return };
            turns.step(|| memory.write(0..HELD, 1));
            let mut next = HELD;
            loop {
                turns.step(|| slowest(&memory, &mut next));
            }
        })?;
        turns.next()?;
        Ok(Self { _process: process, turns, groups, local })
    }
}

/// Touches a step's pages, and says when it touched the one that took longest:
/// the one that was charged for all, and for which it was slowed.
fn slowest(memory: &Memory, next: &mut u64) -> u64 {
    let (mut at, mut longest) = (0, Duration::ZERO);
    for page in *next..*next + STEP {
        let began = now();
        memory.write(page..page + 1, 1);
        if now() - began > longest {
            longest = now() - began;
            at = nanoseconds(began);
        }
    }
    *next += STEP;
    at
}

impl Cause for AboveHigh {
    fn watched(&self) -> &Group {
        &self.groups[if self.local { self.groups.len() - 1 } else { 0 }]
    }

    fn place(&self) -> (&'static str, &'static str) {
        (if self.local { "memory.events.local" } else { "memory.events" }, "high")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        let (file, key) = self.place();
        let before = self.watched().key(file, key)?;
        // Nothing of what is there can be reclaimed. Anew for each step, for the
        // time for which a process is slowed goes with the square of the overage.
        let inner = &self.groups[self.groups.len() - 1];
        inner.set("memory.high", inner.number("memory.current")?)?;
        let at = Duration::from_nanos(self.turns.next()?);
        Ok(Caused { at, becomes: Becomes::MoreThan(before) })
    }
}

/// Reads the next pages of a file, and says how many.
fn read(file: &File, at: &mut u64, pages: u64) -> u64 {
    // As large as the requests that the kernel makes of them.
    let mut buffer = [0; 32 * PAGE as usize];
    for _ in 0..pages / 32 {
        // A device that holds nothing cannot fail to read it.
        let _ = file.read_at(&mut buffer, *at * PAGE);
        *at += 32;
    }
    pages
}

/// Keeps the kernel from reading ahead.
fn read_as_told(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: advice on a descriptor of our own; it only changes the readahead.
    unsafe { nix::libc::posix_fadvise(file.as_raw_fd(), 0, 0, nix::libc::POSIX_FADV_RANDOM) };
}

/// A read of `disk` that waits for as long as its request takes.
pub fn direct(disk: &Disk) -> Result<File, Stop> {
    Ok(OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(disk.path())?)
}
