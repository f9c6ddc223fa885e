//! `cpu.stat` and `cpu.pressure` tell the truth about who burnt how much and
//! who had to wait.

use std::collections::BTreeMap;

use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use cgauge_workloads::{Burn, Millis, Work};
use nix::libc;

use super::{MILLISECOND, PATIENCE, burner, burnt, ratio, soon};

/// All of `cpu.stat`, read at once.
fn stat(group: &Group) -> Result<BTreeMap<String, u64>, Stop> {
    parse::flat_keyed(&group.get("cpu.stat")?).map_err(|it| Stop::Broken(it.to_string()))
}

/// Microseconds that `key` grew by.
fn grown(after: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>, key: &str) -> u64 {
    let of = |it: &BTreeMap<String, u64>| it.get(key).copied().unwrap_or(0);
    of(after).saturating_sub(of(before))
}

/// Sleeps until shortly before a load begins, when it waits already.
fn wait_for_beginning(load: &Burn) {
    pause(Duration::from_nanos(load.from_ns - 3 * MILLISECOND).saturating_sub(now()));
}

/// `cpu.stat` has three keys in every group, and those of the limit where the controller is.
#[rstest]
fn every_group_has_its_cpu_time(lab: Lab) -> Outcome {
    let with = lab.group("with")?;
    let without = with.make("without")?;
    lab.interface("whether a group without the controller has its files")
        .covers([R063])
        .file("cpu.max")
        .observed(if without.has("cpu.max")? { "yes" } else { "no" })
        .equals("no", "its parent did not enable the controller");
    let (all, basic) = (stat(&with)?, stat(&without)?);
    for key in ["usage_usec", "user_usec", "system_usec"] {
        for (who, keys) in [("with", &all), ("without", &basic)] {
            lab.interface(&format!("{key} of a group {who} the controller"))
                .covers([R063])
                .file("cpu.stat")
                .unit(Unit::Microseconds)
                .observed(keys.get(key).map_or("none".to_owned(), u64::to_string))
                .equals("0", "cgroup-v2.rst, cpu.stat: it \"exists whether the controller is enabled or not\" and always reports these; nobody ran here");
        }
    }
    let mut limited = vec!["nr_periods", "nr_throttled", "throttled_usec"];
    // Burst came with 5.14, its two counters later; no kernel in use lies between.
    if with.has("cpu.max.burst")? {
        limited.extend(["nr_bursts", "burst_usec"]);
    }
    for key in limited {
        lab.interface(&format!("{key} of a group with the controller"))
            .covers([R063])
            .file("cpu.stat")
            .observed(all.get(key).map_or("none".to_owned(), u64::to_string))
            .equals("0", "cgroup-v2.rst, cpu.stat: reported when the controller is enabled; nothing was limited here");
        lab.interface(&format!("whether a group without the controller has {key}"))
            .covers([R063])
            .file("cpu.stat")
            .observed(if basic.contains_key(key) { "yes" } else { "no" })
            .equals("no", "cgroup-v2.rst, cpu.stat: only when the controller is enabled");
    }
    Ok(())
}

/// `usage_usec` is the CPU time that the threads burnt, by their clock and by their work, and `user_usec` and `system_usec` make it up.
#[rstest]
#[case::one_thread_in_a_loop(1, Work::Loop)]
#[case::three_threads_in_a_loop(3, Work::Loop)]
#[case::one_thread_with_system_calls(1, Work::Calls)]
fn usage_is_what_the_threads_burnt(lab: Lab, #[case] threads: u32, #[case] work: Work) -> Outcome {
    let group = lab.group("group")?;
    let load = Burn { from_ns: soon(), work, ..burner(threads, 1, Millis(200)) };
    let mut running = group.load(&load)?;
    wait_for_beginning(&load);
    let before = stat(&group)?;
    let truth = running.truth(PATIENCE)?;
    let after = stat(&group)?;
    let [usage, user, system] =
        ["usage_usec", "user_usec", "system_usec"].map(|it| grown(&after, &before, it));

    let by_clock = burnt(&truth) / 1000;
    let by_work = truth.threads.iter().map(|it| it.turns).sum::<u64>() * truth.turn_ns / 1000;
    lab.accounting("CPU time by the threads' clocks")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .beyond_lies("both are the load's own, and show that the other checks can be held against it")
        .observed(by_clock)
        .between(by_work, by_work * 107 / 100, "what their turns make, each as long as the shortest; and a fifteenth for interrupts and switches, which no turn counts");
    lab.accounting("CPU time that the group counts")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage)
        .between(by_clock, by_clock + 3000 + 2000 * u64::from(threads),
            "the threads' own clocks; and 3 ms for the telling of the truth and 2 ms for the end of each");
    lab.accounting("user and system time of the group")
        .covers([R065])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(after["user_usec"] + after["system_usec"])
        .between(after["usage_usec"] - 1, after["usage_usec"], "cgroup-v2.rst, cpu.stat: the two make the whole; each is rounded down to a microsecond");
    let (what, part) = match work {
        Work::Loop => ("user", user),
        Work::Calls => ("system", system),
    };
    lab.accounting(&format!("the part of it that is {what} time"))
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Ratio)
        .observed(ratio(part, usage))
        .between(0.85, 1.0, "a loop is user time and a poll of many descriptors is system time, but for the load's end, a fiftieth; and six of the 50 ticks at which it is sampled");
    Ok(())
}

