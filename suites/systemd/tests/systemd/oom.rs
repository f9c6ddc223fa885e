//! A task's slice with its containers' scopes: who dies when one of them takes too
//! much, and who remembers it.

use cgauge_lab::memory::{MIB, Memory};
use cgauge_lab::parse::flat_keyed;
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use cgauge_systemd::{Systemd, Variant, systemd};

const LIMIT: u64 = 450 * MIB;
/// What the quiet one of the two holds.
const HELD: u64 = 50 * MIB;
const PATIENCE: Duration = Duration::from_secs(10);

/// A parent slice remembers that one of its scopes overran: after the scope is gone its own events still tell.
#[rstest]
fn parent_slice_remembers_an_oom(lab: Lab, systemd: Systemd) -> Outcome {
    let limited = [("MemoryMax", Variant::from(LIMIT)), ("MemorySwapMax", Variant::from(0_u64))];
    let task = systemd.slice(&lab, "task.slice", &limited)?;
    let home = lab.group("home")?;
    let within = || [("Slice", Variant::from(task.name()))];
    let (start, gate) = (Gate::new()?, Gate::new()?);

    let quiet = home.spawn(|| {
        start.pass();
        let memory = Memory::anonymous(HELD).ok();
        if let Some(it) = &memory {
            it.touch();
        }
        gate.open();
        // Until it is killed.
        nix::unistd::pause();
    })?;
    let go = Gate::new()?;
    let mut greedy = home.spawn(|| {
        go.pass();
        if let Ok(memory) = Memory::anonymous(2 * LIMIT) {
            memory.touch();
        }
    })?;
    let sibling = systemd.scope(&lab, "task-quiet.scope", &[quiet.pid()], &within())?;
    let overrun = systemd.scope(&lab, "task-greedy.scope", &[greedy.pid()], &within())?;
    let place = overrun.group().dir().path().to_path_buf();
    start.open();
    gate.pass();
    go.open();

    lab.enforcement("the end of the process that took twice what its task may have")
        .covers([S05])
        .file("memory.max")
        .observed(format!("{:?}", greedy.wait()?))
        .equals("Signal(SIGKILL)", "there is no swap and nothing else to reclaim: the OOM killer takes the largest of the task's processes");
    lab.enforcement("the process of the sibling scope after it")
        .covers([S05])
        .file("memory.max")
        .observed(if quiet.ended_within(Duration::from_millis(50))? { "dead" } else { "alive" })
        .equals("alive", "the killer takes one, and memory.oom.group is not set");
    lab.accounting("what the sibling scope still holds")
        .covers([S05])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(sibling.group().number("memory.current")?)
        .between(HELD, HELD + 2 * MIB, "it touched that much; its page tables, stack and the charges that the one CPU keeps are less than 2 MiB");

    let gone = wait_until(PATIENCE, || !place.exists());
    lab.hierarchy("whether systemd removed the group of the scope that overran")
        .covers([S05])
        .happened(gone)
        .equals("yes", "systemd.scope(5): a scope lives as long as one process is in it");
    let events = flat_keyed(&task.group().get("memory.events")?)
        .map_err(|it| Stop::Broken(it.to_string()))?;
    let count = |key: &str| events.get(key).copied().unwrap_or(0);
    for (key, least, most, reason) in [
        (
            "max",
            1,
            u64::MAX,
            "cgroup-v2.rst, memory.events, max: usage was about to go over the limit at least once",
        ),
        (
            "oom",
            1,
            u64::MAX,
            "cgroup-v2.rst, memory.events, oom: the limit was reached and allocation was about to fail at least once",
        ),
        (
            "oom_kill",
            1,
            1,
            "cgroup-v2.rst, memory.events: \"all fields in this file are hierarchical\", and one process was killed",
        ),
    ] {
        lab.accounting(&format!("{key} that the task's slice remembers"))
            .covers([S05])
            .file(&format!("memory.events:{key}"))
            .unit(Unit::Events)
            .observed(count(key))
            .between(least, most, reason);
    }
    Ok(())
}
