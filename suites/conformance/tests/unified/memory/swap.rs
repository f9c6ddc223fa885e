//! Swap and zswap: how much a group may put there, what is counted, and what
//! `memory.swap.high`, `memory.zswap.max` and `memory.zswap.writeback` do.

use cgauge_lab::prelude::*;
use cgauge_lab::time::now;

use crate::support::*;

const PAGES: u64 = 2048;

/// A process with so many pages of its own that do not compress, which reads them
/// all again and counts them with its second step.
fn holder(group: &Group, pages: u64) -> Result<Stepper, Stop> {
    no_khugepaged()?;
    let holder = Stepper::start(group, |turns| {
        let Ok(memory) = Memory::anonymous(pages * PAGE) else { return };
        turns.step(|| memory.scramble(0..pages));
        turns.step(|| {
            (0..pages).for_each(|it| {
                memory.read(it..it + 1, 0);
            });
            pages
        });
        turns.step(|| {
            drop(memory);
            0
        });
    })?;
    holder.next()?;
    Ok(holder)
}

/// What is swapped out is counted in memory.swap.current and comes back when it is touched, each page a major fault.
#[rstest]
fn swapped_pages_are_counted_and_come_back(lab: Lab) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19; swap is filled with it")?;
    let _swap = lab.swap(64 * MIB)?;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let group = parent.make("group")?;
    let process = holder(&group, PAGES)?;
    let before = Stat::settled(&group)?;
    // More than there is: every page goes that can.
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let out = Stat::settled(&group)?;
    let swapped = group.number("memory.swap.current")?;
    lab.accounting("memory.swap.current after all was reclaimed")
        .covers([R109])
        .file("memory.swap.current")
        .unit(Unit::Pages)
        .observed(swapped / PAGE)
        .between(PAGES, PAGES + 64, "the process's own count, and its stack and heap");
    lab.accounting("anonymous pages that went")
        .covers([R109])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(-out.pages(&before, "anon")?)
        .between(PAGES, swapped / PAGE, "each of them is in swap now");
    lab.accounting("memory.swap.current of the parent")
        .covers([R109])
        .file("memory.swap.current")
        .unit(Unit::Bytes)
        .observed(parent.number("memory.swap.current")?)
        .equals(swapped, "it takes in its descendants");
    if out.has("pswpout") {
        lab.accounting("pages written to swap, by memory.stat")
            .covers([R107])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(out.growth(&before, "pswpout")?)
            .between(PAGES, swapped / PAGE, "each page that is in swap was written there");
    }
    let touched = process.next()?;
    let back = Stat::settled(&group)?;
    for (key, covered) in [("pgmajfault", R107), ("workingset_refault_anon", R107)] {
        lab.accounting(&format!("{key} once the process touched them all"))
            .covers([covered])
            .file("memory.stat")
            .unit(Unit::Events)
            .observed(back.growth(&out, key)?)
            .between(
                touched,
                touched + 64,
                "each of its pages came back with one fault, and its stack and heap",
            );
    }
    lab.accounting("anonymous pages that came back")
        .covers([R109])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(back.pages(&out, "anon")?)
        .between(touched, touched + 64, "each of its pages, and its stack and heap");
    if back.has("pswpin") {
        lab.accounting("pages read from swap, by memory.stat")
            .covers([R107])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(back.growth(&out, "pswpin")?)
            .between(touched, touched + 64, "each of its pages came back from there");
    }
    process.next()?;
    settle();
    lab.accounting("memory.swap.current once the process unmapped them")
        .covers([R109])
        .file("memory.swap.current")
        .unit(Unit::Pages)
        .observed(group.number("memory.swap.current")? / PAGE)
        .at_most(64, "their places in swap are free again");
    Ok(())
}

