//! Saved guests: a machine booted once, stopped at the instruction at which its
//! agent was ready, and kept, so that every case starts from that very state.
//!
//! A saved guest is found by everything that went into it. The cache is bounded:
//! what was not used for longest goes first.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use cgauge_record::{Message, Ready};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::guest::{Folder, Guest};
use super::machine::{Machine, Purpose};
use super::qmp::Qmp;
use crate::Error;
use crate::messages::Heard;

/// What the agent finds as its job when it is booted to be saved.
const SAVE: &[u8] = b"save";
/// All saved guests together take no more of the disk than this.
const CACHE_BYTES: u64 = 4 << 30;

/// A saved guest on disk. While this lives nobody removes it.
#[derive(Debug)]
pub(super) struct Saved {
    folder: PathBuf,
    ready: Ready,
    _in_use: File,
}

impl Saved {
    fn ram(&self) -> PathBuf {
        self.folder.join("ram")
    }

    /// The saved guest of `machine`: found in `cache`, or booted and saved.
    pub(super) fn find_or_make(
        machine: &Machine,
        cache: &Path,
        deadline: Duration,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        let guests = cache.join("guests");
        let folder = guests.join(name_of(machine));
        let lock_path = guests.join(format!("{}.lock", name_of(machine)));
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source: io::Error| Error::File { path, source }
        };
        fs::create_dir_all(&guests).map_err(failed(&guests))?;
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        // A reader from the start: a run that has the guest in use for an hour keeps
        // nobody else from using it.
        lock.lock_shared().map_err(failed(&lock_path))?;
        let is_whole = || folder.join("state").exists();
        if !is_whole() {
            // Two harnesses that want the same guest make it once.
            lock.lock().map_err(failed(&lock_path))?;
        }
        if !is_whole() {
            let staging = tempfile::Builder::new()
                .prefix(".saving-")
                .tempdir_in(&guests)
                .map_err(failed(&guests))?;
            make(machine, staging.path(), deadline, stop)?;
            // What stood there was not whole: `state` is written last.
            let _ = fs::remove_dir_all(&folder);
            fs::rename(staging.keep(), &folder).map_err(failed(&folder))?;
        }
        let now = SystemTime::now();
        lock.set_modified(now).map_err(failed(&lock_path))?;
        // From writer to reader: others may use it too, and nobody may remove it.
        lock.lock_shared().map_err(failed(&lock_path))?;
        make_room(&guests, CACHE_BYTES);
        let path = folder.join("ready.json");
        let bytes = fs::read(&path).map_err(failed(&path))?;
        let ready = serde_json::from_slice(&bytes)
            .map_err(|it| Error::File { path, source: io::Error::other(it) })?;
        Ok(Self { folder, ready, _in_use: lock })
    }

    /// What the agent said of itself before it was saved.
    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Starts a guest that goes on from here with `job`.
    pub(super) fn restore(
        &self,
        machine: &Machine,
        work: &Path,
        job: &[u8],
        programs: &[(&str, &Path)],
    ) -> Result<(Folder, Guest), Error> {
        let folder = Folder::new(work, job)?;
        let path = self.folder.join("state");
        let state: OwnedFd =
            File::open(&path).map_err(|source| Error::File { path, source })?.into();
        let ram = self.ram();
        let (guest, mut qmp) =
            Guest::start(machine, Purpose::Restore(&ram), &folder, programs, &[&state])?;
        resume(&mut qmp, state.as_raw_fd()).map_err(|error| guest.explain(error))?;
        Ok((folder, guest))
    }
}

fn resume(qmp: &mut Qmp, state: i32) -> Result<(), super::qmp::Error> {
    ignore_shared_memory(qmp)?;
    // The network announcements that follow a migration wake QEMU's main loop,
    // which then races the virtual CPUs for the timers.
    qmp.command("migrate-set-parameters", json!({ "announce-rounds": 0 }))?;
    qmp.command("migrate-incoming", json!({ "uri": format!("fd:{state}") }))?;
    qmp.until_migrated()?;
    qmp.command("cont", json!({})).map(|_| ())
}

/// The memory is in a file of its own: only the devices' state is written.
fn ignore_shared_memory(qmp: &mut Qmp) -> Result<(), super::qmp::Error> {
    let capability = json!({ "capability": "x-ignore-shared", "state": true });
    qmp.command("migrate-set-capabilities", json!({ "capabilities": [capability] })).map(|_| ())
}

fn name_of(machine: &Machine) -> String {
    let digest = Sha256::digest(machine.identity());
    digest.iter().take(12).map(|it| format!("{it:02x}")).collect()
}

