//! `cgroup.freeze`: what stops, what does not, who is told, and what a frozen
//! process still does (cgroup-v2.rst, "Core Interface Files").

use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};

/// How long the kernel may take to stop a process that runs or sleeps.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the kernel holds a second notification of `cgroup.events` back,
/// which is 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV).
pub(super) const QUIET: Duration = Duration::from_millis(100);

pub(super) const FREEZE: &str = "cgroup.freeze";
pub(super) const EVENTS: &str = "cgroup.events";
pub(super) const ONCE: &str =
    "cgroup-v2.rst, cgroup.freeze: one notification when the action is complete";

/// Known bug 14: a group that froze, or thawed, is announced once, and `populated` stays as it is.
#[rstest]
fn bug_14_freezing_and_thawing_are_each_told_once(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
    #[values(0, 1, 16)] processes: u64,
) -> Outcome {
    let group = lab.group("group")?;
    let held: Vec<_> = (0..processes).map(|_| group.sleeper()).collect::<Result<_, _>>()?;
    pause(QUIET);
    let mut watch = Watch::new(&group, EVENTS, mechanism)?;

    let populated = u64::from(processes > 0);
    for (written, action) in [(1, "freezing"), (0, "thawing"), (1, "freezing again")] {
        group.set(FREEZE, written)?;
        let (told, last) = told(&mut watch)?;
        lab.notification(&format!("notifications of {action}"))
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Events)
            .observed(told)
            .equals(1, ONCE);
        lab.notification(&format!("what the watcher read after {action}"))
            .covers([R054])
            .file(EVENTS)
            .observed(last)
            .equals(
                format!("populated {populated}, frozen {written}"),
                "freezing leaves the processes where they are",
            );
    }
    drop(held);
    Ok(())
}

/// Freezing is inherited: every group below is frozen, told so once, and cannot thaw itself.
#[rstest]
fn freezing_is_inherited(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let middle = top.make("middle")?;
    let leaf = middle.make("leaf")?;
    let _process = leaf.sleeper()?;
    let groups = [&top, &middle, &leaf];
    let state = |what: &str, expected: &str, reason: &str| -> Outcome {
        let frozen = groups.map(|it| it.key(EVENTS, "frozen").map(|it| it.to_string()));
        let frozen = frozen.into_iter().collect::<Result<Vec<_>, _>>()?.join(" ");
        lab.hierarchy(what).covers([R054]).file(EVENTS).observed(frozen).equals(expected, reason);
        Ok(())
    };
    pause(QUIET);
    let mut watches = Vec::new();
    for group in groups {
        watches.push(Watch::new(group, EVENTS, Mechanism::Poll)?);
    }

    top.set(FREEZE, 1)?;
    for (watch, role) in watches.iter_mut().zip(["top", "middle", "leaf"]) {
        lab.notification(&format!("notifications in {role} when top was frozen"))
            .covers([R054])
            .file(EVENTS)
            .unit(Unit::Events)
            .observed(told(watch)?.0)
            .equals(1, ONCE);
    }
    state(
        "frozen in top, middle, leaf once top was frozen",
        "1 1 1",
        "all groups below are frozen, too",
    )?;
    lab.interface("the setting of the leaf while it is frozen by top")
        .covers([R054])
        .file(FREEZE)
        .observed(leaf.get(FREEZE)?)
        .equals("0\n", "the file shows the group's own setting");
    leaf.set(FREEZE, 0)?;
    pause(QUIET);
    state(
        "frozen in top, middle, leaf after a 0 in the leaf",
        "1 1 1",
        "an ancestor's setting holds",
    )?;
    leaf.set(FREEZE, 1)?;
    top.set(FREEZE, 0)?;
    pause(QUIET);
    state(
        "frozen in top, middle, leaf once the leaf alone is set",
        "0 0 1",
        "a group's own setting holds for it alone",
    )?;
    leaf.set(FREEZE, 0)?;
    pause(QUIET);
    state("frozen in top, middle, leaf once nothing is set", "0 0 0", "nothing freezes them")?;
    Ok(())
}

