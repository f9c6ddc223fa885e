//! What the cases of this suite share: a process that takes turns with its
//! case, memory.stat, and the sizes that recur.

use std::collections::BTreeMap;

use cgauge_lab::kernel::Dir;
use cgauge_lab::machine::release;
use cgauge_lab::parse::flat_keyed;
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use cgauge_lab::turns::Turns;

pub use cgauge_lab::memory::{MIB, Memory, PAGE};

pub const LIMIT: &str = "memory.limit_in_bytes";
pub const USAGE: &str = "memory.usage_in_bytes";
pub const MOST: &str = "memory.max_usage_in_bytes";
pub const FAILURES: &str = "memory.failcnt";
pub const BOTH_LIMIT: &str = "memory.memsw.limit_in_bytes";
pub const BOTH_USAGE: &str = "memory.memsw.usage_in_bytes";
pub const STAT: &str = "memory.stat";

/// What "-1" stands for: the most pages that a counter holds, in bytes.
pub const UNLIMITED: u64 = (1 << 63) - PAGE;

/// The device whose pages are clean file cache: it answers at once and keeps nothing.
const DEVICE: &str = "/dev/nullb0";

/// A process that stands still between its steps.
pub struct Stepper {
    turns: Turns,
    process: Process<()>,
}

impl Stepper {
    /// Starts `body` in `group`, which calls `step` for each of its steps.
    pub fn start(group: &Group, body: impl FnOnce(&Turns)) -> Result<Self, Stop> {
        let turns = Turns::new()?;
        let process = group.spawn(|| {
            // What a first step costs it in pages of its own is spent here.
            turns.step(|| 0);
            body(&turns);
            turns.step(|| 0);
        })?;
        turns.next()?;
        Ok(Self { turns, process })
    }

    /// A process that touches `pages` pages of its own and then stands still.
    pub fn holding(group: &Group, pages: u64) -> Result<Self, Stop> {
        let stepper = Self::start(group, |turns| {
            let Ok(memory) = Memory::anonymous(pages * PAGE) else { return };
            turns.step(|| memory.touch());
            turns.step(|| 0);
        })?;
        stepper.next()?;
        Ok(stepper)
    }

    /// Lets it do its next step, and gives what it said.
    pub fn next(&self) -> Result<u64, Stop> {
        self.turns.next()
    }

    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    pub fn process(&mut self) -> &mut Process<()> {
        &mut self.process
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.pid()
    }

    /// Kills it.
    pub fn end(self) -> Outcome {
        self.process.end()
    }
}

/// A group whose children are part of it. Before 5.11 it has to be asked for
/// while there is none.
pub fn hierarchical(parent: &Group, name: &str) -> Result<Group, Stop> {
    let group = parent.make(name)?;
    group.set("memory.use_hierarchy", 1)?;
    Ok(group)
}

/// memory.stat as the kernel shows it now.
pub fn stat(group: &Group) -> Result<BTreeMap<String, u64>, Stop> {
    flat_keyed(&group.get(STAT)?).map_err(|it| Stop::Broken(it.to_string()))
}

/// Longer than the kernel may leave the sums of a group's children behind: it
/// brings them up to date every two seconds (mm/memcontrol.c, FLUSH_TIME).
pub fn settle() {
    for _ in 0..44 {
        pause(Duration::from_millis(50));
    }
}

/// Pages that a CPU is charged with at once and keeps for the next time
/// (MEMCG_CHARGE_BATCH, 32 before 6.0); the suite has one CPU.
pub fn batch() -> Result<u64, Stop> {
    Ok(if release()? < (6, 0) { 32 } else { 64 })
}

/// Pages that a number of memory.stat may be behind: before 5.13 each CPU
/// collected a batch of changes.
pub fn behind() -> Result<u64, Stop> {
    if release()? < (5, 13) { batch() } else { Ok(0) }
}

/// The root of the whole hierarchy.
pub fn whole(root: &Group) -> Result<Dir, Stop> {
    let path = root.dir().path();
    Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))
}

/// The device, open: once nobody has it open its cache is gone.
pub fn device() -> Result<std::fs::File, Stop> {
    Ok(std::fs::File::open(DEVICE)?)
}

/// Reads these pages of the device into the cache and no others, and says how
/// many there were.
pub fn read_pages(pages: std::ops::Range<u64>) -> u64 {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    let Ok(file) = std::fs::File::open(DEVICE) else { return 0 };
    // SAFETY: advice on a descriptor of our own, not to read ahead.
    unsafe { nix::libc::posix_fadvise(file.as_raw_fd(), 0, 0, nix::libc::POSIX_FADV_RANDOM) };
    // 32 pages a call: as large as the requests that the kernel makes of them.
    let mut buffer = vec![0; 32 * PAGE as usize];
    let (mut at, end) = (pages.start * PAGE, pages.end * PAGE);
    while at < end {
        let wanted = buffer.len().min((end - at) as usize);
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) | Err(_) => break,
            Ok(count) => at += count as u64,
        }
    }
    at / PAGE - pages.start
}
