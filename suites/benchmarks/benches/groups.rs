//! What a group costs to make, to move into, to give a controller, to remove.

use cgauge_benchmarks::groups::{Chain, Crowd};
use cgauge_benchmarks::{Benchmark, Timer};
use cgauge_lab::{Lab, Outcome, Stop};
use cgauge_record::{Preference, Unit};

fn main() {
    let mut all = Vec::new();
    for depth in [1, 5, 10] {
        let name = |of: &str| format!("{of}::depth_{depth:02}");
        all.push(Benchmark::new(name("make_and_remove"), move |lab, timer| {
            make_and_remove(lab, timer, depth)
        }));
        all.push(Benchmark::new(name("migrate_a_process"), move |lab, timer| {
            migrate_a_process(lab, timer, depth)
        }));
    }
    all.push(Benchmark::new("migrate_a_thread", migrate_a_thread));
    for count in [1, 100, 1000] {
        let name = |of: &str| format!("{of}::groups_{count:05}");
        all.push(Benchmark::new(name("make_and_remove_among"), move |lab, timer| {
            make_and_remove_among(lab, timer, count)
        }));
        all.push(Benchmark::new(name("enable_a_controller"), move |lab, timer| {
            enable_a_controller(lab, timer, count)
        }));
        all.push(Benchmark::new(name("read_the_parents_stat"), move |lab, timer| {
            read_the_parents_stat(lab, timer, count)
        }));
    }
    cgauge_benchmarks::main(&all);
}

/// Making and removing one empty group that has every controller, at a depth.
fn make_and_remove(lab: &Lab, timer: &mut Timer<'_>, depth: u32) -> Outcome {
    let chain = Chain::new(lab, depth)?;
    let dir = chain.deepest().dir();
    timer.each(|| dir.make("one").and_then(|_| dir.remove("one")));
    Ok(())
}

/// Making and removing one empty group beside others.
fn make_and_remove_among(lab: &Lab, timer: &mut Timer<'_>, count: u32) -> Outcome {
    let before = unreclaimable_memory()?;
    let crowd = Crowd::new(lab, count)?;
    let grown = unreclaimable_memory()?.saturating_sub(before);
    lab.value(
        "kernel memory of a group",
        Unit::Bytes,
        grown / u64::from(crowd.count()),
        Preference::Lower,
    );
    let dir = crowd.parent().dir();
    timer.each(|| dir.make("one").and_then(|_| dir.remove("one")));
    Ok(())
}

/// Moving a process of one thread from one group to its sibling, at a depth.
fn migrate_a_process(lab: &Lab, timer: &mut Timer<'_>, depth: u32) -> Outcome {
    let chain = Chain::new(lab, depth)?;
    let (one, other) = (chain.deepest().make("one")?, chain.deepest().make("other")?);
    let process = one.sleeper()?;
    let mut there = false;
    timer.each(|| {
        there = !there;
        let to = if there { &other } else { &one };
        to.try_set("cgroup.procs", process.pid())
    });
    Ok(())
}

/// Moving a thread from one threaded group to its sibling.
fn migrate_a_thread(lab: &Lab, timer: &mut Timer<'_>) -> Outcome {
    let domain = lab.group("domain")?;
    let (one, other) = (domain.make("one")?, domain.make("other")?);
    one.set("cgroup.type", "threaded")?;
    other.set("cgroup.type", "threaded")?;
    let process = domain.sleeper()?;
    let mut there = false;
    timer.each(|| {
        there = !there;
        let to = if there { &other } else { &one };
        to.try_set("cgroup.threads", process.pid())
    });
    Ok(())
}

/// Giving a controller to so many children and taking it away again.
fn enable_a_controller(lab: &Lab, timer: &mut Timer<'_>, count: u32) -> Outcome {
    let crowd = Crowd::new(lab, count)?;
    let parent = crowd.parent();
    timer.each(|| {
        parent
            .try_set("cgroup.subtree_control", "-pids")
            .and_then(|()| parent.try_set("cgroup.subtree_control", "+pids"))
    });
    Ok(())
}

/// Reading `memory.stat` of a group with so many children.
fn read_the_parents_stat(lab: &Lab, timer: &mut Timer<'_>, count: u32) -> Outcome {
    let crowd = Crowd::new(lab, count)?;
    timer.each(|| crowd.parent().try_get("memory.stat"));
    Ok(())
}

/// What the kernel holds for itself and does not give back.
fn unreclaimable_memory() -> Result<u64, Stop> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = |key: &str| -> u64 {
        let line = text.lines().find_map(|it| it.strip_prefix(key));
        line.and_then(|it| it.split_ascii_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    Ok((kib("Slab") + kib("Percpu") + kib("KernelStack")) * 1024)
}
