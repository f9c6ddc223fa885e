//! The VM stage: QEMU, with a kernel of its own for each case.
//!
//! Where a guest can be saved each job runs in a copy restored from it; where it
//! cannot, each job boots its own.

mod guest;
mod machine;
mod probe;
mod qmp;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cgauge_record::{Job, Message, Ready};

use self::guest::{Folder, Guest};
use self::machine::Purpose;
pub use self::machine::{Accelerator, Machine, Model, Profile};
pub use self::probe::choose;
use self::saved::Saved;
use crate::{Error, Ran, Stage};

/// A machine that is ready to run jobs.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    guests: Guests,
    settings: Settings,
}

/// How a job gets its guest.
#[derive(Debug)]
enum Guests {
    /// From a saved one.
    Saved(Saved),
    /// By a boot of its own; this is what the agent said when it was tried.
    Booted(Ready),
}

/// How guests are run, whatever runs in them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where saved guests are kept.
    pub cache: PathBuf,
    /// Where running guests keep their files; each its own folder, gone with it.
    pub work: PathBuf,
    /// How long a kernel may take to boot to the agent's first word.
    pub boot_deadline: Duration,
    /// How long a guest may be silent on the host's clock.
    pub silence: Duration,
    /// The programs that jobs may name, by their names.
    pub programs: BTreeMap<String, PathBuf>,
    /// Set when the user wants the run to stop.
    pub stop: Arc<AtomicBool>,
}

impl Vm {
    /// A VM whose jobs go on from a saved guest, which is made now if need be.
    pub fn saved(machine: Machine, settings: Settings) -> Result<Self, Error> {
        let saved =
            Saved::find_or_make(&machine, &settings.cache, settings.boot_deadline, &settings.stop)?;
        Ok(Self { machine, guests: Guests::Saved(saved), settings })
    }

    /// A VM that boots for each job. It boots once now, to see whether it does.
    pub fn booted(machine: Machine, settings: Settings) -> Result<Self, Error> {
        let mut vm = Self { machine, guests: Guests::Booted(Ready::default()), settings };
        let ready = probe::prove(&vm)?;
        vm.guests = Guests::Booted(ready);
        Ok(vm)
    }

    /// The machine that it runs.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// What the agent said of itself when it came up on it.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        match &self.guests {
            Guests::Saved(saved) => saved.ready(),
            Guests::Booted(ready) => ready,
        }
    }

    /// Whether every job goes on from a saved guest.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        matches!(self.guests, Guests::Saved(_))
    }

    /// The programs that `job` names.
    fn programs_of(&self, job: &Job) -> Result<Vec<(&str, &Path)>, Error> {
        let named: BTreeSet<&str> = job.cases.iter().map(|it| it.suite.as_str()).collect();
        let find = |name: &str| {
            let found = self.settings.programs.get_key_value(name);
            found
                .map(|(name, path)| (name.as_str(), path.as_path()))
                .ok_or_else(|| Error::NoProgram { name: name.to_owned() })
        };
        named.into_iter().map(find).collect()
    }
}

impl Stage for Vm {
    fn run(&self, job: &Job, hear: &mut dyn FnMut(Message)) -> Result<Ran, Error> {
        let programs = self.programs_of(job)?;
        // The types of a job hold nothing that JSON cannot.
        let job = serde_json::to_vec(job).unwrap_or_default();
        let (_folder, mut guest) = match &self.guests {
            Guests::Saved(saved) => {
                saved.restore(&self.machine, &self.settings.work, &job, &programs)?
            }
            Guests::Booted(_) => {
                let folder = Folder::new(&self.settings.work, &job)?;
                let (guest, _qmp) =
                    Guest::start(&self.machine, Purpose::Boot, &folder, &programs, &[])?;
                (folder, guest)
            }
        };
        let end = guest.hear_out(self.settings.silence, &self.settings.stop, hear)?;
        Ok(Ran { end, console: guest.console_tail() })
    }
}
