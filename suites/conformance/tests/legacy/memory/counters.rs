//! `failcnt`, `usage_in_bytes`, `stat` and its sums, against the pages that
//! processes have touched.

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;

use crate::support::*;

const USAGE_WHY: &str = "memory.rst, 5.5: usage is a \"fuzz value\" beside rss, cache and swap: a CPU takes up to a batch of charges in advance (MEMCG_CHARGE_BATCH, 64 pages, 32 before 6.0), and there is one CPU; before 5.13 rss and cache are up to a batch of changes behind themselves";

/// Each charge that does not fit counts as one in the counter whose limit it met, and 0 begins the count anew.
#[rstest]
#[case::of_memory(LIMIT, FAILURES)]
#[case::of_memory_and_swap(BOTH_LIMIT, "memory.memsw.failcnt")]
fn failure_is_counted_once(lab: Lab, #[case] limit: &str, #[case] file: &str) -> Outcome {
    /// Pages for which the process's tables are there beforehand.
    const ROOM: u64 = 1024;
    const TOUCHED: u64 = 12;
    let root = lab.legacy("memory")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    let usage = if limit == LIMIT { USAGE } else { BOTH_USAGE };
    let stepper = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(ROOM * PAGE) else { return };
        // One page of each table.
        turns.step(|| memory.write(0..1, 1) + memory.write(512..513, 1));
        for page in 1..512 {
            turns.step(|| memory.write(page..page + 1, 1));
        }
    })?;
    stepper.next()?;
    let lim = group.number(USAGE)? + 128 * PAGE;
    group.set(LIMIT, lim)?;
    if limit == BOTH_LIMIT {
        group.set(BOTH_LIMIT, lim)?;
    }
    lab.accounting("failures of a new group")
        .covers([R160])
        .file(file)
        .unit(Unit::Events)
        .observed(group.number(file)?)
        .equals(0, "nobody met the limit");
    // Until a batch does not fit any more, twice running.
    let mut before = group.number(file)?;
    let mut failed = 0;
    for _ in 0..200 {
        stepper.next()?;
        let now = group.number(file)?;
        failed = if now == before + 1 { failed + 1 } else { 0 };
        before = now;
        if failed == 2 {
            break;
        }
    }
    let last = group.number(usage)?;
    for _ in 0..TOUCHED {
        stepper.next()?;
    }
    lab.accounting("pages that the process was charged for")
        .covers([R160])
        .file(usage)
        .unit(Unit::Pages)
        .observed((group.number(usage)? - last) / PAGE)
        .equals(TOUCHED, "it touched so many, one by one");
    lab.accounting("failures counted meanwhile")
        .covers([R160])
        .file(file)
        .unit(Unit::Events)
        .observed(group.number(file)? - before)
        .equals(TOUCHED, "memory.rst, 5.4: failcnt \"shows the number of times that a usage counter hit its limit\": a CPU asks for a whole batch, is refused, and takes one page (mm/memcontrol.c, try_charge)");
    let other = if limit == LIMIT { "memory.memsw.failcnt" } else { FAILURES };
    for (what, group, file) in
        [("the other limit", &group, other), ("a neighbour", &neighbour, file)]
    {
        lab.accounting(&format!("failures of {what}"))
            .covers([R160])
            .file(file)
            .unit(Unit::Events)
            .observed(group.number(file)?)
            .equals(0, "it was not met: memory and swap are charged first, then memory");
    }
    group.set(file, 0)?;
    lab.interface("failures after 0 was written")
        .covers([R160])
        .file(file)
        .unit(Unit::Events)
        .observed(group.number(file)?)
        .equals(0, "memory.rst, 5.4: \"You can reset failcnt by writing 0\"");
    stepper.next()?;
    lab.accounting("failures after one page more")
        .covers([R160])
        .file(file)
        .unit(Unit::Events)
        .observed(group.number(file)?)
        .equals(1, "the count begins anew");
    stepper.end()
}

