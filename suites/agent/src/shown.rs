//! The agent on the machine's own kernel: in a container, or beside everything
//! else. The harness shows it a group in each hierarchy; it mounts, loads and
//! switches nothing.

use std::fs;
use std::process::ExitCode;

use cgauge_record::{Job, Message};
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::case::Prepared;
use crate::channel::{Channel, job_of_input};
use crate::trees::{Kind, Tree};
use crate::{Error, ready, run_cases};

/// The word on the command line; behind it each tree as `memory=PATH`.
pub const WORD: &str = "stdio";

/// Runs the job of standard input.
pub fn run(words: impl Iterator<Item = String>) -> ExitCode {
    let Ok(channel) = Channel::of_output() else {
        return ExitCode::FAILURE;
    };
    match work(words, &channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            channel.say(&Message::Broken { reason: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

/// Keeps the agent and all that it starts to so many CPUs, as a guest has no more:
/// the first of those that it may run on.
fn keep_to(cpus: u32) -> nix::Result<()> {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own)?;
    let mut kept = CpuSet::new();
    let is_allowed = |it: &usize| allowed.is_set(*it) == Ok(true);
    for cpu in (0..CpuSet::count()).filter(is_allowed).take(cpus as usize) {
        kept.set(cpu)?;
    }
    // A job without a case asks for none.
    if cpus == 0 { Ok(()) } else { sched_setaffinity(own, &kept) }
}

fn work(words: impl Iterator<Item = String>, channel: &Channel<'_>) -> Result<(), Error> {
    let mut trees = Vec::new();
    for word in words {
        let (name, root) = word.split_once('=').ok_or("a tree is named as memory=PATH")?;
        trees.push(Tree::whole(Kind::named(name), root.into()));
    }
    // Orphans of a case fall to the agent, as they do to PID 1.
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    // Only some may. Otherwise a case that fills the machine's bound ends in error.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
    let prepared = Prepared::new(&trees)?;
    channel.say(&Message::Ready(ready()));
    let job: Job = serde_json::from_slice(&job_of_input()?)?;
    keep_to(job.cpus)?;
    run_cases(&job, &trees, prepared, channel)
}
