//! `memory.stat`, what reclaim and huge pages do: each event against what caused it.

use cgauge_lab::prelude::*;
use nix::libc;

use crate::support::*;

/// A page that comes back is a refault, and reclaim counts what it took, in all and by who did it.
#[rstest]
fn refaults_and_reclaim_are_counted(lab: Lab) -> Outcome {
    const PAGES: u64 = 2048;
    lab.needs_file("memory.reclaim", "since 5.19")?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        for _ in 0..2 {
            turns.step(|| read_pages(&file, 0..PAGES));
        }
        turns.step(|| 0);
    })?;
    process.next()?;
    let before = Stat::settled(&group)?;
    // Half of them: as long as more pages are there than marks of gone ones, the marks
    // are left alone (mm/workingset.c, count_shadow_nodes).
    group.set("memory.reclaim", PAGES / 2 * PAGE)?;
    let out = Stat::settled(&group)?;
    let taken = -out.pages(&before, "file")?;
    let check = |what: &str, observed: i64, least: i64, most: i64, why: &str| {
        lab.accounting(what)
            .covers([R107])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(observed)
            .between(least, most, why);
    };
    check(
        "file pages that were reclaimed",
        taken,
        PAGES.cast_signed() / 2,
        PAGES.cast_signed() / 2 + 64,
        "as many as were asked for, and what was left of the last lot, of 64 at the most",
    );
    check(
        "pgsteal of them",
        out.growth(&before, "pgsteal")?,
        taken,
        taken,
        "each page that went was taken by reclaim",
    );
    check(
        "pgscan of them",
        out.growth(&before, "pgscan")?,
        taken,
        PAGES.cast_signed(),
        "each page is looked at before it is taken, and as there are enough no page twice",
    );
    // Asked for by hand is direct reclaim to those kernels that do not tell it apart.
    let by = if out.has("pgsteal_proactive") { "proactive" } else { "direct" };
    for (kind, whole) in
        [("pgsteal", out.growth(&before, "pgsteal")?), ("pgscan", out.growth(&before, "pgscan")?)]
    {
        let key = format!("{kind}_{by}");
        if out.has(&key) {
            check(
                &format!("{key} of them"),
                out.growth(&before, &key)?,
                whole,
                whole,
                "all of it was done for the write to memory.reclaim",
            );
        }
        for other in ["kswapd", "khugepaged", "direct", "proactive"] {
            let key = format!("{kind}_{other}");
            if other != by && out.has(&key) {
                check(
                    &format!("{key} of them"),
                    out.growth(&before, &key)?,
                    0,
                    0,
                    "nobody else reclaimed anything: the machine has memory to spare",
                );
            }
        }
    }
    let read = process.next()?.cast_signed();
    let back = Stat::settled(&group)?;
    let refaults = back.growth(&out, "workingset_refault_file")?;
    check(
        "workingset_refault_file once they were read again",
        refaults,
        taken,
        taken,
        "cgroup-v2.rst: \"Number of refaults of previously evicted file pages\": each that went has come back",
    );
    check(
        "workingset_nodereclaim by then",
        back.growth(&before, "workingset_nodereclaim")?,
        0,
        0,
        "cgroup-v2.rst: \"Number of times a shadow node has been reclaimed\", and there were too few of them",
    );
    check(
        "file pages once they were read again",
        back.pages(&before, "file")?,
        0,
        0,
        "they are all there again",
    );
    check(
        "workingset_activate_file of them",
        back.growth(&out, "workingset_activate_file")?,
        0,
        refaults,
        "of the refaulted pages those that were wanted back soon",
    );
    check(
        "workingset_restore_file of them",
        back.growth(&out, "workingset_restore_file")?,
        0,
        refaults,
        "of the refaulted pages those that were active before",
    );
    check(
        "workingset_refault_anon of them",
        back.growth(&out, "workingset_refault_anon")?,
        0,
        0,
        "they are file pages",
    );
    check(
        "pages read the second time",
        read,
        PAGES.cast_signed(),
        PAGES.cast_signed(),
        "the process's own count",
    );
    Ok(())
}