/// `usage_in_bytes` is what `stat` and the kernel's own memory make up, but for the batch that each CPU holds in advance.
#[rstest]
fn usage_is_stat_and_a_batch(lab: Lab) -> Outcome {
    const STEPS: u64 = 100;
    let group = lab.legacy("memory")?.make("group")?;
    let stepper = Stepper::start(&group, |turns| {
        let (Ok(own), Ok(shared)) =
            (Memory::anonymous(STEPS * 3 * PAGE), Memory::shmem(STEPS * 2 * PAGE))
        else {
            return;
        };
        for step in 0..STEPS {
            turns.step(|| {
                own.write(step * 3..step * 3 + 3, 1) + shared.write(step * 2..step * 2 + 2, 1)
            });
        }
        turns.step(|| 0);
    })?;
    let (mut points, mut least, mut most) = (Vec::new(), i64::MAX, i64::MIN);
    let before = stat(&group)?;
    let mut touched = 0;
    for _ in 0..STEPS {
        touched += stepper.next()?;
        let (usage, stat) = (group.number(USAGE)?, stat(&group)?);
        let kernel = group.number("memory.kmem.usage_in_bytes")?;
        let known = stat["rss"] + stat["cache"] + stat["swap"] + kernel;
        let error = usage.cast_signed() - known.cast_signed();
        points.push((Duration::from_nanos(touched * PAGE), error as f64));
        least = least.min(error);
        most = most.max(error);
    }
    let after = stat(&group)?;
    let behind = behind()?;
    for (key, expected, why) in [
        ("rss", 3 * STEPS, "its own pages, by the process's count"),
        ("cache", 2 * STEPS, "shared pages, which count as cache"),
        ("shmem", 2 * STEPS, "shared pages"),
        ("pgpgin", 5 * STEPS, "memory.rst, 5.2: each page that was charged"),
        ("pgpgout", 0, "nothing was given back"),
        ("swap", 0, "there is none"),
        ("rss_huge", 0, "the process asked for small pages"),
        ("writeback", 0, "nothing has a place on a disk"),
    ] {
        let unit = if key.starts_with("pgpg") { 1 } else { PAGE };
        lab.accounting(&format!("growth of {key}"))
            .covers([S23, R167])
            .file(STAT)
            .unit(Unit::Pages)
            .observed((after[key] - before[key]) / unit)
            .between(expected.saturating_sub(behind), expected, why);
    }
    let (batch, slack) = ((batch()? * PAGE) as f64, (2 * behind * PAGE) as f64);
    lab.accounting("the least that usage was above rss, cache, swap and kernel memory")
        .covers([S23])
        .file(USAGE)
        .unit(Unit::Bytes)
        .observed(least as f64)
        .between(-slack, batch, USAGE_WHY);
    lab.accounting("the most that it was above them")
        .covers([S23])
        .file(USAGE)
        .unit(Unit::Bytes)
        .observed(most as f64)
        .between(-slack, batch + slack, USAGE_WHY);
    lab.accounting("memory and swap beside memory")
        .covers([S23])
        .file(BOTH_USAGE)
        .unit(Unit::Bytes)
        .observed(group.number(BOTH_USAGE)?)
        .equals(group.number(USAGE)?, "nothing is swapped out, and the process stands still");
    // The axis is what was touched, a nanosecond a byte: a curve has no other.
    lab.series("usage above stat over the bytes touched", Unit::Bytes, &points, Some(batch));
    stepper.end()
}

