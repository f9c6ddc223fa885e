//! `hugetlb.2MB.current`, `.rsvd.current` and `.numa_stat` against the pages
//! that a process has touched.

use std::collections::BTreeMap;

use cgauge_lab::Group;
use cgauge_lab::machine::{nodes, release};
use cgauge_lab::prelude::*;
use nix::unistd::Pid;

use crate::limit::hold;
use crate::pages::{PAGE, Shared, Source, bind_to, file, pool, reserve, stretch, touch};
use crate::{CURRENT, NUMA, RESERVED};

/// Usage is what was touched, reservation what was mapped; the parent has both of all its children.
#[rstest]
fn usage_is_what_was_touched(lab: Lab) -> Outcome {
    const MAPPED: u64 = 4;
    lab.needs_controller("hugetlb")?;
    pool(&lab, 8)?;
    let parent = lab.group("parent")?;
    parent.enable("hugetlb")?;
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
            lab.accounting(&format!("usage of {role} after {touched} of {MAPPED} pages"))
                .covers([R150])
                .file(CURRENT)
                .unit(Unit::Bytes)
                .observed(group.number(CURRENT)?)
                .equals(
                    (touched + siblings) * PAGE,
                    "pages touched, by the count of who touched them, 2 MB each",
                );
            // Since 5.16.
            if !group.has(NUMA)? {
                continue;
            }
            let stat = numa_stat(group)?;
            lab.accounting(&format!("the total by node of {role} after {touched} pages"))
                .covers([R151])
                .file(NUMA)
                .unit(Unit::Bytes)
                .observed(stat.get("total").copied().unwrap_or(u64::MAX))
                .equals(
                    (touched + siblings) * PAGE,
                    "cgroup-v2.rst, numa_stat: \"the total hugetlb usage\" of the group, in bytes",
                );
            let of_nodes: u64 = stat.iter().filter(|(key, _)| *key != "total").map(|it| it.1).sum();
            lab.accounting(&format!("the sum of the nodes of {role} after {touched} pages"))
                .covers([R151])
                .file(NUMA)
                .unit(Unit::Bytes)
                .observed(of_nodes)
                .equals((touched + siblings) * PAGE, "every page is on one node");
        }
        lab.accounting(&format!("reservation after {touched} of {MAPPED} pages"))
            .covers([R150])
            .file(RESERVED)
            .unit(Unit::Bytes)
            .observed(one.number(RESERVED)?)
            .equals(MAPPED * PAGE, "hugetlb.rst: memory is reserved when it is mapped, and stays so until it is unmapped");
        step.open();
    }
    process.finish()?;
    for (file, what) in [(CURRENT, "usage"), (RESERVED, "reservation")] {
        lab.accounting(&format!("{what} after the end of the process"))
            .covers([R150])
            .file(file)
            .unit(Unit::Bytes)
            .observed(one.number(file)?)
            .equals(0, "a process that ends gives its pages back");
    }
    Ok(())
}

/// `numa_stat` counts a page on the node that it is on.
#[rstest]
fn pages_count_on_their_node(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    lab.needs_file(NUMA, "since 5.16")?;
    let nodes = nodes();
    pool(&lab, 4 * u64::try_from(nodes).unwrap_or(1))?;
    for bound in 0..nodes {
        let group = lab.group(&format!("on{bound}"))?;
        let pages = 2 + u64::try_from(bound).unwrap_or(0);
        let counted = Shared::new()?;
        let (ready, end) = (Gate::new()?, Gate::new()?);
        let process = group.spawn(|| {
            if bind_to(bound).is_ok()
                && let Ok(start) = reserve(pages, Source::Unreserved)
            {
                touch(start, pages, counted);
            }
            ready.open();
            end.pass();
        })?;
        ready.pass();
        let stat = numa_stat(&group)?;
        let keys: Vec<_> = stat.keys().cloned().collect();
        let expected: Vec<_> =
            (0..nodes).map(|it| format!("N{it}")).chain(["total".to_owned()]).collect();
        lab.interface("the keys of the line")
            .covers([R151])
            .file(NUMA)
            .observed(keys.join(" "))
            .equals(expected.join(" "), "one key for each node with memory, and the total");
        for node in 0..nodes {
            lab.accounting(&format!("bytes on node {node} of a process bound to node {bound}"))
                .covers([R151])
                .file(NUMA)
                .unit(Unit::Bytes)
                .observed(stat.get(&format!("N{node}")).copied().unwrap_or(u64::MAX))
                .equals(
                    if node == bound { pages * PAGE } else { 0 },
                    "MPOL_BIND takes pages from that node alone, and the process touched this many",
                );
        }
        end.open();
        process.finish()?;
    }
    Ok(())
}

