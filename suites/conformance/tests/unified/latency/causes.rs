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
/// Pages after which a step of [`Cached`] or [`AboveHigh`] gives up: two batches of
/// charges (mm/memcontrol.c, MEMCG_CHARGE_BATCH), one that the CPU may have kept
/// and one that the reclaim of the step before may have made room for.
const STEP: u64 = 128;
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
    /// For how long it goes on, if it may be told of more than once.
    pub lasts: Duration,
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
        Ok(Caused { at: process.finish()?, lasts: Duration::ZERO, becomes: Becomes::Exactly(0) })
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
        Ok(Caused { at, lasts: Duration::ZERO, becomes: Becomes::Exactly(u64::from(self.frozen)) })
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
        Ok(Caused { at, lasts: Duration::ZERO, becomes: Becomes::Exactly(self.refused) })
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
        Ok(Caused { at, lasts: now() - at, becomes: Becomes::Exactly(self.killed) })
    }
}

/// A process of the innermost group that takes one page after another, until the
/// case, from outside, sees that the group counts an event.
struct Stepping {
    // It ends before its group goes.
    process: Process<()>,
    turns: Turns,
    groups: Vec<Group>,
    /// The file that tells, and whose key: the outermost group's, or, if it is the
    /// local one, the innermost's.
    file: &'static str,
    key: &'static str,
}

impl Stepping {
    /// `prepare` is done once, then `take` for one page of each number.
    fn new(
        groups: Vec<Group>,
        (file, key): (&'static str, &'static str),
        prepare: impl FnOnce(),
        mut take: impl FnMut(u64),
    ) -> Result<Self, Stop> {
        let turns = Turns::new()?;
        let process = groups[groups.len() - 1].spawn(|| {
            turns.step(|| {
                prepare();
                0
            });
            // Nothing but this may be charged, for each charge above the boundary
            // is an event.
            for page in 0.. {
                turns.step(|| {
                    let at = now();
                    take(page);
                    nanoseconds(at)
                });
            }
        })?;
        turns.next()?;
        Ok(Self { process, turns, groups, file, key })
    }

    fn inner(&self) -> &Group {
        &self.groups[self.groups.len() - 1]
    }

    fn watched(&self) -> &Group {
        if self.file.ends_with(".local") { self.inner() } else { &self.groups[0] }
    }

    fn happen(&self) -> Result<Caused, Stop> {
        let count = || self.watched().key(self.file, self.key);
        let before = count()?;
        let mut caused = None;
        for _ in 0..STEP {
            let awake = awake(&self.process)?;
            let at = Duration::from_nanos(self.turns.next()?);
            let lasts = self::awake(&self.process)? - awake;
            caused = Some(Caused { at, lasts, becomes: Becomes::MoreThan(before) });
            if count()? > before {
                break;
            }
        }
        caused.ok_or_else(|| Stop::Broken("no page was taken".to_owned()))
    }
}

/// For how long a process has run or waited for its turn (Documentation/scheduler/
/// sched-stats.rst, /proc/PID/schedstat).
fn awake(process: &Process<()>) -> Result<Duration, Stop> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", process.pid()))?;
    let times = text.split_ascii_whitespace().take(2).filter_map(|it| it.parse::<u64>().ok());
    Ok(Duration::from_nanos(times.sum()))
}

/// The innermost group's memory, full of a file's pages, comes to its limit once more.
pub struct Cached {
    // It ends before its device goes.
    process: Stepping,
    _disk: Disk,
}

impl Cached {
    /// Told of in `file`; so many pages are read at a time.
    pub fn new(
        lab: &Lab,
        groups: Vec<Group>,
        file: &'static str,
        pages: u64,
    ) -> Result<Self, Stop> {
        let completion = Duration::from_micros(10);
        let disk = lab.null_disk(NullDisk { megabytes: 256, completion, ..NullDisk::default() })?;
        let cached = OpenOptions::new().read(true).open(disk.path())?;
        read_as_told(&cached);
        groups[groups.len() - 1].set("memory.max", CACHE)?;
        let full = 2 * CACHE / PAGE;
        // It is full before the first cause.
        let fill = || (0..full).for_each(|it| read(&cached, it));
        let more = |it| (0..pages).for_each(|nth| read(&cached, full + it * pages + nth));
        let process = Stepping::new(groups, (file, "max"), fill, more)?;
        Ok(Self { process, _disk: disk })
    }
}

impl Cause for Cached {
    fn watched(&self) -> &Group {
        self.process.watched()
    }

    fn place(&self) -> (&'static str, &'static str) {
        (self.process.file, self.process.key)
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        self.process.happen()
    }
}

/// A process of the innermost group grows on above the group's `memory.high`.
pub struct AboveHigh(Stepping);

impl AboveHigh {
    /// Told of in `file`.
    pub fn new(groups: Vec<Group>, file: &'static str) -> Result<Self, Stop> {
        let memory = Memory::anonymous(16 * MIB).map_err(Stop::broken("map memory"))?;
        let hold = || {
            memory.write(0..HELD, 1);
        };
        let grow = |it| {
            memory.write(HELD + it..HELD + it + 1, 1);
        };
        Ok(Self(Stepping::new(groups, (file, "high"), hold, grow)?))
    }
}

impl Cause for AboveHigh {
    fn watched(&self) -> &Group {
        self.0.watched()
    }

    fn place(&self) -> (&'static str, &'static str) {
        (self.0.file, self.0.key)
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        // Nothing of what is there can be reclaimed. Anew for each step, for the
        // time for which a process is slowed goes with the square of the overage.
        let inner = self.0.inner();
        inner.set("memory.high", inner.number("memory.current")?)?;
        self.0.happen()
    }
}

/// The outermost group is made a partition and a member in turn. Of a machine with
/// one CPU it becomes an invalid one, which is a change as any other.
pub struct Partition {
    groups: Vec<Group>,
    root: bool,
}

impl Partition {
    pub fn new(groups: Vec<Group>) -> Result<Self, Stop> {
        groups[0].set("cpuset.cpus", 0)?;
        Ok(Self { groups, root: false })
    }
}

impl Cause for Partition {
    fn watched(&self) -> &Group {
        &self.groups[0]
    }

    fn place(&self) -> (&'static str, &'static str) {
        ("cpuset.cpus.partition", "")
    }

    fn happen(&mut self) -> Result<Caused, Stop> {
        self.root = !self.root;
        let at = now();
        self.groups[0].set("cpuset.cpus.partition", if self.root { "root" } else { "member" })?;
        let becomes = Becomes::Exactly(u64::from(self.root));
        Ok(Caused { at, lasts: Duration::ZERO, becomes })
    }
}

/// Reads a page of a file.
fn read(file: &File, page: u64) {
    let mut buffer = [0; PAGE as usize];
    // A device that holds nothing cannot fail to read it.
    let _ = file.read_at(&mut buffer, page * PAGE);
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
