//! `memory.reclaim`: as much as was asked for, of the kind that was asked for, and
//! an answer that says whether it was.

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;

use crate::support::*;

/// A group of a process that has read `file` pages and touched `anon` pages.
fn used(lab: &Lab, anon: u64, file: u64) -> Result<(Group, Stepper), Stop> {
    no_khugepaged()?;
    let group = lab.group("group")?;
    let process = Stepper::start(&group, |turns| {
        let (Ok(memory), Ok(device)) = (Memory::anonymous(anon.max(1) * PAGE), device()) else {
            return;
        };
        turns.step(|| memory.scramble(0..anon) + read_pages(&device, 0..file));
        turns.step(|| memory.pages());
    })?;
    process.next()?;
    Ok((group, process))
}

/// `memory.reclaim` takes what was asked for out of the file cache and answers ok; less than that is EAGAIN.
#[rstest]
fn reclaim_takes_what_was_asked_or_says_eagain(lab: Lab) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19")?;
    let (group, _process) = used(&lab, 1024, 4096)?;
    let before = Stat::settled(&group)?;
    let current = group.number("memory.current")?;
    let answer = group.try_set("memory.reclaim", 4 * MIB);
    lab.interface("the answer to 4 MiB of a file cache of 16 MiB")
        .covers([R094])
        .file("memory.reclaim")
        .answered(&answer)
        .equals("ok", "there is as much to reclaim");
    let after = Stat::settled(&group)?;
    lab.enforcement("file pages that went")
        .covers([R094])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(-after.pages(&before, "file")?)
        .between(4 * MIB / PAGE, 4 * MIB / PAGE + 64, "cgroup-v2.rst, memory.reclaim: \"the kernel can over or under reclaim from the target cgroup\", and less is EAGAIN; it looks whether that is enough after each lot of 32 pages (mm/vmscan.c, SWAP_CLUSTER_MAX), with generations of 64 (MIN_LRU_BATCH)");
    lab.accounting("pages that reclaim counts as taken")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(after.growth(&before, "pgsteal")?)
        .equals(-after.pages(&before, "file")?, "each page that went was taken by reclaim");
    lab.accounting("pages of them that it counts as scanned")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(after.growth(&before, "pgscan")?)
        .between(
            -after.pages(&before, "file")?,
            4096 + 1024,
            "a page is looked at before it is taken, and each at most once here",
        );
    lab.accounting("growth of memory.current")
        .covers([R083, R094])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(current - group.number("memory.current")?)
        .between(4 * MIB - BATCH, 4 * MIB + 3 * BATCH, "as many bytes as pages went, up to 64 of them beyond 4 MiB; what a CPU keeps of charges, and what the kernel kept for the pages");
    lab.enforcement("anonymous pages that went")
        .covers([R094])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(-after.pages(&before, "anon")?)
        .equals(0, "there is no swap");

    lab.interface("the answer to 64 MiB of what is left")
        .covers([R094])
        .file("memory.reclaim")
        .answered(&group.try_set("memory.reclaim", 64 * MIB))
        .equals("EAGAIN", "cgroup-v2.rst, memory.reclaim: \"If less bytes are reclaimed than the specified amount, -EAGAIN is returned\"");
    let left = Stat::settled(&group)?;
    lab.enforcement("file pages that are left after it")
        .covers([R094])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(left.get("file")? / PAGE)
        .at_most(64, "it tried to the end: what one lot of pages holds may be left");
    lab.enforcement("anonymous pages that are left after it")
        .covers([R094])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(left.pages(&before, "anon")?)
        .equals(0, "there is no swap");
    for refused in ["-1", "many", "1M 2M", "1M what=1"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R094])
            .file("memory.reclaim")
            .answered(&group.try_set("memory.reclaim", refused))
            .equals("EINVAL", "it is no size, or has an option that no kernel knows");
    }
    Ok(())
}