fn make(
    machine: &Machine,
    into: &Path,
    deadline: Duration,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let state_path = into.join("state.part");
    let folder = Folder::new(into, SAVE)?;
    let ram = into.join("ram");
    let (mut guest, mut qmp) = Guest::start(machine, Purpose::Save(&ram), &folder, &[], &[])?;
    let ready = wait_until_ready(&mut guest, &mut qmp, deadline, stop)?;
    let said = into.join("ready.json");
    // The types of this message hold nothing that JSON cannot.
    fs::write(&said, serde_json::to_vec(&ready).unwrap_or_default())
        .map_err(|source| Error::File { path: said, source })?;
    let save = |qmp: &mut Qmp| {
        ignore_shared_memory(qmp)?;
        qmp.command("migrate", json!({ "uri": format!("exec:cat > {}", quoted(&state_path)) }))?;
        qmp.until_migrated()
    };
    save(&mut qmp).map_err(|error| guest.explain(error))?;
    drop((guest, folder));
    fs::rename(&state_path, into.join("state"))
        .map_err(|source| Error::File { path: state_path, source })
}

/// A path for the shell that QEMU starts: to write to a descriptor that it was
/// started with, or to a file by name, is more than QEMU 7.2 can.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Waits for the agent's word that it is ready, and for the VM to stand still.
pub(super) fn wait_until_ready(
    guest: &mut Guest,
    qmp: &mut Qmp,
    deadline: Duration,
    stop: &AtomicBool,
) -> Result<Ready, Error> {
    let patience = guest.patience(deadline);
    let ended = loop {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let event = qmp
            .wait_for(&["GUEST_PANICKED", "SHUTDOWN"], Instant::now() + Duration::from_millis(50));
        match event {
            Ok(_) => break true,
            Err(super::qmp::Error::Silent(_)) if !patience.is_over() => {}
            Err(super::qmp::Error::Silent(_)) => break false,
            Err(_) => break true,
        }
    };
    let mut ready = None;
    let mut broken = None;
    let heard = guest.hear_now(&mut |message| match message {
        Message::Ready(it) => ready = Some(it),
        Message::Broken { reason } => broken = Some(reason),
        _ => {}
    })?;
    if let Some(ready) = ready {
        return Ok(ready);
    }
    let reason = match (broken, heard) {
        (Some(reason), _) => format!("the agent says: {reason}"),
        (None, Heard::Babble(reason)) => format!("the guest sent {reason}"),
        (None, _) if ended => "the guest ended before the agent was ready".to_owned(),
        (None, _) => {
            return Err(Error::Mute { after: deadline, console: guest.console_tail() });
        }
    };
    Err(Error::NotReady { reason, console: guest.console_tail() })
}

/// Removes the saved guests that were not used for longest, until the rest take
/// no more than `allowed`. What is in use stays.
fn make_room(guests: &Path, allowed: u64) {
    let Ok(entries) = fs::read_dir(guests) else {
        return;
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|it| it.path().extension().is_some_and(|it| it == "lock"))
        .filter_map(|it| Some((it.metadata().ok()?.modified().ok()?, it.path())))
        .collect();
    found.sort();
    let mut total: u64 =
        found.iter().map(|(_, lock)| bytes_on_disk(&lock.with_extension(""))).sum();
    for (_, lock_path) in found {
        if total <= allowed {
            break;
        }
        let Ok(lock) = File::open(&lock_path) else {
            continue;
        };
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            continue;
        }
        let folder = lock_path.with_extension("");
        let freed = bytes_on_disk(&folder);
        // The bound is a courtesy: what will not go stays for the next time.
        if fs::remove_dir_all(&folder).is_ok() {
            let _ = fs::remove_file(&lock_path);
            total -= freed;
        }
    }
}

fn bytes_on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|it| it.metadata().ok()).map(|it| it.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_guests_make_room_and_those_in_use_stay() {
        let cache = tempfile::tempdir().unwrap();
        let mut locks = Vec::new();
        for (age, name) in [(3, "oldest"), (2, "middle"), (1, "newest")] {
            fs::create_dir(cache.path().join(name)).unwrap();
            fs::write(cache.path().join(name).join("ram"), vec![1; 1 << 20]).unwrap();
            let lock = File::create(cache.path().join(format!("{name}.lock"))).unwrap();
            lock.set_modified(SystemTime::now() - Duration::from_secs(age * 60)).unwrap();
            locks.push(lock);
        }
        locks[0].lock_shared().unwrap();
        make_room(cache.path(), 2 << 20);
        let left = |name| cache.path().join(name).exists();
        assert!(left("oldest"), "it is in use");
        assert!(!left("middle") && !left("middle.lock"));
        assert!(left("newest"));
    }
}