/// Groups can be made and removed inside a frozen group, and a new one is frozen from the start.
#[rstest]
fn tree_of_a_frozen_group_can_be_changed(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let old = group.make("old")?;
    let held = old.sleeper()?;
    group.set(FREEZE, 1)?;
    await_frozen(&group)?;
    let made = group.try_make("new");

    lab.hierarchy("the answer to a new group inside")
        .covers([R054])
        .answered(&made)
        .equals("ok", "cgroup-v2.rst, cgroup.freeze: the state is no hindrance to making groups");
    let Ok(new) = made else { return Ok(()) };
    lab.hierarchy("frozen in the new group")
        .covers([R054])
        .file(EVENTS)
        .unit(Unit::Count)
        .observed(new.key(EVENTS, "frozen")?)
        .equals(1, "it is empty, and an ancestor is frozen");
    let born = new.spawn(|| 5)?;
    lab.enforcement("whether a process born in it ended while it is frozen")
        .covers([R054, R057])
        .observed(yes(born.ended_within(QUIET)?))
        .equals("no", "a process that starts in a frozen group stops before it runs");
    group.set(FREEZE, 0)?;
    lab.enforcement("whether it ended once thawed")
        .covers([R054, R057])
        .observed(yes(born.ended_within(PATIENCE)?))
        .equals("yes", "it runs then");
    drop((held, born));
    group.set(FREEZE, 1)?;
    await_frozen(&group)?;
    let removed = wait_until(PATIENCE, || new.try_remove().is_ok());
    lab.hierarchy("whether an empty group inside can be removed")
        .covers([R054])
        .happened(removed)
        .equals(
            "yes",
            "cgroup-v2.rst, cgroup.freeze: a frozen group without processes can be removed",
        );
    Ok(())
}

/// A frozen process uses no CPU time, by the group's counter and by the process's own clock.
#[rstest]
fn frozen_process_uses_no_cpu_time(
    lab: Lab,
    #[values("group", "ancestor")] frozen: &str,
) -> Outcome {
    let ancestor = lab.group("ancestor")?;
    ancestor.enable("cpu")?;
    let group = ancestor.make("group")?;
    let switch = if frozen == "group" { &group } else { &ancestor };
    let process: Process = group.spawn(|| {
        loop {
            std::hint::spin_loop();
        }
    })?;
    let used = || -> Result<[u64; 3], Stop> {
        let own = cpu_time_of(&process)?;
        let nanoseconds = u64::try_from(own.as_nanos()).unwrap_or(u64::MAX);
        Ok([
            group.key("cpu.stat", "usage_usec")?,
            ancestor.key("cpu.stat", "usage_usec")?,
            nanoseconds,
        ])
    };
    let run = || -> Outcome {
        switch.set(FREEZE, 0)?;
        pause(Duration::from_millis(10));
        switch.set(FREEZE, 1)?;
        await_frozen(&group)
    };

    run()?;
    let before = used()?;
    pause(Duration::from_secs(10));
    let after = used()?;
    run()?;
    let thawed = used()?;
    for (nth, (what, file, unit)) in [
        ("in the group", "cpu.stat", Unit::Microseconds),
        ("in the ancestor", "cpu.stat", Unit::Microseconds),
        ("by the process's clock", "", Unit::Nanoseconds),
    ]
    .into_iter()
    .enumerate()
    {
        lab.accounting(&format!("CPU time used in 10 s of being frozen, {what}"))
            .covers([R055])
            .file(file)
            .unit(unit)
            .observed(after[nth] - before[nth])
            .equals(0, "cgroup-v2.rst, cgroup.freeze: its processes do not run until it is thawed");
        lab.accounting(&format!("CPU time used in 10 ms between two freezes, {what}"))
            .covers([R055])
            .file(file)
            .unit(unit)
            .observed(thawed[nth] - after[nth])
            .at_least(1, "the process never sleeps, so it runs when it may");
    }
    Ok(())
}

