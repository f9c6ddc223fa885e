//! `total` of both lines, for CPU, memory and I/O.

use std::ptr::null_mut;

use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, now, pause};
use cgauge_lab::{Group, kernel};
use nix::libc;

use crate::stall::{Disk, READ, bind, micros, read, spin_until, total};

const SOME: &str = "some";
const FULL: &str = "full";
/// What a process may wait at its end, in microseconds.
const SLACK: u64 = 200;

/// A group's process that waits for a CPU which another group has stalls its group fully, for as long as it waits.
#[rstest]
fn cpu_full_is_time_in_which_nobody_of_the_group_runs(lab: Lab) -> Outcome {
    const RACE: Duration = Duration::from_millis(60);
    needs_full_for_cpu(&lab)?;
    let parent = lab.group("parent")?;
    let (one, two) = (parent.make("one")?, parent.make("two")?);
    let idle = lab.group("idle")?;
    // The case's own process stays away from their CPU.
    bind(0);
    let start = now() + Duration::from_millis(40);
    let ready = Gate::new()?;
    let race = |apart: u64| {
        bind(1);
        ready.open();
        pause(start.saturating_sub(now()));
        spin_until(start + RACE);
        // One after the other, so that nobody waits at the end.
        pause(Duration::from_millis(apart));
        waited("self")
    };
    let (first, second) = (one.spawn(|| race(10))?, two.spawn(|| race(20))?);
    ready.pass();
    ready.pass();
    pause(Duration::from_millis(5));
    // Closes the time in which they were on another CPU: totals are weighted by
    // the time that each CPU was busy for the group.
    let of = |group: &Group, line| total(group, "cpu.pressure", line);
    let waited_before = [waited(&first.pid().to_string()), waited(&second.pid().to_string())];
    let mut before = Vec::new();
    for group in [&one, &two, &parent] {
        before.push([of(group, SOME)?, of(group, FULL)?]);
    }
    let waits = [first.finish()? - waited_before[0], second.finish()? - waited_before[1]];
    lab.accounting("time that the two waited for the CPU, by their own account")
        .covers([R081])
        .unit(Unit::Microseconds)
        .observed(waits[0] + waits[1])
        .between(micros(RACE) * 19 / 20, micros(RACE) * 21 / 20, "one of the two waits at any time of the race; a twentieth for the timer that starts both, other tasks of the CPU and their end");
    for (nth, (role, group)) in [("one", &one), ("two", &two)].into_iter().enumerate() {
        let waited = waits[nth];
        for (line, before) in [SOME, FULL].into_iter().zip(before[nth]) {
            lab.accounting(&format!("{line} of {role}, whose process waited for the other's"))
                .covers([R081])
                .file("cpu.pressure")
                .unit(Unit::Microseconds)
                .observed(of(group, line)? - before)
                .between(waited.saturating_sub(SLACK), waited + SLACK, "the time that the process was runnable and did not run, by /proc/PID/schedstat; 0.2 ms for its end");
        }
    }
    let both = waits[0] + waits[1];
    lab.accounting("some of the parent of both")
        .covers([R081])
        .file("cpu.pressure")
        .unit(Unit::Microseconds)
        .observed(of(&parent, SOME)? - before[2][0])
        .between(both * 19 / 20, both + 2 * SLACK, "one of the two waits at a time, so that the two waits add up; a twentieth is what both may wait for another task at once");
    lab.accounting("full of the parent of both")
        .covers([R081])
        .file("cpu.pressure")
        .unit(Unit::Microseconds)
        .observed(of(&parent, FULL)? - before[2][1])
        .at_most(micros(RACE) / 20, "one of the two runs, but for other tasks of the CPU");
    for line in [SOME, FULL] {
        lab.accounting(&format!("{line} of a group without processes"))
            .covers([R081])
            .file("cpu.pressure")
            .unit(Unit::Microseconds)
            .observed(total(&idle, "cpu.pressure", line)?)
            .equals(0, "nobody is there who could wait");
    }
    Ok(())
}