/// CPU time at a low priority is counted on its own, where the kernel does that.
#[rstest]
fn time_of_low_priority_is_counted(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    if !stat(&group)?.contains_key("nice_usec") {
        return Err(lab.skip("this kernel has no nice_usec in cpu.stat (since 6.12)"));
    }
    let load = Burn { from_ns: soon(), ..burner(1, 1, Millis(100)) };
    let mut running = group.load(&load)?;
    wait_for_beginning(&load);
    for thread in running.process().threads()? {
        // SAFETY: integers alone.
        let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.cast_unsigned(), 10) };
        nix::errno::Errno::result(set).map_err(Stop::broken("set a priority"))?;
    }
    let before = stat(&group)?;
    running.truth(PATIENCE)?;
    let after = stat(&group)?;
    let usage = grown(&after, &before, "usage_usec");
    lab.accounting("CPU time of low priority before there was any")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(before["nice_usec"])
        .equals(0, "until then all ran at nice 0");
    lab.accounting("CPU time of low priority")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(grown(&after, &before, "nice_usec"))
        .between(usage * 88 / 100, usage, "all of it was burnt in user mode at nice 10, but what the end takes; sampled at 25 ticks");
    Ok(())
}

/// A parent's CPU time is the sum of its children's, of those that are gone too, and moving a process moves none of it.
#[rstest]
fn parent_has_the_sum_of_its_children(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    top.enable("cpu")?;
    let middle = top.make("middle")?;
    middle.enable("cpu")?;
    let (one, other, uncle) = (middle.make("one")?, middle.make("other")?, top.make("uncle")?);
    // The first start of all reads the program in.
    lab.group("first")?.load(&burner(1, 1, Millis(1)))?.finish(PATIENCE)?;
    for (group, time) in [(&one, 20), (&other, 60), (&uncle, 40)] {
        group.load(&burner(1, 1, Millis(time)))?.finish(PATIENCE)?;
    }
    let usage = |group: &Group| group.key("cpu.stat", "usage_usec");
    let [of_one, of_other, of_uncle] = [usage(&one)?, usage(&other)?, usage(&uncle)?];
    for (who, group, sum, parts) in
        [("middle", &middle, of_one + of_other, 2), ("top", &top, of_one + of_other + of_uncle, 3)]
    {
        lab.accounting(&format!("CPU time of {who}"))
            .covers([R066])
            .file("cpu.stat")
            .unit(Unit::Microseconds)
            .observed(usage(group)?)
            .between(
                sum,
                sum + parts,
                "the sum of the groups below, each rounded down to a microsecond",
            );
    }
    lab.accounting("CPU time of the one that burnt 40 ms less than the other")
        .covers([R064, R066])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(of_other - of_one)
        .between(
            37_000,
            43_000,
            "the same load for 60 ms and for 20 ms; its start and end cost some milliseconds",
        );

    let before = usage(&middle)?;
    drop(one);
    lab.accounting("CPU time of middle after one of its children is gone")
        .covers([R066])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&middle)?)
        .between(before, before + 1, "what was burnt was burnt");

    let load = Burn { from_ns: soon(), ..burner(1, 1, Millis(20)) };
    let mut moved = other.load(&load)?;
    // The threads are there and asleep; a move waits for an RCU grace period.
    wait_until(PATIENCE, || moved.process().threads().is_ok_and(|it| it.len() == 2));
    pause(Duration::from_millis(5));
    let there = usage(&uncle)?;
    uncle.admit(moved.process().pid())?;
    lab.accounting("CPU time that comes with a process to its new group")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&uncle)? - there)
        .at_most(1000, "what was burnt elsewhere stays there; the process sleeps");
    let (left, there) = (usage(&other)?, usage(&uncle)?);
    let truth = moved.truth(PATIENCE)?;
    lab.accounting("CPU time that the group counts which a process left")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&other)? - left)
        .at_most(100, "the process burnt nothing there any more, but for its way out");
    lab.accounting("CPU time that the group counts which it came to")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&uncle)? - there)
        .between(
            burnt(&truth) / 1000,
            burnt(&truth) / 1000 + 6000,
            "what it burnt there, and its end",
        );
    Ok(())
}

