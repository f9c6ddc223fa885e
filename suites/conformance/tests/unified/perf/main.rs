//! perf events of a group (cgroup-v2.rst, "perf_event"): there are no interface
//! files; `perf_event_open(2)` takes a group's directory in place of a process.
//!
//! The events are the kernel's own, for an emulated processor counts none.

use std::os::fd::AsFd;
use std::ptr::null_mut;

use cgauge_lab::perf::{self as counter, Counter, Event};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds, pause};
use cgauge_lab::{Group, kernel};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;

/// Pages that a process touches between two looks at the counters.
const PAGES: u64 = 100;
const PAGE: usize = 4096;

/// A group's counter counts its own processes and all below it, and nobody else's.
#[rstest]
fn counter_is_of_the_group_and_all_below(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let leaf = top.make("leaf")?;
    let neighbour = lab.group("neighbour")?;
    let groups = [("top", &top), ("leaf", &leaf), ("neighbour", &neighbour)];
    for (place, group, expected) in [
        ("the leaf", &leaf, [PAGES, PAGES, 0]),
        ("the top", &top, [PAGES, 0, 0]),
        ("the neighbour", &neighbour, [0, 0, PAGES]),
    ] {
        let counters = groups.map(|(_, group)| Counter::new(&lab, group, Event::PageFaults));
        let [one, two, three] = counters;
        let counters = [one?, two?, three?];
        let toucher = Toucher::start(group)?;
        let before = read(&counters)?;
        toucher.touch()?;
        let after = read(&counters)?;
        toucher.end()?;
        for (nth, (role, _)) in groups.into_iter().enumerate() {
            lab.accounting(&format!("page faults counted for {role} of a process in {place}"))
                .covers([R153])
                .unit(Unit::Pages)
                .observed(if expected[nth] == 0 { after[nth] } else { after[nth] - before[nth] })
                .equals(expected[nth], "none where no process ever was, else one fault for each new page that the process touches; cgroup-v2.rst, perf_event: events \"can always be filtered by cgroup v2 path\"");
        }
    }
    Ok(())
}

/// A process is counted from the moment that it moves in to the moment that it moves out.
#[rstest]
fn counter_follows_a_process_in_and_out(lab: Lab) -> Outcome {
    let (outside, inside) = (lab.group("outside")?, lab.group("inside")?);
    let counter = Counter::new(&lab, &inside, Event::PageFaults)?;
    // One that is born inside and one that is born outside: each move counts.
    for places in [
        [("inside", &inside, PAGES), ("outside", &outside, 0), ("inside", &inside, PAGES)],
        [("outside", &outside, 0), ("inside", &inside, PAGES), ("outside", &outside, 0)],
    ] {
        let toucher = Toucher::start(places[0].1)?;
        for (nth, (place, group, expected)) in places.into_iter().enumerate() {
            if nth > 0 {
                group.admit(toucher.process.pid())?;
            }
            let before = counter.get()?;
            toucher.touch()?;
            lab.accounting(&format!("page faults of a process {place}"))
                .covers([R153])
                .file("cgroup.procs")
                .unit(Unit::Pages)
                .observed(counter.get()? - before)
                .equals(
                    expected,
                    "one fault for each new page that it touches, in the group that it is in",
                );
        }
        toucher.end()?;
    }
    Ok(())
}

/// A counter of a group that is removed keeps what it counted.
#[rstest]
fn counter_outlives_its_group(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let counter = Counter::new(&lab, &group, Event::PageFaults)?;
    let toucher = Toucher::start(&group)?;
    let before = counter.get()?;
    toucher.touch()?;
    toucher.end()?;
    let counted = counter.get()?;
    lab.hierarchy("the answer to removing the group")
        .covers([R153])
        .answered(&group.try_remove())
        .equals("ok", "a counter is no process");
    lab.accounting("page faults counted, once the group has gone")
        .covers([R153])
        .unit(Unit::Pages)
        .observed(counter.get()? - before)
        .between(
            PAGES,
            counted - before,
            "nobody is there who could fault; the process touched this many pages and then ended",
        );
    Ok(())
}

