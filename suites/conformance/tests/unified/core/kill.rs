//! `cgroup.kill`: it kills a whole subtree, whatever runs there, and nothing
//! else (cgroup-v2.rst, "Core Interface Files").

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::fstatat;
use nix::unistd::ForkResult;

/// How long killed processes may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

const KILL: &str = "cgroup.kill";
const SINCE: &str = "since 5.14";
const SUBTREE: &str = "cgroup-v2.rst, cgroup.kill: the group and all below it are killed";

/// `cgroup.kill` kills every process of the group and of all groups below it by SIGKILL, and none beside or above.
#[rstest]
fn kill_ends_the_subtree_and_nothing_else(lab: Lab) -> Outcome {
    lab.needs_file(KILL, SINCE)?;
    let top = lab.group("top")?;
    let middle = top.make("middle")?;
    let leaf = middle.make("leaf")?;
    let beside = top.make("beside")?;
    let deaf = || {
        // No handler and no mask stands against SIGKILL.
        let _ = SigSet::all().thread_block();
        loop {
            pause(Duration::from_secs(60));
        }
    };
    let threads = || {
        for _ in 0..3 {
            std::thread::spawn(|| pause(Duration::from_secs(60)));
        }
        pause(Duration::from_secs(60));
    };
    let inside = [
        ("in the group", middle.sleeper()?),
        ("with every signal blocked", middle.spawn(deaf)?),
        ("with four threads", leaf.spawn(threads)?),
        ("in a group below", leaf.sleeper()?),
    ];
    let outside = [("above", top.sleeper()?), ("beside", beside.sleeper()?)];
    pause(Duration::from_millis(10));

    middle.set(KILL, 1)?;
    for (which, mut process) in inside {
        let end = if process.ended_within(PATIENCE)? {
            format!("{:?}", process.wait()?)
        } else {
            "none".to_owned()
        };
        lab.enforcement(&format!("the end of a process {which}"))
            .covers([R059])
            .file(KILL)
            .observed(end)
            .equals(format!("{:?}", Exit::Signal(Signal::SIGKILL)), SUBTREE);
    }
    let emptied =
        wait_until(PATIENCE, || middle.key("cgroup.events", "populated").is_ok_and(|it| it == 0));
    lab.enforcement("whether the group is empty then")
        .covers([R059])
        .file("cgroup.events")
        .happened(emptied)
        .equals("yes", SUBTREE);
    for (which, process) in &outside {
        lab.enforcement(&format!("whether a process {which} ended"))
            .covers([R059])
            .file(KILL)
            .beyond_lies(
                "nothing is written to the file, and a read is no lie's to turn into a write",
            )
            .observed(yes(process.ended_within(Duration::from_millis(20))?))
            .equals("no", "it is not in the subtree");
    }
    let later = middle.spawn(|| 7)?;
    lab.enforcement("what a process returns that is started in the group later")
        .covers([R059])
        .file(KILL)
        .unit(Unit::Count)
        .beyond_lies("wherever a lie lets it be born, nothing is asked of the kernel from then on")
        .observed(later.finish()?)
        .equals(7, "the kill is an act, not a state: cgroup_post_fork() compares kill_seq");
    Ok(())
}

