//! `hugetlb.2MB.max` and `hugetlb.2MB.rsvd.max`: what they stop, and how they
//! tell of it.

use cgauge_lab::Group;
use cgauge_lab::prelude::*;
use nix::sys::signal::Signal;

use crate::pages::{PAGE, Shared, Source, pool, reserve, touch};
use crate::{CURRENT, EVENTS, LOCAL, MAX, RESERVED, RESERVED_MAX};

const SIGBUS: &str = "admin-guide/cgroup-v1/hugetlb.rst: the controller enforces its limit during the fault, and the process gets a SIGBUS if it goes beyond";

/// A process that touches a huge page above `hugetlb.2MB.max` dies of SIGBUS at that page, and nobody else notices.
#[rstest]
fn fault_above_the_limit_is_sigbus(lab: Lab, #[values(0, 1, 3)] limit: u64) -> Outcome {
    lab.needs_controller("hugetlb")?;
    pool(&lab, 8)?;
    let parent = lab.group("parent")?;
    parent.enable("hugetlb")?;
    let (bounded, neighbour) = (parent.make("bounded")?, parent.make("neighbour")?);
    let mut watch = Watch::new(&bounded, EVENTS, Mechanism::Poll)?;
    bounded.set(MAX, limit * PAGE)?;

    let (exit, taken) = take(&bounded, limit + 1)?;
    lab.enforcement("how the process ended that wanted one page more")
        .covers([R150])
        .file(MAX)
        .observed(ending(exit))
        .equals("SIGBUS", SIGBUS);
    lab.enforcement("huge pages that it had")
        .covers([R150])
        .file(MAX)
        .unit(Unit::Count)
        .observed(taken)
        .equals(limit, "the limit is this many pages of 2 MB");
    lab.notification("what a watcher of the events is told")
        .covers([R151])
        .file(EVENTS)
        .observed(watch.next(Duration::from_secs(1))?.map_or_else(String::new, |it| it.text))
        .equals("max 1\n", "hugetlb_event() notifies; one fault was refused");
    for (role, group, file, expected, why) in [
        ("the group", &bounded, EVENTS, 1, "one fault was refused"),
        ("the group", &bounded, LOCAL, 1, "it was refused in this group"),
        ("the parent", &parent, EVENTS, 1, "cgroup-v2.rst: events are hierarchical"),
        ("the parent", &parent, LOCAL, 0, "cgroup-v2.rst, events.local: \"not hierarchical\""),
        ("the neighbour", &neighbour, EVENTS, 0, "nothing was refused there"),
    ] {
        lab.accounting(&format!("refusals counted in {role}"))
            .covers([R151])
            .file(file)
            .unit(Unit::Events)
            .observed(group.key(file, "max")?)
            .equals(expected, why);
    }
    lab.accounting("usage after its end")
        .covers([R150])
        .file(CURRENT)
        .unit(Unit::Bytes)
        .observed(bounded.number(CURRENT)?)
        .equals(0, "a process that ends gives its pages back");

    let (exit, taken) = take(&neighbour, limit + 1)?;
    lab.enforcement("how a neighbour ended that took as many")
        .covers([R150])
        .file(MAX)
        .observed(format!("{} after {taken}", ending(exit)))
        .equals(format!("exit 0 after {}", limit + 1), "the neighbour has no limit");
    for raised in [((limit + 1) * PAGE).to_string(), "max".to_owned()] {
        bounded.set(MAX, &raised)?;
        let (exit, taken) = take(&bounded, limit + 1)?;
        lab.enforcement(&format!("how it ends under a limit of {raised}"))
            .covers([R150])
            .file(MAX)
            .observed(format!("{} after {taken}", ending(exit)))
            .equals(format!("exit 0 after {}", limit + 1), "the limit leaves room for it");
    }
    Ok(())
}

/// Children share what their parent may have; a refusal counts where it was met and above.
#[rstest]
fn limit_of_the_parent_binds_its_children(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    pool(&lab, 8)?;
    let parent = lab.group("parent")?;
    parent.enable("hugetlb")?;
    parent.set(MAX, 3 * PAGE)?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let held = hold(&one, 2)?;
    let (exit, taken) = take(&other, 2)?;
    lab.enforcement("how a process ended that wanted 2 of the 1 page left")
        .covers([R150])
        .file(MAX)
        .observed(format!("{} after {taken}", ending(exit)))
        .equals("SIGBUS after 1", "two of the parent's three pages are its sibling's");
    lab.accounting("usage of the parent")
        .covers([R150])
        .file(CURRENT)
        .unit(Unit::Bytes)
        .observed(parent.number(CURRENT)?)
        .equals(2 * PAGE, "what the sibling holds; a refused charge is taken back at all levels");
    for (role, group, file, expected, why) in [
        ("the child", &other, EVENTS, 1, "its process was refused a page"),
        ("the child", &other, LOCAL, 1, "hugetlb_event() counts in the group that is charged"),
        ("the parent", &parent, EVENTS, 1, "cgroup-v2.rst: events are hierarchical"),
        ("the parent", &parent, LOCAL, 0, "hugetlb_event() counts in the group that is charged"),
        ("the sibling", &one, EVENTS, 0, "nothing was refused there"),
    ] {
        lab.accounting(&format!("refusals counted in {role}"))
            .covers([R151])
            .file(file)
            .unit(Unit::Events)
            .observed(group.key(file, "max")?)
            .equals(expected, why);
    }
    held.end()?;
    let (exit, taken) = take(&other, 2)?;
    lab.enforcement("how it ends once the sibling has gone")
        .covers([R150])
        .file(MAX)
        .beyond_lies("a limit that a lie makes too low stops the sibling first")
        .observed(format!("{} after {taken}", ending(exit)))
        .equals("exit 0 after 2", "three pages are free for it");
    Ok(())
}

