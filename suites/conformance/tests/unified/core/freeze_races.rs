//! Freezing a group whose processes do not simply stand still: a fork bomb, an
//! uninterruptible sleep, a parent that waits for its vforked child. And how
//! long freezing takes.

use std::os::unix::net::UnixDatagram;

use cgauge_lab::kernel::clone_into;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::libc;
use nix::sys::signal::Signal;

use super::freeze::{EVENTS, FREEZE, ONCE, PATIENCE, QUIET, told, yes};
use super::kill::run_away;

/// The time from the write to the watcher's wake-up is measured, for few processes and many.
#[rstest]
fn freezing_takes_its_time(lab: Lab, #[values(1, 16, 64)] processes: u64) -> Outcome {
    const ROUNDS: usize = 20;
    let group = lab.group("group")?;
    let held: Vec<_> = (0..processes).map(|_| group.sleeper()).collect::<Result<_, _>>()?;
    pause(QUIET);
    let mut watch = Watch::new(&group, EVENTS, Mechanism::Poll)?;
    let mut change = |written: u64| -> Result<Option<Duration>, Stop> {
        // Or the kernel would hold the notification back.
        pause(Duration::from_millis(20));
        let began = now();
        group.set(FREEZE, written)?;
        Ok(watch.until(&format!("frozen {written}"), PATIENCE)?.map(|(wake, _)| wake.at - began))
    };

    let (mut freezing, mut thawing) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        freezing.extend(change(1)?);
        thawing.extend(change(0)?);
    }
    for (what, times) in [("freezing", &freezing), ("thawing", &thawing)] {
        lab.notification(&format!("rounds in which {what} was told"))
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Count)
            .observed(times.len())
            .equals(ROUNDS, "cgroup-v2.rst, cgroup.freeze: a notification follows when it is done");
        lab.latencies(&format!("from the write to the watcher: {what}"), times);
    }
    drop(held);
    Ok(())
}

/// A fork bomb freezes as a whole, however it forks meanwhile, and goes on when it is thawed.
#[rstest]
fn fork_bomb_freezes_as_a_whole(lab: Lab, #[values(8, 32)] limit: u64) -> Outcome {
    let group = lab.group("bomb")?;
    group.set("pids.max", limit)?;
    let bomb = group.spawn(run_away)?;
    let used = || group.key("cpu.stat", "usage_usec");
    let full = wait_until(PATIENCE, || group.number("pids.current").is_ok_and(|it| it == limit));
    full.ok_or_else(|| {
        Stop::Broken(format!("a fork bomb did not grow to {limit} processes in {PATIENCE:?}"))
    })?;
    group.set(FREEZE, 1)?;
    let frozen = wait_until(PATIENCE, || group.key(EVENTS, "frozen").is_ok_and(|it| it == 1));

    lab.enforcement("whether the bomb froze")
        .covers([R054])
        .file(EVENTS)
        .happened(frozen)
        .equals("yes", "a process that is born while its group freezes is frozen before it runs");
    lab.latencies(
        "from the write to frozen, while the bomb forks",
        &frozen.into_iter().collect::<Vec<_>>(),
    );
    let (before, members) = (used()?, group.ids("cgroup.procs")?);
    pause(Duration::from_secs(1));
    lab.accounting("CPU time of the frozen bomb in a second")
        .covers([R054, R055])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(used()? - before)
        .equals(0, "no process of it runs");
    lab.hierarchy("whether the members are the same after it")
        .covers([R054])
        .file("cgroup.procs")
        .observed(yes(group.ids("cgroup.procs")? == members))
        .equals("yes", "no process of it forks or ends");
    group.set(FREEZE, 0)?;
    let changed = wait_until(PATIENCE, || group.ids("cgroup.procs").is_ok_and(|it| it != members));
    lab.hierarchy("whether the members change once it was thawed")
        .covers([R054])
        .file("cgroup.procs")
        .happened(changed)
        .equals("yes", "each member ends when it has forked");
    drop(bomb);
    Ok(())
}

