//! The limits on memory, on memory and swap, and the soft one: what they accept
//! and what they stop.

use std::sync::atomic::Ordering::Relaxed;

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;

use crate::support::*;

const SOFT: &str = "memory.soft_limit_in_bytes";

/// A limit takes whole pages, rounded down, with the suffixes of binary multiples, and -1 for none; the root of the hierarchy takes none.
#[rstest]
#[case::of_memory(LIMIT)]
#[case::of_memory_and_swap(BOTH_LIMIT)]
fn limit_is_whole_pages(lab: Lab, #[case] file: &str) -> Outcome {
    let root = lab.legacy("memory")?;
    let group = root.make("group")?;
    lab.interface("the limit of a new group")
        .covers([R159])
        .file(file)
        .unit(Unit::Bytes)
        .observed(group.number(file)?)
        .equals(UNLIMITED, "page_counter_init(): no limit, as many pages as a counter holds");
    for (written, expected) in [
        ("12345678901", 12_345_675_776),
        ("1g", 1 << 30),
        ("2M", 2 << 20),
        ("3m", 3 << 20),
        ("64K", 65_536),
        ("20k", 20_480),
        ("8191", 4096),
        ("4097", 4096),
        ("4096", 4096),
        ("4095", 0),
        ("0", 0),
        ("-1", UNLIMITED),
        ("5G", 5 << 30),
    ] {
        // The one on memory may not be above the one on both.
        if file == BOTH_LIMIT {
            group.set(LIMIT, 0)?;
        }
        group.set(file, written)?;
        lab.interface(&format!("the limit after {written:?} was written"))
            .covers([R159])
            .file(file)
            .unit(Unit::Bytes)
            .observed(group.number(file)?)
            .equals(expected, "memory.rst, 3: suffixes k, K, m, M, g, G are binary multiples, -1 resets, and what holds is to be read back; mm/page_counter.c rounds down since 3.19, where the document's example still rounds up");
    }
    group.set(file, "1M")?;
    for refused in ["-2", "max", "many", "1.5M", "4096 8192", "4096x"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R159])
            .file(file)
            .answered(&group.try_set(file, refused))
            .equals("EINVAL", "page_counter_memparse(): neither \"-1\" nor a size");
    }
    lab.interface("the limit after what was refused")
        .covers([R159])
        .file(file)
        .unit(Unit::Bytes)
        .observed(group.number(file)?)
        .equals(MIB, "a refused write changes nothing");
    lab.interface("the answer to a limit on the root")
        .covers([R159])
        .file(file)
        .answered(&whole(root)?.write(file, "1G"))
        .equals("EINVAL", "memory.rst, 3: \"We cannot set limits on the root cgroup any more\"");
    Ok(())
}

/// The limit on memory and swap is never below the one on memory: a write that would make it so is refused.
#[rstest]
fn limit_of_both_is_not_below_that_of_memory(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    for (file, written, answer, why) in [
        (BOTH_LIMIT, "8M", "EINVAL", "memory alone has no limit"),
        (LIMIT, "8M", "ok", "both together have none"),
        (BOTH_LIMIT, "8388607", "EINVAL", "a page below the limit on memory"),
        (BOTH_LIMIT, "8M", "ok", "the two are equal"),
        (LIMIT, "8392704", "EINVAL", "a page above the limit on both"),
        (LIMIT, "4M", "ok", "below it"),
        (LIMIT, "-1", "EINVAL", "no limit is above every limit"),
        (BOTH_LIMIT, "-1", "ok", "no limit is above every limit"),
    ] {
        lab.interface(&format!("the answer to {written:?}, {why}"))
            .covers([R164])
            .file(file)
            .answered(&group.try_set(file, written))
            .equals(answer, "mm/memcontrol.c, mem_cgroup_resize_max: memory.limit is at most memory.memsw.limit");
    }
    lab.interface("the limit on memory in the end")
        .covers([R159])
        .file(LIMIT)
        .unit(Unit::Bytes)
        .observed(group.number(LIMIT)?)
        .equals(4 * MIB, "the last that was accepted");
    Ok(())
}

/// How a process ended that wants memory, and how many pages it got.
struct End {
    exit: String,
    pages: u64,
}

/// A process of `group` that touches so many pages and ends.
fn take(group: &Group, pages: u64) -> Result<End, Stop> {
    // It counts what it got in memory that is nobody's but its case's.
    let count = Memory::shmem(PAGE).map_err(Stop::broken("map a page"))?;
    count.touch();
    count.word().store(0, Relaxed);
    let mut process = group.spawn(|| {
        let Ok(memory) = Memory::anonymous(pages * PAGE) else { return };
        for page in 0..pages {
            memory.write(page..page + 1, 1);
            count.word().store(page + 1, Relaxed);
        }
    })?;
    let exit = format!("{:?}", process.wait()?);
    Ok(End { exit, pages: count.word().load(Relaxed) })
}

