//! `memory.max`: what it accepts, that nobody gets above it, and what it costs
//! those who try: reclaim first, then the OOM killer, inside the group alone.

use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::prelude::*;
use cgauge_lab::time::now;

use crate::support::*;

/// Each limit takes whole pages, rounded down, and "max"; and nothing that is no size.
#[rstest]
#[case::max("memory.max", "max")]
#[case::high("memory.high", "max")]
#[case::low("memory.low", "0")]
#[case::min("memory.min", "0")]
#[case::swap_max("memory.swap.max", "max")]
#[case::swap_high("memory.swap.high", "max")]
fn limit_is_whole_pages(lab: Lab, #[case] file: &str, #[case] default: &str) -> Outcome {
    let group = lab.group("group")?;
    lab.interface("the value in a new group")
        .covers([R082])
        .file(file)
        .observed(group.line(file)?)
        .equals(default, "cgroup-v2.rst gives the default with the file");
    for (written, expected) in [
        ("0", "0"),
        ("1", "0"),
        ("4095", "0"),
        ("4096", "4096"),
        ("4097", "4096"),
        ("8191", "4096"),
        ("1048577", "1048576"),
        ("64K", "65536"),
        ("1M", "1048576"),
        ("1G", "1073741824"),
        ("max", "max"),
    ] {
        group.set(file, written)?;
        lab.interface(&format!("the value after {written:?} was written"))
            .covers([R082])
            .file(file)
            .observed(group.line(file)?)
            .equals(expected, "cgroup-v2.rst, Memory: \"All memory amounts are in bytes. If a value which is not aligned to PAGE_SIZE is written, the value may be rounded up to the closest PAGE_SIZE multiple when read back\"; the kernel rounds down (mm/page_counter.c, page_counter_memparse)");
    }
    group.set(file, "1M")?;
    for refused in ["-1", "many", "1.5M", "4096 8192", "maximum", "4096x"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R082])
            .file(file)
            .answered(&group.try_set(file, refused))
            .equals(
                "EINVAL",
                "it is neither \"max\" nor a size (mm/page_counter.c, page_counter_memparse)",
            );
    }
    lab.interface("the value after what was refused")
        .covers([R082])
        .file(file)
        .observed(group.line(file)?)
        .equals("1048576", "a refused write changes nothing");
    Ok(())
}

