//! `memory.current`: the sum of what memory.stat shows, here and below.

use cgauge_lab::prelude::*;
use nix::libc;

use crate::support::*;

const PAGES: u64 = 1024;

/// memory.current is the sum of anon, file, kernel and sock.
#[rstest]
fn current_is_the_sum_of_its_parts(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let made = (Memory::anonymous(PAGES * PAGE), Memory::shmem(PAGES * PAGE), device());
        let (Ok(anonymous), Ok(shared), Ok(file)) = made else { return };
        turns.step(|| anonymous.touch());
        turns.step(|| shared.touch());
        turns.step(|| read_pages(&file, 0..PAGES));
        turns.step(|| cgauge_lab::kernel_memory::epolls(1000).len() as u64);
        turns.step(|| anonymous.advise(libc::MADV_DONTNEED).map_or(1, |()| 0));
    })?;
    for load in [
        "anonymous pages",
        "shared pages",
        "a file",
        "kernel objects, gone again",
        "the anonymous pages given back",
    ] {
        process.next()?;
        let stat = Stat::settled(&group)?;
        // Before 5.18 there is no such key, and its parts are all that is counted.
        let kernel: &[&str] = if stat.has("kernel") {
            &["kernel"]
        } else {
            &["kernel_stack", "pagetables", "percpu", "slab"]
        };
        let parts = stat.sum(&["anon", "file", "sock"]) + stat.sum(kernel);
        let kept = if stat.has("kernel") { BATCH } else { 2 * BATCH };
        lab.accounting(&format!("memory.current after {load}"))
            .covers([R105])
            .file("memory.current")
            .unit(Unit::Bytes)
            .observed(group.number("memory.current")?)
            .between(parts.saturating_sub(2 * PAGE), parts + kept, "the sum of anon, file, kernel and sock of memory.stat; a CPU may keep charges of 64 pages, and a kernel without the key \"kernel\" counts some of its memory in none");
    }
    Ok(())
}

/// memory.current and memory.stat of a group take in what its descendants use.
#[rstest]
fn descendants_are_counted_in_all_above_them(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let top = lab.group("top")?;
    top.enable("memory")?;
    let middle = top.make("middle")?;
    middle.enable("memory")?;
    let (leaf, other) = (middle.make("leaf")?, middle.make("other")?);
    let groups = [("top", &top), ("middle", &middle), ("leaf", &leaf), ("other", &other)];
    let start = |group: &Group, pages: u64| {
        Stepper::start(group, |turns| {
            let Ok(memory) = Memory::anonymous(pages * PAGE) else { return };
            turns.step(|| memory.touch());
            turns.step(|| {
                drop(memory);
                0
            });
        })
    };
    let (one, two) = (start(&leaf, PAGES)?, start(&other, PAGES / 4)?);
    settle();
    let look = |group: &Group| -> Result<(Stat, u64), Stop> {
        Ok((Stat::now(group)?, group.number("memory.current")?))
    };
    let before = groups.iter().map(|(_, it)| look(it)).collect::<Result<Vec<_>, _>>()?;
    let (leafs, others) = (one.next()?, two.next()?);
    settle();
    for ((name, group), (stat, current)) in groups.into_iter().zip(before) {
        let (now, now_current) = look(group)?;
        let expected = match name {
            "leaf" => leafs,
            "other" => others,
            _ => leafs + others,
        };
        lab.accounting(&format!("anon of {name} after both leaves touched pages"))
            .covers([R084])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(now.pages(&stat, "anon")?)
            .equals(expected, "the counts of the processes in it and below it");
        lab.accounting(&format!("growth of memory.current of {name}"))
            .covers([R084])
            .file("memory.current")
            .unit(Unit::Pages)
            .observed((now_current - current) / PAGE)
            .between(expected.saturating_sub(64), expected + 6 + 64, "the pages, up to three page tables of each process, and up to 64 pages of charges that the CPU took before or keeps");
    }
    Ok(())
}