/// What is swapped out leaves `usage_in_bytes` and stays in `memsw.usage_in_bytes`, and `stat` has it as swap.
#[rstest]
fn swap_counts_in_memory_and_swap(lab: Lab) -> Outcome {
    let group = lab.legacy("memory")?.make("group")?;
    let swap = lab.swap(32 * MIB)?;
    let held = Stepper::holding(&group, 2048)?;
    group.set(LIMIT, 4 * MIB)?;
    let after = stat(&group)?;
    lab.accounting("bytes in the swap space")
        .covers([S23])
        .file(STAT)
        .unit(Unit::Bytes)
        .observed(after["swap"])
        .between(4 * MIB - behind()? * PAGE, 5 * MIB, "the process has 8 MiB and may keep 4, less some hundred KiB for the kernel; reclaim takes up to 32 pages more each time");
    lab.accounting("memory in use")
        .covers([S23])
        .file(USAGE)
        .unit(Unit::Bytes)
        .observed(group.number(USAGE)?)
        .between(
            3 * MIB,
            4 * MIB,
            "not above the new limit, and reclaim goes no further than it must",
        );
    let known = after["rss"]
        + after["cache"]
        + after["swap"]
        + group.number("memory.kmem.usage_in_bytes")?;
    let both = group.number(BOTH_USAGE)?;
    lab.accounting("memory and swap in use")
        .covers([S23])
        .file(BOTH_USAGE)
        .unit(Unit::Bytes)
        .observed(both)
        .between(
            known - (64 + 2 * behind()?) * PAGE,
            known + (batch()? + 2 * behind()?) * PAGE,
            "rss, cache, swap and kernel memory, and a CPU's batch; a page in the swap cache is in rss and in swap",
        );
    lab.accounting("memory and swap in use beside what the process touched")
        .covers([S23])
        .file(BOTH_USAGE)
        .unit(Unit::Bytes)
        .observed(both)
        .between(
            8 * MIB,
            9 * MIB,
            "it touched 8 MiB, wherever they are; the rest is the kernel's, and a batch",
        );
    held.end()?;
    drop(swap);
    lab.accounting("bytes in the swap space once the process has ended")
        .covers([S23])
        .file(STAT)
        .unit(Unit::Bytes)
        .observed(stat(&group)?["swap"])
        .at_most(behind()? * PAGE, "nobody has them any more");
    Ok(())
}

/// Each `total_` sum of `stat` is the group's own number and those of all below it.
#[rstest]
fn sums_are_own_and_children(lab: Lab) -> Outcome {
    let top = hierarchical(lab.legacy("memory")?, "top")?;
    let middle = top.make("middle")?;
    let (leaf, other) = (middle.make("leaf")?, middle.make("other")?);
    let held = [(&top, 300), (&middle, 500), (&leaf, 700), (&other, 1100)];
    let steppers = held
        .iter()
        .map(|(group, pages)| Stepper::holding(group, *pages))
        .collect::<Result<Vec<_>, _>>()?;
    let _open = device()?;
    let read = leaf.spawn(|| read_pages(0..200))?.finish()?;
    settle();
    let stats = [stat(&top)?, stat(&middle)?, stat(&leaf)?, stat(&other)?];
    // Before 5.13 a sum was brought up to date when a CPU had a batch of changes.
    let late = 4 * behind()?;
    for (name, all, below) in [
        ("top", &stats[0], &stats[..]),
        ("middle", &stats[1], &stats[1..]),
        ("leaf", &stats[2], &stats[2..3]),
    ] {
        for (key, total) in all {
            let Some(own) = key.strip_prefix("total_") else { continue };
            let counts = own.starts_with("pg");
            let unit = if counts { 1 } else { PAGE };
            let sum: u64 = below.iter().map(|it| it[own]).sum();
            lab.accounting(&format!("{key} of {name}"))
                .covers([R167])
                .file(STAT)
                .unit(if counts { Unit::Events } else { Unit::Bytes })
                .observed(*total)
                .between(
                    sum.saturating_sub(late * unit),
                    sum + late * unit,
                    "memory.rst, 5.2: total_ is the group's own value and \"the sum of all hierarchical children's values\"; nobody ran for two seconds, and before 5.13 each group may be a batch behind",
                );
        }
    }
    for ((group, pages), name) in held.iter().zip(["top", "middle", "leaf", "other"]) {
        lab.accounting(&format!("{name}'s own rss"))
            .covers([R167])
            .file(STAT)
            .unit(Unit::Pages)
            .observed(stat(group)?["rss"] / PAGE)
            .between(
                pages - behind()?,
                pages + 40,
                "its own process alone: what it touched, and some pages of its stack and of what it wrote to before",
            );
    }
    lab.accounting("the leaf's cache in the top's sum")
        .covers([R167])
        .file(STAT)
        .unit(Unit::Pages)
        .observed(stats[0]["total_cache"] / PAGE)
        .between(
            read.saturating_sub(late),
            read + late,
            "pages that a process of the leaf read, and nobody else",
        );
    middle.set(LIMIT, 64 * MIB)?;
    leaf.set(LIMIT, 128 * MIB)?;
    for (name, group, expected) in
        [("top", &top, UNLIMITED), ("middle", &middle, 64 * MIB), ("leaf", &leaf, 64 * MIB)]
    {
        lab.interface(&format!("the limit that holds in {name}"))
            .covers([R167])
            .file(STAT)
            .unit(Unit::Bytes)
            .observed(stat(group)?["hierarchical_memory_limit"])
            .equals(
                expected,
                "memory.rst, 5.2: the limit \"with regard to hierarchy\", the lowest on the way up",
            );
    }
    steppers.into_iter().try_for_each(Stepper::end)
}

