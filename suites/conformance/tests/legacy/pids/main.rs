//! The pids controller on legacy hierarchies (cgroup-v1/pids.rst).
//!
//! Nobody is born into a legacy group by the caller's wish: what the limit stops
//! is a fork by a process that is in there.

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use cgauge_lab::turns::Turns;
use cgauge_lab::watch;
use cgauge_workloads::{ForkRate, Mechanism, Millis};
use nix::errno::Errno;
use nix::unistd::{ForkResult, fork};

const MAX: &str = "pids.max";
const CURRENT: &str = "pids.current";
const EVENTS: &str = "pids.events";

/// Longer than any load here takes, and than the kernel takes to let go of a thread.
const PATIENCE: Duration = Duration::from_secs(5);
const FORKED: u64 = 0;

/// A process in a group that makes a child that stays, each time it is told to.
struct Forker {
    turns: Turns,
    process: Process,
}

impl Forker {
    fn new(group: &Group) -> Result<Self, Stop> {
        let turns = Turns::new()?;
        let process = group.spawn(|| {
            loop {
                turns.step(fork_one);
            }
        })?;
        Ok(Self { turns, process })
    }

    /// Has it fork, and gives the kernel's answer.
    fn fork(&self) -> Result<Result<(), Errno>, Stop> {
        Ok(match self.turns.next()? {
            FORKED => Ok(()),
            errno => Err(Errno::from_raw(errno as i32)),
        })
    }
}

/// Forks a child that sleeps for ever: [`FORKED`], or the errno.
fn fork_one() -> u64 {
    // SAFETY: the caller has one thread, and the child only sleeps.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => loop {
            nix::unistd::pause();
        },
        Ok(ForkResult::Parent { .. }) => FORKED,
        Err(errno) => errno as u64,
    }
}

/// Three groups, one below the other.
struct Line {
    top: Group,
    middle: Group,
    leaf: Group,
}

impl Line {
    fn new(lab: &Lab) -> Result<Self, Stop> {
        let top = lab.legacy("pids")?.make("top")?;
        let middle = top.make("middle")?;
        let leaf = middle.make("leaf")?;
        Ok(Self { top, middle, leaf })
    }