/// Pages that are used again move from the inactive list to the active one, and a full list is gone through.
#[rstest]
fn pages_used_again_are_activated(lab: Lab) -> Outcome {
    const PAGES: u64 = 2048;
    if has_generations() {
        std::fs::write("/sys/kernel/mm/lru_gen/enabled", "n")?;
    }
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(file) = device() else { return };
        for _ in 0..3 {
            turns.step(|| read_pages(&file, 0..PAGES));
        }
        turns.step(|| 0);
    })?;
    process.next()?;
    let once = Stat::settled(&group)?;
    process.next()?;
    process.next()?;
    let again = Stat::settled(&group)?;
    lab.accounting("pages that are on the active list after they were read once")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(once.get("active_file")? / PAGE)
        .at_most(64, "a page that is used once is inactive (mm/swap.c, folio_mark_accessed), without generations");
    lab.accounting("pages that moved to the active list when they were read twice more")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(again.pages(&once, "active_file")?)
        .between(PAGES - 64, PAGES, "a page that is used again is activated (mm/swap.c, folio_mark_accessed), in lots of up to 31");
    lab.accounting("pgactivate of it")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Events)
        .observed(again.growth(&once, "pgactivate")?)
        .equals(again.pages(&once, "active_file")?, "each page that became active was activated");
    lab.accounting("pages that left the inactive list for it, with what came in")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(-again.pages(&once, "inactive_file")?)
        .between(
            PAGES - 64 - 31,
            PAGES,
            "a page is on one list; up to 31 that were on none have come in",
        );
    if group.has("memory.reclaim")? {
        let _ = group.try_set("memory.reclaim", 64 * MIB);
        let gone = Stat::settled(&group)?;
        for (key, least) in [("pgrefill", PAGES - 64), ("pgdeactivate", PAGES / 2)] {
            lab.accounting(&format!("{key} once all of them were reclaimed"))
                .covers([R107])
                .file("memory.stat")
                .unit(Unit::Events)
                .observed(gone.growth(&again, key)?)
                .between(least, 4 * PAGES, "active pages are looked at (pgrefill) and made inactive (pgdeactivate) before they are taken");
        }
    }
    Ok(())
}

/// Pages given up lazily are counted when they are given up and when they are taken, and not taken if written again.
#[rstest]
fn lazily_freed_pages_are_counted(lab: Lab) -> Outcome {
    const PAGES: u64 = 1024;
    lab.needs_file("memory.reclaim", "since 5.19")?;
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(PAGES * PAGE) else { return };
        turns.step(|| memory.touch());
        // Another mapping's end empties the lots of pages that wait for their lists.
        turns.step(|| {
            let _ = Memory::anonymous(64 * PAGE).map(|it| it.touch());
            memory.advise(libc::MADV_FREE).map_or(1, |()| 0)
        });
        turns.step(|| memory.write(0..128, 1));
        turns.step(|| memory.read(0..PAGES, 1));
        turns.step(|| memory.pages());
    })?;
    process.next()?;
    let before = Stat::settled(&group)?;
    process.next()?;
    let given = Stat::settled(&group)?;
    lab.accounting("pglazyfree of pages given up lazily")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(given.growth(&before, "pglazyfree")?)
        .between(
            PAGES - 62,
            PAGES,
            "madvise(2), MADV_FREE; counted as they come to their list, in lots of up to 31",
        );
    let kept = process.next()?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let gone = Stat::settled(&group)?;
    lab.accounting("pglazyfreed once they were reclaimed")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(gone.growth(&given, "pglazyfreed")?)
        .between(PAGES - kept - 62, PAGES - kept, "those that were not written again");
    lab.enforcement("pages that hold what was written")
        .covers([R107])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(process.next()?)
        .between(kept, kept + 62, "madvise(2): a page that is written again is kept, and one that was not reads as zero, but for those not yet on their list");
    Ok(())
}

