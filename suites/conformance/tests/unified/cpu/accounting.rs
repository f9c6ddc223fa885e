//! `cpu.stat` and `cpu.pressure` tell the truth about who burnt how much and
//! who had to wait.

use std::collections::BTreeMap;

use cgauge_lab::load::Running;
use cgauge_lab::machine;
use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause, wait_until};
use cgauge_workloads::{Burn, Millis, Work, truth};
use nix::libc;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{MILLISECOND, PATIENCE, burner, burnt, in_step, ratio, soon, tick};

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
    pause(Duration::from_nanos(load.from_ns - 2 * MILLISECOND).saturating_sub(now()));
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
            .beyond_lies("no lie adds a key to a file; a kernel that shows it here fails")
            .observed(if basic.contains_key(key) { "yes" } else { "no" })
            .equals("no", "cgroup-v2.rst, cpu.stat: only when the controller is enabled");
    }
    Ok(())
}

/// CPU time of all children of the case that have ended and were waited for.
fn of_ended_children() -> Result<u64, Stop> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(Stop::broken("ask for CPU time"))?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds.cast_unsigned())
}

/// Lets `load` burn to its end, and gives its truth with what it burnt from its birth
/// to its end, by the account that its parent is given.
fn to_its_end(running: Running<Burn>) -> Result<(truth::Burn, u64), Stop> {
    let before = of_ended_children()?;
    let truth = running.finish(PATIENCE)?;
    Ok((truth, of_ended_children()? - before))
}

/// The last switch of each of the threads of a process with so many beside its first,
/// which its parent's account lacks, in microseconds.
fn way_out(threads: u32) -> u64 {
    150 * u64::from(threads + 1)
}

const BY_THE_PARENT: &str = "getrusage(2) by its parent: the process from its birth to its end, of which it lacks each thread's last switch alone";

/// `usage_usec` is the CPU time that the threads burnt, by their clocks and by their parent's account, and `user_usec` and `system_usec` make it up.
#[rstest]
#[case::one_thread_in_a_loop(1, Work::Loop)]
#[case::three_threads_in_a_loop(3, Work::Loop)]
#[case::one_thread_with_system_calls(1, Work::Calls)]
fn usage_is_what_the_threads_burnt(lab: Lab, #[case] threads: u32, #[case] work: Work) -> Outcome {
    const TIME: u64 = 400;
    let group = lab.group("group")?;
    let load = Burn { from_ns: soon(), work, ..burner(threads, 1, Millis(TIME)) };
    let running = group.load(&load)?;
    wait_for_beginning(&load);
    let before = stat(&group)?["usage_usec"];
    let (truth, whole) = to_its_end(running)?;
    let after = stat(&group)?;
    let [usage, user, system] = ["usage_usec", "user_usec", "system_usec"].map(|it| after[it]);

    let by_clock = burnt(&truth);
    lab.accounting("CPU time by the threads' clocks")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Nanoseconds)
        .beyond_lies("both are the load's own, and show that the other checks can be held against it")
        .observed(by_clock)
        .between(
            TIME * MILLISECOND - tick()?,
            truth.elapsed_ns,
            "by the clock on the wall: threads that never rest have their CPU all the time, and nothing of the kernel's own runs there for as long as a tick",
        );
    lab.accounting("CPU time that the group counts while the threads burn")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage.saturating_sub(before))
        .between(
            by_clock / 1000,
            by_clock / 1000 + whole.saturating_sub(truth.process_cpu_ns / 1000) + 5000,
            "the threads' own clocks; and what the process burns once it has looked at its own clock, with 5 ms for the ends of threads before that",
        );
    lab.accounting("CPU time that the group counts from the birth of a process to its end")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage)
        .between(whole, whole + way_out(threads), BY_THE_PARENT);
    lab.accounting("user and system time of the group")
        .covers([R065])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(user + system)
        .between(usage - 1, usage, "cgroup-v2.rst, cpu.stat: the two make the whole; each is rounded down to a microsecond");
    let (what, part) = match work {
        Work::Loop => ("user", user),
        Work::Calls => ("system", system),
    };
    // The kernel divides what it measured as the ticks that it sampled.
    let tick = tick()? / 1000;
    let inside = by_clock / 1000 / tick;
    let outside = usage.saturating_sub(by_clock / 1000) / tick + 3 + u64::from(threads);
    lab.accounting(&format!("the part of it that is {what} time"))
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(part)
        .between(
            usage * (inside - inside / 50) / (inside + outside),
            usage,
            "a loop is user time, and a poll of 200 descriptors system time but for a fiftieth; sampled at ticks, of which all that fell on anything else may be of the other kind: one for each 4 ms of it, and one for each of its pieces, the start, the threads' starts, the telling and the end",
        );
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
    let ticks = burnt(&running.truth(PATIENCE)?) / tick()?;
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
        .between(
            ticks * tick()? / 1000,
            usage + tick()? / 1000,
            "all of it was burnt in user mode at nice 10, and is counted by whole ticks: those that fell within the thread's own time, and one more than all of the group's time at most",
        );
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
    let mut whole = Vec::new();
    for (group, time) in [(&one, 20), (&other, 60), (&uncle, 40)] {
        whole.push(to_its_end(group.load(&burner(1, 1, Millis(time)))?)?.1);
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
    for (who, counted, whole) in
        [("one", of_one, whole[0]), ("other", of_other, whole[1]), ("uncle", of_uncle, whole[2])]
    {
        lab.accounting(&format!("CPU time of {who}, in which one process lived"))
            .covers([R064, R066])
            .file("cpu.stat")
            .unit(Unit::Microseconds)
            .observed(counted)
            .between(whole, whole + way_out(1), BY_THE_PARENT);
    }

    let before = usage(&middle)?;
    drop(one);
    lab.accounting("CPU time of middle after one of its children is gone")
        .covers([R066])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&middle)?)
        .between(before, before + 1, "what was burnt was burnt");

    let at_home = usage(&other)?;
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
    let (_, whole) = to_its_end(moved)?;
    lab.accounting("CPU time that the group counts which a process left")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&other)? - left)
        .at_most(100, "the process burnt nothing there any more, but for its way out");
    let elsewhere = whole - (left - at_home);
    lab.accounting("CPU time that the group counts which it came to")
        .covers([R064])
        .file("cpu.stat")
        .unit(Unit::Microseconds)
        .observed(usage(&uncle)? - there)
        .between(elsewhere - 100, elsewhere + way_out(1), "getrusage(2) by its parent: all that the process burnt, less what the first group counts; and its way from the one to the other");
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
        let born = domain.key("cpu.stat", "usage_usec")?;
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
        let groups = [&one, &other, &domain];
        let usage = |group: &Group| group.key("cpu.stat", "usage_usec");
        let before = groups.map(usage);
        let (truth, whole) = to_its_end(running)?;
        let mut grown = [0; 3];
        for (grown, (group, before)) in grown.iter_mut().zip(groups.into_iter().zip(before)) {
            *grown = usage(group)?.saturating_sub(before?);
        }
        let cpu = [0, 1].map(|nth| truth.threads[nth].cpu_ns);
        if max == "max 50000" {
            let turn = ratio(3 * tick()?, 300 * MILLISECOND);
            lab.enforcement("the first thread's share by weight")
                .covers([R067, S16])
                .file("cpu.weight")
                .unit(Unit::Ratio)
                .observed(ratio(cpu[0], cpu[0] + cpu[1]))
                .between(
                    0.25 - turn,
                    0.25 + turn,
                    "100 of 400, and a turn of three ticks more or less",
                );
        } else {
            lab.enforcement("CPU time of the first thread with a limit for it")
                .covers([R072, S16])
                .file("cpu.max")
                .unit(Unit::Nanoseconds)
                .observed(cpu[0])
                .between(29 * MILLISECOND, 35 * MILLISECOND + tick()?, "5 ms in each of the six periods of 50 ms that 300 ms hold, and of the parts of one more; a millisecond may stay with the CPU (min_cfs_rq_runtime), and the last may end a tick late");
        }
        let rest = grown[2].saturating_sub((cpu[0] + cpu[1]) / 1000);
        for (nth, name) in [(0, "first"), (1, "second")] {
            lab.accounting(&format!("CPU time of the {name} thread's group {what}"))
                .covers([R064, S16])
                .file("cpu.stat")
                .unit(Unit::Microseconds)
                .observed(grown[nth])
                .between(
                    cpu[nth] / 1000,
                    cpu[nth] / 1000 + rest,
                    "the thread's own clock, and its end, which is no more than all that the domain counts beside both threads' clocks",
                );
        }
        lab.accounting(&format!("CPU time of the domain of all the process's threads {what}"))
            .covers([R064, R066, S16])
            .file("cpu.stat")
            .unit(Unit::Microseconds)
            .observed(usage(&domain)?.saturating_sub(born))
            .between(whole, whole + way_out(2), BY_THE_PARENT);
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
    // With a period, so that no thread is throttled when it is to be woken.
    let from_ns = if max == "max 50000" { soon() } else { in_step(&group, 50_000, 1)? };
    let load = Burn { from_ns, ..burner(threads, 1, Millis(TIME)) };
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
    Ok(())
}