    fn groups(&self) -> [(&'static str, &Group); 3] {
        [("top", &self.top), ("middle", &self.middle), ("leaf", &self.leaf)]
    }
}

/// A group never forks beyond `pids.max`: the fork above it fails with EAGAIN, and one more is one more once the limit is raised.
#[rstest]
fn fork_above_the_limit_fails_with_eagain(lab: Lab, #[values(1, 2, 16)] limit: u64) -> Outcome {
    let group = lab.legacy("pids")?.make("group")?;
    group.set(MAX, limit)?;
    let forker = Forker::new(&group)?;
    for (allowed, raised) in [(limit, "the limit"), (limit + 1, "the raised limit")] {
        group.set(MAX, allowed)?;
        while group.number(CURRENT)? < allowed {
            let there = group.number(CURRENT)?;
            lab.enforcement(&format!("the answer to a fork below {raised}"))
                .covers([R132])
                .file(MAX)
                .returned(&forker.fork()?)
                .equals("ok", "there is room for it");
            if group.number(CURRENT)? == there {
                break;
            }
        }
        lab.enforcement(&format!("the answer to a fork above {raised}"))
            .covers([R132])
            .file(MAX)
            .returned(&forker.fork()?)
            .equals("EAGAIN", "cgroup-v1/pids.rst: \"fork() and clone() will return -EAGAIN if the creation of a new process would cause a cgroup policy to be violated\"");
        lab.accounting(&format!("processes after the refusal at {raised}"))
            .covers([R135])
            .file(CURRENT)
            .unit(Unit::Processes)
            .observed(group.number(CURRENT)?)
            .equals(allowed, "the forker and its children; the refused one is none");
    }
    lab.interface("processes that the group lists")
        .covers([R135])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(group.ids("cgroup.procs")?.len())
        .equals(limit + 1, "who is counted is there");
    Ok(())
}

/// No way to make a task goes round the limit, and none is stopped below it.
#[rstest]
fn every_way_to_fork_meets_the_limit(
    lab: Lab,
    #[values(Mechanism::Fork, Mechanism::Vfork, Mechanism::Clone3, Mechanism::Thread)]
    mechanism: Mechanism,
) -> Outcome {
    const FORKS: u64 = 5;
    let load = ForkRate { mechanism, forks: FORKS, deadline: Millis(1000) };
    let group = lab.legacy("pids")?.make("group")?;
    // The load itself is one; a thread that has ended is let go some time later.
    group.set(MAX, 1 + FORKS)?;
    let below = group.load(&load)?.truth(PATIENCE)?;
    lab.enforcement("tasks made below the limit")
        .covers([R132])
        .file(MAX)
        .unit(Unit::Processes)
        .observed(below.forks)
        .equals(FORKS, "the load and all its tasks fit under the limit");
    group.set(MAX, 1)?;
    let above = group.load(&load)?.truth(PATIENCE)?;
    lab.enforcement("calls answered with EAGAIN at the limit, and tasks made")
        .covers([R132, R134])
        .file(MAX)
        .observed(format!("{} {}", above.failures.get("EAGAIN").unwrap_or(&0), above.forks))
        .equals(format!("{FORKS} 0"), "cgroup-v1/pids.rst: the controller limits fork() and clone(), of processes and of threads, and the load is the one that the limit allows");
    lab.accounting("refusals counted")
        .covers([R178])
        .file(EVENTS)
        .unit(Unit::Events)
        .observed(group.key(EVENTS, "max")?)
        .equals(FORKS, "as many as the load was given");
    Ok(())
}

/// Of several limits on the way up the tightest holds, and the refusal is counted in the group that forked, wherever the limit is.
#[rstest]
fn refused_fork_is_counted_where_it_was_tried(
    lab: Lab,
    #[values("top", "middle", "leaf")] limited: &str,
) -> Outcome {
    const REFUSED: u64 = 3;
    let line = Line::new(&lab)?;
    let neighbour = lab.legacy("pids")?.make("neighbour")?;
    for (name, group) in line.groups() {
        lab.interface(&format!("the refusals of {name} before any"))
            .covers([R178])
            .file(EVENTS)
            .observed(group.line(EVENTS)?)
            .equals("max 0", "kernel/cgroup/pids.c, pids_events_show: one key, and no fork failed");
        group.set(MAX, if name == limited { 2 } else { 4 })?;
    }
    let forker = Forker::new(&line.leaf)?;
    forker.fork()?.map_err(Stop::broken("fork below the limit"))?;
    for _ in 0..REFUSED {
        lab.enforcement(&format!("the answer to a fork with {limited} at its limit"))
            .covers([R132])
            .file(MAX)
            .returned(&forker.fork()?)
            .equals(
                "EAGAIN",
                "pids.rst: \"the most stringent limit in the hierarchy is followed\"",
            );
    }
    for (name, group) in line.groups().into_iter().chain([("a neighbour", &neighbour)]) {
        lab.accounting(&format!("refusals that {name} counts"))
            .covers([R178])
            .file(EVENTS)
            .unit(Unit::Events)
            .observed(group.key(EVENTS, "max")?)
            .equals(
                if name == "leaf" { REFUSED } else { 0 },
                "pids.rst, pids.events max: \"Number of times fork failed because limit was hit\", in the group whose process forked, on legacy hierarchies to this day (kernel/cgroup/pids.c, pids_event)",
            );
        lab.accounting(&format!("processes in {name} after the refusals"))
            .covers([R135])
            .file(CURRENT)
            .unit(Unit::Processes)
            .observed(group.number(CURRENT)?)
            .equals(
                if name == "a neighbour" { 0 } else { 2 },
                "the forker and its child, here and below; what one level refuses is taken back at all",
            );
    }
    Ok(())
}

/// A watcher of `pids.events` hears of a refusal in its group.
#[rstest]
fn watcher_hears_of_a_refusal(lab: Lab) -> Outcome {
    let root = lab.legacy("pids")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    group.set(MAX, 1)?;
    let forker = Forker::new(&group)?;
    let mut watches = [&group, &neighbour].map(|it| Watch::new(it, EVENTS, watch::Mechanism::Poll));
    let refused = forker.fork()?;
    lab.enforcement("the answer to the fork above the limit")
        .covers([R132])
        .file(MAX)
        .returned(&refused)
        .equals("EAGAIN", "the forker is the one process that the limit allows");
    for ((who, expected), watch) in
        [("the group", "yes"), ("a neighbour", "no")].into_iter().zip(&mut watches)
    {
        let Ok(watch) = watch else { continue };
        let patience = if expected == "yes" { PATIENCE } else { Duration::from_millis(100) };
        let question = lab.notification(&format!("whether a watcher of {who} hears of it"));
        let question = match expected {
            "yes" => question,
            _ => question.beyond_lies("no lie makes a notification up"),
        };
        question
            .covers([R178])
            .file(EVENTS)
            .happened(watch.next(patience)?.map(|it| it.at))
            .equals(expected, "kernel/cgroup/pids.c: cgroup_file_notify() on the events file of the group that forked");
    }
    Ok(())
}

/// Processes may be moved into a full group; it is fork that its limit stops, until there is room again.
#[rstest]
fn attach_above_the_limit_is_allowed(lab: Lab, #[values(0, 1, 3)] limit: u64) -> Outcome {
    let root = lab.legacy("pids")?;
    let (outside, group) = (root.make("outside")?, root.make("group")?);
    let newcomers: Vec<_> = (0..limit + 1).map(|_| outside.sleeper()).collect::<Result<_, _>>()?;
    let forker = Forker::new(&outside)?;
    group.set(MAX, limit)?;
    for pid in newcomers.iter().chain([&forker.process]).map(Process::pid) {
        lab.enforcement("the answer to a move into the group")
            .covers([R133])
            .file("cgroup.procs")
            .answered(&group.try_set("cgroup.procs", pid))
            .equals(
                "ok",
                "pids.rst: organisational operations \"are not blocked by cgroup policies\"",
            );
    }
    for (place, counted, expected) in
        [("the group", &group, limit + 2), ("its old one", &outside, 0)]
    {
        lab.accounting(&format!("processes in {place} after the moves"))
            .covers([R133, R135])
            .file(CURRENT)
            .unit(Unit::Processes)
            .observed(counted.number(CURRENT)?)
            .equals(expected, "pids.rst: \"it is possible to have pids.current > pids.max\"; who moves is counted where it went");
    }
    // From two above the limit down to one below it, the forker always among them.
    let mut newcomers = newcomers.into_iter();
    for above in [2, 1, 0, -1_i64] {
        let expected = if above < 0 { "ok" } else { "EAGAIN" };
        lab.enforcement(&format!("the answer to a fork with {above} more there than the limit"))
            .covers([R132, R133])
            .file(MAX)
            .returned(&forker.fork()?)
            .equals(expected, "the fork makes one more than are there");
        match newcomers.next() {
            Some(leaver) => leaver.end()?,
            None => break,
        }
    }
    Ok(())
}

/// A limit may be set below what the group holds: nobody dies, and nobody is born.
#[rstest]
fn limit_lowered_below_what_is_there_ends_nobody(lab: Lab) -> Outcome {
    let group = lab.legacy("pids")?.make("group")?;
    let forker = Forker::new(&group)?;
    for _ in 0..3 {
        forker.fork()?.map_err(Stop::broken("fork without a limit"))?;
    }
    lab.interface("the answer to a limit below the number of processes")
        .covers([R133])
        .file(MAX)
        .answered(&group.try_set(MAX, 2))
        .equals("ok", "pids.rst: pids.current > pids.max \"can be done by either setting the limit to be smaller than pids.current, or attaching enough processes\"");
    lab.accounting("processes after it")
        .covers([R133, R135])
        .file(CURRENT)
        .unit(Unit::Processes)
        .observed(group.number(CURRENT)?)
        .equals(4, "a limit stops forks and ends no process");
    lab.enforcement("the answer to a fork after it")
        .covers([R132])
        .file(MAX)
        .returned(&forker.fork()?)
        .equals("EAGAIN", "four are there, and two are allowed");
    group.set(MAX, "max")?;
    lab.enforcement("the answer to a fork once the limit is gone")
        .covers([R132])
        .file(MAX)
        .returned(&forker.fork()?)
        .equals("ok", "there is no limit");
    Ok(())
}

/// A group counts what is in it and below it: threads as well as processes, a zombie until it is reaped.
#[rstest]
fn count_is_of_all_tasks_below(lab: Lab) -> Outcome {
    const THREADS: u64 = 3;
    let line = Line::new(&lab)?;
    let _in_middle = line.middle.sleeper()?;
    let (ready, leave) = (Gate::new()?, Gate::new()?);
    let mut many = line.leaf.spawn(|| {
        std::thread::scope(|scope| {
            (0..THREADS).for_each(|_| drop(scope.spawn(|| leave.pass())));
            ready.open();
        });
    })?;
    ready.pass();
    let check = |when: &str, expected: [u64; 3]| -> Outcome {
        for ((name, group), expected) in line.groups().into_iter().zip(expected) {
            lab.accounting(&format!("tasks in {name} and below {when}"))
                .covers([R134, R135])
                .file(CURRENT)
                .unit(Unit::Processes)
                .observed(group.number(CURRENT)?)
                .equals(expected, "pids.rst: the number of tasks in the group, which the controller knows by TID, and in all below; a task is let go when it is reaped");
        }
        Ok(())
    };
    check("with a process and one of three threads", [5, 5, 4])?;
    (0..THREADS).for_each(|_| leave.open());
    if !many.ended_within(PATIENCE)? {
        return Err(Stop::Broken("a process whose threads have left has not ended".to_owned()));
    }
    // The last thread lets go of its id a moment after it was seen to end.
    wait_until(PATIENCE, || line.leaf.try_get(CURRENT).is_ok_and(|it| it == "1\n"));
    check("with the process a zombie", [2, 2, 1])?;
    many.wait()?;
    check("once it is reaped", [1, 1, 0])
}

/// `pids.max` begins as "max", takes every number of processes and "max", and nothing else; what counts cannot be written, and the root has none of it.
#[rstest]
fn limit_reads_back_what_it_took(lab: Lab) -> Outcome {
    let root = lab.legacy("pids")?;
    let group = root.make("group")?;
    // PID_MAX_LIMIT of a 64-bit kernel, include/linux/threads.h.
    for (written, shown) in
        [("", "max"), ("0", "0"), ("1", "1"), ("4194304", "4194304"), ("max", "max")]
    {
        if !written.is_empty() {
            group.set(MAX, written)?;
        }
        lab.interface(&format!("the limit after {written:?} was written"))
            .covers([R045])
            .file(MAX)
            .observed(group.line(MAX)?)
            .equals(shown, "pids.rst: pids.max is \"max\" by default, and what was written holds");
    }
    group.set(MAX, 7)?;
    for refused in ["-1", "4194305", "many", "1.5", "8 9"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R045])
            .file(MAX)
            .answered(&group.try_set(MAX, refused))
            .equals("EINVAL", "pids_max_write(): neither \"max\" nor 0 to PID_MAX_LIMIT");
    }
    for read_only in [CURRENT, EVENTS] {
        lab.interface("the answer to a write to a counter")
            .covers([R135, R178])
            .file(read_only)
            .answered(&group.try_set(read_only, 0))
            .equals("EINVAL", "the file has no write method");
    }
    lab.interface("the limit after what was refused")
        .covers([R045])
        .file(MAX)
        .observed(group.line(MAX)?)
        .equals("7", "a refused write changes nothing");
    let files = root.dir().path().parent().map(std::fs::read_dir).transpose()?;
    let of_the_root = files.into_iter().flatten().filter_map(Result::ok);
    lab.interface("files of the controller in the root")
        .covers([R132])
        .beyond_lies("the root's folder is not listed as a group's")
        .unit(Unit::Count)
        .observed(
            of_the_root.filter(|it| it.file_name().to_string_lossy().starts_with("pids.")).count(),
        )
        .equals(0, "pids.rst: pids.max \"is not available in the root cgroup for obvious reasons\", and the other files have CFTYPE_NOT_ON_ROOT as well");
    Ok(())
}
