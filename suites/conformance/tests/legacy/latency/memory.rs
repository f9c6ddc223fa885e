//! Causes of the memory controller: a threshold is crossed, memory is out, reclaim
//! is under way.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::disk::NullDisk;
use cgauge_lab::eventfd::Notifier;
use cgauge_lab::memory::{MIB, Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_lab::turns::Turns;

use crate::watchers::{Watchers, needs_notices};

const USAGE: &str = "memory.usage_in_bytes";
const OOM: &str = "memory.oom_control";
const PRESSURE: &str = "memory.pressure_level";
const LIMIT: &str = "memory.limit_in_bytes";
/// Longer than any notification takes, and a multiple of what 100 watchers use.
const QUIET: Duration = Duration::from_millis(300);
/// How often a cause is made to happen.
const CAUSES: usize = 5;

/// A threshold that is crossed wakes every watcher at once, from the page at which the kernel looks.
#[rstest]
fn threshold_wakes_every_watcher(lab: Lab, #[values(1, 10, 100)] watchers: usize) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    needs_notices(&lab, &group)?;
    let turns = Turns::new()?;
    let process = group.spawn(|| {
        let Ok(memory) = Memory::anonymous(16 * MIB) else { return };
        turns.step(|| memory.write(0..512, 1));
        for page in 512..memory.pages() {
            turns.step(|| {
                let at = now();
                memory.write(page..page + 1, 1);
                nanoseconds(at)
            });
        }
    })?;
    turns.next()?;
    let level = (group.number(USAGE)? + 200 * PAGE).to_string();
    let own = Notifier::new(&group, USAGE, &level)?;
    let watching = Watchers::start(&lab, watchers, &group, (USAGE, &level))?;
    pause(QUIET);
    // The case's own eventfd says at which page the kernel looked.
    let mut cause = None;
    for _ in 0..1024 {
        let at = Duration::from_nanos(turns.next()?);
        if own.next(Duration::ZERO)?.is_some() {
            cause = Some((at, now() - at));
            break;
        }
    }
    let Some((at, lasts)) = cause else {
        return Err(Stop::Broken("a threshold was crossed and nobody was told".to_owned()));
    };
    pause(QUIET);
    process.end()?;
    watching.check(&lab, &format!("threshold, {watchers} watchers"), (USAGE, R161), &[at], lasts)
}

/// Running out of memory wakes every watcher of `oom_control` at once.
#[rstest]
fn out_of_memory_wakes_every_watcher(lab: Lab, #[values(1, 10, 100)] watchers: usize) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    needs_notices(&lab, &group)?;
    group.set(OOM, 1)?;
    group.set(LIMIT, 4 * MIB)?;
    let touched = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
    // The page is the case's.
    touched.touch();
    let watching = Watchers::start(&lab, watchers, &group, (OOM, ""))?;
    let mut causes = Vec::new();
    for _ in 0..CAUSES {
        pause(QUIET);
        let glutton = group.spawn(|| {
            let Ok(memory) = Memory::anonymous(8 * MIB) else { return };
            for page in 0..memory.pages() {
                touched.word().store(nanoseconds(now()), Relaxed);
                memory.write(page..page + 1, 1);
            }
        })?;
        // It waits for memory that does not come.
        pause(QUIET);
        causes.push(Duration::from_nanos(touched.word().load(Relaxed)));
        glutton.end()?;
    }
    // 16 tries to reclaim come before it.
    let tries = Duration::from_millis(16);
    watching.check(&lab, &format!("oom_control, {watchers} watchers"), (OOM, R162), &causes, tries)
}

/// Reclaim wakes every watcher of `pressure_level` low, from the pages at which the kernel looks.
#[rstest]
fn reclaim_wakes_every_watcher(lab: Lab, #[values(1, 10, 100)] watchers: usize) -> Outcome {
    /// Pages that are read at a time: what one reclaim takes (SWAP_CLUSTER_MAX).
    const STEP: u64 = 32;
    /// Pages that are looked at before a level is told (mm/vmpressure.c,
    /// vmpressure_win), in steps, and as many again.
    const STEPS: usize = 32;
    let group = lab.legacy("memory")?.make("group")?;
    needs_notices(&lab, &group)?;
    let completion = Duration::from_micros(10);
    let disk = lab.null_disk(NullDisk { megabytes: 256, completion, ..NullDisk::default() })?;
    let file = OpenOptions::new().read(true).open(disk.path())?;
    group.set(LIMIT, 2 * MIB)?;
    let turns = Turns::new()?;
    let process = group.spawn(|| {
        let mut buffer = vec![0; (STEP * PAGE) as usize];
        for step in 0.. {
            turns.step(|| {
                let at = now();
                // A device that holds nothing cannot fail to read it.
                let _ = file.read_at(&mut buffer, step * STEP * PAGE);
                nanoseconds(at)
            });
        }
    })?;
    for _ in 0..4 * MIB / PAGE / STEP {
        turns.next()?;
    }
    let own = Notifier::new(&group, PRESSURE, "low")?;
    let watching = Watchers::start(&lab, watchers, &group, (PRESSURE, "low"))?;
    pause(QUIET);
    while own.next(Duration::ZERO)?.is_some() {}
    let (mut causes, mut lasts) = (Vec::new(), Duration::ZERO);
    while causes.len() < CAUSES {
        let mut found = false;
        for _ in 0..STEPS {
            let at = Duration::from_nanos(turns.next()?);
            let done = now();
            // The worker that tells has run once the CPU was idle.
            pause(Duration::from_millis(2));
            if own.next(Duration::ZERO)?.is_some() {
                causes.push(at);
                lasts = lasts.max(done - at);
                found = true;
                break;
            }
        }
        if !found {
            return Err(Stop::Broken("1024 pages were reclaimed and nobody was told".to_owned()));
        }
        pause(QUIET);
    }
    process.end()?;
    let name = format!("pressure_level low, {watchers} watchers");
    watching.check(&lab, &name, (PRESSURE, R163), &causes, lasts)
}
