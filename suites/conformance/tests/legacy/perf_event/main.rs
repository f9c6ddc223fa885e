//! The perf_event controller on legacy hierarchies: it has no files, and lets
//! `perf_event_open(2)` take a group's directory in place of a process.
//!
//! The events are the kernel's own, for an emulated processor counts none.

use std::os::fd::AsFd;

use cgauge_lab::cpus::bind;
use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::perf::{Counter, Event, open};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds, pause};
use cgauge_lab::turns::Turns;

/// Pages that a process touches between two looks at the counters.
const PAGES: u64 = 100;
/// More steps than any case asks for.
const STEPS: u64 = 8;

const FAULT: &str = "one fault for each new page that the process touches, in the group that it is in; perf_event_open(2), PERF_FLAG_PID_CGROUP: an event \"is measured only if the thread running on the monitored CPU belongs to the designated container (cgroup)\", or to one below it";

/// A process that touches [`PAGES`] new pages each time it is told to.
struct Toucher {
    turns: Turns,
    process: Process,
}

impl Toucher {
    fn start(group: &Group) -> Result<Self, Stop> {
        let turns = Turns::new()?;
        let process = group.spawn(|| {
            let Ok(memory) = Memory::anonymous(STEPS * PAGES * PAGE) else { return };
            for step in 0..STEPS {
                turns.step(|| memory.write(step * PAGES..(step + 1) * PAGES, 1));
            }
        })?;
        let toucher = Self { turns, process };
        // The first round brings in its code and its stack, too.
        toucher.touch()?;
        Ok(toucher)
    }

    fn touch(&self) -> Outcome {
        self.turns.next().map(drop)
    }
}

/// A group's counter counts its own processes and all below it, and nobody else's.
#[rstest]
fn counter_is_of_the_group_and_all_below(lab: Lab) -> Outcome {
    let root = lab.legacy("perf_event")?;
    let top = root.make("top")?;
    let (leaf, neighbour) = (top.make("leaf")?, root.make("neighbour")?);
    let groups = [("the top", &top), ("the leaf", &leaf), ("the neighbour", &neighbour)];
    for (place, expected) in [(0, [PAGES, 0, 0]), (1, [PAGES, PAGES, 0]), (2, [0, 0, PAGES])] {
        let counters = groups.map(|(_, group)| Counter::new(&lab, group, Event::PageFaults));
        let toucher = Toucher::start(groups[place].1)?;
        for ((role, _), (counter, expected)) in
            groups.iter().zip(counters.into_iter().zip(expected))
        {
            let counter = counter?;
            let before = counter.get()?;
            toucher.touch()?;
            lab.accounting(&format!(
                "page faults counted for {role} of a process in {}",
                groups[place].0
            ))
            .covers([R153])
            .file("cgroup.procs")
            .unit(Unit::Pages)
            .observed(counter.get()? - before)
            .equals(expected, FAULT);
        }
        toucher.process.end()?;
    }
    Ok(())
}

/// A process is counted from the moment that it moves in to the moment that it moves out, and a thread by itself.
#[rstest]
#[case::of_a_process("cgroup.procs")]
#[case::of_a_thread("tasks")]
fn counter_follows_a_move(lab: Lab, #[case] file: &str) -> Outcome {
    let root = lab.legacy("perf_event")?;
    let (outside, inside) = (root.make("outside")?, root.make("inside")?);
    let counter = Counter::new(&lab, &inside, Event::PageFaults)?;
    let toucher = Toucher::start(&outside)?;
    for (place, group, expected) in [
        ("outside", &outside, 0),
        ("inside", &inside, PAGES),
        ("outside again", &outside, 0),
        ("inside again", &inside, PAGES),
    ] {
        group.set(file, toucher.process.pid())?;
        let before = counter.get()?;
        toucher.touch()?;
        lab.accounting(&format!("page faults counted of one {place}"))
            .covers([R153])
            .file(file)
            .unit(Unit::Pages)
            .observed(counter.get()? - before)
            .equals(expected, FAULT);
    }
    toucher.process.end()
}