/// Known bug 27: the root's own `cpu.pressure` has a full line, and it is always 0.
#[rstest]
fn bug_27_cpu_full_of_the_machine_is_zero(lab: Lab) -> Outcome {
    needs_full_for_cpu(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let start = now() + Duration::from_millis(10);
    let race = || {
        bind(1);
        pause(start.saturating_sub(now()));
        spin_until(start + Duration::from_millis(10))
    };
    let racers = [group.spawn(race)?, group.spawn(race)?];
    for racer in racers {
        racer.finish()?;
    }
    let system = kernel::text("/proc/pressure/cpu")?;
    let of_root = if whole.root().has("cpu.pressure")? {
        whole.root().get("cpu.pressure")?
    } else {
        system.clone()
    };
    for (file, text) in [("/proc/pressure/cpu", system), ("cpu.pressure", of_root)] {
        let full = text.lines().find(|it| it.starts_with("full"));
        lab.accounting("the full line of the whole machine")
            .covers([R081])
            .file(file)
            .observed(full.unwrap_or_default())
            .equals("full avg10=0.00 avg60=0.00 avg300=0.00 total=0", "psi.rst: \"CPU full is undefined at the system level, but has been reported since 5.13, so it is set to zero for backward compatibility\"");
    }
    Ok(())
}

/// A process that waits for a disk stalls its group: fully if nobody else is there, in part if another runs on.
#[rstest]
fn io_stall_is_the_time_of_the_reads(lab: Lab) -> Outcome {
    const READS: u32 = 10;
    let disk = Disk::open(&lab)?;
    // Nobody begins on another CPU: totals are weighted by the time that each CPU
    // was busy for the group.
    bind(1);
    let parent = lab.group("parent")?;
    let (alone, busy, neighbour) =
        (parent.make("alone")?, parent.make("busy")?, lab.group("neighbour")?);
    let reads = || {
        bind(1);
        let before = cpu_time();
        let took = micros((0..READS).map(|_| disk.read()).sum());
        (took, micros(cpu_time() - before))
    };
    let (stalled, ran) = alone.spawn(reads)?.finish()?;
    lab.accounting("time that ten reads of 20 ms took")
        .covers([R126])
        .unit(Unit::Microseconds)
        .beyond_lies(
            "it is the load's own clock, which shows that the other checks can be held against it",
        )
        .observed(stalled)
        .between(
            u64::from(READS) * micros(READ),
            u64::from(READS) * micros(READ) * 21 / 20,
            "the driver's completion time, and a twentieth for the way there and back",
        );
    for line in [SOME, FULL] {
        lab.accounting(&format!("{line} of the group whose only process read"))
            .covers([R126])
            .file("io.pressure")
            .unit(Unit::Microseconds)
            .observed(total(&alone, "io.pressure", line)?)
            .between(stalled - ran, stalled, "the reads by the process's own clock, less at most its CPU time, of which its way to sleep and back counts as stall: it did nothing else, so that both lines are one");
    }

    // Another process of the group runs on the same CPU all the time.
    let until = now() + Duration::from_millis(140);
    let spinner = busy.spawn(|| {
        bind(1);
        spin_until(until)
    })?;
    let few = busy.spawn(|| {
        bind(1);
        pause(Duration::from_millis(5));
        let before = cpu_time();
        let took = micros((0..5).map(|_| disk.read()).sum());
        (took, micros(cpu_time() - before))
    })?;
    let (stalled_too, ran_too) = few.finish()?;
    let some = total(&busy, "io.pressure", SOME)?;
    lab.accounting("some of the group that had one process reading and one running")
        .covers([R126])
        .file("io.pressure")
        .unit(Unit::Microseconds)
        .observed(some)
        .between(
            5 * micros(READ) - ran_too,
            stalled_too,
            "at least the driver's time less the process's own, for the driver's begins before it sleeps, and no more than the reads took with the wait for the CPU",
        );
    lab.accounting("full of the group that had one process reading and one running")
        .covers([R126])
        .file("io.pressure")
        .unit(Unit::Microseconds)
        .observed(total(&busy, "io.pressure", FULL)?)
        .equals(
            0,
            "psi.rst: full is time in which all tasks stand still, and one ran all the time",
        );
    spinner.finish()?;
    let children = total(&alone, "io.pressure", SOME)? + some;
    lab.accounting("some of the parent of both")
        .covers([R126])
        .file("io.pressure")
        .unit(Unit::Microseconds)
        .observed(total(&parent, "io.pressure", SOME)?)
        .between(
            children - 2,
            children + 2,
            "the reads came one after the other; each total is rounded to 1 us",
        );
    for file in ["io.pressure", "memory.pressure"] {
        lab.accounting("some of a neighbour that did nothing")
            .covers([R126])
            .file(file)
            .unit(Unit::Microseconds)
            .observed(total(&neighbour, file, SOME)?)
            .equals(0, "it has no process");
    }
    Ok(())
}

/// Known bug 15: a process that memory.high holds up stalls its group: with nobody else there some and full are one.
#[rstest]
fn bug_15_memory_stall_of_the_only_process_is_full(lab: Lab) -> Outcome {
    const PAGES: usize = 448;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let bounded = parent.make("bounded")?;
    bounded.set("memory.high", 1 << 20)?;
    // The process is held up when it goes back to user space from a charge.
    let touch = || {
        bind(1);
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let place = unsafe { libc::mmap(null_mut(), PAGES * 4096, access, flags, -1, 0) };
        if place == libc::MAP_FAILED {
            return (0, 0);
        }
        // SAFETY: it is the mapping just made.
        unsafe { libc::madvise(place, PAGES * 4096, libc::MADV_NOHUGEPAGE) };
        let (began, mut held_up) = (now(), Duration::ZERO);
        for page in 0..PAGES {
            let before = now();
            // SAFETY: within the mapping.
            unsafe { place.cast::<u8>().add(page * 4096).write_volatile(1) };
            // A page without a stall takes some microseconds.
            let took = now() - before;
            if took > Duration::from_micros(500) {
                held_up += took;
            }
        }
        (micros(held_up), micros(now() - began))
    };
    let (held_up, took) = bounded.spawn(touch)?.finish()?;
    lab.value("time to touch 1.75 MB with memory.high at 1 MB", Unit::Microseconds, took, Neither);
    let lines = read(&bounded, "memory.pressure")?;
    let of = |line: &str| lines.get(line).map_or(0, |it| it.total);
    lab.accounting("time that single pages held the process up")
        .covers([R113])
        .file("memory.high")
        .unit(Unit::Microseconds)
        .observed(held_up)
        .at_least(100_000, "without swap nothing can be reclaimed, so that 3 MB above memory.high are paid for in sleep");
    lab.accounting("some of the group whose only process was held up")
        .covers([R113])
        .file("memory.pressure")
        .unit(Unit::Microseconds)
        .observed(of(SOME))
        .between(held_up * 98 / 100, took, "at least the time that pages held it up, by its own clock, less a fiftieth for the entry to each fault; at most all its time");
    lab.accounting("full of the group whose only process was held up")
        .covers([R113])
        .file("memory.pressure")
        .unit(Unit::Microseconds)
        .observed(of(FULL))
        .between(held_up * 98 / 100, took, "with one process, all stand still when one does; full near 0 was the bug that c6508124193d mended");
    lab.accounting("full of the parent")
        .covers([R113])
        .file("memory.pressure")
        .unit(Unit::Microseconds)
        .observed(total(&parent, "memory.pressure", FULL)?)
        .between(held_up * 98 / 100, took, "the parent has no other process");
    Ok(())
}

/// Skips the case where the kernel does not tell of CPU full.
fn needs_full_for_cpu(lab: &Lab) -> Outcome {
    if kernel::text("/proc/pressure/cpu").is_ok_and(|it| it.contains("full")) {
        return Ok(());
    }
    Err(lab.skip("this kernel has no full line in cpu.pressure (since 5.13)"))
}

/// Microseconds that a process was runnable and did not run.
fn waited(pid: &str) -> u64 {
    let text = kernel::text(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let ns: u64 = text.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    ns / 1000
}