/// `hugetlb.2MB.max` begins as "max" and takes whole pages: what is no multiple is rounded down.
#[rstest]
fn limit_reads_back_whole_pages(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    let group = lab.group("group")?;
    for file in [MAX, RESERVED_MAX] {
        lab.interface("the limit of a new group")
            .covers([R150])
            .file(file)
            .observed(group.line(file)?)
            .equals("max", "cgroup-v2.rst, HugeTLB: \"The default value is max\"");
        for (written, shown) in [
            ("0", "0"),
            ("1", "0"),
            ("2097151", "0"),
            ("2097152", "2097152"),
            ("3M", "2097152"),
            ("4M", "4194304"),
            ("1G", "1073741824"),
            ("max", "max"),
        ] {
            group.set(file, written)?;
            lab.interface(&format!("the limit after {written:?} was written"))
                .covers([R150])
                .file(file)
                .observed(group.line(file)?)
                .equals(
                    shown,
                    "mm/hugetlb_cgroup.c, hugetlb_cgroup_write: rounded down to whole huge pages",
                );
        }
        for refused in ["-1", "many", "1 2", "1.5M", "maximum"] {
            lab.interface(&format!("the answer to {refused:?}"))
                .covers([R150])
                .file(file)
                .answered(&group.try_set(file, refused))
                .equals("EINVAL", "page_counter_memparse(): neither \"max\" nor a size");
        }
    }
    for file in [CURRENT, EVENTS, LOCAL, RESERVED] {
        lab.interface("the answer to a write to what only counts")
            .covers([R151])
            .file(file)
            .answered(&group.try_set(file, "0"))
            .equals("EINVAL", "cgroup-v2.rst: a read-only file; cgroup_file_write() answers EINVAL for a file without a write method");
    }
    Ok(())
}

/// A limit below what is in use is refused with EBUSY: huge pages cannot be reclaimed.
#[rstest]
fn limit_below_the_usage_is_refused(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    pool(&lab, 4)?;
    let group = lab.group("group")?;
    let held = hold(&group, 3)?;
    for (limit, answer, shown) in [(2, "EBUSY", "max"), (3, "ok", "6291456")] {
        lab.interface(&format!("the answer to a limit of {limit} pages with 3 in use"))
            .covers([R150])
            .file(MAX)
            .answered(&group.try_set(MAX, limit * PAGE))
            .equals(answer, "page_counter_set_max(): EBUSY if more is in use");
        lab.interface("the limit after it")
            .covers([R150])
            .file(MAX)
            .observed(group.line(MAX)?)
            .equals(shown, "a refused write changes nothing");
    }
    held.end()?;
    Ok(())
}

/// `hugetlb.2MB.rsvd.max` stops a reservation: the mapping above it fails with ENOMEM, and touching what is mapped never does.
#[rstest]
fn reservation_above_the_limit_is_refused(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    lab.needs_file(RESERVED_MAX, "since 5.7")?;
    pool(&lab, 8)?;
    let group = lab.group("group")?;
    group.set(RESERVED_MAX, 3 * PAGE)?;
    for (pages, answer) in [(4, "ENOMEM"), (3, "ok")] {
        let counted = Shared::new()?;
        let process = group.spawn(|| match reserve(pages, Source::Private) {
            Ok(start) => {
                touch(start, pages, counted);
                "ok".to_owned()
            }
            Err(errno) => format!("{errno:?}"),
        })?;
        lab.enforcement(&format!("the answer to a mapping of {pages} pages with a limit of 3"))
            .covers([R150])
            .file(RESERVED_MAX)
            .unit(Unit::Errno)
            .observed(process.finish()?)
            .equals(answer, "hugetlb.rst, rsvd.limit_in_bytes: the limit is enforced when memory is reserved, by mmap");
        lab.enforcement("pages of it that it could touch")
            .covers([R150])
            .file(RESERVED_MAX)
            .unit(Unit::Count)
            .observed(counted.get())
            .equals(
                if answer == "ok" { pages } else { 0 },
                "what is reserved is there when it is touched",
            );
    }
    lab.accounting("refusals counted")
        .covers([R151])
        .file(EVENTS)
        .unit(Unit::Events)
        .observed(group.key(EVENTS, "max")?)
        .equals(1, "mm/hugetlb_cgroup.c counts a refused reservation as one event, and nothing else was refused");
    Ok(())
}

/// How a process of `group` ends that touches `pages` pages, and how many it had.
fn take(group: &Group, pages: u64) -> Result<(Exit, u64), Stop> {
    let counted = Shared::new()?;
    let mut process = group.spawn(|| {
        if let Ok(start) = reserve(pages, Source::Unreserved) {
            touch(start, pages, counted);
        }
    })?;
    let exit = process.wait()?;
    Ok((exit, counted.get()))
}

/// A process of `group` that holds `pages` pages until it is killed.
pub fn hold(group: &Group, pages: u64) -> Result<Process<()>, Stop> {
    let counted = Shared::new()?;
    let ready = Gate::new()?;
    let process = group.spawn(|| {
        if let Ok(start) = reserve(pages, Source::Unreserved) {
            touch(start, pages, counted);
        }
        ready.open();
        loop {
            nix::unistd::pause();
        }
    })?;
    ready.pass();
    if counted.get() == pages {
        return Ok(process);
    }
    Err(Stop::Broken(format!("a process holds {} of {pages} huge pages", counted.get())))
}

fn ending(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(Signal::SIGBUS) => "SIGBUS".to_owned(),
        Exit::Signal(signal) => signal.to_string(),
    }
}