/// A thread in another group than the rest of its process is counted there, and they are not.
#[rstest]
fn threads_of_a_process_are_counted_apart(lab: Lab) -> Outcome {
    let root = lab.legacy("perf_event")?;
    let (one, other) = (root.make("one")?, root.make("other")?);
    let counters = [&one, &other].map(|it| Counter::new(&lab, it, Event::PageFaults));
    let [of_one, of_other] = counters;
    let counters = [of_one?, of_other?];
    let (first, second) = (Turns::new()?, Turns::new()?);
    let process = one.spawn(|| {
        let work = |turns: &Turns, pages: u64| {
            let Ok(memory) = Memory::anonymous(STEPS * pages * PAGE) else { return };
            for step in 0..STEPS {
                turns.step(|| memory.write(step * pages..(step + 1) * pages, 1));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| work(&second, 2 * PAGES));
            work(&first, PAGES);
        });
    })?;
    for turns in [&first, &second] {
        turns.next()?;
    }
    let threads = process.threads()?;
    for (when, expected) in
        [("before", [[PAGES, 0], [2 * PAGES, 0]]), ("after", [[PAGES, 0], [0, 2 * PAGES]])]
    {
        if when == "after" {
            other.set("tasks", threads[1])?;
        }
        for ((who, turns), expected) in
            [("the first thread", &first), ("the second", &second)].into_iter().zip(expected)
        {
            let before = [counters[0].get()?, counters[1].get()?];
            turns.next()?;
            for (nth, name) in ["one", "the other"].into_iter().enumerate() {
                lab.accounting(&format!(
                    "page faults of {who} counted for {name} {when} the second was moved there"
                ))
                .covers([R153, S16])
                .file("tasks")
                .unit(Unit::Pages)
                .observed(counters[nth].get()? - before[nth])
                .equals(expected[nth], FAULT);
            }
        }
    }
    process.end()
}

/// The clocks count the CPU time of the group's processes, here and below.
#[rstest]
fn clocks_count_the_cpu_time_of_the_group(
    lab: Lab,
    #[values(Event::CpuClock, Event::TaskClock)] clock: Event,
) -> Outcome {
    const WORK: Duration = Duration::from_millis(30);
    let root = lab.legacy("perf_event")?;
    let (top, neighbour) = (root.make("top")?, root.make("neighbour")?);
    let leaf = top.make("leaf")?;
    let counted = Counter::new(&lab, &top, clock)?;
    let spared = Counter::new(&lab, &neighbour, clock)?;
    let turns = Turns::new()?;
    let worker = leaf.spawn(|| {
        // On one CPU: two busy ones await each other on the virtual clock.
        let _ = bind(&[1]);
        turns.step(|| 0);
        turns.step(|| {
            let before = cpu_time();
            while cpu_time() < before + WORK {
                // No pause instruction: an emulator leaves its loop for each.
                (0..200).for_each(|it| {
                    std::hint::black_box(it);
                });
            }
            nanoseconds(cpu_time() - before)
        });
        turns.step(|| 0);
    })?;
    turns.next()?;
    pause(Duration::from_millis(2));
    let before = [counted.get()?, spared.get()?];
    let burnt = turns.next()?;
    let after = [counted.get()?, spared.get()?];
    lab.accounting("time counted for a process that burnt 30 ms below the group")
        .covers([R153])
        .unit(Unit::Nanoseconds)
        .observed(after[0] - before[0])
        .between(burnt, burnt + burnt / 50, "the process's own CPU time between two of its looks at it, and a fiftieth for interrupts that the counter takes in and for the way from one turn to the next");
    lab.accounting("time counted for a neighbour that did nothing")
        .covers([R153])
        .unit(Unit::Nanoseconds)
        .observed(after[1] - before[1])
        .equals(0, "no process of the neighbour ran");
    worker.end()
}

/// A counter takes a group of the controller's own hierarchy, on one CPU, and nothing else; it keeps what it counted when the group goes.
#[rstest]
fn groups_of_the_hierarchy_are_counted_and_nothing_else(lab: Lab) -> Outcome {
    let root = lab.legacy("perf_event")?;
    let group = root.make("group")?;
    let elsewhere = lab.legacy("freezer")?.make("elsewhere")?;
    let null = std::fs::File::open("/dev/null")?;
    let folder = std::fs::File::open("/proc")?;
    for (what, place, cpu, answer) in [
        ("a group on one CPU", Some(group.dir().as_fd()), 0, "ok"),
        ("a group on every CPU at once", Some(group.dir().as_fd()), -1, "EINVAL"),
        ("a group of another hierarchy", Some(elsewhere.dir().as_fd()), 0, "ENOENT"),
        ("no group", None, 0, "EINVAL"),
        ("a file", Some(null.as_fd()), 0, "EBADF"),
        ("a folder that is no group", Some(folder.as_fd()), 0, "EBADF"),
    ] {
        lab.interface(&format!("the answer to counting {what}"))
            .covers([R153])
            .beyond_lies("the answer is that of perf_event_open, not of a file of the group")
            .returned(&open(Event::PageFaults, place, cpu))
            .equals(answer, "perf_event_open(2), PERF_FLAG_PID_CGROUP: the descriptor of a group's directory in the perf_event hierarchy, and one CPU");
    }
    let counter = Counter::new(&lab, &group, Event::PageFaults)?;
    let toucher = Toucher::start(&group)?;
    toucher.process.end()?;
    let counted = counter.get()?;
    lab.hierarchy("the answer to removing the group")
        .covers([R153])
        .answered(&group.try_remove())
        .equals("ok", "a counter is no process");
    lab.accounting("page faults counted, once the group has gone")
        .covers([R153])
        .unit(Unit::Pages)
        .observed(counter.get()?)
        .between(
            PAGES,
            counted,
            "the process touched as many at the least, and nobody is left who could",
        );
    Ok(())
}