/// Under a limit of 100 MiB a process with 99 MiB lives and one that wants 101 MiB is killed, wherever on the way up the limit is; with the limit raised it lives.
#[rstest]
#[case::of_the_group("group", 100)]
#[case::of_the_parent("parent", 20)]
fn process_above_the_limit_is_killed(
    lab: Lab,
    #[case] limited: &str,
    #[case] mebibytes: u64,
) -> Outcome {
    let root = lab.legacy("memory")?;
    let parent = hierarchical(root, "parent")?;
    let (group, neighbour) = (parent.make("group")?, root.make("neighbour")?);
    let (bounded, other) = if limited == "group" { (&group, &parent) } else { (&parent, &group) };
    let limit = mebibytes * MIB;
    bounded.set(LIMIT, limit)?;

    let below = take(&group, (limit - MIB) / PAGE)?;
    lab.enforcement("the end of a process that wants 1 MiB less than the limit")
        .covers([R159, S22])
        .file(LIMIT)
        .observed(format!("{} after {} MiB", below.exit, below.pages * PAGE / MIB))
        .equals(
            format!("Code(0) after {} MiB", mebibytes - 1),
            "what a process of one mapping needs besides is some hundred KiB: its tables, 2 KiB a MiB, and its stack",
        );
    bounded.set(MOST, 0)?;
    let above = take(&group, (limit + MIB) / PAGE)?;
    lab.enforcement("the end of a process that wants 1 MiB more than the limit")
        .covers([R159, S22])
        .file(LIMIT)
        .observed(above.exit)
        .equals("Signal(SIGKILL)", "memory.rst, 2.5: \"If the reclaim is unsuccessful, an OOM routine is invoked to select and kill the bulkiest task in the cgroup\"; there is no swap");
    let most = limit / PAGE;
    lab.enforcement("pages that it got first, by its own count")
        .covers([R159, S22])
        .file(LIMIT)
        .unit(Unit::Pages)
        .observed(above.pages)
        .between(
            most - most / 512 - 100,
            most,
            "all that the limit holds but its tables, one page for 512, its stack and the kernel's objects for it, some 70 pages",
        );
    lab.accounting("the most that the group ever had")
        .covers([R159])
        .file(MOST)
        .unit(Unit::Bytes)
        .observed(bounded.number(MOST)?)
        .equals(limit, "it was full when the killer came, and never fuller");
    lab.accounting("times that its limit was met")
        .covers([R160])
        .file(FAILURES)
        .unit(Unit::Events)
        .observed(bounded.number(FAILURES)?)
        .at_least(1, "memory.rst, 5.4: \"When a memory cgroup hits a limit, failcnt increases\"");
    lab.accounting("times that a limit was met in the group without one")
        .covers([R160])
        .file(FAILURES)
        .unit(Unit::Events)
        .observed(other.number(FAILURES)?)
        .equals(0, "page_counter_try_charge() counts in the counter whose limit it was");

    let beside = take(&neighbour, 1024)?;
    lab.enforcement("the end of a process beside it")
        .covers([R159])
        .file(LIMIT)
        .observed(format!("{} after {}", beside.exit, beside.pages))
        .equals("Code(0) after 1024", "the neighbour has no limit");
    // Of the large limit that would be another second of touching pages.
    if limited == "parent" {
        for raised in [(limit + 2 * MIB).to_string(), "-1".to_owned()] {
            bounded.set(LIMIT, &raised)?;
            let again = take(&group, (limit + MIB) / PAGE)?;
            lab.enforcement(&format!("the end of it under a limit of {raised}"))
                .covers([R159])
                .file(LIMIT)
                .observed(format!("{} after {}", again.exit, again.pages))
                .equals(format!("Code(0) after {}", (limit + MIB) / PAGE), "there is room for it");
        }
    }
    Ok(())
}

