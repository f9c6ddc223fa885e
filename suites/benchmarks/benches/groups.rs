//! What a group costs to make, fill, move between and remove.

use cgauge_benchmarks::{Bencher, Benchmark, Timer};
use cgauge_lab::{Group, Lab, Outcome, Stop};

fn main() {
    let mut all = Vec::new();
    for depth in [1, 5, 10] {
        all.push(Benchmark::new(format!("make_and_remove::depth_{depth}"), move |lab, timer| {
            make_and_remove(lab, timer, depth)
        }));
        all.push(Benchmark::new(format!("migrate_a_process::depth_{depth}"), move |lab, timer| {
            migrate_a_process(lab, timer, depth)
        }));
    }
    cgauge_benchmarks::main(&all);
}

/// Making and removing one empty group, every controller enabled.
fn make_and_remove(lab: &Lab, timer: &mut Timer<'_>, depth: u32) -> Outcome {
    let chain = Chain::new(lab, depth)?;
    timer.time(|bencher: &mut Bencher<'_>| {
        bencher.iter(|| {
            let dir = chain.deepest().dir();
            dir.make("one").and_then(|_| dir.remove("one"))
        });
    });
    Ok(())
}

/// Moving a process of one thread from one group to its sibling.
fn migrate_a_process(lab: &Lab, timer: &mut Timer<'_>, depth: u32) -> Outcome {
    let chain = Chain::new(lab, depth)?;
    let (one, other) = (chain.deepest().make("one")?, chain.deepest().make("other")?);
    let process = one.sleeper()?;
    let mut there = false;
    timer.time(|bencher: &mut Bencher<'_>| {
        bencher.iter(|| {
            there = !there;
            let to = if there { &other } else { &one };
            to.try_set("cgroup.procs", process.pid())
        });
    });
    Ok(())
}

/// Groups below each other, each giving every controller to the next.
struct Chain(Vec<Group>);

impl Chain {
    fn new(lab: &Lab, depth: u32) -> Result<Self, Stop> {
        let mut groups = vec![lab.group("level-1")?];
        for level in 2..=depth {
            let below = groups[groups.len() - 1].make(&format!("level-{level}"))?;
            groups.push(below);
        }
        Ok(Self(groups))
    }

    fn deepest(&self) -> &Group {
        &self.0[self.0.len() - 1]
    }
}
