//! Who is charged: the group that touched a page first, whoever moves; and the
//! parent, once that group is gone.

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;

use crate::support::*;

const PAGES: u64 = 1024;

/// A process that moves leaves its memory charged where it was touched; what it touches from then on is charged where it is.
#[rstest]
fn charges_stay_where_pages_were_touched(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    no_khugepaged()?;
    let (from, to) = (lab.group("from")?, lab.group("to")?);
    let mut process = Stepper::start(&from, |turns| {
        let (Ok(memory), Ok(file)) = (Memory::anonymous(2 * PAGES * PAGE), device()) else {
            return;
        };
        turns.step(|| memory.write(0..PAGES, 1) + read_pages(&file, 0..PAGES));
        turns.step(|| memory.read(0..PAGES, 1) + read_pages(&file, 0..PAGES));
        turns.step(|| memory.write(PAGES..2 * PAGES, 1));
        turns.step(|| memory.advise(nix::libc::MADV_DONTNEED).map_or(1, |()| 0));
        turns.step(|| 0);
    })?;
    let touched = process.next()?;
    let before = (Stat::settled(&from)?, Stat::now(&to)?);
    to.admit(process.process().pid())?;
    let moved = (Stat::settled(&from)?, Stat::now(&to)?);
    let check = |what: &str, key: &str, change: i64, expected: u64, why: &str| {
        lab.accounting(&format!("{key} of {what}"))
            .covers([R114])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(change)
            .equals(expected, why);
    };
    const STAYS: &str = "cgroup-v2.rst, Memory Ownership: \"Migrating a process to a different cgroup doesn't move the memory usages that it instantiated while in the previous cgroup\"";
    lab.accounting("pages that the process touched before it moved")
        .covers([R114])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(before.0.get("anon")? / PAGE + before.0.get("file")? / PAGE)
        .between(touched, touched + 64, "its own count, and its stack and heap");
    for key in ["anon", "file"] {
        check(
            "the group that it left, after the move",
            key,
            moved.0.pages(&before.0, key)?,
            0,
            STAYS,
        );
        check(
            "the group that it came to, after the move",
            key,
            moved.1.pages(&before.1, key)?,
            0,
            STAYS,
        );
    }
    process.next()?;
    let read = (Stat::settled(&from)?, Stat::now(&to)?);
    check(
        "the group that it left, once it used the file again",
        "file",
        read.0.pages(&moved.0, "file")?,
        0,
        STAYS,
    );
    check(
        "the group that it came to, once it used the file again",
        "file",
        read.1.pages(&moved.1, "file")?,
        0,
        STAYS,
    );
    let more = process.next()?;
    let grown = (Stat::settled(&from)?, Stat::now(&to)?);
    check(
        "the group that it came to, once it touched more",
        "anon",
        grown.1.pages(&read.1, "anon")?,
        more,
        "a page is charged where the process is that touches it first",
    );
    check(
        "the group that it left, once it touched more",
        "anon",
        grown.0.pages(&read.0, "anon")?,
        0,
        "the process is not there any more",
    );
    process.next()?;
    let given = (Stat::settled(&from)?, Stat::now(&to)?);
    lab.accounting("anon of the group that it left, once it gave all back")
        .covers([R114])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(given.0.pages(&before.0, "anon")?)
        .equals(-PAGES.cast_signed(), "a page is uncharged where it was charged");
    check(
        "the group that it came to, against what it had at first, once it gave all back",
        "anon",
        given.1.pages(&moved.1, "anon")?,
        0,
        "a page is uncharged where it was charged",
    );
    Ok(())
}

