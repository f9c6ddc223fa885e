//! `populated` in `cgroup.events`: what it says, who is told, and how soon
//! (cgroup-v2.rst, "[Un]populated Notification").

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause, wait_until};

/// How long a change may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than the kernel's rate limit on notifications holds any back.
const QUIET: Duration = Duration::from_millis(50);
/// How often a latency is measured.
const SAMPLES: usize = 25;

/// `populated` is 1 while there is a live process in the group or below it, and flips at the last exit.
#[rstest]
fn populated_flips_at_the_last_exit(lab: Lab) -> Outcome {
    // The example of the document: A(4) - B(0) - C(1), and D(0) beside C.
    let a = lab.group("a")?;
    let b = a.make("b")?;
    let (c, d) = (b.make("c")?, b.make("d")?);
    let groups = [&a, &b, &c, &d];
    let states = |what: &str, expected: &str, reason: &str| {
        let shown = || populated(groups).unwrap_or_default();
        wait_until(PATIENCE, || shown() == expected);
        lab.hierarchy(what)
            .covers([R029])
            .file("cgroup.events")
            .observed(shown())
            .equals(expected, reason);
    };
    states("populated of A, B, C and D without a process", "0 0 0 0", EMPTY);
    let mut of_a: Vec<_> = (0..4).map(|_| a.sleeper()).collect::<Result<_, _>>()?;
    states(
        "populated with four processes in A",
        "1 0 0 0",
        "processes above do not populate what is below",
    );
    let of_c = c.sleeper()?;
    states(
        "populated with one in C as well",
        "1 1 1 0",
        "cgroup-v2.rst: \"A, B and C's populated fields would be 1 while D's 0\"",
    );
    of_c.end()?;
    states(
        "populated after the exit in C",
        "1 0 0 0",
        "cgroup-v2.rst: \"B and C's populated fields would flip to 0\"",
    );
    while let Some(process) = of_a.pop() {
        process.end()?;
        // Time for a flip that comes too early.
        pause(QUIET);
        if of_a.is_empty() {
            states("populated after the last exit in A", "0 0 0 0", EMPTY);
        } else {
            states(
                "populated after an exit in A that is not the last",
                "1 0 0 0",
                "a live process is left in A",
            );
        }
    }
    Ok(())
}

/// A process that moves takes its populatedness along, and the groups above both ends stay as they were.
#[rstest]
fn populated_follows_a_process_that_moves(lab: Lab) -> Outcome {
    let above = lab.group("above")?;
    let (from, to) = (above.make("from")?, above.make("to")?);
    let groups = [&above, &from, &to];
    let process = from.sleeper()?;
    lab.hierarchy("populated above, where the process is, and beside it")
        .covers([R029])
        .file("cgroup.events")
        .observed(populated(groups)?)
        .equals("1 1 0", "one group has the process, and the one above has that group");
    to.admit(process.pid())?;
    lab.hierarchy("populated above, where the process was, and where it is")
        .covers([R029])
        .file("cgroup.events")
        .observed(populated(groups)?)
        .equals("1 0 1", "a move is done when the write returns");
    Ok(())
}