/// A process that wants more than `memory.max` is killed when the group is full, and nobody outside is; with the limit raised, it gets what it wants.
#[rstest]
fn anonymous_memory_stops_at_the_limit(
    lab: Lab,
    #[values("group", "parent")] limited: &str,
    #[values(4, 12)] mebibytes: u64,
) -> Outcome {
    no_khugepaged()?;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let (group, cousin) = (parent.make("group")?, lab.group("cousin")?);
    let bound = if limited == "group" { &group } else { &parent };
    let limit = mebibytes * MIB;
    let neighbour = Stepper::start(&cousin, |turns| {
        let Ok(memory) = Memory::anonymous(16 * MIB) else { return };
        turns.step(|| memory.write(0..2048, 7));
        turns.step(|| memory.read(0..2048, 7) + memory.write(2048..4096, 7));
        turns.step(|| {
            drop(memory);
            0
        });
    })?;
    neighbour.next()?;
    bound.set("memory.max", limit)?;

    // It counts what it got in memory that is nobody's but its case's.
    let count = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
    let glutton = || {
        let Ok(memory) = Memory::anonymous(2 * limit) else { return };
        for page in 0..memory.pages() {
            memory.write(page..page + 1, 1);
            count.word().store(page + 1, Relaxed);
        }
    };
    let mut greedy = group.spawn(glutton)?;
    let (began, mut current, mut hits) = (now(), Vec::new(), Vec::new());
    while !greedy.ended_within(Duration::from_millis(1))? {
        current.push((now() - began, bound.number("memory.current")? as f64));
        hits.push((now() - began, bound.key("memory.events", "max")? as f64));
    }
    lab.series("memory.current", Unit::Bytes, &current, Some(limit as f64));
    lab.series("hits of the limit", Unit::Events, &hits, None);
    lab.enforcement("the end of a process that wants twice the limit")
        .covers([R092])
        .file("memory.max")
        .observed(format!("{:?}", greedy.wait()?))
        .equals("Signal(SIGKILL)", "cgroup-v2.rst, memory.max: \"If a cgroup's memory usage reaches this limit and can't be reduced, the OOM killer is invoked in the cgroup\"; there is no swap");
    let got = count.word().load(Relaxed);
    let most = limit / PAGE;
    lab.enforcement("pages that it got first, by its own count")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(got)
        .between(most - 100, most, "all that the limit holds but what the process needs besides: its tables, its stack and the kernel's objects for it, some 70 pages");
    if group.has("memory.peak")? {
        lab.enforcement("the most that the group ever had")
            .covers([R092, R097])
            .file("memory.peak")
            .unit(Unit::Bytes)
            .observed(bound.number("memory.peak")?)
            .between(limit - BATCH, limit, "cgroup-v2.rst, memory.max: \"the main mechanism to limit memory usage of a cgroup\"; it was full when the killer came");
    }
    for (what, counter, expected) in [
        ("times that the killer was called", "oom", 1),
        ("processes that it killed", "oom_kill", 1),
    ] {
        lab.accounting(what)
            .covers([R092, R101])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(bound.key("memory.events", counter)?)
            .equals(expected, "one process wanted too much, and its end was enough");
    }
    lab.accounting("times that the limit was about to be crossed")
        .covers([R092, R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(bound.key("memory.events", "max")?)
        .at_least(
            1,
            "cgroup-v2.rst, memory.events, max: \"was about to go over the max boundary\"",
        );

    lab.enforcement("pages that a process beside the group still has and still gets")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(neighbour.next_if_alive()?)
        .equals(4096, "the limit is the group's, and the killer looks in the group alone");
    for counter in ["max", "oom", "oom_kill"] {
        lab.accounting(&format!("{counter} of the group beside it"))
            .covers([R092])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(cousin.key("memory.events", counter)?)
            .equals(0, "nothing happened there");
    }

    bound.set("memory.max", 3 * limit)?;
    let mut sated = group.spawn(glutton)?;
    lab.enforcement("the end of such a process with three times the limit")
        .covers([R092])
        .file("memory.max")
        .observed(format!("{:?}", sated.wait()?))
        .equals("Code(0)", "there is room for it");
    lab.enforcement("pages that it got")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(count.word().load(Relaxed))
        .equals(2 * limit / PAGE, "all that it wanted");
    Ok(())
}

/// File cache above `memory.max` is reclaimed: its reader reads on and nobody is killed.
#[rstest]
fn file_cache_stops_at_the_limit_by_reclaim(lab: Lab) -> Outcome {
    const LIMIT: u64 = 8 * MIB;
    let group = lab.group("group")?;
    let reader = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        for _ in 0..2 {
            turns.step(|| read_pages(&file, 0..32 * MIB / PAGE));
        }
        turns.step(|| 0);
    })?;
    group.set("memory.max", LIMIT)?;
    let read = reader.next_if_alive()?;
    lab.enforcement("pages that were read")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Pages)
        .beyond_lies(ITS_OWN)
        .observed(read)
        .equals(32 * MIB / PAGE, "cgroup-v2.rst, memory.max: the killer comes only if usage \"can't be reduced\", and clean file cache can");
    lab.enforcement("memory.current after four times the limit was read")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?)
        .between(
            LIMIT - MIB,
            LIMIT,
            "never above the limit; reclaim takes 32 pages or a little more at a time and stops",
        );
    let events = events(&group, "memory.events")?;
    for counter in ["oom", "oom_kill"] {
        lab.enforcement(&format!("{counter} of it"))
            .covers([R092])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(events[counter])
            .equals(0, "there was always something to reclaim");
    }
    lab.accounting("times that the limit was about to be crossed")
        .covers([R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(events["max"])
        .between(24 * MIB / PAGE / 128, 24 * MIB / PAGE / 32 + 64, "24 MiB had to be reclaimed for the reader to go on, and a little for its process: each time one lot of 32 pages (mm/vmscan.c, SWAP_CLUSTER_MAX), with generations one of 64, and less than one more");
    group.set("memory.max", "max")?;
    reader.next()?;
    needs_exact_stat(&lab)?;
    let cached = Stat::settled(&group)?;
    lab.enforcement("file pages with the limit gone, once all is read again")
        .covers([R092])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(cached.get("file")? / PAGE)
        .equals(32 * MIB / PAGE, "there is room for all of it");
    Ok(())
}

/// `memory.max` lowered below what is used reclaims what can be reclaimed, and then kills.
#[rstest]
fn limit_lowered_below_what_is_used_reclaims_then_kills(lab: Lab) -> Outcome {
    no_khugepaged()?;
    let group = lab.group("group")?;
    let mut holder = Stepper::start(&group, |turns| {
        let (Ok(memory), Ok(file)) = (Memory::anonymous(4 * MIB), device()) else { return };
        turns.step(|| memory.touch());
        turns.step(|| read_pages(&file, 0..16 * MIB / PAGE));
        turns.step(|| memory.read(0..memory.pages(), 1));
        turns.step(|| 0);
    })?;
    holder.next()?;
    holder.next()?;
    lab.interface("the answer to a limit of 8 MiB with 20 MiB in use")
        .covers([R093])
        .file("memory.max")
        .answered(&group.try_set("memory.max", 8 * MIB))
        .equals("ok", "a limit may be set at any time");
    lab.enforcement("memory.current after it")
        .covers([R093])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?)
        .between(4 * MIB, 8 * MIB, "the write reclaims down to the limit before it returns (mm/memcontrol.c, memory_max_write); reclaim may take more, but the 4 MiB that cannot be reclaimed are there");
    lab.accounting("processes killed by then")
        .covers([R093])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(0, "there were 16 MiB of file cache to reclaim");
    lab.enforcement("pages of its own that the process still has")
        .covers([R093])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(holder.next_if_alive()?)
        .equals(4 * MIB / PAGE, "without swap they cannot be reclaimed");
    lab.interface("the answer to a limit of 2 MiB with 4 MiB in use that cannot be reclaimed")
        .covers([R093])
        .file("memory.max")
        .answered(&group.try_set("memory.max", 2 * MIB))
        .equals("ok", "a limit may be set at any time");
    lab.enforcement("the end of the process")
        .covers([R093])
        .file("memory.max")
        .observed(format!("{:?}", holder.process().wait()?))
        .equals(
            "Signal(SIGKILL)",
            "mm/memcontrol.c, memory_max_write: what reclaim cannot do the OOM killer does",
        );
    lab.accounting("processes killed after it")
        .covers([R093])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(1, "there was one");
    let patience = Duration::from_secs(3);
    let below = cgauge_lab::time::wait_until(patience, || {
        group.number("memory.current").is_ok_and(|it| it <= 2 * MIB)
    });
    lab.enforcement("whether memory.current comes below the limit")
        .covers([R093])
        .file("memory.current")
        .happened(below)
        .equals("yes", "the memory of the killed process is given back");
    Ok(())
}