/// `cgroup.stat.local` counts the time that a group spends frozen, by its own word or an ancestor's, and no other.
#[rstest]
fn frozen_time_is_counted(lab: Lab, #[values("group", "ancestor")] frozen: &str) -> Outcome {
    const STAT: &str = "cgroup.stat.local";
    lab.needs_file(STAT, "since 6.18")?;
    let ancestor = lab.group("ancestor")?;
    let (group, beside) = (ancestor.make("group")?, lab.group("beside")?);
    let switch = if frozen == "group" { &group } else { &ancestor };
    let _held = group.sleeper()?;
    let usec = |it: &Group| it.key(STAT, "frozen_usec");
    let spent = |began: Duration| u64::try_from((now() - began).as_micros()).unwrap_or(u64::MAX);
    let check = |what: &str, observed: u64, least: u64, most: u64| {
        lab.accounting(what)
            .covers([R055])
            .file("cgroup.stat.local:frozen_usec")
            .unit(Unit::Microseconds)
            .observed(observed)
            .between(least, most, "cgroup-v2.rst, cgroup.stat.local: the \"cumulative time that this cgroup has spent between freezing and thawing, regardless of whether by self or ancestor groups\", by the case's clock before and after the two writes; cut to whole microseconds");
    };
    let (mut least, mut most) = (0, 0);
    for round in ["once", "twice"] {
        let began = now();
        switch.set(FREEZE, 1)?;
        let set = now();
        await_frozen(&group)?;
        pause(Duration::from_millis(30));
        let so_far = [spent(set), usec(&group)?, spent(began)];
        check("while it is frozen", so_far[1], least + so_far[0], most + so_far[2]);
        pause(Duration::from_millis(30));
        least += spent(set);
        switch.set(FREEZE, 0)?;
        most += spent(began) + 1;
        pause(Duration::from_millis(50));
        check(&format!("once it was frozen {round} and thawed"), usec(&group)?, least, most);
    }
    for (role, it, is_frozen) in
        [("the ancestor", &ancestor, frozen == "ancestor"), ("a group beside", &beside, false)]
    {
        let (least, most) = if is_frozen { (least, most) } else { (0, 0) };
        check(
            &format!("{role} of a group that was frozen by its {frozen}"),
            usec(it)?,
            least,
            most,
        );
    }
    Ok(())
}

/// A signal that is fatal kills a frozen process at once.
#[rstest]
fn fatal_signal_kills_a_frozen_process(
    lab: Lab,
    #[values(Signal::SIGKILL, Signal::SIGTERM)] signal: Signal,
) -> Outcome {
    let group = lab.group("group")?;
    let (mut process, beside) = (group.sleeper()?, group.sleeper()?);
    group.set(FREEZE, 1)?;
    await_frozen(&group)?;
    process.signal(signal)?;
    let ended = process.ended_within(PATIENCE)?;

    lab.enforcement("whether the signal ended the frozen process")
        .covers([R056])
        .file(FREEZE)
        .observed(yes(ended))
        .equals(
            "yes",
            "cgroup-v2.rst, cgroup.freeze: a fatal signal kills, and the process has no handler",
        );
    if ended {
        lab.enforcement("how it ended")
            .covers([R056])
            .observed(format!("{:?}", process.wait()?))
            .equals(format!("{:?}", Exit::Signal(signal)), "this signal killed it");
    }
    lab.enforcement("whether the process beside it ended")
        .covers([R056])
        .observed(yes(beside.ended_within(QUIET)?))
        .equals("no", "it was sent nothing");
    lab.interface("frozen in the group then")
        .covers([R054, R056])
        .file(EVENTS)
        .unit(Unit::Count)
        .observed(group.key(EVENTS, "frozen")?)
        .equals(1, "the process that is left is frozen");
    Ok(())
}

/// A signal that has a handler waits until the process is thawed.
#[rstest]
fn handled_signal_waits_for_the_thaw(lab: Lab) -> Outcome {
    extern "C" fn leave(_: libc::c_int) {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(7) }
    }
    let group = lab.group("group")?;
    let ready = Gate::new()?;
    let mut process: Process = group.spawn(|| {
        let action = SigAction::new(SigHandler::Handler(leave), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler calls nothing but _exit.
        if unsafe { sigaction(Signal::SIGHUP, &action) }.is_ok() {
            ready.open();
        }
        loop {
            nix::unistd::pause();
        }
    })?;
    ready.pass();
    group.set(FREEZE, 1)?;
    await_frozen(&group)?;
    process.signal(Signal::SIGHUP)?;

    lab.enforcement("whether the handler ran while frozen")
        .covers([R056])
        .file(FREEZE)
        .observed(yes(process.ended_within(QUIET)?))
        .equals("no", "it is not fatal, and a frozen process runs nothing");
    group.set(FREEZE, 0)?;
    lab.enforcement("how the process ended once thawed")
        .covers([R056])
        .file(FREEZE)
        .observed(if process.ended_within(PATIENCE)? {
            format!("{:?}", process.wait()?)
        } else {
            "not at all".to_owned()
        })
        .equals("Code(7)", "the handler ends it");
    Ok(())
}