/// Every group whose `populated` changes tells its watchers once per change, and no other group does.
#[rstest]
fn every_ancestor_tells_of_each_change(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let outer = lab.group("outer")?;
    let middle = outer.make("middle")?;
    let (inner, beside) = (middle.make("inner")?, middle.make("beside")?);
    let watched = [(&outer, "outer"), (&middle, "middle"), (&inner, "inner"), (&beside, "beside")];
    let mut watches: Vec<_> = watched
        .iter()
        .map(|(group, name)| Ok((Watch::new(group, "cgroup.events", mechanism)?, *name)))
        .collect::<Result<_, Stop>>()?;
    let mut told = |cause: &str, expected: [&str; 4]| -> Outcome {
        for ((watch, name), expected) in watches.iter_mut().zip(expected) {
            lab.notification(&format!("what the {name} group tells after {cause}"))
                .covers([R030])
                .file("cgroup.events")
                .observed(notifications(watch)?)
                .equals(expected, "cgroup-v2.rst: \"poll and [id]notify events are triggered when the value changes\"; a pause between changes keeps the rate limit out");
        }
        Ok(())
    };
    const ON: &str = "populated 1";
    const OFF: &str = "populated 0";
    let first = inner.sleeper()?;
    told("a birth in the inner group", [ON, ON, ON, ""])?;
    let second = inner.sleeper()?;
    told("another birth there", ["", "", "", ""])?;
    second.end()?;
    told("an exit that is not the last", ["", "", "", ""])?;
    first.end()?;
    told("the last exit", [OFF, OFF, OFF, ""])?;
    let upper = outer.sleeper()?;
    told("a birth in the outer group", [ON, "", "", ""])?;
    let lower = inner.sleeper()?;
    told("a birth in the inner group below it", ["", ON, ON, ""])?;
    beside.admit(lower.pid())?;
    told("a move from the inner group to the one beside it", ["", "", OFF, ON])?;
    lower.end()?;
    told("the last exit beside", ["", OFF, "", OFF])?;
    upper.end()?;
    told("the last exit in the outer group", [OFF, "", "", ""])?;
    Ok(())
}

/// After a quiet time the last exit is told at once, at any depth.
#[rstest]
fn last_exit_is_told_at_once(
    lab: Lab,
    #[values(1, 4, 16)] depth: usize,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let groups = chain(&lab, depth)?;
    let mut watch = Watch::new(&groups[0], "cgroup.events", mechanism)?;
    let mut latencies = Vec::new();
    for _ in 0..SAMPLES {
        // The birth is told as well: the exit waits until that is long past.
        let process = groups[depth - 1].spawn(|| {
            pause(QUIET);
            now()
        })?;
        let told = watch.until("populated 0", PATIENCE)?;
        let exit = process.finish()?;
        latencies.extend(told.map(|(wake, _)| wake.at.saturating_sub(exit)));
        pause(QUIET);
    }
    lab.notification("last exits that were told")
        .covers([R030, R031])
        .file("cgroup.events")
        .unit(Unit::Events)
        .observed(latencies.len())
        .equals(SAMPLES, "one notification for each last exit");
    lab.latencies("from the last exit to populated 0, after a quiet time", &latencies);
    let tick = tick()?;
    lab.notification("the longest time from the last exit to its notification")
        .covers([R031])
        .file("cgroup.events")
        .took(latencies.iter().copied().max().unwrap_or(PATIENCE))
        .at_most(
            nanoseconds(tick * (least_ticks_apart(tick) - 1)),
            "cgroup_file_notify() tells at once after a quiet time; the least that its rate limit, \
             DIV_ROUND_UP(HZ, 100) ticks, would hold it back is one tick less than that",
        );
    Ok(())
}

/// A notification right after another is held back until 10 ms are over, and not much longer.
#[rstest]
fn notification_right_after_another_is_held_back(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let group = lab.group("group")?;
    let mut watch = Watch::new(&group, "cgroup.events", mechanism)?;
    let (mut latencies, mut gaps) = (Vec::new(), Vec::new());
    for sample in 0..SAMPLES {
        let gate = Gate::new()?;
        let process = group.spawn(|| {
            gate.pass();
            now()
        })?;
        let birth = watch.until("populated 1", PATIENCE)?;
        gate.open();
        let exit = process.finish()?;
        let death = watch.until("populated 0", PATIENCE)?;
        if let (Some((birth, _)), Some((death, _))) = (birth, death) {
            gaps.push(death.at.saturating_sub(birth.at));
            latencies.push(death.at.saturating_sub(exit));
        }
        // Not a whole number of ticks, so that the samples meet the tick anywhere.
        pause(QUIET + Duration::from_micros(137) * u32::try_from(sample).unwrap_or_default());
    }
    lab.notification("exits right after a birth that were told")
        .covers([R030, R031])
        .file("cgroup.events")
        .unit(Unit::Events)
        .observed(gaps.len())
        .equals(SAMPLES, "a notification is held back, not dropped");
    lab.latencies(
        "from the last exit to populated 0, right after another notification",
        &latencies,
    );
    let tick = tick()?;
    lab.notification("the shortest time between two notifications")
        .covers([R031])
        .file("cgroup.events")
        .took(gaps.iter().copied().min().unwrap_or_default())
        .at_least(
            10_000_000,
            "kernel/cgroup/cgroup.c, CGROUP_FILE_NOTIFY_MIN_INTV: not more than 100 a second",
        );
    lab.notification("the longest time between two notifications")
        .covers([R031])
        .file("cgroup.events")
        .took(gaps.iter().copied().max().unwrap_or(PATIENCE))
        .at_most(
            nanoseconds(tick * (least_ticks_apart(tick) + 2)),
            "CGROUP_FILE_NOTIFY_MIN_INTV is DIV_ROUND_UP(HZ, 100) ticks; the timer adds the tick that has begun, \
             and the watcher may wait one for the CPU",
        );
    Ok(())
}

