//! cpuacct: CPU time in nanoseconds by group, by CPU, and by user and system.

use std::collections::BTreeMap;

use cgauge_lab::prelude::*;
use cgauge_workloads::{Burn, Millis, Work};

use super::{MILLISECOND, PATIENCE, burner, burnt, ratio_of, soon, wait_for};

const USAGE: &str = "cpuacct.usage";
const BY_CPU: &str = "cpuacct.usage_percpu";
const CPUACCT_STAT: &str = "cpuacct.stat";

/// The numbers of a file that has one for each CPU.
fn by_cpu(group: &Group, file: &str) -> Result<Vec<u64>, Stop> {
    let text = group.get(file)?;
    text.split_ascii_whitespace()
        .map(|it| it.parse().map_err(|_| Stop::Broken(format!("{file}: {text:?}"))))
        .collect()
}

/// `cpuacct.usage` is the CPU time that the threads burnt, each on its CPU, and the parent has that of all its children.
#[rstest]
fn usage_is_what_the_threads_burnt(lab: Lab) -> Outcome {
    let parent = lab.legacy("cpuacct")?.make("parent")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let load = Burn { from_ns: soon(), ..burner(2, 2, Millis(150)) };
    let mut running = one.load(&load)?;
    let mut beside = other.load(&Burn { time: Millis(50), ..burner(1, 1, Millis(50)) })?;
    wait_for(load.from_ns - 3 * MILLISECOND);
    let before = [one.number(USAGE)?, by_cpu(&one, BY_CPU)?.iter().sum()];
    let cpus_before = by_cpu(&one, BY_CPU)?;
    let truth = running.truth(PATIENCE)?;
    beside.truth(PATIENCE)?;
    // Nobody is left that would be charged between two readings.
    running.process().wait()?;
    beside.process().wait()?;
    let used = one.number(USAGE)?;
    let cpus = by_cpu(&one, BY_CPU)?;
    lab.accounting("CPU time of the group")
        .covers([R064])
        .file(USAGE)
        .unit(Unit::Nanoseconds)
        .observed(used - before[0])
        .between(
            burnt(&truth),
            burnt(&truth) + 16 * MILLISECOND,
            "cgroup-v1/cpuacct.rst: the time in nanoseconds \"obtained by this group\": the threads' own clocks, their ends, and two ticks for each of two CPUs that await each other",
        );
    lab.accounting("the sum of all CPUs' times")
        .covers([R064])
        .file(BY_CPU)
        .unit(Unit::Nanoseconds)
        .observed(cpus.iter().sum::<u64>())
        .equals(used, "each nanosecond is on one CPU, and nobody runs");
    for (cpu, thread) in truth.threads.iter().enumerate() {
        lab.accounting(&format!("time on CPU {cpu}, to which thread {} is bound", cpu + 1))
            .covers([R064])
            .file(BY_CPU)
            .unit(Unit::Nanoseconds)
            .observed(cpus[cpu] - cpus_before[cpu])
            .between(
                thread.cpu_ns,
                thread.cpu_ns + 16 * MILLISECOND,
                "the thread's own clock, its end and that of the first thread, and two ticks for each of two CPUs that await each other",
            );
    }
    lab.accounting("CPU time of the parent")
        .covers([R066])
        .file(USAGE)
        .unit(Unit::Nanoseconds)
        .observed(parent.number(USAGE)?)
        .equals(
            used + other.number(USAGE)?,
            "cpuacct_charge() charges every level alike, and the parent has no process of its own",
        );
    // The same times in other files.
    let text = one.get("cpuacct.usage_all")?;
    let mut rows = text.lines().map(|it| it.split(' ').collect::<Vec<_>>());
    lab.interface("the first line of the table by CPU")
        .covers([R064])
        .file("cpuacct.usage_all")
        .observed(rows.next().unwrap_or_default().join(" "))
        .equals("cpu user system", "kernel/sched/cpuacct.c, cpuacct_all_seq_show");
    lab.interface("CPUs in the table")
        .covers([R064])
        .file("cpuacct.usage_all")
        .unit(Unit::Count)
        .observed(rows.count())
        .equals(cpus.len(), "a line for each CPU, as in cpuacct.usage_percpu");
    for (part, file) in [("user", "cpuacct.usage_percpu_user"), ("sys", "cpuacct.usage_percpu_sys")]
    {
        lab.accounting(&format!("the sum of all CPUs' {part} times"))
            .covers([R064])
            .file(file)
            .unit(Unit::Nanoseconds)
            .observed(by_cpu(&one, file)?.iter().sum::<u64>())
            .equals(
                one.number(&format!("cpuacct.usage_{part}"))?,
                "each nanosecond is on one CPU, and nobody runs",
            );
    }
    Ok(())
}