/// A process that is moved into a frozen group stops, and one that is moved out goes on.
#[rstest]
fn moving_in_stops_and_moving_out_resumes(lab: Lab) -> Outcome {
    let (free, frozen, other) = (lab.group("free")?, lab.group("frozen")?, lab.group("other")?);
    let process: Process = free.spawn(|| {
        loop {
            pause(Duration::from_millis(1));
        }
    })?;
    for group in [&frozen, &other] {
        group.set(FREEZE, 1)?;
        await_frozen(group)?;
    }
    let moved = |what: &str, to: &Group, state: &str, reason: &str| -> Outcome {
        to.admit(process.pid())?;
        pause(QUIET);
        let before = cpu_time_of(&process)?;
        pause(QUIET);
        let runs = if cpu_time_of(&process)? > before { "runs" } else { "stands still" };
        lab.enforcement(&format!("the process {what}"))
            .covers([R057])
            .file(FREEZE)
            .observed(runs)
            .equals(state, reason);
        let events =
            [&free, &frozen, &other].map(|it| it.key(EVENTS, "frozen").map(|it| it.to_string()));
        lab.interface(&format!("frozen in the free and the two frozen groups, the process {what}"))
            .covers([R057])
            .file(EVENTS)
            .observed(events.into_iter().collect::<Result<Vec<_>, _>>()?.join(" "))
            .equals("0 1 1", "no process of a frozen group runs, and the free one is not frozen");
        Ok(())
    };

    moved("before it was moved", &free, "runs", "its group is not frozen")?;
    moved(
        "moved in",
        &frozen,
        "stands still",
        "cgroup-v2.rst, cgroup.freeze: a process that is moved in stops",
    )?;
    moved("moved to another frozen group", &other, "stands still", "that is frozen, too")?;
    moved(
        "moved out",
        &free,
        "runs",
        "cgroup-v2.rst, cgroup.freeze: a process that is moved out goes on",
    )?;
    Ok(())
}

/// `cgroup.freeze` takes 0 and 1 and nothing else.
#[rstest]
#[case::one("1", "ok", "1\n")]
#[case::zero("0", "ok", "0\n")]
#[case::two("2", "ERANGE", "0\n")]
#[case::negative("-1", "ERANGE", "0\n")]
#[case::word("frozen", "EINVAL", "0\n")]
#[case::with_a_tail("1 1", "EINVAL", "0\n")]
#[case::fraction("0.5", "EINVAL", "0\n")]
fn freeze_takes_zero_and_one_alone(
    lab: Lab,
    #[case] written: &str,
    #[case] answer: &str,
    #[case] shown: &str,
) -> Outcome {
    let group = lab.group("group")?;
    lab.interface("the setting of a new group")
        .covers([R058])
        .file(FREEZE)
        .observed(group.get(FREEZE)?)
        .equals("0\n", "cgroup-v2.rst, cgroup.freeze: the default");
    lab.interface("the answer to the value")
        .covers([R058])
        .file(FREEZE)
        .answered(&group.try_set(FREEZE, written))
        .equals(
            answer,
            "cgroup_freeze_write(): EINVAL for what is no number, ERANGE for any but 0 and 1",
        );
    lab.interface("the setting afterwards")
        .covers([R058])
        .file(FREEZE)
        .observed(group.get(FREEZE)?)
        .equals(shown, "a refused write changes nothing");
    Ok(())
}

fn await_frozen(group: &Group) -> Outcome {
    let frozen = wait_until(PATIENCE, || group.key(EVENTS, "frozen").is_ok_and(|it| it == 1));
    frozen
        .map(|_| ())
        .ok_or_else(|| Stop::Broken(format!("a group did not freeze in {PATIENCE:?}")))
}

/// How many notifications come until none does for a while, and what the
/// watcher read last.
pub(super) fn told(watch: &mut Watch) -> Result<(u32, String), Stop> {
    let (mut count, mut last) = (0, String::new());
    while let Some(wake) = watch.next(QUIET)? {
        count += 1;
        let keys = parse::flat_keyed(&wake.text).map_err(|it| Stop::Broken(it.to_string()))?;
        let shown = ["populated", "frozen"]
            .map(|key| format!("{key} {}", keys.get(key).copied().unwrap_or(u64::MAX)));
        last = shown.join(", ");
    }
    Ok((count, last))
}

fn cpu_time_of<T>(process: &Process<T>) -> Result<Duration, Stop> {
    let clock: ClockId =
        clock_getcpuclockid(process.pid()).map_err(Stop::broken("find a process's clock"))?;
    clock_gettime(clock).map(Duration::from).map_err(Stop::broken("read a process's clock"))
}

pub(super) fn yes(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