/// Known bug 27: since 5.13 `cpu.pressure` has a line of full, which counts in a group and is 0 for the whole machine, where it means nothing.
#[rstest]
fn bug_27_full_counts_in_groups_and_not_for_the_machine(lab: Lab) -> Outcome {
    lab.needs_file("cpu.pressure", "CONFIG_PSI")?;
    let group = lab.group("group")?;
    let has_full = group.get("cpu.pressure")?.contains("full");
    lab.interface("whether the file has a line of full")
        .covers([R081])
        .file("cpu.pressure")
        .observed(if has_full { "yes" } else { "no" })
        .equals(
            if machine::release()? < (5, 13) { "no" } else { "yes" },
            "e7fcd7622823 (5.13) added it",
        );
    // The group stalls as a whole for three fifths of the time.
    group.set("cpu.max", "20000 50000")?;
    group.load(&Burn { from_ns: soon(), ..burner(1, 1, Millis(200)) })?.truth(PATIENCE)?;
    let machine = cgauge_lab::kernel::text("/proc/pressure/cpu")?;
    let [of_group, of_machine] = [group.get("cpu.pressure")?, machine].map(|it| total(&it, "full"));
    if let (Some(of_group), Some(of_machine)) = (of_group, of_machine) {
        lab.accounting("time that all of the group waited for a CPU")
            .covers([R081])
            .file("cpu.pressure")
            .unit(Unit::Microseconds)
            .observed(of_group)
            .at_least(3 * 26_000, "of its one thread three stalls of 30 ms lie in 200 ms at the least, each up to a tick shorter than that");
        lab.accounting("time that all of the machine waited for a CPU")
            .covers([R081])
            .file("/proc/pressure/cpu")
            .unit(Unit::Microseconds)
            .observed(of_machine)
            .equals(0, "Documentation/accounting/psi.rst: at the system level CPU full is undefined, and 0 since 5.13");
    }
    Ok(())
}

/// The `total=` of a line of a pressure file.
fn total(text: &str, line: &str) -> Option<u64> {
    let line = text.lines().find(|it| it.split(' ').next() == Some(line))?;
    line.split(' ').find_map(|it| it.strip_prefix("total="))?.parse().ok()
}