/// Pages of zeroes are counted as swapped and take no swap space.
#[rstest]
fn pages_of_zeroes_are_counted_apart(lab: Lab) -> Outcome {
    let _swap = lab.swap(64 * MIB)?;
    let group = lab.group("group")?;
    if !Stat::now(&group)?.has("swpout_zero") {
        return Err(lab.skip("this kernel's memory.stat has no swpout_zero (since 6.12)"));
    }
    no_khugepaged()?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(PAGES * PAGE) else { return };
        turns.step(|| memory.write(0..PAGES, 0));
        turns.step(|| memory.read(0..PAGES, 0));
        turns.step(|| memory.pages());
    })?;
    process.next()?;
    let before = Stat::settled(&group)?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let out = Stat::settled(&group)?;
    let read = process.next()?;
    let back = Stat::settled(&group)?;
    for (key, observed) in [
        ("swpout_zero", out.growth(&before, "swpout_zero")?),
        ("swpin_zero", back.growth(&out, "swpin_zero")?),
    ] {
        lab.accounting(&format!("{key} of pages that hold nothing but zeroes"))
            .covers([R107])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(observed)
            .between(
                PAGES,
                PAGES + 16,
                "each of the process's pages, and a page of its stack that holds none",
            );
    }
    lab.accounting("pages that hold zeroes when they are back")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(read)
        .equals(PAGES, "what was written is what is read");
    Ok(())
}

/// Huge pages go to swap whole or in parts, and each is counted as either.
#[rstest]
fn huge_pages_are_swapped_whole_or_in_parts(lab: Lab) -> Outcome {
    const COUNT: u64 = 4;
    lab.needs_file("memory.reclaim", "since 5.19; swap is filled with it")?;
    let _swap = lab.swap(64 * MIB)?;
    no_khugepaged()?;
    let group = lab.group("group")?;
    if !Stat::now(&group)?.has("thp_swpout") {
        return Err(lab.skip("this kernel's memory.stat has no thp_swpout (since 6.7)"));
    }
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::huge(COUNT * HUGE) else { return };
        turns.step(|| memory.scramble(0..memory.pages()));
        turns.step(|| memory.pages());
    })?;
    let small = Stat::settled(&group)?;
    let pages = process.next()?;
    let before = Stat::settled(&group)?;
    lab.accounting("anon_thp with four huge pages filled")
        .covers([R107])
        .file("memory.stat:anon_thp")
        .unit(Unit::Bytes)
        .observed(before.growth(&small, "anon_thp")?)
        .equals(COUNT * HUGE, "the process filled them");
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let out = Stat::settled(&group)?;
    lab.accounting("anon_thp once all was reclaimed")
        .covers([R107])
        .file("memory.stat:anon_thp")
        .unit(Unit::Bytes)
        .observed(out.growth(&before, "anon_thp")?)
        .equals(-(COUNT * HUGE).cast_signed(), "none of them is in memory any more");
    let [whole, parts] = ["thp_swpout", "thp_swpout_fallback"];
    lab.accounting("thp_swpout and thp_swpout_fallback of them")
        .covers([R107])
        .file("memory.stat:thp_swpout")
        .unit(Unit::Events)
        .observed(out.growth(&before, whole)? + out.growth(&before, parts)?)
        .equals(COUNT, "cgroup-v2.rst: \"Number of transparent hugepages which are swapout in one piece without splitting\", and those which were split before");
    lab.accounting("memory.swap.current once all was reclaimed")
        .covers([R109])
        .file("memory.swap.current")
        .unit(Unit::Pages)
        .observed(group.number("memory.swap.current")? / PAGE)
        .between(pages, pages + 64, "the process's own count, and its stack and heap");
    Ok(())
}