/// A limit below what is in use is refused with EBUSY where nothing can be reclaimed, and pushes the cache out where there is some.
#[rstest]
fn limit_below_the_usage_reclaims_or_is_refused(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    let held = Stepper::holding(&group, 1024)?;
    let _open = device()?;
    let read = group.spawn(|| read_pages(0..2048))?.finish()?;
    let before = stat(&group)?;
    lab.accounting("cache of the group")
        .covers([R159])
        .file(STAT)
        .unit(Unit::Bytes)
        .observed(before["cache"])
        .between(
            (read - behind()?) * PAGE,
            read * PAGE,
            "pages that the reader read; before 5.13 a CPU may be a batch of changes behind",
        );
    for (pages, answer, why) in [
        (2048, "ok", "a thousand pages of cache can go"),
        (512, "EBUSY", "the pages of the process have nowhere to go: there is no swap"),
    ] {
        lab.enforcement(&format!("the answer to a limit of {pages} pages"))
            .covers([R159])
            .file(LIMIT)
            .answered(&group.try_set(LIMIT, pages * PAGE))
            .equals(answer, why);
        lab.enforcement("the limit after it")
            .covers([R159])
            .file(LIMIT)
            .unit(Unit::Bytes)
            .observed(group.number(LIMIT)?)
            .equals(2048 * PAGE, "a refused write changes nothing");
        lab.enforcement("usage after it")
            .covers([R159])
            .file(USAGE)
            .unit(Unit::Bytes)
            .observed(group.number(USAGE)?)
            .between(1024 * PAGE, 2048 * PAGE, "the process's pages, and not above the limit");
    }
    held.end()
}

/// The limit on memory and swap holds for the sum: what a process may swap out is what it leaves over the limit on memory.
#[rstest]
fn limit_of_both_bounds_swap(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    let _swap = lab.swap(64 * MIB)?;
    group.set(LIMIT, 4 * MIB)?;
    group.set(BOTH_LIMIT, 10 * MIB)?;
    let end = take(&group, 12 * MIB / PAGE)?;
    lab.enforcement("the end of a process that wants 12 MiB of 10")
        .covers([R164])
        .file(BOTH_LIMIT)
        .observed(end.exit)
        .equals(
            "Signal(SIGKILL)",
            "memory.rst, 2.4: \"Usage of memory+swap is limited by memsw.limit_in_bytes\"",
        );
    lab.enforcement("pages that it got first, by its own count")
        .covers([R164])
        .file(BOTH_LIMIT)
        .unit(Unit::Pages)
        .observed(end.pages)
        .between(2560 - 110, 2560, "10 MiB less its tables, its stack and the kernel's objects");
    for (file, what, most) in [
        ("memory.memsw.max_usage_in_bytes", "memory and swap", 10 * MIB),
        (MOST, "memory", 4 * MIB),
    ] {
        lab.accounting(&format!("the most {what} that the group ever had"))
            .covers([R164])
            .file(file)
            .unit(Unit::Bytes)
            .observed(group.number(file)?)
            .equals(most, "each was full when the killer came, and never fuller");
    }
    group.set(BOTH_LIMIT, 16 * MIB)?;
    let again = take(&group, 12 * MIB / PAGE)?;
    lab.enforcement("the end of it with 16 MiB of memory and swap")
        .covers([R164])
        .file(BOTH_LIMIT)
        .observed(format!("{} after {}", again.exit, again.pages))
        .equals("Code(0) after 3072", "8 MiB of it have room in the swap space");
    Ok(())
}

/// The soft limit reads back what it took; where it is inert it reads the maximum, and under PREEMPT_RT it is refused.
#[rstest]
fn soft_limit_reads_back(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    let realtime = std::path::Path::new("/sys/kernel/realtime").exists();
    // a3417097fb10 made it inert, for the release after 7.3.
    let inert = release()? >= (7, 4);
    lab.interface("the soft limit of a new group")
        .covers([R166])
        .file(SOFT)
        .unit(Unit::Bytes)
        .observed(group.number(SOFT)?)
        .equals(UNLIMITED, "mem_cgroup_css_alloc(): none");
    for (written, expected) in
        [("1M", MIB), ("8193", 2 * PAGE), ("0", 0), ("-1", UNLIMITED), ("1G", 1 << 30)]
    {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R166])
            .file(SOFT)
            .answered(&group.try_set(SOFT, written))
            .equals(
                if realtime && !inert { "EOPNOTSUPP" } else { "ok" },
                "memory.rst, 7.1: it takes what the hard limit takes; under PREEMPT_RT it is \"not available\" until it is inert everywhere",
            );
        lab.interface(&format!("the soft limit after {written:?}"))
            .covers([R166])
            .file(SOFT)
            .unit(Unit::Bytes)
            .observed(group.number(SOFT)?)
            .equals(
                if realtime || inert { UNLIMITED } else { expected },
                "what was written in whole pages, until a3417097fb10 (\"make the v1 soft limit knob inert\") ignores writes and shows the maximum",
            );
    }
    lab.interface("the answer to what is no size")
        .covers([R166])
        .file(SOFT)
        .answered(&group.try_set(SOFT, "many"))
        .equals("EINVAL", "page_counter_memparse(): inert or not, it is parsed");
    Ok(())
}