/// Time in a loop is user time and time in system calls is system time, in nanoseconds and in hundredths of a second.
#[rstest]
#[case::a_loop(Work::Loop)]
#[case::system_calls(Work::Calls)]
fn user_and_system_time_are_told_apart(lab: Lab, #[case] work: Work) -> Outcome {
    let group = lab.legacy("cpuacct")?.make("group")?;
    let load = Burn { from_ns: soon(), work, ..burner(1, 1, Millis(300)) };
    let mut running = group.load(&load)?;
    wait_for(load.from_ns - 3 * MILLISECOND);
    let stat = |key: &str| group.key(CPUACCT_STAT, key);
    let before: BTreeMap<_, _> = [("user", stat("user")?), ("system", stat("system")?)].into();
    let truth = running.truth(PATIENCE)?;
    running.process().wait()?;
    let grown = |key: &str| Ok::<_, Stop>(stat(key)? - before[key]);
    let (user, system) = (grown("user")?, grown("system")?);
    let hundredths = burnt(&truth) / (10 * MILLISECOND);
    lab.accounting("user and system time in hundredths of a second")
        .covers([R065])
        .file(CPUACCT_STAT)
        .unit(Unit::Count)
        .observed(user + system)
        .between(hundredths - 2,hundredths + 4, "cgroup-v1/cpuacct.rst: both in USER_HZ, a hundred a second; each is rounded down, ticks of 4 ms are sampled, and the load's beginning and end are some milliseconds");
    let (main, least) = match work {
        Work::Loop => ("user", 0.88),
        Work::Calls => ("system", 0.25),
    };
    let part = if main == "user" { user } else { system };
    lab.accounting(&format!("the part of {main} time"))
        .covers([R065])
        .file(CPUACCT_STAT)
        .unit(Unit::Ratio)
        .observed(ratio_of(part, user + system))
        .between(least, 1.0, "a loop is user time but for its end; of a turn of system calls half and more lies in the kernel, of which some 75 ticks, which fall into step with it, see at least a quarter");
    let (user, system) = (group.number("cpuacct.usage_user")?, group.number("cpuacct.usage_sys")?);
    let part = if main == "user" { user } else { system };
    lab.accounting(&format!("the part of {main} time in nanoseconds"))
        .covers([R065])
        .file(if main == "user" { "cpuacct.usage_user" } else { "cpuacct.usage_sys" })
        .unit(Unit::Ratio)
        .observed(ratio_of(part, user + system))
        .between(least - 0.05, 1.0, "the same, with the load's beginning");
    let usage = group.number(USAGE)?;
    lab.accounting("user and system time in nanoseconds over the usage")
        .covers([R065])
        .file(USAGE)
        .unit(Unit::Ratio)
        .observed(ratio_of(user + system, usage))
        .between(0.96, 1.04, "the two make up the whole; since 5.19 they are sampled at ticks of 4 ms, of which the load took some 75");
    Ok(())
}

/// Writing 0 to `cpuacct.usage` begins it anew, and nothing else is accepted.
#[rstest]
fn usage_begins_anew(lab: Lab) -> Outcome {
    let parent = lab.legacy("cpuacct")?.make("parent")?;
    let group = parent.make("group")?;
    let mut running = group.load(&burner(1, 1, Millis(20)))?;
    running.truth(PATIENCE)?;
    running.process().wait()?;
    let used = group.number(USAGE)?;
    for refused in ["1", "-1", "many"] {
        lab.interface(&format!("the answer to {refused}"))
            .covers([R064])
            .file(USAGE)
            .answered(&group.try_set(USAGE, refused))
            .equals("EINVAL", "cpuusage_write(): \"Only allow '0' here to do a reset\"");
    }
    lab.accounting("usage after what was refused")
        .covers([R064])
        .file(USAGE)
        .unit(Unit::Nanoseconds)
        .observed(group.number(USAGE)?)
        .equals(used, "a refused write changes nothing");
    group.set(USAGE, 0)?;
    for (who, group, expected) in [("the group", &group, 0), ("its parent", &parent, used)] {
        lab.accounting(&format!("usage of {who} after 0 was written to the group's"))
            .covers([R064, R066])
            .file(USAGE)
            .unit(Unit::Nanoseconds)
            .observed(group.number(USAGE)?)
            .equals(expected, "cpuusage_write(): the group's counters begin anew, and no others");
    }
    Ok(())
}