/// Known bug 13: `populated` may still be 1 when `waitpid` returns, but not for long.
#[rstest]
fn bug_13_populated_lags_behind_waitpid(lab: Lab) -> Outcome {
    let (mut emptied, mut removed) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let group = lab.group("group")?;
        let mut process = group.spawn(|| pause(QUIET))?;
        process.wait()?;
        let reaped = now();
        emptied.extend(
            spin_until(|| populated([&group]).is_ok_and(|it| it == "0")).map(|it| it - reaped),
        );
        removed.extend(spin_until(|| group.try_remove().is_ok()).map(|it| it - reaped));
    }
    lab.latencies("from waitpid to populated 0", &emptied);
    lab.latencies("from waitpid to a successful rmdir", &removed);
    let two_ticks = nanoseconds(tick()? * 2);
    for (times, what) in [
        (&emptied, "the longest time from waitpid to populated 0"),
        (&removed, "the longest time from waitpid to a successful rmdir"),
    ] {
        let longest = if times.len() == SAMPLES { times.iter().copied().max() } else { None };
        lab.notification(what)
            .covers([R029, R031])
            .file("cgroup.events")
            .took(longest.unwrap_or(PATIENCE))
            .at_most(
                two_ticks,
                "since d245698d727a (6.19) a task leaves its group when the CPU has switched away from it, \
                 with PREEMPT_RT at the next tick: that one, and the one that has begun",
            );
    }
    Ok(())
}

const EMPTY: &str =
    "cgroup-v2.rst: \"0 if there is no live process in the cgroup and its descendants\"";

/// `populated` of each of the groups.
fn populated<const N: usize>(groups: [&Group; N]) -> Result<String, Stop> {
    let states: Result<Vec<_>, Stop> =
        groups.iter().map(|it| Ok(it.key("cgroup.events", "populated")?.to_string())).collect();
    Ok(states?.join(" "))
}

/// Groups one below the other, the outermost first.
fn chain(lab: &Lab, depth: usize) -> Result<Vec<Group>, Stop> {
    let mut groups = vec![lab.group("outermost")?];
    while groups.len() < depth {
        let inner = groups[groups.len() - 1].make("inner")?;
        groups.push(inner);
    }
    Ok(groups)
}

/// What a watcher is told until there is quiet: the first line of the file at
/// each notification.
fn notifications(watch: &mut Watch) -> Result<String, Stop> {
    let mut told = Vec::new();
    while let Some(wake) = watch.next(QUIET)? {
        told.push(wake.text.lines().next().unwrap_or_default().to_owned());
    }
    Ok(told.join(", "))
}

/// The kernel's `DIV_ROUND_UP(HZ, 100)`.
fn least_ticks_apart(tick: Duration) -> u32 {
    let ticks = Duration::from_millis(10).as_nanos().div_ceil(tick.as_nanos().max(1));
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// When `done` first holds. It asks without a pause, for the time that it looks
/// for is shorter than any; `None` if it takes far too long.
fn spin_until(mut done: impl FnMut() -> bool) -> Option<Duration> {
    let deadline = now() + Duration::from_millis(100);
    loop {
        let held = done();
        let at = now();
        if held {
            return Some(at);
        }
        if at >= deadline {
            return None;
        }
    }
}
