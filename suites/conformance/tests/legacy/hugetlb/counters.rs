//! `usage_in_bytes`, `max_usage_in_bytes`, their kin of reservations, and
//! `numa_stat`, against the pages that a process has touched.

use cgauge_lab::prelude::*;

use crate::pages::{PAGE, Shared, Source, pool, reserve, touch};
use crate::{MOST, RESERVED, RESERVED_MOST, USAGE, hold};

const NUMA: &str = "hugetlb.2MB.numa_stat";

/// Usage is what was touched, reservation what was mapped, and the parent has both of all its children.
#[rstest]
fn usage_is_what_was_touched(lab: Lab) -> Outcome {
    const MAPPED: u64 = 4;
    let root = lab.legacy("hugetlb")?;
    pool(&lab, 8)?;
    let parent = root.make("parent")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    let _held = hold(&other, 1)?;
    let counted = Shared::new()?;
    let (step, done) = (Gate::new()?, Gate::new()?);
    let process = one.spawn(|| {
        let start = reserve(MAPPED, Source::Private);
        done.open();
        for touched in 1..=MAPPED {
            step.pass();
            if let Ok(start) = start {
                touch(start, touched, counted);
            }
            done.open();
        }
        step.pass();
    })?;
    for touched in 0..=MAPPED {
        done.pass();
        for (role, group, siblings) in [("the group", &one, 0), ("the parent", &parent, 1)] {
            for (file, what) in [(USAGE, "usage"), (MOST, "the highest usage")] {
                lab.accounting(&format!("{what} of {role} after {touched} of {MAPPED} pages"))
                    .covers([R150])
                    .file(file)
                    .unit(Unit::Bytes)
                    .observed(group.number(file)?)
                    .equals(
                        (touched + siblings) * PAGE,
                        "pages touched, by the count of who touched them, 2 MB each",
                    );
            }
        }
        // Since 5.16, two lines: the group's own pages, and those of all below it too.
        if parent.has(NUMA)? {
            lab.accounting(&format!("pages by node of the parent after {touched} pages"))
                .covers([R151])
                .file(NUMA)
                .observed(parent.get(NUMA)?)
                .equals(
                    format!(
                        "total=0 N0=0\nhierarchical_total={all} N0={all}\n",
                        all = (touched + 1) * PAGE
                    ),
                    "mm/hugetlb_cgroup.c, hugetlb_cgroup_read_numa_stat: the group's own, which has none, and all below it; the machine has one node",
                );
        }
        lab.accounting(&format!("reservation after {touched} of {MAPPED} pages"))
            .covers([R150])
            .file(RESERVED)
            .unit(Unit::Bytes)
            .observed(one.number(RESERVED)?)
            .equals(
                MAPPED * PAGE,
                "hugetlb.rst: memory is reserved when it is mapped, and stays so until it is unmapped",
            );
        step.open();
    }
    process.finish()?;
    for (file, what, expected) in [
        (USAGE, "usage after the end of the process", 0),
        (RESERVED, "reservation after the end of the process", 0),
        (MOST, "the highest usage after it", MAPPED),
        (RESERVED_MOST, "the highest reservation after it", MAPPED),
    ] {
        lab.accounting(what)
            .covers([R150])
            .file(file)
            .unit(Unit::Bytes)
            .observed(one.number(file)?)
            .equals(
                expected * PAGE,
                "a process that ends gives its pages back; what was highest stays so",
            );
    }
    Ok(())
}

/// Writing to `max_usage_in_bytes` begins it anew from what is in use, and to what only counts is refused.
#[rstest]
fn highest_usage_begins_anew(lab: Lab) -> Outcome {
    let group = lab.legacy("hugetlb")?.make("group")?;
    pool(&lab, 4)?;
    let (one, other) = (hold(&group, 1)?, hold(&group, 2)?);
    other.end()?;
    for (what, expected) in [("before", 3), ("after", 1)] {
        lab.accounting(&format!("the highest usage {what} 0 was written"))
            .covers([R150])
            .file(MOST)
            .unit(Unit::Bytes)
            .observed(group.number(MOST)?)
            .equals(expected * PAGE, "three pages were in use at once, and one still is: page_counter_reset_watermark() starts from there");
        group.set(MOST, 0)?;
    }
    lab.interface("the answer to a write to the usage")
        .covers([R150])
        .file(USAGE)
        .answered(&group.try_set(USAGE, 0))
        .equals("EINVAL", "the file has no write method");
    one.end()?;
    Ok(())
}