/// `memory.swap.max` is the most that a group gets into swap; what does not fit stays in memory, and each refusal is counted.
#[rstest]
fn swap_max_stops_swapping(lab: Lab, #[values(0, 512)] limit: u64) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19; swap is filled with it")?;
    let _swap = lab.swap(64 * MIB)?;
    let group = lab.group("group")?;
    group.set("memory.swap.max", limit * PAGE)?;
    let process = holder(&group, PAGES)?;
    let before = Stat::settled(&group)?;
    lab.interface("the answer to a request to reclaim all")
        .covers([R094, R109])
        .file("memory.reclaim")
        .answered(&group.try_set("memory.reclaim", 64 * MIB))
        .equals("EAGAIN", "less than that can go");
    lab.enforcement("memory.swap.current after all was to be reclaimed")
        .covers([R109])
        .file("memory.swap.max")
        .unit(Unit::Pages)
        .observed(group.number("memory.swap.current")? / PAGE)
        .equals(limit, "cgroup-v2.rst, memory.swap.max: \"If a cgroup's swap usage reaches this limit, anonymous memory of the cgroup will not be swapped out\"; there was more to swap than that");
    let after = Stat::settled(&group)?;
    lab.enforcement("anonymous pages that went")
        .covers([R109])
        .file("memory.swap.max")
        .unit(Unit::Pages)
        .observed(-after.pages(&before, "anon")?)
        .equals(limit, "as many as swap took");
    let counted = events(&group, "memory.swap.events")?;
    // With no room at all reclaim does not even try (mm/vmscan.c, can_reclaim_anon_pages).
    for key in ["max", "fail"].into_iter().filter(|_| limit > 0) {
        lab.accounting(&format!("{key} of the swap events"))
            .covers([R111])
            .file("memory.swap.events")
            .unit(Unit::Events)
            .observed(counted[key])
            .at_least(1, "cgroup-v2.rst, memory.swap.events: max and fail count each time that swap was refused, at the limit and for whatever reason");
    }
    lab.accounting("high of the swap events")
        .covers([R111])
        .file("memory.swap.events")
        .unit(Unit::Events)
        .observed(counted["high"])
        .equals(0, "there is no such boundary");
    group.set("memory.swap.max", "max")?;
    // One request may leave what it has just looked at.
    for _ in 0..4 {
        let _ = group.try_set("memory.reclaim", 64 * MIB);
    }
    lab.enforcement("memory.swap.current with the limit gone")
        .covers([R109])
        .file("memory.swap.max")
        .unit(Unit::Pages)
        .observed(group.number("memory.swap.current")? / PAGE)
        .between(
            PAGES - 128,
            PAGES + 64,
            "now all of it fits; up to four lots of 32 pages may have been used too lately",
        );
    process.next()?;
    Ok(())
}

/// `memory.swap.high` slows who grows while more than that is in swap, and kills nobody.
#[rstest]
fn swap_high_slows_who_grows_beyond_it(lab: Lab) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19; swap is filled with it")?;
    let _swap = lab.swap(64 * MIB)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(2 * PAGES * PAGE) else { return };
        turns.step(|| memory.scramble(0..PAGES));
        for part in 0..2 {
            let first = PAGES + part * 512;
            turns.step(|| {
                let began = now();
                memory.write(first..first + 512, 1);
                u64::try_from((now() - began).as_nanos()).unwrap_or(u64::MAX)
            });
        }
        turns.step(|| memory.pages());
    })?;
    process.next()?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let swapped = group.number("memory.swap.current")?;
    let unhindered = process.next()?;
    // As far above as the slowest pace needs, and more.
    group.set("memory.swap.high", swapped / 2)?;
    let slowed = process.next()?;
    lab.enforcement("time for 512 pages with twice memory.swap.high in swap")
        .covers([R110])
        .file("memory.swap.high")
        .unit(Unit::Nanoseconds)
        .observed(slowed)
        .between(13_000_000_000_u64, 18_500_000_000_u64, "cgroup-v2.rst, memory.swap.high: \"all its further allocations will be throttled\"; mm/memcontrol.c: two seconds at most for each 64 pages, of which there are eight here, or seven or nine");
    lab.enforcement("time for 512 pages before it was set")
        .covers([R110])
        .file("memory.swap.high")
        .unit(Unit::Nanoseconds)
        .observed(unhindered)
        .at_most(200_000_000, "nothing slows it");
    let counted = events(&group, "memory.swap.events")?;
    lab.accounting("high of the swap events")
        .covers([R111])
        .file("memory.swap.events")
        .unit(Unit::Events)
        .observed(counted["high"])
        .equals(17 * (slowed / 2_000_000_000), "cgroup-v2.rst: \"The number of times the cgroup's swap usage was over the high threshold\", found out when memory is charged (mm/memcontrol.c, swap_find_max_overage): before each sleep of two seconds, of which the process's own clock tells the number, and with each of sixteen tries to reclaim (MAX_RECLAIM_RETRIES)");
    for key in ["oom", "oom_kill"] {
        lab.enforcement(&format!("{key} of the group"))
            .covers([R110])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(group.key("memory.events", key)?)
            .equals(0, "a boundary that slows kills nobody");
    }
    Ok(())
}

