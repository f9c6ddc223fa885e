//! What a group costs to make, to move into, to give a controller, to read, to
//! remove: by depth, by its controllers, by the number of its children.

use cgauge_benchmarks::groups::{Controllers, Crowd, Nest};
use cgauge_benchmarks::{Benchmark, Timer, with_controllers};
use cgauge_lab::{Lab, Outcome};

fn main() {
    let mut all = Vec::new();
    for controllers in Controllers::ALL {
        for depth in [1, 5, 10] {
            let name = |of: &str| format!("{of}::{}::depth_{depth:02}", controllers.word());
            for (of, body) in [
                ("make_and_remove", make_and_remove as Body),
                ("migrate_a_process", migrate_a_process),
                ("migrate_a_thread", migrate_a_thread),
            ] {
                all.push(Benchmark::new(name(of), move |lab, timer| {
                    with_controllers(lab, controllers, || {
                        body(timer, &Nest::new(lab, controllers, depth)?)
                    })
                }));
            }
        }
    }
    for count in [1, 100, 1000] {
        for controller in ["cpu", "memory", "pids"] {
            let name = format!("enable_a_controller::{controller}::children_{count:05}");
            all.push(Benchmark::new(name, move |lab, timer| {
                enable_a_controller(lab, timer, controller, count)
            }));
        }
        for (file, word) in
            [("memory.stat", "memory_stat"), ("cpu.stat", "cpu_stat"), ("io.stat", "io_stat")]
        {
            let name = format!("read_the_parents_stat::{word}::children_{count:05}");
            all.push(Benchmark::new(name, move |lab, timer| {
                read_the_parents_stat(lab, timer, file, count)
            }));
        }
    }
    cgauge_benchmarks::main(&all);
}

/// What is done in a nest.
type Body = fn(&mut Timer<'_>, &Nest) -> Outcome;

/// Making and removing one empty group.
fn make_and_remove(timer: &mut Timer<'_>, nest: &Nest) -> Outcome {
    let dir = nest.give()?.dir();
    timer.each(|| dir.make("one").and_then(|_| dir.remove("one")))
}

/// Moving a process of one thread from one group to its sibling.
fn migrate_a_process(timer: &mut Timer<'_>, nest: &Nest) -> Outcome {
    let parent = nest.give()?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let process = one.sleeper()?;
    let mut there = false;
    timer.each(|| {
        there = !there;
        let to = if there { &other } else { &one };
        to.try_set("cgroup.procs", process.pid())
    })
}

/// Moving a thread from one threaded group to its sibling.
fn migrate_a_thread(timer: &mut Timer<'_>, nest: &Nest) -> Outcome {
    let domain = nest.innermost();
    let (one, other) = (domain.make("one")?, domain.make("other")?);
    one.set("cgroup.type", "threaded")?;
    other.set("cgroup.type", "threaded")?;
    nest.give_what_threads_take()?;
    let process = domain.sleeper()?;
    let mut there = false;
    timer.each(|| {
        there = !there;
        let to = if there { &other } else { &one };
        to.try_set("cgroup.threads", process.pid())
    })
}

/// Giving a controller to so many children and taking it away again.
fn enable_a_controller(lab: &Lab, timer: &mut Timer<'_>, controller: &str, count: u32) -> Outcome {
    let crowd = Crowd::new(lab, count)?;
    let parent = crowd.parent();
    let (on, off) = (format!("+{controller}"), format!("-{controller}"));
    timer.each(|| {
        parent
            .try_set("cgroup.subtree_control", &off)
            .and_then(|()| parent.try_set("cgroup.subtree_control", &on))
    })
}

/// Reading a file of a group with so many children.
fn read_the_parents_stat(lab: &Lab, timer: &mut Timer<'_>, file: &str, count: u32) -> Outcome {
    let crowd = Crowd::new(lab, count)?;
    timer.each(|| crowd.parent().try_get(file))
}