/// One write to `cgroup.kill` ends a bomb whose processes fork and end all the time, wherever in the subtree.
#[rstest]
fn kill_ends_a_fork_bomb(lab: Lab, #[values(8, 32)] limit: u64) -> Outcome {
    const ROUNDS: u32 = 3;
    lab.needs_file(KILL, SINCE)?;
    let top = lab.group("top")?;
    top.set("pids.max", limit)?;
    let (left, right) = (top.make("left")?, top.make("right")?);

    let mut times = Vec::new();
    let (mut full, mut survivors) = (0, 0);
    for round in 0..ROUNDS {
        let _bombs = [left.spawn(run_away)?, right.spawn(run_away)?];
        let filled =
            wait_until(PATIENCE, || top.number("pids.current").is_ok_and(|it| it == limit));
        full += u64::from(filled.is_some());
        // Each round meets the bomb at another moment.
        pause(Duration::from_micros(700) * round);
        let mut watch = Watch::new(&top, "cgroup.events", Mechanism::Poll)?;
        let began = now();
        top.set(KILL, 1)?;
        times.extend(watch.until("populated 0", PATIENCE)?.map(|(wake, _)| wake.at - began));
        pause(Duration::from_millis(20));
        survivors += left.ids("cgroup.procs")?.len() + right.ids("cgroup.procs")?.len();
        if survivors > 0 {
            break;
        }
    }
    lab.enforcement("rounds in which the bomb had grown to pids.max before it was killed")
        .covers([R059])
        .file("pids.current")
        .unit(Unit::Count)
        .observed(full)
        .equals(ROUNDS, "it forks whenever there is room");
    lab.enforcement("rounds in which the bomb was gone after one kill")
        .covers([R059])
        .file(KILL)
        .unit(Unit::Count)
        .observed(times.len())
        .equals(ROUNDS, "cgroup-v2.rst, cgroup.kill: concurrent forks are dealt with");
    lab.enforcement("processes left 20 ms later, over all rounds")
        .covers([R059])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(survivors)
        .equals(0, "cgroup-v2.rst, cgroup.kill: concurrent forks are dealt with");
    lab.latencies("from cgroup.kill to the watcher of populated 0: a fork bomb", &times);
    Ok(())
}

/// The time from `cgroup.kill` to an empty group is measured, for few processes and many.
#[rstest]
fn killing_takes_its_time(lab: Lab, #[values(1, 16, 64)] processes: u64) -> Outcome {
    const ROUNDS: usize = 3;
    lab.needs_file(KILL, SINCE)?;
    let group = lab.group("group")?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let held: Vec<_> = (0..processes).map(|_| group.sleeper()).collect::<Result<_, _>>()?;
        // Or the kernel would hold the notification back.
        pause(Duration::from_millis(20));
        let mut watch = Watch::new(&group, "cgroup.events", Mechanism::Poll)?;
        let began = now();
        group.set(KILL, 1)?;
        times.extend(watch.until("populated 0", PATIENCE)?.map(|(wake, _)| wake.at - began));
        drop(held);
    }
    lab.notification("rounds in which the group was told to be empty")
        .covers([R059])
        .file("cgroup.events")
        .unit(Unit::Count)
        .observed(times.len())
        .equals(ROUNDS, SUBTREE);
    lab.latencies("from cgroup.kill to the watcher of populated 0", &times);
    Ok(())
}

/// `cgroup.kill` kills frozen processes, too, and leaves the group frozen.
#[rstest]
fn kill_ends_frozen_processes(lab: Lab) -> Outcome {
    lab.needs_file(KILL, SINCE)?;
    let group = lab.group("group")?;
    let held = [group.sleeper()?, group.sleeper()?];
    group.set("cgroup.freeze", 1)?;
    if wait_until(PATIENCE, || group.key("cgroup.events", "frozen").is_ok_and(|it| it == 1))
        .is_none()
    {
        return Err(Stop::Broken(format!("a group did not freeze in {PATIENCE:?}")));
    }

    group.set(KILL, 1)?;
    for mut process in held {
        let end = if process.ended_within(PATIENCE)? {
            format!("{:?}", process.wait()?)
        } else {
            "none".to_owned()
        };
        lab.enforcement("the end of a frozen process")
            .covers([R056, R059])
            .file(KILL)
            .observed(end)
            .equals(
                format!("{:?}", Exit::Signal(Signal::SIGKILL)),
                "cgroup-v2.rst, cgroup.freeze: a fatal signal kills",
            );
    }
    let settled = wait_until(PATIENCE, || {
        group.try_get("cgroup.events").is_ok_and(|it| it == "populated 0\nfrozen 1\n")
    });
    lab.interface("whether the group ends empty and frozen")
        .covers([R056, R059])
        .file("cgroup.events")
        .happened(settled)
        .equals("yes", "an empty group with freeze set is frozen");
    Ok(())
}