/// Huge pages are counted where they are: anonymous ones as anon_thp, and how they came about.
#[rstest]
fn huge_pages_are_counted(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const COUNT: u64 = 4;
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return Err(lab.skip("this kernel has no huge pages (CONFIG_TRANSPARENT_HUGEPAGE)"));
    }
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let (Ok(memory), Ok(small)) = (Memory::huge(COUNT * HUGE), Memory::huge(HUGE)) else {
            return;
        };
        turns.step(|| (0..COUNT).map(|it| memory.write(it * 512..it * 512 + 1, 1)).sum());
        turns.step(|| memory.advise_part(0..16, libc::MADV_DONTNEED).map_or(1, |()| 0));
        turns.step(|| {
            let _ = small.advise(libc::MADV_NOHUGEPAGE);
            small.touch()
        });
        turns.step(|| {
            let _ = small.advise(libc::MADV_HUGEPAGE);
            // MADV_COLLAPSE of asm-generic/mman-common.h, since 6.1.
            u64::from(small.advise(25).is_ok())
        });
        turns.step(|| memory.pages() + small.pages());
    })?;
    let check = |what: &str, unit: Unit, observed: i64, expected: u64, why: &str| {
        lab.accounting(what)
            .covers([R107])
            .file("memory.stat")
            .unit(unit)
            .observed(observed)
            .equals(expected, why);
    };
    let before = Stat::settled(&group)?;
    let touched = process.next()?;
    let after = Stat::settled(&group)?;
    check(
        "anon_thp with four huge pages touched",
        Unit::Bytes,
        after.growth(&before, "anon_thp")?,
        touched * HUGE,
        "one byte was touched of each",
    );
    check(
        "anon with them",
        Unit::Bytes,
        after.growth(&before, "anon")?,
        touched * HUGE,
        "a huge page counts whole",
    );
    check(
        "thp_fault_alloc of them",
        Unit::Events,
        after.growth(&before, "thp_fault_alloc")?,
        touched,
        "each came about by one fault",
    );
    check(
        "page faults of them",
        Unit::Events,
        after.growth(&before, "pgfault")?,
        touched,
        "each came about by one fault",
    );
    process.next()?;
    let split = Stat::settled(&group)?;
    check(
        "anon_thp less one that was given back in part",
        Unit::Bytes,
        split.growth(&after, "anon_thp")? + HUGE.cast_signed(),
        0,
        "it is not mapped as a whole any more",
    );
    check(
        "pages of anon that went with that part",
        Unit::Pages,
        -split.pages(&after, "anon")?,
        16,
        "as many as were given back",
    );
    let small = process.next()?;
    let grown = Stat::settled(&group)?;
    check(
        "anon with small pages beside them",
        Unit::Pages,
        grown.pages(&split, "anon")?,
        small,
        EXACT,
    );
    check(
        "anon_thp with small pages beside them",
        Unit::Pages,
        grown.pages(&split, "anon_thp")?,
        0,
        "they are small",
    );
    if process.next()? == 1 {
        let collapsed = Stat::settled(&group)?;
        check(
            "thp_collapse_alloc once the small ones were made one",
            Unit::Events,
            collapsed.growth(&grown, "thp_collapse_alloc")?,
            1,
            "madvise(2), MADV_COLLAPSE: one huge page in place of 512",
        );
        check(
            "anon_thp once the small ones were made one",
            Unit::Bytes,
            collapsed.growth(&grown, "anon_thp")?,
            HUGE,
            "one huge page in place of 512",
        );
        check(
            "anon once the small ones were made one",
            Unit::Bytes,
            collapsed.growth(&grown, "anon")?,
            0,
            "the same bytes",
        );
    }
    Ok(())
}