/// A page stays with the group that touched it: when the process moves, when it ends and the file lives, and with the parent when the group is removed.
#[rstest]
fn page_stays_where_it_was_charged(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    pool(&lab, 4)?;
    let outer = lab.group("outer")?;
    outer.enable("hugetlb")?;
    let (inner, elsewhere) = (outer.make("inner")?, outer.make("elsewhere")?);
    let file = file()?;
    stretch(&file, 2)?;
    let counted = Shared::new()?;
    let (ready, end) = (Gate::new()?, Gate::new()?);
    let process = inner.spawn(|| {
        if let Ok(start) = reserve(2, Source::File(&file)) {
            touch(start, 2, counted);
        }
        ready.open();
        end.pass();
    })?;
    ready.pass();
    let usage = |what: &str, group: &Group, pages: u64, why: &str| -> Outcome {
        lab.accounting(what)
            .covers([R150])
            .file(CURRENT)
            .unit(Unit::Bytes)
            .observed(group.number(CURRENT)?)
            .equals(pages * PAGE, why);
        Ok(())
    };
    usage("usage while the process is there", &inner, 2, "it touched two pages")?;
    elsewhere.admit(Pid::from_raw(process.pid().as_raw()))?;
    usage(
        "usage after the process moved away",
        &inner,
        2,
        "hugetlb charges do not move with a process",
    )?;
    usage("usage of where it moved", &elsewhere, 0, "it touched nothing there")?;
    end.open();
    process.finish()?;
    usage("usage after the process ended", &inner, 2, "the file has the pages still")?;
    lab.hierarchy("the answer to removing the group")
        .covers([R150])
        .answered(&inner.try_remove())
        .equals(
            "ok",
            "pages are no processes: hugetlb_cgroup_css_offline() hands them to the parent",
        );
    usage("usage of the parent after it", &outer, 2, "the pages are the parent's now")?;
    drop(file);
    usage(
        "usage of the parent once the file is closed",
        &outer,
        0,
        "nobody has the pages any more",
    )?;
    Ok(())
}

/// Files of the controller are below the root and not in it, for each size of page that the machine has.
#[rstest]
fn files_are_there_for_each_size(lab: Lab) -> Outcome {
    lab.needs_controller("hugetlb")?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let (folder, suffixes) = (
        "/sys/kernel/mm/hugepages",
        ["current", "max", "events", "events.local", "numa_stat", "rsvd.current", "rsvd.max"],
    );
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let size = match name.as_str() {
            "hugepages-2048kB" => "2MB",
            "hugepages-1048576kB" => "1GB",
            other => return Err(Stop::Broken(format!("{folder} has a {other}"))),
        };
        for suffix in suffixes {
            let file = format!("hugetlb.{size}.{suffix}");
            // Since 5.16.
            if suffix == "numa_stat" && release()? < (5, 16) {
                continue;
            }
            lab.interface("whether a group below the root has the file")
                .covers([R150, R151])
                .file(&file)
                .observed(group.has(&file)?.to_string())
                .equals("true", "cgroup-v2.rst, HugeTLB Interface Files, and hugetlb.rst for rsvd, which the former leaves out");
            lab.interface("whether the root has the file")
                .covers([R150, R151])
                .file(&file)
                .observed(whole.root().has(&file)?.to_string())
                .equals(
                    "false",
                    "cgroup-v2.rst, HugeTLB Interface Files: they are for non-root groups",
                );
        }
    }
    Ok(())
}

/// The one line of `numa_stat`.
fn numa_stat(group: &Group) -> Result<BTreeMap<String, u64>, Stop> {
    let text = group.line(NUMA)?;
    let pair = |word: &str| {
        let (key, value) = word.split_once('=')?;
        Some((key.to_owned(), value.parse().ok()?))
    };
    let pairs: Option<_> = text.split(' ').map(pair).collect();
    pairs.ok_or_else(|| Stop::Broken(format!("{NUMA}: {text:?}")))
}