/// Known bug 24: while a process sleeps uninterruptibly its group is not frozen, and is told so once when it has stopped.
#[rstest]
fn bug_24_uninterruptible_sleep_holds_frozen_back(lab: Lab) -> Outcome {
    let (group, outside) = (lab.group("group")?, lab.group("outside")?);
    let stuck = Stuck::new(&group, &outside)?;
    let _beside = group.sleeper()?;
    pause(QUIET);
    let mut watch = Watch::new(&group, EVENTS, Mechanism::Poll)?;

    group.set(FREEZE, 1)?;
    lab.notification("notifications while the process sleeps uninterruptibly")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Events)
        .observed(told(&mut watch)?.0)
        .equals(0, "the process is not frozen");
    lab.interface("frozen while it sleeps")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Count)
        .observed(group.key(EVENTS, "frozen")?)
        .equals(0, "cgroup-v2.rst, cgroup.freeze: frozen turns 1 when the action is complete");
    stuck.release()?;
    let (count, last) = told(&mut watch)?;
    lab.notification("notifications once it was woken")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Events)
        .observed(count)
        .equals(1, ONCE);
    lab.notification("what the watcher read then")
        .covers([R054])
        .file(EVENTS)
        .observed(last)
        .equals("populated 1, frozen 1", "the last process has stopped");
    Ok(())
}

/// A process that SIGSTOP has stopped counts as frozen, and SIGCONT does not thaw it.
#[rstest]
fn stopped_process_counts_as_frozen(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let stopped = group.spawn(|| {
        loop {
            pause(Duration::from_millis(1));
        }
    })?;
    let used = || stopped.status("voluntary_ctxt_switches");
    stopped.signal(Signal::SIGSTOP)?;
    await_state(&stopped, "T")?;
    pause(QUIET);
    let mut watch = Watch::new(&group, EVENTS, Mechanism::Poll)?;

    group.set(FREEZE, 1)?;
    let (count, last) = told(&mut watch)?;
    lab.notification("notifications of freezing a stopped process")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Events)
        .observed(count)
        .equals(1, ONCE);
    lab.notification("what the watcher read then")
        .covers([R054])
        .file(EVENTS)
        .observed(last)
        .equals(
            "populated 1, frozen 1",
            "the only process does not run; kernel/signal.c, do_signal_stop, counts it as frozen",
        );
    stopped.signal(Signal::SIGCONT)?;
    pause(QUIET);
    let before = used()?;
    pause(QUIET);
    lab.enforcement("whether the process sleeps on after SIGCONT in the frozen group")
        .covers([R054])
        .file(FREEZE)
        .observed(yes(used()? != before))
        .equals("no", "cgroup-v2.rst, cgroup.freeze: its processes \"will be stopped and will not run until the cgroup will be explicitly unfrozen\"");
    lab.hierarchy("frozen after SIGCONT")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Count)
        .observed(group.key(EVENTS, "frozen")?)
        .equals(1, "nobody has thawed it");
    group.set(FREEZE, 0)?;
    let before = used()?;
    pause(QUIET);
    lab.enforcement("whether the process goes on once it is thawed")
        .covers([R054])
        .file(FREEZE)
        .observed(yes(used()? != before))
        .equals("yes", "SIGCONT came while it was frozen, and nothing else stops it");
    Ok(())
}

/// A threaded domain is not frozen before its threaded children are.
#[rstest]
fn threaded_domain_waits_for_its_children(lab: Lab) -> Outcome {
    let (domain, outside) = (lab.group("domain")?, lab.group("outside")?);
    let child = domain.make("child")?;
    child.set("cgroup.type", "threaded")?;
    let stuck = Stuck::new(&child, &outside)?;
    let _own = domain.sleeper()?;
    domain.set(FREEZE, 1)?;
    pause(QUIET);

    for (what, group) in [
        ("frozen in the child with a process that sleeps uninterruptibly", &child),
        ("frozen in its threaded domain", &domain),
    ] {
        lab.hierarchy(what)
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Count)
            .observed(group.key(EVENTS, "frozen")?)
            .equals(0, "cgroup-v2.rst, cgroup.freeze: the group and all below it are frozen when the action is complete");
    }
    stuck.release()?;
    pause(QUIET);
    for (what, group) in [
        ("frozen in the child once its process was woken", &child),
        ("frozen in its threaded domain then", &domain),
    ] {
        lab.hierarchy(what)
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Count)
            .observed(group.key(EVENTS, "frozen")?)
            .equals(1, "every process has stopped");
    }
    Ok(())
}