/// Known bug 29: memory.stat is late by what 64 pages a CPU are at most, and by two seconds at most.
#[rstest]
fn bug_29_stat_is_late_by_little_and_not_for_long(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const PAGES: u64 = 1000;
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(2 * PAGES * PAGE) else { return };
        turns.step(|| memory.write(0..PAGES, 1));
        turns.step(|| memory.write(PAGES..PAGES + 20, 1));
        turns.step(|| memory.pages());
    })?;
    let before = Stat::settled(&group)?;
    for (what, most) in [("a thousand pages", 64), ("twenty pages more", 20)] {
        let base = Stat::now(&group)?.pages(&before, "anon")?;
        let touched = process.next()?.cast_signed();
        let began = cgauge_lab::time::now();
        let mut points = Vec::new();
        let mut exact = None;
        while exact.is_none() && cgauge_lab::time::now() - began < Duration::from_secs(4) {
            let seen = Stat::now(&group)?.pages(&before, "anon")? - base;
            points.push((cgauge_lab::time::now() - began, seen as f64));
            if seen == touched {
                exact = Some(cgauge_lab::time::now() - began);
            }
            cgauge_lab::time::pause(Duration::from_millis(10));
        }
        lab.accounting(&format!("pages that memory.stat lacks right after {what} were touched"))
            .covers([R107])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(touched - points[0].1 as i64)
            .between(0, most, "a reader brings it up to date once 64 changes a CPU have come together (mm/memcontrol.c, memcg_vmstats_needs_flush), of which there is one");
        lab.accounting(&format!("time until memory.stat is exact after {what}"))
            .covers([R107])
            .file("memory.stat")
            .took(exact.unwrap_or(Duration::from_secs(4)))
            .at_most(2_200_000_000_u64, "it is brought up to date every two seconds in any case (mm/memcontrol.c, FLUSH_TIME)");
        lab.series(&format!("anon after {what}"), Unit::Pages, &points, Some(touched as f64));
    }
    Ok(())
}

/// `memory.numa_stat` is `memory.stat` by node: for every key that both have, the nodes add up.
#[rstest]
fn numa_stat_adds_up_to_stat(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    lab.needs_file("memory.numa_stat", "since 5.10, with CONFIG_NUMA")?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let made =
            (Memory::anonymous(4 * MIB), Memory::shmem(4 * MIB), Memory::huge(HUGE), device());
        let (Ok(anonymous), Ok(shared), Ok(huge), Ok(file)) = made else { return };
        turns.step(|| {
            anonymous.touch()
                + shared.touch()
                + huge.write(0..1, 1)
                + read_pages(&file, 0..1024)
                + write_pages(&file, 0..128)
        });
        turns.step(|| 0);
    })?;
    process.next()?;
    let stat = Stat::settled(&group)?;
    let nodes = cgauge_lab::parse::nested_keyed(&group.get("memory.numa_stat")?)
        .map_err(|it| Stop::Broken(it.to_string()))?;
    let mut compared = 0;
    for (key, by_node) in &nodes {
        if !stat.has(key) {
            continue;
        }
        compared += 1;
        let sum: u64 = by_node.values().filter_map(|it| it.parse::<u64>().ok()).sum();
        lab.accounting(&format!("the sum of {key} over the nodes"))
            .covers([R108])
            .file("memory.numa_stat")
            .unit(if key.starts_with("workingset") || key.starts_with("pg") { Unit::Events } else { Unit::Bytes })
            .observed(sum)
            .equals(stat.get(key)?, "cgroup-v2.rst, memory.numa_stat: the entries of memory.stat \"on a per-node basis\"; both were read within a millisecond while the process stood still");
    }
    lab.interface("keys that memory.numa_stat and memory.stat have in common")
        .covers([R108])
        .file("memory.numa_stat")
        .unit(Unit::Count)
        .observed(compared)
        .at_least(20, "5.10, the first with the file, has more than twenty");
    for (key, least) in [("anon", 4 * MIB), ("file", 8 * MIB), ("shmem", 4 * MIB)] {
        lab.accounting(&format!("{key} over the nodes"))
            .covers([R108])
            .file("memory.numa_stat")
            .unit(Unit::Bytes)
            .observed(
                nodes.get(key).map_or(0, |it| {
                    it.values().filter_map(|it| it.parse::<u64>().ok()).sum::<u64>()
                }),
            )
            .between(
                least,
                least + HUGE + 128 * PAGE,
                "what the process touched, with a huge page and its own stack and heap",
            );
    }
    Ok(())
}