/// The clocks count the CPU time of the group's processes.
#[rstest]
fn clocks_count_the_cpu_time_of_the_group(
    lab: Lab,
    #[values(Event::CpuClock, Event::TaskClock)] clock: Event,
) -> Outcome {
    const WORK: Duration = Duration::from_millis(30);
    let (top, neighbour) = (lab.group("top")?, lab.group("neighbour")?);
    let leaf = top.make("leaf")?;
    let (counted, spared) =
        (Counter::new(&lab, &top, clock)?, Counter::new(&lab, &neighbour, clock)?);
    let [ready, go, done, end] = [Gate::new()?, Gate::new()?, Gate::new()?, Gate::new()?];
    let burn = || {
        // By turns on one CPU: two busy ones await each other on the virtual clock.
        let mut one = CpuSet::new();
        let _ = one.set(1).and_then(|()| sched_setaffinity(Pid::from_raw(0), &one));
        ready.open();
        go.pass();
        let before = cpu_time();
        while cpu_time() < before + WORK {
            // No pause instruction: an emulator leaves its loop for each.
            (0..200).for_each(|it| {
                std::hint::black_box(it);
            });
        }
        let burnt = cpu_time() - before;
        done.open();
        end.pass();
        nanoseconds(burnt)
    };
    // One in the group and one below.
    let workers = [top.spawn(burn)?, leaf.spawn(burn)?];
    // Their start and their end are not theirs to tell of: both wait before and after.
    let all = |gate: &Gate| {
        workers.iter().for_each(|_| gate.pass());
        pause(Duration::from_millis(2));
    };
    all(&ready);
    let before = counted.get()?;
    workers.iter().for_each(|_| go.open());
    all(&done);
    let after = counted.get()?;
    workers.iter().for_each(|_| end.open());
    let mut burnt = 0;
    for worker in workers {
        burnt += worker.finish()?;
    }
    lab.accounting("time counted for two processes that each burnt 30 ms")
        .covers([R153])
        .unit(Unit::Nanoseconds)
        .observed(after - before)
        .between(burnt - burnt / 200, burnt + burnt / 50, "the processes' own CPU time between two of their looks at it; half a hundredth less, for the counter rests while one is switched for the other; and a fiftieth for interrupts that the counter takes in and for the way from one gate and to the next");
    lab.accounting("time counted for a neighbour that did nothing")
        .covers([R153])
        .unit(Unit::Nanoseconds)
        .observed(spared.get()?)
        .equals(0, "the neighbour never had a process");
    Ok(())
}

/// Context switches are those of the group's processes.
#[rstest]
fn context_switches_are_those_of_the_group(lab: Lab) -> Outcome {
    const SLEEPS: u64 = 100;
    let (group, neighbour) = (lab.group("group")?, lab.group("neighbour")?);
    let counter = Counter::new(&lab, &group, Event::ContextSwitches)?;
    let spared = Counter::new(&lab, &neighbour, Event::ContextSwitches)?;
    let (ready, go) = (Gate::new()?, Gate::new()?);
    let sleeper = group.spawn(|| {
        ready.open();
        go.pass();
        let before = switches();
        for _ in 0..SLEEPS {
            pause(Duration::from_millis(1));
        }
        switches() - before
    })?;
    ready.pass();
    let before = counter.get()?;
    go.open();
    let own = sleeper.finish()?;
    lab.accounting("switches by the process's own count")
        .covers([R153])
        .unit(Unit::Events)
        .observed(own)
        .at_least(SLEEPS, "every sleep gives the CPU away");
    lab.accounting("switches counted for its group")
        .covers([R153])
        .unit(Unit::Events)
        .observed(counter.get()? - before)
        .between(own, own + 3, "the process's own count, which leaves out the wait at the gate, one at its end, and one for a lock on the way");
    lab.accounting("switches counted for a neighbour")
        .covers([R153])
        .unit(Unit::Events)
        .observed(spared.get()?)
        .equals(0, "no process of the neighbour ran");
    Ok(())
}