/// Writing 1 to `use_hierarchy` always passes and 0 fails; before 5.11 it is a choice, as long as there are no children.
#[rstest]
fn hierarchy_is_for_good(lab: Lab) -> Outcome {
    const FILE: &str = "memory.use_hierarchy";
    let root = lab.legacy("memory")?;
    let group = root.make("group")?;
    let choice = release()? < (5, 11);
    lab.interface("the value in a new group")
        .covers([R165])
        .file(FILE)
        .observed(group.line(FILE)?)
        .equals(if choice { "0" } else { "1" }, "memory.rst, 6.1: \"Hierarchical accounting is enabled by default\" since 5.11, and the older one's 6.1 says that it is disabled");
    for (written, answer, shown) in [
        ("1", "ok", "1"),
        ("0", if choice { "ok" } else { "EINVAL" }, if choice { "0" } else { "1" }),
        ("2", "EINVAL", if choice { "0" } else { "1" }),
        ("1", "ok", "1"),
    ] {
        lab.interface(&format!("the answer to {written}"))
            .covers([R165])
            .file(FILE)
            .answered(&group.try_set(FILE, written))
            .equals(answer, "memory.rst, 6.1: \"writing 1 to memory.use_hierarchy will always pass\", disabling \"will result in a failure\"; before 5.11 both pass");
        lab.interface(&format!("the value after {written}"))
            .covers([R165])
            .file(FILE)
            .observed(group.line(FILE)?)
            .equals(shown, "what was accepted holds");
    }
    let child = group.make("child")?;
    for (who, group, written, answer) in [
        ("a group with children", &group, "1", "ok"),
        ("a group with children", &group, "0", if choice { "EBUSY" } else { "EINVAL" }),
        ("a child of one that has it", &child, "1", "ok"),
        ("a child of one that has it", &child, "0", "EINVAL"),
    ] {
        lab.interface(&format!("the answer to {written} of {who}"))
            .covers([R165])
            .file(FILE)
            .answered(&group.try_set(FILE, written))
            .equals(answer, "as above; before 5.11 it cannot change once there are children or the parent has it");
    }
    // It does what it says: a child's pages are its parent's too.
    let held = Stepper::holding(&child, 1000)?;
    lab.accounting("usage of the parent")
        .covers([R165])
        .file(USAGE)
        .unit(Unit::Pages)
        .observed(group.number(USAGE)? / PAGE)
        .between(1000, 1000 + batch()? + 60, "memory.rst, 6: usage \"is accounted to its ancestors\": the child's pages, its process's needs and a batch");
    held.end()
}
