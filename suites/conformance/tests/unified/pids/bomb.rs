//! A fork bomb against `pids.max`, held to the count that the bomb itself keeps.

use cgauge_lab::kernel;
use cgauge_lab::load::Running;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, wait_until};
use cgauge_workloads::{Afterwards, ForkBomb, ForkRate, Mechanism, Millis, OnDeath, Order, truth};

/// Longer than any bomb here takes, and than the kernel may take to end one.
const PATIENCE: Duration = Duration::from_secs(20);
/// Threads that the kernel may start for a bomb: a few workers of its queues.
const WORKERS: u64 = 4;
/// Forks that a bomb tries beyond what its limit lets through.
const BEYOND: u64 = 32;

/// A fork bomb stops at the limit with EAGAIN, to the last task, while the rest of the machine forks on.
///
/// No chain of 256: a fork costs the more the longer the line of its ancestors
/// is whose pages it shares, which makes many seconds for the whole.
#[rstest]
#[case::wide_8(Order::BreadthFirst, 8)]
#[case::wide_64(Order::BreadthFirst, 64)]
#[case::wide_256(Order::BreadthFirst, 256)]
#[case::deep_8(Order::DepthFirst, 8)]
#[case::deep_64(Order::DepthFirst, 64)]
fn fork_bomb_stops_at_the_limit(
    lab: Lab,
    #[case] order: Order,
    #[case] limit: u64,
    #[values(Mechanism::Fork, Mechanism::Vfork, Mechanism::Clone3, Mechanism::Thread)]
    mechanism: Mechanism,
) -> Outcome {
    let bounded = lab.group("bounded")?;
    let before = tasks_of_the_machine()?;
    let mut bomb = set_off(&bounded, mechanism, order, limit)?;
    let mut current = vec![(Duration::ZERO, 1.0)];
    let began = now();
    let truth = loop {
        // A thousand samples at most however long it takes.
        let told = bomb.truth_within(Duration::from_millis(limit.div_ceil(64)))?;
        current.push((now() - began, bounded.number("pids.current")? as f64));
        match told {
            Some(truth) => break truth,
            None if now() - began > PATIENCE => {
                return Err(Stop::Broken("a bomb does not stand".to_owned()));
            }
            None => {}
        }
    };

    // The process that set the bomb off counts too.
    lab.enforcement("the most tasks that the bomb ever had, with the process that set it off")
        .covers([R132, S13])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(truth.most_alive + 1)
        .equals(limit, "cgroup-v2.rst, pids.max: \"hard limit of number of processes\"; the bomb tries more, and its own count says what it got");
    lab.enforcement("forks that the bomb was refused with EAGAIN")
        .covers([R132, S13])
        .file("pids.max")
        .unit(Unit::Events)
        .observed(truth.failures.get("EAGAIN").copied().unwrap_or(0))
        .equals(BEYOND, "the bomb tries so many more than fit");
    lab.enforcement("forks that the bomb was refused with any other errno")
        .covers([R132])
        .file("pids.max")
        .unit(Unit::Events)
        .beyond_lies("the errno is the bomb's own, of a fork; no cgroup file is asked")
        .observed(refused(&truth) - truth.failures.get("EAGAIN").copied().unwrap_or(0))
        .equals(0, "cgroup-v2.rst, PID: fork() and clone() \"return -EAGAIN\"");
    lab.accounting("refused forks that the group counts")
        .covers([R137, S13])
        .file("pids.events")
        .unit(Unit::Events)
        .observed(bounded.key("pids.events", "max")?)
        .equals(refused(&truth), "the bomb's own count; limit and bomb are in one group, so that every kernel counts there");
    lab.accounting("tasks in the group while the bomb stands")
        .covers([R134, R135])
        .file("pids.current")
        .unit(Unit::Processes)
        .observed(bounded.number("pids.current")?)
        .equals(truth.alive + 1, "the bomb's own count, and the process that set it off");

    let others = lab
        .group("others")?
        .load(&ForkRate { mechanism, forks: 20, deadline: Millis(1000) })?
        .truth(PATIENCE)?;
    lab.enforcement("forks that succeed beside the bomb")
        .covers([S13])
        .file("pids.max")
        .unit(Unit::Processes)
        .beyond_lies("nothing is written for the others, and the bomb does not start where its group lacks the limit")
        .observed(others.forks)
        .equals(20, "the limit is the bomb's, and all others fork on");
    let more = tasks_of_the_machine()?.saturating_sub(before);
    let allowed = tasks_that_the_machine_may_have()?;
    lab.enforcement("tasks that the machine has more while the bomb stands")
        .covers([S13])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(more)
        .between(limit, limit + WORKERS, &format!("the bomb's, and workers that the kernel starts for them; the machine's own limit, the smaller of kernel.pid_max and kernel.threads-max, {allowed} here, stays out of reach"));

    lab.series("pids.current", Unit::Processes, &current, Some(limit as f64));
    lab.series(
        "tasks that the bomb has",
        Unit::Processes,
        &points(&truth.alive_over_time),
        Some((limit - 1) as f64),
    );
    lab.series("refused forks", Unit::Events, &points(&truth.refused_over_time), None);
    lab.value("forks per second up to the limit", Unit::PerSecond, truth.forks_per_second, Higher);
    if let Some(first_refusal) = truth.first_refusal_ns {
        lab.value(
            "from the bomb's start to the first EAGAIN",
            Unit::Nanoseconds,
            first_refusal,
            Neither,
        );
    }
    bomb.finish(PATIENCE)?;
    Ok(())
}