/// zswap: what it holds is counted, `memory.zswap.max` bounds it, and without `memory.zswap.writeback` nothing goes past it.
#[rstest]
fn zswap_is_counted_and_bounded(lab: Lab) -> Outcome {
    let _zswap = lab.zswap()?;
    let _swap = lab.swap(64 * MIB)?;
    lab.needs_file("memory.zswap.current", "since 5.19, with CONFIG_ZSWAP")?;
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let Ok(memory) = Memory::anonymous(2 * PAGES * PAGE) else { return };
        // One byte a page: it compresses to next to nothing.
        turns.step(|| memory.write(0..PAGES, 7));
        turns.step(|| memory.read(0..PAGES, 7));
        turns.step(|| memory.scramble(PAGES..PAGES + 512));
        turns.step(|| memory.scramble(PAGES + 512..PAGES + 1024));
        turns.step(|| memory.pages());
    })?;
    process.next()?;
    let before = Stat::settled(&group)?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let out = Stat::settled(&group)?;
    lab.accounting("zswpout of pages that compress")
        .covers([R107, R112])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(out.growth(&before, "zswpout")?)
        .between(PAGES, PAGES + 64, "each of the process's pages, and its stack and heap");
    lab.accounting("zswapped after it")
        .covers([R107, R112])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(out.pages(&before, "zswapped")?)
        .between(
            PAGES,
            PAGES + 64,
            "cgroup-v2.rst, zswapped: \"Amount of application memory swapped out to zswap\"",
        );
    let held = out.get("zswap")?;
    lab.accounting("zswap after it")
        .covers([R107, R112])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(held)
        .between(PAGES * 16, PAGES * PAGE / 4, "cgroup-v2.rst, zswap: \"Amount of memory consumed by the zswap compression backend\"; a page of zeroes but one byte takes tens of bytes, and never a quarter of itself");
    lab.accounting("memory.zswap.current after it")
        .covers([R112])
        .file("memory.zswap.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.zswap.current")?)
        .equals(held, "the same, by the other file");
    let read = process.next()?;
    let back = Stat::settled(&group)?;
    lab.accounting("zswpin once the process read them again")
        .covers([R107, R112])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(back.growth(&out, "zswpin")?)
        .between(read, read + 64, "each of its pages, and its stack and heap");
    group.set("memory.zswap.max", 0)?;
    process.next()?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    let none = Stat::settled(&group)?;
    lab.enforcement("zswpout with memory.zswap.max 0")
        .covers([R112])
        .file("memory.zswap.max")
        .unit(Unit::Pages)
        .observed(none.growth(&back, "zswpout")?)
        .equals(0, "cgroup-v2.rst, memory.zswap.max: at the limit \"it will refuse to take any more stores\"");
    if !group.has("memory.zswap.writeback")? {
        // Since 6.8; the rest is older.
        return Ok(());
    }
    lab.enforcement("pages that went past zswap to the device then")
        .covers([R112])
        .file("memory.zswap.writeback")
        .unit(Unit::Pages)
        .observed(none.growth(&back, "pswpout")?)
        .between(
            512,
            512 + PAGES + 64,
            "the pages that the process has touched last, and what came back and had no copy there",
        );
    group.set("memory.zswap.writeback", 0)?;
    process.next()?;
    let before = Stat::settled(&group)?;
    let _ = group.try_set("memory.reclaim", 64 * MIB);
    lab.enforcement("pages that went there with memory.zswap.writeback 0")
        .covers([R112])
        .file("memory.zswap.writeback")
        .unit(Unit::Pages)
        .observed(Stat::settled(&group)?.growth(&before, "pswpout")?)
        .equals(0, "cgroup-v2.rst, memory.zswap.writeback: \"When this is set to 0, all swapping attempts to swapping devices are disabled\"; there are 512 pages that would go");
    Ok(())
}