/// Filtering by path needs no controller to be enabled, and refuses what is no group.
#[rstest]
fn any_group_can_be_counted_and_nothing_else(lab: Lab) -> Outcome {
    lab.interface("the answer to enabling perf_event")
        .covers([R153])
        .file("cgroup.subtree_control")
        .answered(&lab.root().try_set("cgroup.subtree_control", "+perf_event"))
        .equals(
            "ENOENT",
            "cgroup-v2.rst, perf_event: it is \"automatically enabled on the v2 hierarchy\"; nobody has it to give",
        );
    let bare = lab.group("bare")?;
    Counter::new(&lab, &bare, Event::PageFaults)?;
    let null = std::fs::File::open("/dev/null")?;
    let folder = std::fs::File::open("/proc")?;
    for (what, group, cpu, answer) in [
        ("a group on one CPU", Some(bare.dir().as_fd()), 0, "ok"),
        ("a group on every CPU at once", Some(bare.dir().as_fd()), -1, "EINVAL"),
        ("no group", None, 0, "EINVAL"),
        ("a file", Some(null.as_fd()), 0, "EBADF"),
        ("a folder that is no group", Some(folder.as_fd()), 0, "EBADF"),
    ] {
        lab.interface(&format!("the answer to counting {what}"))
            .covers([R153])
            .returned(&kernel::call("perf_event_open", || {
                counter::open(Event::PageFaults, group, cpu).map(drop)
            }))
            .equals(answer, "perf_event_open(2), PERF_FLAG_PID_CGROUP: the descriptor of a group's directory, and one CPU");
    }
    Ok(())
}

fn read<const N: usize>(counters: &[Counter; N]) -> Result<[u64; N], Stop> {
    let mut values = [0; N];
    for (value, counter) in values.iter_mut().zip(counters) {
        *value = counter.get()?;
    }
    Ok(values)
}

/// Switches of the calling process, wanted or not.
fn switches() -> u64 {
    let count = |it: libc::c_long| u64::try_from(it).unwrap_or(0);
    let own = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |it| {
        count(it.voluntary_context_switches()) + count(it.involuntary_context_switches())
    });
    kernel::figure("getrusage", own)
}

/// A process that touches [`PAGES`] new pages when it is told to.
struct Toucher {
    process: Process<()>,
    go: std::rc::Rc<(Gate, Gate)>,
}

impl Toucher {
    fn start(group: &Group) -> Result<Self, Stop> {
        const ROUNDS: usize = 8;
        let go = std::rc::Rc::new((Gate::new()?, Gate::new()?));
        let process = group.spawn(|| {
            let bytes = PAGES as usize * PAGE;
            let (access, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping at an address that the kernel chooses.
            let start = unsafe { libc::mmap(null_mut(), bytes * ROUNDS, access, flags, -1, 0) };
            if start == libc::MAP_FAILED {
                return;
            }
            // One fault a page.
            // SAFETY: it is the mapping just made.
            unsafe { libc::madvise(start, bytes * ROUNDS, libc::MADV_NOHUGEPAGE) };
            // The first round brings in the code and the stack, too.
            for round in 0..ROUNDS {
                for page in 0..PAGES as usize {
                    // SAFETY: within the mapping.
                    unsafe {
                        start.cast::<u8>().add(round * bytes + page * PAGE).write_volatile(1)
                    };
                }
                go.1.open();
                go.0.pass();
            }
        })?;
        let toucher = Self { process, go };
        toucher.go.1.pass();
        toucher.touch()?;
        Ok(toucher)
    }

    /// Lets it touch, and waits until it has.
    fn touch(&self) -> Outcome {
        self.go.0.open();
        self.go.1.pass();
        Ok(())
    }

    fn end(self) -> Outcome {
        self.process.end()
    }
}
