//! The stages on the machine's own kernel: in a container, or beside everything
//! else; the same agent and the same suites, in groups of their own.
//!
//! What runs here can do harm, so that three things hold whatever it is: it is in
//! groups with limits before its first instruction; it is shown a part of each
//! hierarchy that is below those limits; and all of it goes with the run, however
//! that ends.

mod birth;
mod engine;
mod estate;
mod groups;
mod keeper;
mod oci;
mod trees;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cgauge_record::{Hierarchy, Job, Message, Ready};

pub use self::engine::{Engine, Name};
pub use self::estate::sweep;
use self::groups::Room;
pub use self::groups::{Bounds, Holder, obstacle, why_unbounded};
pub use self::keeper::{WORD as KEEPER, keep};
pub use self::trees::Trees;
use crate::child::{Child, HeardOut};
use crate::messages::tail;
use crate::{Error, GuestEnd, Ran, Stage};

/// The word by which the agent learns that it is no VM's PID 1.
const STDIO: &str = "stdio";
/// The agent, from a guest's root.
const AGENT: &str = "/bin/cgauge-agent";
/// Lines that are kept of what a guest writes beside its messages.
const CONSOLE_LINES: usize = 200;

/// How a guest is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a container.
    Engine(Engine),
    /// As a process beside all others.
    Bare,
}

/// How guests are run, whatever runs in them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The run's groups.
    pub holder: Arc<Holder>,
    /// How a guest is started.
    pub way: Way,
    /// The folder that is its root: the agent, the loads and the suites.
    pub rootfs: PathBuf,
    /// Where running guests keep their files; each its own folder, gone with it.
    pub work: PathBuf,
    /// What a guest may take of the machine.
    pub bounds: Bounds,
    /// What its cases are shown.
    pub hierarchy: Hierarchy,
    /// How long a guest may be silent.
    pub silence: Duration,
    /// Set when the user wants the run to stop.
    pub stop: Arc<AtomicBool>,
}

/// A stage on the machine's own kernel that came up.
#[derive(Debug)]
pub struct Container {
    settings: Settings,
    ready: Ready,
}

impl Container {
    /// Starts a guest without a case, to see whether it comes up.
    pub fn prove(settings: Settings) -> Result<Self, Error> {
        let mut stage = Self { settings, ready: Ready::default() };
        let mut told = None;
        let mut broken = None;
        let ran = stage.run(&Job { cpus: 0, cases: Vec::new() }, &mut |message| match message {
            Message::Ready(ready) => told = Some(ready),
            Message::Broken { reason } => broken = Some(reason),
            _ => {}
        })?;
        let reason = match (told, broken, ran.end) {
            (Some(ready), None, GuestEnd::Done) => {
                stage.ready = ready;
                return Ok(stage);
            }
            (_, _, GuestEnd::Interrupted) => return Err(Error::Interrupted),
            (_, Some(reason), _) | (_, None, GuestEnd::Vanished { status: reason }) => reason,
            (_, None, end) => format!("it ended before its agent was ready: {end:?}"),
        };
        Err(Error::NotReady { reason, console: ran.console })
    }

    /// What the agent said of itself when it came up.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// How its guests are started.
    #[must_use]
    pub fn way(&self) -> &Way {
        &self.settings.way
    }

    fn command(&self, room: &Room<'_>, folder: &Path) -> Result<Command, Error> {
        let Settings { rootfs, hierarchy, .. } = &self.settings;
        let shown = room.shown(*hierarchy);
        let engine = match &self.settings.way {
            Way::Engine(engine) => engine,
            Way::Bare => {
                let mut command = Command::new(AGENT);
                let tree =
                    |(name, group): &(String, PathBuf)| format!("{name}={}", group.display());
                command.arg(STDIO).args(shown.iter().map(tree)).env_clear();
                return Ok(command);
            }
        };
        let mut words = vec![AGENT.to_owned(), STDIO.to_owned()];
        words.extend(shown.iter().map(|(name, _)| format!("{name}={}", oci::place_of(name))));
        let container = oci::Container { rootfs, words, parent: room.path(), shown: &shown };
        write(&folder.join("config.json"), oci::config(&container).to_string().as_bytes())?;
        Ok(engine.run(&container, folder, &room.name()))
    }

    /// What the end of the guest's process means.
    fn explain(&self, status: ExitStatus, said: &[String]) -> GuestEnd {
        if status.success() {
            return GuestEnd::Done;
        }
        let who = match &self.settings.way {
            Way::Engine(engine) => engine.name.program(),
            Way::Bare => "the agent",
        };
        let last = said.last().map(|it| format!(": {it}")).unwrap_or_default();
        GuestEnd::Vanished { status: format!("{who} ended with {status}{last}") }
    }
}

impl Stage for Container {
    fn run(&self, job: &Job, hear: &mut dyn FnMut(Message)) -> Result<Ran, Error> {
        let Settings { holder, work, bounds, silence, stop, .. } = &self.settings;
        let folder = tempfile::Builder::new()
            .prefix("guest-")
            .tempdir_in(work)
            .map_err(|source| Error::File { path: work.clone(), source })?;
        let file = |name: &str| folder.path().join(name);
        // The types of a job hold nothing that JSON cannot.
        write(&file("job"), &serde_json::to_vec(job).unwrap_or_default())?;
        // Declared before the process: it is gone when its groups go.
        let room = holder.room(*bounds)?;
        let mut command = self.command(&room, folder.path())?;
        command
            .stdin(open(&file("job"), File::options().read(true))?)
            .stdout(open(&file("records"), File::options().create(true).append(true))?)
            .stderr(open(&file("console"), File::options().create(true).append(true))?)
            // Ctrl-C is for the harness, which then ends its guests.
            .process_group(0);
        birth::enter(&mut command, room.doors());
        match &self.settings.way {
            Way::Bare => birth::confine(&mut command, &self.settings.rootfs),
            Way::Engine(_) => birth::forget(&mut command),
        }
        let program = PathBuf::from(command.get_program());
        let child = command.spawn().map_err(|source| Error::File { path: program, source })?;
        let mut child = Child::new(child, &file("records"))?;
        let heard = child.hear_out(*silence, stop, hear)?;
        let console = tail(&file("console"), CONSOLE_LINES);
        let end = match heard {
            HeardOut::Exited(status) => self.explain(status, &console),
            HeardOut::Ended(end) => end,
        };
        Ok(Ran { end, console })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::File { path: path.to_path_buf(), source })
}

fn open(path: &Path, how: &fs::OpenOptions) -> Result<File, Error> {
    how.open(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}