/// A page that two groups use is charged to the one that touched it first.
#[rstest]
fn shared_page_is_charged_to_the_first(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    let (first, second) = (lab.group("first")?, lab.group("second")?);
    let reader = |group: &Group| {
        Stepper::start(group, |turns| {
            let Ok(file) = device() else { return };
            turns.step(|| read_pages(&file, 0..PAGES));
            turns.step(|| 0);
        })
    };
    let (one, two) = (reader(&first)?, reader(&second)?);
    let before = (Stat::settled(&first)?, Stat::now(&second)?);
    let (read, again) = (one.next()?, two.next()?);
    let after = (Stat::settled(&first)?, Stat::now(&second)?);
    for (what, observed, expected) in [
        ("file of the group that read first", after.0.pages(&before.0, "file")?, read),
        (
            "file of the group that read the same after it",
            after.1.pages(&before.1, "file")?,
            again - read,
        ),
    ] {
        lab.accounting(what)
            .covers([R114])
            .file("memory.stat")
            .unit(Unit::Pages)
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, Memory Ownership: \"A memory area is charged to the cgroup which instantiated it and stays charged to the cgroup until the area is released\"");
    }
    Ok(())
}

/// The memory of a removed group stays charged to its parent until it is reclaimed; then the group is gone for good.
#[rstest]
fn bug_19_removed_groups_leave_their_charges_and_go(lab: Lab) -> Outcome {
    needs_exact_stat(&lab)?;
    const GROUPS: u64 = 40;
    const EACH: u64 = 64;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let dying = || -> Result<u64, Stop> { parent.key("cgroup.stat", "nr_dying_descendants") };
    // The last to close a block device takes its cache along.
    let open = device()?;
    let before = Stat::settled(&parent)?;
    let mut points = Vec::new();
    let began = cgauge_lab::time::now();
    for number in 0..GROUPS {
        let group = parent.make(&format!("group-{number}"))?;
        let read =
            group.spawn(|| read_pages(&open, number * EACH..(number + 1) * EACH))?.finish()?;
        assert_eq!(read, EACH, "the device is shorter than a group's part");
        drop(group);
        points.push((cgauge_lab::time::now() - began, dying()? as f64));
    }
    let after = Stat::settled(&parent)?;
    lab.accounting("file pages of the parent after 40 groups with 64 each were removed")
        .covers([R115])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(after.pages(&before, "file")?)
        .equals(GROUPS * EACH, "what a removed group was charged for stays charged, in the group while it dies or in its parent, and counts there either way");
    lab.accounting("memory.current of the parent")
        .covers([R115])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(parent.number("memory.current")?)
        .between(
            after.sum(&["anon", "file"]),
            after.sum(&["anon", "file"]) + after.sum(&["kernel"]).max(2 * MIB) + BATCH,
            "the pages, and the kernel's memory for them and for the groups",
        );
    lab.hierarchy("dying groups with their pages still there")
        .covers([R115])
        .file("cgroup.stat")
        .unit(Unit::Groups)
        .observed(dying()?)
        .at_most(
            GROUPS,
            "no more than were removed; a kernel may hand the pages to the parent at once",
        );
    lab.value("dying groups with their pages still there", Unit::Groups, dying()?, Lower);
    if parent.has("memory.reclaim")? {
        // More than there is: all that can go goes.
        let _ = parent.try_set("memory.reclaim", 64 * MIB);
    } else {
        let _ = parent.try_set("memory.high", 0);
    }
    let gone = wait_until(Duration::from_secs(10), || dying().is_ok_and(|it| it == 0));
    lab.hierarchy("whether no group is dying any more once their memory was reclaimed")
        .covers([R115])
        .file("cgroup.stat")
        .happened(gone)
        .equals(
            "yes",
            "nothing holds them any more (known bug 19: they pile up until mkdir fails)",
        );
    let end = Stat::settled(&parent)?;
    lab.accounting("percpu of the parent then, against what it was at first")
        .covers([R106, R115])
        .file("memory.stat")
        .unit(Unit::Bytes)
        .observed(end.growth(&before, "percpu")?)
        .equals(0, "the counters of the groups are freed with them");
    lab.accounting("file pages of the parent then")
        .covers([R115])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(end.pages(&before, "file")?)
        .at_most(64, "what one lot of pages holds may be left");
    lab.series("dying groups", Unit::Groups, &points, None);
    Ok(())
}
