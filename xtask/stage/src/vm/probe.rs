//! Which accelerator and machine model a kernel really runs on: found out by
//! booting, for a device node or a version says nothing.
//!
//! The answer is kept per QEMU, kernel and boot of the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use cgauge_record::{Clock, Job, Message, Ready};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::machine::{Accelerator, Machine, Model};
use super::{Settings, Vm};
use crate::{Error, GuestEnd, Stage};

/// A /dev/kvm that works boots a kernel in a second or two; one that opens and
/// then hangs would keep a run waiting for nothing.
const KVM_DEADLINE: Duration = Duration::from_secs(15);

/// What a kernel runs on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What executes it.
    pub accelerator: Accelerator,
    /// The machine model.
    pub model: Model,
    /// How a job gets its guest.
    pub start: Start,
}

/// How a job gets its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From a saved guest.
    Saved,
    /// By a boot of its own.
    Boot,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    accelerator: String,
    model: String,
    saved: Yes,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Yes {
    Yes,
    No,
}

/// Finds a way to run `machine`'s kernel and hands back the VM that does.
/// `machine`'s own accelerator and model are where the search begins.
///
/// # Errors
/// What the last way tried failed with.
pub fn choose(machine: &Machine, settings: &Settings, say: &dyn Fn(&str)) -> Result<Vm, Error> {
    let kept_in = place(machine, settings);
    let kept = kept_in.as_deref().and_then(recall);
    let mut failure =
        Error::NotReady { reason: "there is no machine to try".to_owned(), console: Vec::new() };
    let ways = kept.map_or_else(|| ways(machine.clock), |it| vec![it]);
    let was_kept = kept.is_some();
    let mut sure = true;
    for way in ways {
        match try_way(machine, settings, way) {
            Ok(vm) => {
                if !was_kept
                    && sure
                    && let Some(place) = &kept_in
                {
                    keep(place, way);
                }
                return Ok(vm);
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if settings.stop.load(Ordering::Relaxed) => return Err(error),
            Err(error) => {
                say(&format!(
                    "this kernel does not come up on {} under {}: {error}",
                    way.model.name(),
                    way.accelerator.name()
                ));
                // A busy host makes a guest mute as well: that is not remembered, for
                // on another machine model every figure is another.
                sure &= !matches!(error, Error::Mute { .. });
                failure = error;
            }
        }
    }
    if was_kept && let Some(place) = &kept_in {
        // What once worked does no longer: look anew next time.
        let _ = fs::remove_file(place);
    }
    Err(failure)
}

/// The ways to run a kernel, the best first.
fn ways(clock: Clock) -> Vec<Choice> {
    let way = |accelerator, model, start| Choice { accelerator, model, start };
    let mut ways = Vec::new();
    if clock == Clock::Wall && Path::new("/dev/kvm").exists() {
        // A guest's clock under KVM runs on while it is saved: each suite boots.
        ways.push(way(Accelerator::Kvm, Model::Microvm, Start::Boot));
        ways.push(way(Accelerator::Kvm, Model::Q35, Start::Boot));
    }
    ways.push(way(Accelerator::Tcg, Model::Microvm, Start::Saved));
    ways.push(way(Accelerator::Tcg, Model::Q35, Start::Saved));
    ways.push(way(Accelerator::Tcg, Model::Q35, Start::Boot));
    ways
}

fn try_way(machine: &Machine, settings: &Settings, way: Choice) -> Result<Vm, Error> {
    let machine = Machine { accelerator: way.accelerator, model: way.model, ..machine.clone() };
    if way.start == Start::Saved {
        return Vm::saved(machine, settings.clone());
    }
    let silence = match way.accelerator {
        Accelerator::Kvm => KVM_DEADLINE,
        Accelerator::Tcg => settings.boot_deadline,
    };
    // Only the trial is hurried.
    let vm = Vm::booted(machine, Settings { silence, ..settings.clone() })?;
    Ok(Vm { settings: settings.clone(), ..vm })
}

/// Boots once, with nothing to do, and looks whether the agent comes up on what
/// was meant to run it.
pub(super) fn prove(vm: &Vm) -> Result<Ready, Error> {
    let nothing = Job { cpus: 1, cases: Vec::new() };
    let mut ready = None;
    let ran = vm.run(&nothing, &mut |message| {
        if let Message::Ready(it) = message {
            ready = Some(it);
        }
    })?;
    let not_ready = |reason: String| Error::NotReady { reason, console: ran.console.clone() };
    match (ready, &ran.end) {
        (None, GuestEnd::Interrupted) => Err(Error::Interrupted),
        (None, end) => Err(not_ready(format!("the agent did not come up: {end:?}"))),
        // Some hosts emulate what they call hardware.
        (Some(it), _) if vm.machine.accelerator == Accelerator::Kvm && !it.kvm_clock => {
            Err(not_ready("the guest's clock source is not kvm-clock".to_owned()))
        }
        (Some(it), _) => Ok(it),
    }
}

fn place(machine: &Machine, settings: &Settings) -> Option<PathBuf> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let about = format!(
        "{} {} {} {:?}",
        boot.trim(),
        machine.qemu_version,
        machine.kernel_sha256,
        machine.clock
    );
    let name: String =
        Sha256::digest(about).iter().take(12).map(|it| format!("{it:02x}")).collect();
    Some(settings.cache.join("probes").join(name + ".json"))
}

fn recall(place: &Path) -> Option<Choice> {
    let kept: Kept = serde_json::from_slice(&fs::read(place).ok()?).ok()?;
    let accelerator = [Accelerator::Tcg, Accelerator::Kvm]
        .into_iter()
        .find(|it| it.name() == kept.accelerator)?;
    let model = [Model::Microvm, Model::Q35].into_iter().find(|it| it.name() == kept.model)?;
    let start = if kept.saved == Yes::Yes { Start::Saved } else { Start::Boot };
    Some(Choice { accelerator, model, start })
}

/// Keeps the answer; without it the next run finds it out again.
fn keep(place: &Path, choice: Choice) {
    let kept = Kept {
        accelerator: choice.accelerator.name().to_owned(),
        model: choice.model.name().to_owned(),
        saved: if choice.start == Start::Saved { Yes::Yes } else { Yes::No },
    };
    let staged = place.with_extension(format!("{}.part", std::process::id()));
    let Ok(bytes) = serde_json::to_vec(&kept) else {
        return;
    };
    let written = fs::create_dir_all(place.parent().unwrap_or(place))
        .and_then(|()| fs::write(&staged, bytes))
        .and_then(|()| fs::rename(&staged, place));
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_clock_never_runs_on_hardware() {
        assert!(ways(Clock::Virtual).iter().all(|it| it.accelerator == Accelerator::Tcg));
        assert_eq!(ways(Clock::Virtual)[0].model, Model::Microvm);
    }

    #[test]
    fn an_answer_reads_back_and_garbage_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("probes/x.json");
        for choice in ways(Clock::Wall) {
            keep(&place, choice);
            assert_eq!(recall(&place), Some(choice));
        }
        fs::write(&place, "{").unwrap();
        assert_eq!(recall(&place), None);
    }
}
