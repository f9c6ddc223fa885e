//! The fork bomb: as many tasks as the group lets it have, by a chosen
//! mechanism and in a chosen order, and a count of every attempt.
//!
//! The process that was started only sets the bomb off, watches it and ends it;
//! the [members](member) do the forking. It must not know what the group's
//! counters show.

mod member;
mod shared;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::guard::{self, Refusal};
use crate::journal::Event;
use crate::options::{arguments_by_choice, options};
use crate::output::{Input, Said, drain_input, tell, wait_for};
use crate::raw::{self, Instant, Patience};
use crate::{Failure, Load, Mechanism, Millis, truth};

pub(crate) use member::Member;
use member::{Bomb, Plan, Who};
use shared::Shared;

/// Which tasks go on forking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Order {
    /// All of them: a wide and shallow tree, many forks at once.
    BreadthFirst,
    /// The youngest alone: a chain, one fork at a time.
    DepthFirst,
}

/// What a task does when a child of its own has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum OnDeath {
    /// Reaps it. A refused fork is tried again until none may be tried.
    Leave,
    /// Reaps it and forks anew. A refused fork is tried again only when a child
    /// has died.
    Respawn,
}

/// What the bomb does when no task of it has a fork left to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Afterwards {
    /// Ends, and tells its truth.
    End,
    /// Tells its truth as [`Standing`](truth::State::Standing) and stays until
    /// standard input ends; then ends, and tells it once more.
    Hold,
}

arguments_by_choice!(Order, OnDeath, Afterwards);

options! {
    /// Forks until the group's limit stops it.
    ///
    /// Refuses to start, with exit code 2, outside `group`, under another limit than
    /// `pids_max`, and where that limit is near the machine's own. The whole bomb dies
    /// with the process that was started, and that with its parent.
    pub struct ForkBomb as "fork-bomb" {
        /// The directory of the group that the process must be in.
        "group" => group: PathBuf,
        /// What that group's pids.max must be.
        "pids-max" => pids_max: u64,
        /// How tasks are made.
        "mechanism" => mechanism: Mechanism,
        /// Which tasks go on forking.
        "order" => order: Order,
        /// What a task does when a child of its own has died.
        "on-death" => on_death: OnDeath,
        /// The most attempts to make a task, over the whole bomb.
        #[arg(value_parser = clap::value_parser!(u64).range(..=Self::MOST_FORKS))]
        "forks" => forks: u64,
        /// When the bomb ends at the latest, in milliseconds from its start.
        "for-ms" => deadline: Millis,
        /// What the bomb does when it has no fork left to try.
        "then" => then: Afterwards,
    }
}

impl Load for ForkBomb {
    type Truth = truth::ForkBomb;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl ForkBomb {
    /// The most that `forks` can be: the bomb writes down every one, in 16 bytes.
    pub const MOST_FORKS: u64 = 1 << 20;

    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.mechanism == Mechanism::Thread && self.on_death == OnDeath::Respawn {
            return Err(Refusal::ThreadsRespawn.into());
        }
        let room = guard::admit(&self.group, self.pids_max, Path::new("/proc"))?;
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(|errno| Failure::system("prctl(PR_SET_CHILD_SUBREAPER)", errno))?;
        // Not close-on-exec: a vforked member finds it again after executing.
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| Failure::system("eventfd", errno))?;
        let shared = Shared::create(self.forks, room)?;
        let plan = Plan { mechanism: self.mechanism, order: self.order, on_death: self.on_death };
        let bomb = Bomb::new(plan, &shared, &bell, 0)?;
        Fuse { bomb, children: Vec::new(), deadline: Instant::now().after(self.deadline) }
            .burn(self.then, &bell)
    }
}

/// The process that sets the bomb off, watches it and ends it.
struct Fuse<'a> {
    bomb: Bomb<'a>,
    /// Its own children. What its children leave behind comes to it too, dying.
    children: Vec<raw::Pid>,
    deadline: Instant,
}

impl Fuse<'_> {
    fn burn(mut self, then: Afterwards, bell: &EventFd) -> Result<(), Failure> {
        let mut deaths = SigSet::empty();
        deaths.add(Signal::SIGCHLD);
        deaths.thread_block().map_err(|errno| Failure::system("sigprocmask", errno))?;
        let deaths = SignalFd::with_flags(&deaths, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|errno| Failure::system("signalfd", errno))?;

        self.bomb.shared.begin();
        self.fork();
        let mut state = self.watch(bell.as_fd(), &deaths)?;
        self.bomb.shared.check()?;
        if then == Afterwards::Hold && state == truth::State::Over {
            tell(&self.bomb.shared.truth(truth::State::Standing))?;
            let stdin = std::io::stdin();
            state = loop {
                match self.watch(stdin.as_fd(), &deaths)? {
                    truth::State::Over if drain_input() == Input::Open => {}
                    state => break state,
                }
            };
        }
        self.end(bell)?;
        tell(&self.bomb.shared.truth(state))
    }

    /// Tries to make a task of the first generation, as the plan has it.
    fn fork(&mut self) {
        let (own_pid, children) = (raw::own_pid(), &mut self.children);
        if self.bomb.attack(0, 1, &mut |pid| children.push(pid)) == Who::Newborn {
            self.bomb.live(1, own_pid);
        }
    }

    /// Looks after the children until `watched` has something to say or the
    /// time is up.
    fn watch(
        &mut self,
        watched: BorrowedFd<'_>,
        deaths: &SignalFd,
    ) -> Result<truth::State, Failure> {
        while let Some([called, died]) = wait_for([watched, deaths.as_fd()], self.deadline)? {
            if died == Said::Something {
                while let Ok(Some(_)) = deaths.read_signal() {}
                self.bury_the_dead()?;
            }
            if called == Said::Something {
                return Ok(truth::State::Over);
            }
        }
        Ok(truth::State::Overdue)
    }

    /// Reaps all who are dead, and replaces each if the bomb is one that does.
    fn bury_the_dead(&mut self) -> Result<(), Failure> {
        loop {
            match raw::wait_for_child(Patience::None) {
                Ok(Some(pid)) => self.bury(pid)?,
                Ok(None) | Err(Errno::ECHILD) => return Ok(()),
                Err(errno) => return Err(Failure::system("waitid", errno)),
            }
            if self.bomb.plan.on_death == OnDeath::Respawn {
                self.bomb.shared.wake_up();
                self.fork();
            }
        }
    }

    fn bury(&mut self, pid: raw::Pid) -> Result<(), Failure> {
        self.bomb.shared.note(Event::Gone);
        self.children.retain(|child| *child != pid);
        raw::reap(pid).map_err(|errno| Failure::system("wait4", errno))
    }

    /// Kills and reaps every task. A child's death kills its own children, and
    /// they come here to be reaped.
    fn end(&mut self, bell: &EventFd) -> Result<(), Failure> {
        self.bomb.shared.call_off();
        if self.bomb.plan.mechanism == Mechanism::Thread {
            while !self.bomb.shared.is_empty() {
                wait_for([bell.as_fd()], Instant::NEVER)?;
                // It rings again for each that leaves.
                let _ = bell.read();
            }
            return Ok(());
        }
        for child in &self.children {
            // One that has died of itself meanwhile is reaped below.
            let _ = kill(Pid::from_raw(*child), Signal::SIGKILL);
        }
        loop {
            match raw::wait_for_child(Patience::Endless) {
                Ok(Some(pid)) => self.bury(pid)?,
                Ok(None) => {}
                Err(Errno::ECHILD) => return Ok(()),
                Err(errno) => return Err(Failure::system("waitid", errno)),
            }
        }
    }
}