/// `swappiness=` says which kind of memory one write to `memory.reclaim` takes: 0 no anonymous memory, "max" nothing else.
#[rstest]
fn swappiness_chooses_what_is_reclaimed(lab: Lab) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19")?;
    if release()? < (6, 9) {
        return Err(lab.skip("this kernel's memory.reclaim takes no swappiness= (since 6.9)"));
    }
    let _swap = lab.swap(64 * MIB)?;
    let (group, _process) = used(&lab, 2048, 2048)?;
    let alone = release()? >= (6, 16);
    for (swappiness, kind) in [("0", "file"), ("max", "anon")] {
        if swappiness == "max" && !alone {
            continue;
        }
        let before = Stat::settled(&group)?;
        lab.interface(&format!("the answer to 4 MiB with swappiness={swappiness}"))
            .covers([R095])
            .file("memory.reclaim")
            .answered(&group.try_set("memory.reclaim", format!("4M swappiness={swappiness}")))
            .equals("ok", "there are 8 MiB of the kind that it may take");
        let after = Stat::settled(&group)?;
        for (key, taken) in [("anon", kind == "anon"), ("file", kind == "file")] {
            lab.enforcement(&format!("{key} pages that went with swappiness={swappiness}"))
                .covers([R095])
                .file("memory.reclaim")
                .unit(Unit::Pages)
                .observed(-after.pages(&before, key)?)
                .between(
                    if taken { 4 * MIB.cast_signed() / PAGE.cast_signed() } else { 0 },
                    if taken { 4 * MIB.cast_signed() / PAGE.cast_signed() + 128 } else { 0 },
                    "cgroup-v2.rst, memory.reclaim: 0 is no swapping, as for vm.swappiness, and max is anonymous memory alone; reclaim works in lots of 32 pages",
                );
        }
    }
    // All file pages go, so that only anonymous ones are left.
    let _ = group.try_set("memory.reclaim", "64M swappiness=0");
    let before = Stat::settled(&group)?;
    lab.interface("the answer to 1 MiB with swappiness=0 where only anonymous memory is left")
        .covers([R095])
        .file("memory.reclaim")
        .answered(&group.try_set("memory.reclaim", "1M swappiness=0"))
        .equals("EAGAIN", "cgroup-v2.rst, memory.reclaim: with a swappiness of 0 nothing is swapped, and less than was asked for is EAGAIN");
    lab.enforcement("anonymous pages that went with it")
        .covers([R095])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(-Stat::settled(&group)?.pages(&before, "anon")?)
        .equals(0, "nothing is swapped");
    lab.interface("the answer to 1 MiB with swappiness=200")
        .covers([R095])
        .file("memory.reclaim")
        .answered(&group.try_set("memory.reclaim", "1M swappiness=200"))
        .equals("ok", "there is anonymous memory, and swap space");
    lab.enforcement("anonymous pages that went with that")
        .covers([R095])
        .file("memory.reclaim")
        .unit(Unit::Pages)
        .observed(-Stat::settled(&group)?.pages(&before, "anon")?)
        .between(MIB / PAGE, MIB / PAGE + 128, "as many as were asked for, in lots of 32 pages");
    for refused in ["1M swappiness=201", "1M swappiness=-1", "1M swappiness=", "1M swappiness=many"]
    {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R095])
            .file("memory.reclaim")
            .answered(&group.try_set("memory.reclaim", refused))
            .equals("EINVAL", "cgroup-v2.rst, memory.reclaim: swappiness is from 0 to 200");
    }
    Ok(())
}

/// `memory.reclaim` is no sign of memory pressure: `memory.pressure` and `memory.events` stand still.
#[rstest]
fn reclaim_on_request_is_no_pressure(lab: Lab) -> Outcome {
    lab.needs_file("memory.reclaim", "since 5.19")?;
    let _swap = lab.swap(64 * MIB)?;
    let (group, _process) = used(&lab, 2048, 4096)?;
    settle();
    let (pressure, events_before) =
        (group.try_get("memory.pressure").ok(), group.get("memory.events")?);
    for _ in 0..8 {
        group.set("memory.reclaim", MIB)?;
    }
    settle();
    let total = |it: &Option<String>| {
        it.as_deref().map(|text| {
            text.split_ascii_whitespace()
                .filter(|it| it.starts_with("total="))
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    lab.accounting("memory.pressure after 8 MiB were reclaimed on request")
        .covers([R096])
        .file("memory.pressure")
        .observed(total(&group.try_get("memory.pressure").ok()).unwrap_or_default())
        .equals(
            total(&pressure).unwrap_or_default(),
            "no process of the group has waited: the writer is in another group",
        );
    lab.accounting("memory.events after it")
        .covers([R096])
        .file("memory.events")
        .observed(group.get("memory.events")?)
        .equals(events_before, "cgroup-v2.rst, memory.reclaim: \"proactive reclaim (triggered by this interface) is not meant to indicate memory pressure on the memory cgroup\"");
    Ok(())
}