/// Threads of one process in different threaded groups have each its own group's share, CPU time and limit.
#[rstest]
fn threads_of_a_process_have_their_own_groups(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    let (one, other) = (domain.make("one")?, domain.make("other")?);
    for group in [&one, &other] {
        group.set("cgroup.type", "threaded")?;
    }
    domain.enable("cpu")?;
    other.set("cpu.weight", 300)?;
    for (what, max) in [("by weight", "max 50000"), ("with a limit for one", "5000 50000")] {
        one.set("cpu.max", max)?;
        let load = Burn { from_ns: soon(), ..burner(2, 1, Millis(300)) };
        let mut running = domain.load(&load)?;
        let mut threads = Vec::new();
        wait_until(PATIENCE, || {
            threads = running.process().threads().unwrap_or_default();
            threads.len() == 3
        });
        let [_, first, second] = threads[..] else {
            return Err(Stop::Broken("a load of two threads has not three".into()));
        };
        one.set("cgroup.threads", first)?;
        other.set("cgroup.threads", second)?;
        wait_for_beginning(&load);
        let before = [stat(&one)?, stat(&other)?];
        let truth = running.truth(PATIENCE)?;
        let after = [stat(&one)?, stat(&other)?];
        let cpu = [0, 1].map(|nth| truth.threads[nth].cpu_ns);
        let (least, most) = if max == "max 50000" { (0.21, 0.29) } else { (0.08, 0.13) };
        lab.enforcement(&format!("the first thread's share {what}"))
            .covers([R067, R072, S16])
            .file("cpu.max")
            .unit(Unit::Ratio)
            .observed(ratio(cpu[0], cpu[0] + cpu[1]))
            .between(least, most, "100 of 400, then 5 ms in each of six or seven periods of 50: a tenth; three ticks in 300 ms are a twenty-fifth, and there is one more for the limit");
        for (nth, name) in [(0, "first"), (1, "second")] {
            lab.accounting(&format!("CPU time of the {name} thread's group {what}"))
                .covers([R064, S16])
                .file("cpu.stat")
                .unit(Unit::Microseconds)
                .observed(grown(&after[nth], &before[nth], "usage_usec"))
                .between(
                    cpu[nth] / 1000,
                    cpu[nth] / 1000 + 2000,
                    "the thread's own clock, and its end",
                );
        }
    }
    Ok(())
}

/// `cpu.pressure` says how long some and how long all threads of a group waited for a CPU, by contention and by a limit (the line of full: since 5.13).
#[rstest]
#[case::one_alone(1, "max 50000")]
#[case::two_on_one_cpu(2, "max 50000")]
#[case::one_with_a_limit(1, "20000 50000")]
fn pressure_is_what_the_threads_waited(
    lab: Lab,
    #[case] threads: u32,
    #[case] max: &str,
) -> Outcome {
    const TIME: u64 = 300;
    const FILE: &str = "cpu.pressure";
    lab.needs_file(FILE, "CONFIG_PSI")?;
    let group = lab.group("group")?;
    group.set("cpu.max", max)?;
    let load = Burn { from_ns: soon(), ..burner(threads, 1, Millis(TIME)) };
    let mut running = group.load(&load)?;
    wait_for_beginning(&load);
    let before = group.get(FILE)?;
    let truth = running.truth(PATIENCE)?;
    let after = group.get(FILE)?;
    let waited = |line: &str| Some(total(&after, line)? - total(&before, line)?);
    // One of the threads waits whenever the other runs, or both do under a limit.
    let stalled = truth.threads.iter().map(|it| it.stalled_ns).sum::<u64>() / 1000;
    lab.accounting("time that some thread waited")
        .covers([R081])
        .file(FILE)
        .unit(Unit::Microseconds)
        .observed(waited("some").unwrap_or(0))
        .between(
            (stalled * 95 / 100).saturating_sub(2000),
            stalled * 103 / 100 + 4000,
            "the sum of the stalls of 1 ms and more that the threads saw; shorter ones and the load's end are a few milliseconds, and while an interrupt holds both none of them waits",
        );
    // From 5.13 on, as is said above: an older kernel shows one line.
    if let Some(all) = waited("full") {
        let (least, most) = match max {
            "max 50000" => (0, 4000),
            _ => ((stalled * 95 / 100).saturating_sub(2000), stalled * 103 / 100 + 4000),
        };
        lab.accounting("time that all threads waited")
            .covers([R081])
            .file(FILE)
            .unit(Unit::Microseconds)
            .observed(all)
            .between(least, most, "without a limit one always runs; under it the one thread waits, and that is all of them");
    }
    let machine = std::fs::read_to_string("/proc/pressure/cpu")?;
    if let Some(full) = total(&machine, "full") {
        lab.accounting("time that all of the machine waited for a CPU")
            .covers([R081])
            .file(FILE)
            .unit(Unit::Microseconds)
            .beyond_lies("/proc/pressure is no file of a group")
            .observed(full)
            .equals(0, "Documentation/accounting/psi.rst: at the system level CPU full is undefined, and 0 since 5.13");
    }
    Ok(())
}

/// The `total=` of a line of a pressure file.
fn total(text: &str, line: &str) -> Option<u64> {
    let line = text.lines().find(|it| it.split(' ').next() == Some(line))?;
    line.split(' ').find_map(|it| it.strip_prefix("total="))?.parse().ok()
}
