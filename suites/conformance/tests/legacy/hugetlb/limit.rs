//! `limit_in_bytes` and `rsvd.limit_in_bytes`: what they accept and what they stop.

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;

use crate::pages::{PAGE, Shared, Source, pool, reserve, touch};
use crate::{
    FAILURES, LIMIT, MOST, RESERVED, RESERVED_FAILURES, RESERVED_LIMIT, RESERVED_MOST, USAGE, hold,
    take,
};

/// What "-1" stands for: the most that a counter of pages holds, in whole huge pages.
const UNLIMITED: &str = "9223372036852678656";

/// A process that touches a huge page above `limit_in_bytes` dies of SIGBUS at that page, wherever on the way up the limit is, and each refusal counts where it was met.
#[rstest]
#[case::of_none("group", 0)]
#[case::of_one("group", 1)]
#[case::of_three("group", 3)]
#[case::of_the_parent("parent", 2)]
fn fault_above_the_limit_is_sigbus(lab: Lab, #[case] limited: &str, #[case] limit: u64) -> Outcome {
    let root = lab.legacy("hugetlb")?;
    pool(&lab, 8)?;
    let (parent, neighbour) = (root.make("parent")?, root.make("neighbour")?);
    let group = parent.make("group")?;
    let (bounded, other) = if limited == "group" { (&group, &parent) } else { (&parent, &group) };
    bounded.set(LIMIT, limit * PAGE)?;
    for refusals in 1..=2 {
        let (end, taken) = take(&group, limit + 1)?;
        lab.enforcement("how the process ended that wanted one page more")
            .covers([R150])
            .file(LIMIT)
            .observed(format!("{end} after {taken}"))
            .equals(
                format!("SIGBUS after {limit}"),
                "cgroup-v1/hugetlb.rst: the limit is enforced during the fault, and an application that goes beyond it gets SIGBUS",
            );
        lab.accounting("refusals counted where the limit is")
            .covers([R150])
            .file(FAILURES)
            .unit(Unit::Events)
            .observed(bounded.number(FAILURES)?)
            .equals(refusals, "one fault was refused in each turn; hugetlb.rst: failcnt shows \"the number of allocation failure due to HugeTLB usage limit\"");
    }
    for (role, quiet) in [("on the way without a limit", other), ("beside it", &neighbour)] {
        lab.accounting(&format!("refusals counted in a group {role}"))
            .covers([R150])
            .file(FAILURES)
            .unit(Unit::Events)
            .observed(quiet.number(FAILURES)?)
            .equals(0, "page_counter_try_charge() counts in the counter whose limit it was");
    }
    lab.accounting("the most that was ever in use where the limit is")
        .covers([R150])
        .file(MOST)
        .unit(Unit::Bytes)
        .observed(bounded.number(MOST)?)
        .equals(limit * PAGE, "what its processes counted before they were refused");
    let in_passing = u64::from(limited == "parent");
    lab.accounting("the most that was ever in use in the group of the processes")
        .covers([R150])
        .file(MOST)
        .unit(Unit::Bytes)
        .observed(group.number(MOST)?)
        .between(
            limit * PAGE,
            (limit + in_passing) * PAGE,
            "as many; page_counter_try_charge() goes from below upwards, so that the page that a limit above refuses was here in passing",
        );
    bounded.set(FAILURES, 0)?;
    lab.interface("refusals counted after 0 was written")
        .covers([R150])
        .file(FAILURES)
        .unit(Unit::Events)
        .observed(bounded.number(FAILURES)?)
        .equals(0, "hugetlb_cgroup_reset(): a write begins the count anew");
    let (end, taken) = take(&neighbour, limit + 1)?;
    lab.enforcement("how a neighbour ended that took as many")
        .covers([R150])
        .file(LIMIT)
        .observed(format!("{end} after {taken}"))
        .equals(format!("exit 0 after {}", limit + 1), "the neighbour has no limit");
    for raised in [((limit + 1) * PAGE).to_string(), "-1".to_owned()] {
        bounded.set(LIMIT, &raised)?;
        let (end, taken) = take(&group, limit + 1)?;
        lab.enforcement(&format!("how it ends under a limit of {raised}"))
            .covers([R150])
            .file(LIMIT)
            .observed(format!("{end} after {taken}"))
            .equals(format!("exit 0 after {}", limit + 1), "the limit leaves room for it");
    }
    Ok(())
}