/// `cgroup.kill` takes 1 and nothing else.
#[rstest]
#[case::one("1", "ok", "yes")]
#[case::zero("0", "ERANGE", "no")]
#[case::two("2", "ERANGE", "no")]
#[case::negative("-1", "ERANGE", "no")]
#[case::word("kill", "EINVAL", "no")]
#[case::with_a_tail("1 1", "EINVAL", "no")]
fn kill_takes_one_alone(
    lab: Lab,
    #[case] written: &str,
    #[case] answer: &str,
    #[case] ends: &str,
) -> Outcome {
    lab.needs_file(KILL, SINCE)?;
    let group = lab.group("group")?;
    let process = group.sleeper()?;
    lab.interface("the answer to the value")
        .covers([R058])
        .file(KILL)
        .answered(&group.try_set(KILL, written))
        .equals(answer, "cgroup_kill_write(): EINVAL for what is no number, ERANGE for any but 1");
    lab.enforcement("whether a process of the group ended")
        .covers([R058])
        .file(KILL)
        .observed(yes(process.ended_within(Duration::from_millis(100))?))
        .equals(ends, "a refused write kills nobody");
    Ok(())
}

/// `cgroup.kill` can be written and not read, not even by root.
#[rstest]
fn kill_is_write_only(lab: Lab) -> Outcome {
    lab.needs_file(KILL, SINCE)?;
    let group = lab.group("group")?;
    let process = group.sleeper()?;
    let attributes = fstatat(group.dir(), KILL, nix::fcntl::AtFlags::empty())
        .map_err(Stop::broken("stat cgroup.kill"))?;

    lab.interface("the permissions of the file")
        .covers([R058])
        .file(KILL)
        .observed(format!("{:03o}", attributes.st_mode & 0o777))
        .equals(
            "200",
            "cgroup_file_mode(): a file without a way to show itself is for its owner to write",
        );
    lab.interface("the answer to reading as root")
        .covers([R058])
        .file(KILL)
        .answered(&group.try_get(KILL))
        .equals("EINVAL", "cgroup_seqfile_show(): the file has nothing to show");
    lab.enforcement("whether a process of the group ended")
        .covers([R058])
        .file(KILL)
        .observed(yes(process.ended_within(Duration::from_millis(20))?))
        .equals("no", "nothing was written");
    Ok(())
}

/// `cgroup.kill` of a threaded group fails with EOPNOTSUPP and kills nobody; that of its threaded domain kills all.
#[rstest]
fn threaded_group_cannot_be_killed(lab: Lab) -> Outcome {
    lab.needs_file(KILL, SINCE)?;
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    let processes =
        [("the domain", domain.sleeper()?), ("the threaded group", threaded.sleeper()?)];

    lab.interface("the answer to a kill of the threaded group")
        .covers([R060])
        .file(KILL)
        .answered(&threaded.try_set(KILL, 1))
        .equals("EOPNOTSUPP", "cgroup-v2.rst, cgroup.kill: a process is killed as a whole, so it fails in a threaded group");
    for (place, process) in &processes {
        lab.enforcement(&format!("whether the process in {place} ended"))
            .covers([R060])
            .file(KILL)
            .observed(yes(process.ended_within(Duration::from_millis(50))?))
            .equals("no", "a refused write kills nobody");
    }
    lab.interface("the answer to a kill of the threaded domain")
        .covers([R060])
        .file(KILL)
        .answered(&domain.try_set(KILL, 1))
        .equals("ok", "a threaded domain has whole processes");
    for (place, process) in &processes {
        lab.enforcement(&format!(
            "whether the process in {place} ended when the domain was killed"
        ))
        .covers([R059, R060])
        .file(KILL)
        .observed(yes(process.ended_within(PATIENCE)?))
        .equals("yes", SUBTREE);
    }
    Ok(())
}

/// Forks without end, up to the group's `pids.max`. Each process ends when it
/// has forked twice, or once and finds no more room, so that the members are
/// ever new ones. No member dies of another's death: who kills them one by one
/// comes too late.
pub(super) fn run_away() {
    // The kernel reaps the dead.
    // SAFETY: no handler is set.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
    let mut children = 0;
    while children < 2 {
        // SAFETY: the process has one thread.
        match unsafe { nix::unistd::fork() } {
            Ok(ForkResult::Child) => children = 0,
            Ok(ForkResult::Parent { .. }) => children += 1,
            Err(_) if children > 0 => break,
            Err(_) => {
                let _ = nix::sched::sched_yield();
            }
        }
    }
}

fn yes(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
