//! What the cases of this suite share: a process that takes turns with its
//! case, memory.stat read when it is complete, and reasons that recur.

use std::collections::BTreeMap;

use cgauge_lab::machine::release;
use cgauge_lab::parse::flat_keyed;
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use cgauge_lab::turns::Turns;

pub use cgauge_lab::memory::{HUGE, MIB, Memory, PAGE};

/// Charges that a CPU takes at once and keeps for the next time
/// (mm/memcontrol.c, MEMCG_CHARGE_BATCH); the suite has one CPU.
pub const BATCH: u64 = 64 * PAGE;
/// The device whose pages are clean file cache: it answers each request after
/// one millisecond and keeps nothing.
pub const DEVICE: &str = "/dev/nullb0";

/// Why no lie about a file turns a check of what a process read.
pub const ITS_OWN: &str = "the process's own reads, which go on whatever is told of a boundary that only reclaims; a kernel that cuts them short or kills it fails here";
pub const BATCHED: &str = "each CPU takes charges 64 pages at a time and keeps the rest (mm/memcontrol.c, MEMCG_CHARGE_BATCH); there is one CPU";
pub const EXACT: &str = "the process's own count of the pages that it touched between two readings, while it did nothing else";

/// Longer than the kernel may leave memory.stat behind: it brings it up to date
/// every two seconds (mm/memcontrol.c, FLUSH_TIME). In small steps, for the
/// work that does so waits for a CPU that is awake.
pub fn settle() {
    for _ in 0..44 {
        pause(Duration::from_millis(50));
    }
}

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

    /// Lets it do its next step, and gives what it said.
    pub fn next(&self) -> Result<u64, Stop> {
        self.turns.next()
    }

    /// As [`Stepper::next`]; nothing if it does not come to the end of it, as when it
    /// was killed.
    pub fn next_if_alive(&self) -> Result<u64, Stop> {
        Ok(self.turns.next_if_alive(60_000)?.unwrap_or(0))
    }

    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    pub fn process(&mut self) -> &mut Process<()> {
        &mut self.process
    }
}

/// memory.stat at one moment.
#[derive(Clone, Debug)]
pub struct Stat(BTreeMap<String, u64>);

impl Stat {
    /// As the kernel shows it now.
    pub fn now(group: &Group) -> Result<Self, Stop> {
        let text = group.get("memory.stat")?;
        flat_keyed(&text).map(Self).map_err(|it| Stop::Broken(it.to_string()))
    }

    /// Once nothing is left uncounted; see [`needs_exact_stat`].
    pub fn settled(group: &Group) -> Result<Self, Stop> {
        settle();
        Self::now(group)
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub fn get(&self, key: &str) -> Result<u64, Stop> {
        let found = self.0.get(key).copied();
        found.ok_or_else(|| Stop::Broken(format!("memory.stat has no key {key:?}")))
    }

    /// The sum of several keys, those that this kernel does not have left out.
    pub fn sum(&self, keys: &[&str]) -> u64 {
        keys.iter().filter_map(|it| self.0.get(*it)).sum()
    }

    /// How much `key` has grown since `before`; negative if it has shrunk.
    pub fn growth(&self, before: &Self, key: &str) -> Result<i64, Stop> {
        Ok(self.get(key)?.cast_signed() - before.get(key)?.cast_signed())
    }

    /// How many whole pages `key` has grown by since `before`.
    pub fn pages(&self, before: &Self, key: &str) -> Result<i64, Stop> {
        Ok(self.growth(before, key)? / PAGE.cast_signed())
    }
}

/// Everything that the kernel has ever counted for `group` in `file`, a file of events.
pub fn events(group: &Group, file: &str) -> Result<BTreeMap<String, u64>, Stop> {
    flat_keyed(&group.get(file)?).map_err(|it| Stop::Broken(it.to_string()))
}

/// Skips a case that counts to the page where memory.stat does not.
pub fn needs_exact_stat(lab: &Lab) -> Outcome {
    if release()? < (5, 13) {
        return Err(lab.skip("this kernel's memory.stat leaves up to 32 pages of each key uncounted on each CPU for good (before 2d146aa3aa84, 5.13)"));
    }
    Ok(())
}

/// Into how many sleeps above memory.high [`BATCH`] is divided: one for each
/// batch of charges, which were 32 pages before 6.1 (1813e51eece0).
pub fn sleeps_a_batch() -> Result<u64, Stop> {
    Ok(if release()? < (6, 1) { 2 } else { 1 })
}

/// Whether the lists of pages are the multi-generational ones.
pub fn has_generations() -> bool {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/lru_gen/enabled").unwrap_or_default();
    !matches!(enabled.trim(), "" | "0x0000" | "0")
}

/// Keeps the kernel from making huge pages behind a case's back.
pub fn no_khugepaged() -> Outcome {
    let folder = "/sys/kernel/mm/transparent_hugepage/khugepaged";
    if std::path::Path::new(folder).exists() {
        // As seldom as it can be told to: some 50 days.
        std::fs::write(format!("{folder}/scan_sleep_millisecs"), "4294967295")?;
        std::fs::write(format!("{folder}/pages_to_scan"), "1")?;
    }
    Ok(())
}

/// The device, opened so that it is read as a case says and not ahead.
pub fn device() -> std::io::Result<std::fs::File> {
    use std::os::fd::AsRawFd;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: advice on a descriptor of our own; it only changes the readahead.
    unsafe { nix::libc::posix_fadvise(file.as_raw_fd(), 0, 0, nix::libc::POSIX_FADV_RANDOM) };
    Ok(file)
}

/// Reads these pages of a file, and says how many there were.
pub fn read_pages(file: &std::fs::File, pages: std::ops::Range<u64>) -> u64 {
    use std::os::unix::fs::FileExt;
    // 32 pages a call: as large as the requests that the kernel makes of them.
    let mut buffer = [0; 32 * PAGE as usize];
    let (mut at, end) = (pages.start * PAGE, pages.end * PAGE);
    while at < end {
        let wanted = buffer.len().min((end - at) as usize);
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) | Err(_) => break,
            Ok(read) => at += read as u64,
        }
    }
    (at / PAGE) - pages.start
}

/// Writes these pages of a file, and says how many there were.
pub fn write_pages(file: &std::fs::File, pages: std::ops::Range<u64>) -> u64 {
    use std::os::unix::fs::FileExt;
    let buffer = [1; PAGE as usize];
    pages.filter(|it| file.write_all_at(&buffer, it * PAGE).is_ok()).count() as u64
}