/// A limit takes whole huge pages, rounded down, with suffixes, and -1 for none.
#[rstest]
#[case::of_faults(LIMIT)]
#[case::of_reservations(RESERVED_LIMIT)]
fn limit_reads_back_whole_pages(lab: Lab, #[case] file: &str) -> Outcome {
    let root = lab.legacy("hugetlb")?;
    let group = root.make("group")?;
    if !group.has(file)? {
        return Err(lab.skip(&format!("this kernel has no {file} (since 5.7)")));
    }
    lab.interface("the limit of a new group")
        .covers([R150])
        .file(file)
        .observed(group.line(file)?)
        .equals(UNLIMITED, "hugetlb_cgroup_init(): no limit, 2^63 bytes less one huge page");
    for (written, shown) in [
        ("0", "0"),
        ("2097151", "0"),
        ("2097152", "2097152"),
        ("3M", "2097152"),
        ("4096k", "4194304"),
        ("1G", "1073741824"),
        ("-1", UNLIMITED),
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
    group.set(file, PAGE)?;
    for refused in ["-2", "max", "many", "1 2", "1.5M"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R150])
            .file(file)
            .answered(&group.try_set(file, refused))
            .equals("EINVAL", "page_counter_memparse(): neither \"-1\" nor a size");
    }
    lab.interface("the limit after what was refused")
        .covers([R150])
        .file(file)
        .observed(group.number(file)?)
        .equals(PAGE, "a refused write changes nothing");
    let path = root.dir().path();
    let whole =
        Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))?;
    lab.interface("the answer to a limit on the root")
        .covers([R150])
        .file(file)
        .answered(&whole.write(file, "1G"))
        .equals("EINVAL", "hugetlb_cgroup_write(): \"Can't set limit on root\"");
    Ok(())
}

/// A limit below what is in use is refused with EBUSY: huge pages cannot be reclaimed.
#[rstest]
fn limit_below_the_usage_is_refused(lab: Lab) -> Outcome {
    let group = lab.legacy("hugetlb")?.make("group")?;
    pool(&lab, 4)?;
    let held = hold(&group, 3)?;
    for (limit, answer, shown) in [(2, "EBUSY", UNLIMITED), (3, "ok", "6291456")] {
        lab.interface(&format!("the answer to a limit of {limit} pages with 3 in use"))
            .covers([R150])
            .file(LIMIT)
            .answered(&group.try_set(LIMIT, limit * PAGE))
            .equals(answer, "page_counter_set_max(): EBUSY if more is in use");
        lab.interface("the limit after it")
            .covers([R150])
            .file(LIMIT)
            .observed(group.line(LIMIT)?)
            .equals(shown, "a refused write changes nothing");
    }
    held.end()?;
    lab.interface("the answer to a limit of 2 pages with none in use")
        .covers([R150])
        .file(LIMIT)
        .answered(&group.try_set(LIMIT, 2 * PAGE))
        .equals("ok", "nothing is in use any more");
    lab.accounting("usage once the process has ended")
        .covers([R150])
        .file(USAGE)
        .unit(Unit::Bytes)
        .observed(group.number(USAGE)?)
        .equals(0, "a process that ends gives its pages back");
    Ok(())
}

/// `rsvd.limit_in_bytes` stops a reservation: the mapping above it fails with ENOMEM, and touching what is mapped never does.
#[rstest]
fn reservation_above_the_limit_is_refused(lab: Lab) -> Outcome {
    let group = lab.legacy("hugetlb")?.make("group")?;
    if !group.has(RESERVED_LIMIT)? {
        return Err(lab.skip("this kernel has no hugetlb.2MB.rsvd.limit_in_bytes (since 5.7)"));
    }
    pool(&lab, 8)?;
    group.set(RESERVED_LIMIT, 3 * PAGE)?;
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
            .file(RESERVED_LIMIT)
            .unit(Unit::Errno)
            .observed(process.finish()?)
            .equals(
                answer,
                "hugetlb.rst: the limit of reservations is enforced at reservation time, by mmap",
            );
        lab.enforcement("pages of it that it could touch")
            .covers([R150])
            .file(RESERVED_LIMIT)
            .unit(Unit::Count)
            .observed(counted.get())
            .equals(
                if answer == "ok" { pages } else { 0 },
                "hugetlb.rst: with reservations limited nobody gets a SIGBUS for what was reserved",
            );
    }
    for (file, what, expected, why) in [
        (RESERVED_FAILURES, "refused reservations", 1, "the mapping of four pages"),
        (RESERVED_MOST, "the most that was ever reserved", 3 * PAGE, "the mapping of three pages"),
        (MOST, "the most that was ever in use", 3 * PAGE, "all three were touched"),
        (RESERVED, "what is reserved at the end", 0, "nobody has a mapping any more"),
        (FAILURES, "refused faults", 0, "what is reserved is there when it is touched"),
    ] {
        lab.accounting(what)
            .covers([R150])
            .file(file)
            .unit(if expected < PAGE { Unit::Events } else { Unit::Bytes })
            .observed(group.number(file)?)
            .equals(expected, why);
    }
    Ok(())
}