/// A process that waits for the child that it vforked counts as frozen, wherever the child is.
#[rstest]
fn parent_of_a_vforked_child_counts_as_frozen(
    lab: Lab,
    #[values("group", "outside")] child_in: &str,
) -> Outcome {
    let (group, outside) = (lab.group("group")?, lab.group("outside")?);
    let born_in = if child_in == "group" { &group } else { &outside };
    let parent: Process = group.spawn(|| {
        // SAFETY: the process has one thread, and without CLONE_VM the child has
        // its own memory.
        let _ = unsafe { clone_into(Some(born_in.dir()), libc::CLONE_VFORK) };
        loop {
            nix::unistd::pause();
        }
    })?;
    await_state(&parent, "D")?;
    pause(QUIET);
    let mut watch = Watch::new(&group, EVENTS, Mechanism::Poll)?;

    for written in [1, 0] {
        group.set(FREEZE, written)?;
        let (count, last) = told(&mut watch)?;
        lab.notification(&format!("notifications after a {written}"))
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Events)
            .observed(count)
            .equals(1, ONCE);
        lab.notification(&format!("what the watcher read after a {written}"))
            .covers([R054])
            .file(EVENTS)
            .observed(last)
            .equals(
                format!("populated 1, frozen {written}"),
                "wait_for_vfork_done() waits as a frozen process does",
            );
    }
    Ok(())
}

/// A process that sleeps uninterruptibly in a group, for the lock of a pipe
/// that a process outside the group holds while it cannot send on a socket.
struct Stuck {
    sleeper: Process,
    _holder: Process,
    drain: UnixDatagram,
}

impl Stuck {
    fn new(group: &Group, outside: &Group) -> Result<Self, Stop> {
        let (reading, writing) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Stop::broken("make a pipe"))?;
        nix::unistd::write(&writing, &[0; 4096]).map_err(Stop::broken("fill a pipe"))?;
        let (socket, drain) = UnixDatagram::pair()?;
        socket.set_nonblocking(true)?;
        while socket.send(&[0; 4096]).is_ok() {}
        socket.set_nonblocking(false)?;
        let holder: Process = outside.spawn(|| {
            // It sends with the pipe locked. On a stream socket it would not
            // wait before 6.5, which appended to what is there.
            let _ = splice(&reading, None, &socket, None, 4096, SpliceFFlags::empty());
            loop {
                nix::unistd::pause();
            }
        })?;
        await_state(&holder, "S")?;
        let sleeper: Process = group.spawn(|| {
            let _held_open = &writing;
            let _ = nix::unistd::read(&reading, &mut [0]);
            loop {
                nix::unistd::pause();
            }
        })?;
        await_state(&sleeper, "D")?;
        Ok(Self { sleeper, _holder: holder, drain })
    }

    /// Lets the holder send, so that it gives the lock up.
    fn release(&self) -> Outcome {
        self.drain.set_nonblocking(true)?;
        let woken = wait_until(PATIENCE, || {
            // Until nothing is left to receive.
            while self.drain.recv(&mut [0; 4096]).is_ok() {}
            let state = self.sleeper.status("State");
            state.is_ok_and(|it| it.is_some_and(|it| !it.starts_with('D')))
        });
        woken
            .map(|_| ())
            .ok_or_else(|| Stop::Broken("a process got no lock that was given up".to_owned()))
    }
}

fn await_state(process: &Process, state: &str) -> Outcome {
    let reached = wait_until(PATIENCE, || {
        process.status("State").is_ok_and(|it| it.is_some_and(|it| it.starts_with(state)))
    });
    reached.map(|_| ()).ok_or_else(|| {
        Stop::Broken(format!("a process did not come to state {state} in {PATIENCE:?}"))
    })
}