/// `cgroup.kill` ends a fork bomb at once, and the group turns empty.
#[rstest]
fn one_write_ends_a_fork_bomb(
    lab: Lab,
    #[values(Mechanism::Fork, Mechanism::Vfork, Mechanism::Clone3, Mechanism::Thread)]
    mechanism: Mechanism,
    #[values(8, 64)] limit: u64,
) -> Outcome {
    lab.needs_file("cgroup.kill", "since 5.14")?;
    let bounded = lab.group("bounded")?;
    let mut latencies = Vec::new();
    for _ in 0..3 {
        let mut bomb = set_off(&bounded, mechanism, Order::BreadthFirst, limit)?;
        bomb.truth(PATIENCE)?;
        let mut watch = Watch::new(&bounded, "cgroup.events", cgauge_lab::watch::Mechanism::Poll)?;
        let began = now();
        bounded.set("cgroup.kill", 1)?;
        let emptied = watch.until("populated 0", PATIENCE)?.map(|(wake, _)| wake.at - began);
        lab.enforcement("whether the group is empty after a kill")
            .covers([S13])
            .file("cgroup.kill")
            .happened(emptied)
            .equals("yes", "cgroup-v2.rst, cgroup.kill: \"all processes located in the affected cgroup tree will be killed via SIGKILL\"");
        latencies.extend(emptied);
        lab.enforcement("how the process that set the bomb off ended")
            .covers([S13])
            .file("cgroup.kill")
            .observed(format!("{:?}", bomb.process().wait()?))
            .equals("Signal(SIGKILL)", "cgroup-v2.rst, cgroup.kill: \"all processes located in the affected cgroup tree will be killed via SIGKILL\"");
        // Members whose parents died with them are for PID 1 to reap.
        let reaped =
            wait_until(PATIENCE, || bounded.try_get("pids.current").is_ok_and(|it| it == "0\n"));
        lab.accounting("whether nothing is counted once all of the bomb are reaped")
            .covers([R135])
            .file("pids.current")
            .happened(reaped)
            .equals(
                "yes",
                "what was charged for a task is given back when it goes, whatever ended it",
            );
    }
    lab.latencies("from cgroup.kill to populated 0", &latencies);
    Ok(())
}

/// Starts a bomb that tries more than `limit` tasks, and then stands.
fn set_off(
    group: &Group,
    mechanism: Mechanism,
    order: Order,
    limit: u64,
) -> Result<Running<ForkBomb>, Stop> {
    group.set("pids.max", limit)?;
    group.load(&ForkBomb {
        group: group.dir().path().to_path_buf(),
        pids_max: limit,
        mechanism,
        order,
        on_death: OnDeath::Leave,
        // All that fit beside the process that sets it off, and more.
        forks: limit - 1 + BEYOND,
        deadline: Millis(20_000),
        then: Afterwards::Hold,
    })
}

fn refused(truth: &truth::ForkBomb) -> u64 {
    truth.failures.values().sum()
}

fn points(series: &cgauge_workloads::Series) -> Vec<(Duration, f64)> {
    series.points.iter().map(|(at, value)| (Duration::from_nanos(*at), *value as f64)).collect()
}

/// Tasks that there are now, by the fourth field of `/proc/loadavg`.
fn tasks_of_the_machine() -> Result<u64, Stop> {
    let text = kernel::text("/proc/loadavg")?;
    let total = text.split(' ').nth(3).and_then(|it| it.split_once('/')?.1.parse().ok());
    total.ok_or_else(|| Stop::Broken(format!("/proc/loadavg holds {text:?}")))
}

/// The smaller of the machine's two limits.
fn tasks_that_the_machine_may_have() -> Result<u64, Stop> {
    let number = |file: &str| -> Result<u64, Stop> {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{file}"))?;
        text.trim().parse().map_err(|_| Stop::Broken(format!("{file} holds {text:?}")))
    };
    Ok(number("pid_max")?.min(number("threads-max")?))
}
