//! Threaded mode (cgroup-v2.rst, "Threads"): which groups may hold single
//! threads, what that makes of the groups above, beside and below, and what is
//! refused. The states are spelt as `cgroup.type` shows them, which is
//! `domain invalid` where the document's prose has parentheses.

use cgauge_lab::kernel::{Dir, Refusal};
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// How long a process may take to start its threads or to leave its group.
const PATIENCE: Duration = Duration::from_secs(2);

const TYPE_WRITE: &str = "cgroup_type_write(): the only word it takes is \"threaded\"";
const INVALID: &str =
    "cgroup-v2.rst, Threads: an operation that fails for an invalid topology gives EOPNOTSUPP";

/// A group that becomes threaded makes its parent a threaded domain, and nothing above it.
#[rstest]
fn threaded_child_makes_its_parent_a_threaded_domain(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let parent = top.make("parent")?;
    let child = parent.make("child")?;
    let sibling = parent.make("sibling")?;
    let groups = [&top, &parent, &child, &sibling];

    lab.interface("top, parent, child and sibling as made")
        .covers([R019])
        .file("cgroup.type")
        .observed(types(groups)?)
        .equals(
            "domain, domain, domain, domain",
            "cgroup-v2.rst, Threads: a new group is a domain",
        );
    lab.interface("the answer to threaded in the child")
        .covers([R019])
        .file("cgroup.type")
        .answered(&child.try_set("cgroup.type", "threaded"))
        .equals("ok", "nobody is in the groups, and the parent enables no controller");
    lab.hierarchy("top, parent, child and sibling with a threaded child")
        .covers([R019, R020])
        .file("cgroup.type")
        .observed(types(groups)?)
        .equals(
            "domain, domain threaded, threaded, domain invalid",
            "the child's parent is its resource domain now, and a threaded domain has no domains below it",
        );
    lab.interface("the answer to threaded in the threaded child")
        .covers([R019])
        .file("cgroup.type")
        .answered(&child.try_set("cgroup.type", "threaded"))
        .equals("ok", "cgroup_enable_threaded() does nothing for a threaded group");
    Ok(())
}

/// A group with processes and threaded controllers for its children is a threaded domain while it has both.
#[rstest]
fn threaded_controllers_beside_processes_make_a_threaded_domain(
    lab: Lab,
    #[values("cpu", "pids")] controller: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    let state = |what: &str, expected: &str, reason: &str| -> Outcome {
        lab.hierarchy(what)
            .covers([R019, R027])
            .file("cgroup.type")
            .observed(domain.line("cgroup.type")?)
            .equals(expected, reason);
        Ok(())
    };

    domain.enable(controller)?;
    state("the type with the controller alone", "domain", "no process competes with a child")?;
    let process = domain.sleeper()?;
    state(
        "the type with the controller and a process",
        "domain threaded",
        "cgroup-v2.rst, Threads: threaded controllers enabled while there are processes",
    )?;
    domain.set("cgroup.subtree_control", format!("-{controller}"))?;
    state("the type with the process alone", "domain", "the condition cleared")?;
    domain.enable(controller)?;
    state("the type with both again", "domain threaded", "the condition holds again")?;
    process.end()?;
    let reverted =
        wait_until(PATIENCE, || domain.try_get("cgroup.type").is_ok_and(|it| it == "domain\n"));
    lab.hierarchy("whether the type went back to domain when the process had ended")
        .covers([R027])
        .file("cgroup.type")
        .happened(reverted)
        .equals("yes", "the condition cleared");
    Ok(())
}

/// A new group below a threaded one is invalid and of no use until it is made threaded, too.
#[rstest]
fn domain_inside_a_threaded_subtree_is_of_no_use(
    lab: Lab,
    #[values("threaded domain", "threaded group")] below: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    domain.enable("pids")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    threaded.enable("pids")?;
    let parent = if below == "threaded domain" { &domain } else { &threaded };
    let group = parent.make("new")?;
    let process = parent.sleeper()?;
    let answered =
        |what: &str, file: &str, answer: &Result<(), Refusal>, expected: &str, reason: &str| {
            lab.hierarchy(what).covers([R020]).file(file).answered(answer).equals(expected, reason);
        };
    let write = |what: &str, file: &str, text: &str, expected: &str, reason: &str| {
        answered(what, file, &group.try_set(file, text), expected, reason);
    };

    lab.interface("the type of the new group")
        .covers([R020])
        .file("cgroup.type")
        .observed(group.get("cgroup.type")?)
        .equals(
            "domain invalid\n",
            "cgroup_type_show(); the document's prose has \"domain (invalid)\"",
        );
    let pid = process.pid().to_string();
    write(
        "the answer to a process's move into the new group",
        "cgroup.procs",
        &pid,
        "EOPNOTSUPP",
        INVALID,
    );
    write(
        "the answer to a thread's move into the new group",
        "cgroup.threads",
        &pid,
        "EOPNOTSUPP",
        INVALID,
    );
    answered(
        "the answer to a start in the new group",
        "",
        &group.try_spawn(|| ())?.map(drop),
        "EOPNOTSUPP",
        INVALID,
    );
    write(
        "the answer to a controller in the new group",
        "cgroup.subtree_control",
        "+pids",
        "EOPNOTSUPP",
        INVALID,
    );

    let mended = "cgroup-v2.rst, Threads: an invalid group may become threaded";
    write("the answer to threaded in the new group", "cgroup.type", "threaded", "ok", mended);
    let works = "the group is a part of the threaded domain now";
    write(
        "the answer to a controller once it is threaded",
        "cgroup.subtree_control",
        "+pids",
        "ok",
        works,
    );
    write("the answer to a thread's move once it is threaded", "cgroup.threads", &pid, "ok", works);
    write("the answer to a process's move once it is threaded", "cgroup.procs", &pid, "ok", works);
    answered(
        "the answer to a start once it is threaded",
        "",
        &group.try_spawn(|| ())?.map(drop),
        "ok",
        works,
    );
    Ok(())
}

/// A threaded group stays threaded: `cgroup.type` takes no other word.
#[rstest]
fn threaded_is_for_good(
    lab: Lab,
    #[values("domain", "domain threaded", "domain invalid", "thread", "1")] word: &str,
) -> Outcome {
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    let refused = |what: &str, group: &Group| {
        lab.interface(what)
            .covers([R021])
            .file("cgroup.type")
            .answered(&group.try_set("cgroup.type", word))
            .equals("EINVAL", TYPE_WRITE);
    };

    refused("the answer to the word in a domain", &threaded);
    threaded.set("cgroup.type", "threaded")?;
    refused("the answer to the word in a threaded group", &threaded);
    refused("the answer to the word in a threaded domain", &domain);
    lab.interface("domain and threaded group after the refusals")
        .covers([R021])
        .file("cgroup.type")
        .observed(types([&domain, &threaded])?)
        .equals(
            "domain threaded, threaded",
            "cgroup-v2.rst, Threads: what is threaded cannot be made a domain again",
        );
    Ok(())
}

/// A parent that enables a domain controller cannot have threaded children.
#[rstest]
fn parent_with_domain_controllers_refuses_threaded(
    lab: Lab,
    #[values("memory", "io", "memory pids")] controllers: &str,
) -> Outcome {
    let parent = lab.group("parent")?;
    let child = parent.make("child")?;
    let answer = |what: &str, expected: &str, reason: &str| {
        lab.hierarchy(what)
            .covers([R022])
            .file("cgroup.type")
            .answered(&child.try_set("cgroup.type", "threaded"))
            .equals(expected, reason);
    };

    parent.enable(controllers)?;
    answer("the answer to threaded below domain controllers", "EOPNOTSUPP", INVALID);
    lab.hierarchy("parent and child after the refusal")
        .covers([R022])
        .file("cgroup.type")
        .observed(types([&parent, &child])?)
        .equals("domain, domain", "a refused write changes nothing");
    let domain_controllers: Vec<_> =
        controllers.split(' ').filter(|it| *it != "pids").map(|it| format!("-{it}")).collect();
    parent.set("cgroup.subtree_control", domain_controllers.join(" "))?;
    answer(
        "the answer to threaded without domain controllers",
        "ok",
        "threaded controllers are no hindrance",
    );
    Ok(())
}

/// A parent with processes in a domain below it cannot have threaded children; its own processes do not matter.
#[rstest]
#[case::in_the_child_itself("child")]
#[case::in_a_sibling("sibling")]
#[case::in_a_siblings_child("sibling/below")]
fn parent_with_populated_domains_refuses_threaded(lab: Lab, #[case] place: &str) -> Outcome {
    let parent = lab.group("parent")?;
    let (child, sibling) = (parent.make("child")?, parent.make("sibling")?);
    let below = sibling.make("below")?;
    let populated = match place {
        "child" => &child,
        "sibling" => &sibling,
        _ => &below,
    };
    let answer = |what: &str, expected: &str, reason: &str| {
        lab.hierarchy(what)
            .covers([R022])
            .file("cgroup.type")
            .answered(&child.try_set("cgroup.type", "threaded"))
            .equals(expected, reason);
    };

    let process = populated.sleeper()?;
    answer("the answer to threaded with a process in a domain", "EOPNOTSUPP", INVALID);
    lab.hierarchy("parent and child after the refusal")
        .covers([R022])
        .file("cgroup.type")
        .observed(types([&parent, &child])?)
        .equals("domain, domain", "a refused write changes nothing");
    parent.admit(process.pid())?;
    answer(
        "the answer to threaded with the process in the parent",
        "ok",
        "the parent is the processes' resource domain",
    );
    Ok(())
}

/// The hierarchy's root is exempt: it may have domain controllers, populated domains and threaded groups below it.
#[rstest]
fn the_root_is_parent_to_domains_and_threaded_groups_alike(lab: Lab) -> Outcome {
    let path = lab.root().dir().path().parent().unwrap_or(lab.root().dir().path()).to_path_buf();
    let root = Dir::open(path).map_err(|it| Stop::Broken(it.to_string()))?;
    if root.read("cgroup.type").is_ok() {
        return Err(lab.skip("this stage does not show the hierarchy's root"));
    }
    let _removed_at_the_end = Removed { parent: &root, name: "threaded" };
    let group = root.make("threaded").map_err(|it| Stop::Broken(it.to_string()))?;

    lab.hierarchy("the answer to threaded below the root")
        .covers([R022])
        .file("cgroup.type")
        .answered(&group.write("cgroup.type", "threaded"))
        .equals("ok", "cgroup-v2.rst, Threads: the root is exempt, and the case's own groups are populated domains");
    lab.hierarchy("the type of the populated domain beside it")
        .covers([R022])
        .file("cgroup.type")
        .observed(lab.root().line("cgroup.type")?)
        .equals("domain", "cgroup_is_valid_domain() overlooks a root that is parent to both");
    Ok(())
}

/// `cgroup.procs` of a threaded group cannot be read, but writing it moves the whole process.
#[rstest]
#[case::by_its_first_thread(0)]
#[case::by_another_thread(2)]
fn procs_of_a_threaded_group_is_only_written(lab: Lab, #[case] nth: usize) -> Outcome {
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    let (_process, threads) = idle(&domain, 3)?;

    lab.interface("the answer to reading")
        .covers([R023])
        .file("cgroup.procs")
        .answered(&threaded.try_get("cgroup.procs"))
        .equals(
            "EOPNOTSUPP",
            "cgroup-v2.rst, cgroup.procs: a threaded group's processes belong to its domain",
        );
    lab.interface("the answer to writing a thread's id")
        .covers([R023])
        .file("cgroup.procs")
        .answered(&threaded.try_set("cgroup.procs", threads[nth]))
        .equals("ok", "cgroup-v2.rst, cgroup.procs: writing is supported");
    lab.hierarchy("threads of the process that moved")
        .covers([R023])
        .file("cgroup.threads")
        .unit(Unit::Count)
        .observed(present(&threads, &threaded.ids("cgroup.threads")?))
        .equals(3, "cgroup-v2.rst, cgroup.procs: every thread of the process moves");
    lab.hierarchy("threads left in the domain")
        .covers([R023])
        .file("cgroup.threads")
        .unit(Unit::Count)
        .observed(domain.ids("cgroup.threads")?.len())
        .equals(0, "every thread of the process moved");
    Ok(())
}

/// `cgroup.procs` of a threaded domain lists every process of its subtree, wherever its threads are.
#[rstest]
fn threaded_domain_lists_the_processes_of_its_subtree(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    let child = domain.make("child")?;
    child.set("cgroup.type", "threaded")?;
    let grandchild = child.make("grandchild")?;
    grandchild.set("cgroup.type", "threaded")?;
    let (in_domain, in_child, in_grandchild) =
        (domain.sleeper()?, child.sleeper()?, grandchild.sleeper()?);
    let (split, threads) = idle(&child, 2)?;
    grandchild.set("cgroup.threads", threads[1])?;

    let all = [in_domain.pid(), in_child.pid(), in_grandchild.pid(), split.pid()]
        .map(nix::unistd::Pid::as_raw);
    let mut listed = domain.ids("cgroup.procs")?;
    listed.dedup();
    lab.hierarchy("processes of the subtree that the domain lists")
        .covers([R024])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(present(&all, &listed))
        .equals(4, "cgroup-v2.rst, Threads: a threaded domain's cgroup.procs has those of the whole subtree");
    lab.hierarchy("everything that the domain lists")
        .covers([R024])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(listed.len())
        .equals(4, "there are no others in the subtree, and a thread is no process");
    for (what, group, count) in [
        ("threads of the domain", &domain, 1),
        ("threads of the child", &child, 2),
        ("threads of the grandchild", &grandchild, 2),
    ] {
        lab.hierarchy(what)
            .covers([R024, R028])
            .file("cgroup.threads")
            .unit(Unit::Count)
            .observed(group.ids("cgroup.threads")?.len())
            .equals(count, "cgroup.threads has only those of the group itself");
    }
    Ok(())
}

/// A thread moves freely within its resource domain, and never out of it without its process.
#[rstest]
fn thread_does_not_leave_its_resource_domain(lab: Lab) -> Outcome {
    let (plain, other) = (lab.group("plain")?, lab.group("other")?);
    let domain = plain.make("domain")?;
    let mut leaves = Vec::new();
    for (parent, name) in [(&domain, "first"), (&domain, "second"), (&other, "foreign")] {
        let leaf = parent.make(name)?;
        leaf.set("cgroup.type", "threaded")?;
        leaves.push(leaf);
    }
    let [first, second, foreign] = &leaves[..] else {
        return Ok(());
    };
    let (process, threads) = idle(first, 3)?;

    for (what, group, expected) in [
        ("the answer to a thread's move to a sibling", second, "ok"),
        ("the answer to a thread's move up to its domain", &domain, "ok"),
        ("the answer to a thread's move back", first, "ok"),
        ("the answer to a thread's move below another domain", foreign, "EOPNOTSUPP"),
        ("the answer to a thread's move to another threaded domain", &other, "EOPNOTSUPP"),
        ("the answer to a thread's move to the parent of its domain", &plain, "EOPNOTSUPP"),
    ] {
        lab.hierarchy(what)
            .covers([R025])
            .file("cgroup.threads")
            .answered(&group.try_set("cgroup.threads", threads[1]))
            .equals(
                expected,
                "cgroup-v2.rst, cgroup.threads: both groups must be in the same resource domain",
            );
    }
    lab.hierarchy("threads of the process where it was")
        .covers([R025])
        .file("cgroup.threads")
        .unit(Unit::Count)
        .observed(present(&threads, &first.ids("cgroup.threads")?))
        .equals(3, "a refused move changes nothing");
    lab.hierarchy("the answer to the whole process's move below another domain")
        .covers([R025])
        .file("cgroup.procs")
        .answered(&foreign.try_set("cgroup.procs", process.pid()))
        .equals("ok", "a process may change its resource domain");
    lab.hierarchy("threads of the process below another domain")
        .covers([R025])
        .file("cgroup.threads")
        .unit(Unit::Count)
        .observed(present(&threads, &foreign.ids("cgroup.threads")?))
        .equals(3, "a process moves with all its threads");
    Ok(())
}

/// A threaded controller can be enabled at every level of a threaded subtree.
#[rstest]
fn threaded_controllers_work_inside_a_threaded_subtree(
    lab: Lab,
    #[values("cpu", "cpuset", "pids")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    let leaf = threaded.make("leaf")?;
    leaf.set("cgroup.type", "threaded")?;
    let _process = threaded.sleeper()?;

    for (what, group) in [
        ("the answer to enabling it in the threaded domain", &domain),
        ("the answer to enabling it in the populated threaded group", &threaded),
    ] {
        lab.hierarchy(what)
            .covers([R026])
            .file("cgroup.subtree_control")
            .answered(&group.try_set("cgroup.subtree_control", format!("+{controller}")))
            .equals("ok", "cgroup-v2.rst, Threads: it is one of the threaded controllers");
    }
    lab.hierarchy("what the leaf offers")
        .covers([R026])
        .file("cgroup.controllers")
        .observed(leaf.line("cgroup.controllers")?)
        .equals(controller, "its parent enables this alone");
    Ok(())
}

/// A domain controller cannot be enabled anywhere in a threaded subtree.
#[rstest]
fn domain_controllers_are_refused_inside_a_threaded_subtree(
    lab: Lab,
    #[values("memory", "io", "hugetlb", "rdma", "misc")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    let enable = |what: &str, group: &Group, expected: &str, reason: &str| {
        lab.hierarchy(what)
            .covers([R026])
            .file("cgroup.subtree_control")
            .answered(&group.try_set("cgroup.subtree_control", format!("+{controller}")))
            .equals(expected, reason);
    };

    enable(
        "the answer to enabling it in a domain",
        &domain,
        "ok",
        "a domain without processes enables any controller",
    );
    domain.set("cgroup.subtree_control", format!("-{controller}"))?;
    threaded.set("cgroup.type", "threaded")?;
    enable("the answer to enabling it in the threaded domain", &domain, "EOPNOTSUPP", INVALID);
    enable(
        "the answer to enabling it in the threaded group",
        &threaded,
        "ENOENT",
        "cgroup_subtree_control_write(): the controller is not in cgroup.controllers of the group",
    );
    Ok(())
}

/// The perf_event controller is on in every threaded group without being enabled.
#[rstest]
fn perf_events_count_threads_of_a_threaded_group(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    if count_task_clock(domain.dir()) == Err(Errno::EINVAL) {
        return Err(lab.skip("this kernel cannot count events of groups (CONFIG_CGROUP_PERF)"));
    }
    threaded.set("cgroup.type", "threaded")?;

    lab.hierarchy("the answer to perf_event_open(2) for the threaded group")
        .covers([R026])
        .returned(&count_task_clock(threaded.dir()))
        .equals("ok", "cgroup-v2.rst, Threads: perf_event is one of the threaded controllers");
    Ok(())
}

/// A threaded domain is a plain domain again when its last threaded child is gone.
#[rstest]
fn threaded_domain_reverts_with_its_last_threaded_child(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    let children = ["first", "second"].map(|name| domain.make(name));
    let [first, second] = children;
    let (first, second) = (first?, second?);
    let state = |what: &str, expected: &str, reason: &str| -> Outcome {
        lab.hierarchy(what)
            .covers([R027])
            .file("cgroup.type")
            .observed(domain.line("cgroup.type")?)
            .equals(expected, reason);
        Ok(())
    };

    first.set("cgroup.type", "threaded")?;
    second.set("cgroup.type", "threaded")?;
    let plain = domain.make("plain")?;
    drop(first);
    state(
        "the type with one of two threaded children left",
        "domain threaded",
        "a threaded child is left",
    )?;
    drop(second);
    state(
        "the type without a threaded child",
        "domain",
        "cgroup-v2.rst, Threads: it reverts when the conditions clear",
    )?;
    lab.hierarchy("the type of the child that was invalid")
        .covers([R020, R027])
        .file("cgroup.type")
        .observed(plain.line("cgroup.type")?)
        .equals("domain", "it is below a plain domain again");
    lab.hierarchy("the answer to enabling a domain controller again")
        .covers([R027])
        .file("cgroup.subtree_control")
        .answered(&domain.try_set("cgroup.subtree_control", "+memory"))
        .equals("ok", "it is a plain domain again");
    Ok(())
}

/// Threads may sit at every level of a threaded subtree, beside the controllers that are enabled there.
#[rstest]
fn threads_sit_in_inner_groups_of_a_threaded_subtree(lab: Lab) -> Outcome {
    let domain = lab.group("domain")?;
    domain.enable("pids")?;
    let inner = domain.make("inner")?;
    inner.set("cgroup.type", "threaded")?;
    inner.enable("pids")?;
    let leaf = inner.make("leaf")?;
    leaf.set("cgroup.type", "threaded")?;
    let (_process, threads) = idle(&domain, 3)?;

    for (what, group, thread) in [
        ("the answer to a thread's move into the inner group", &inner, threads[1]),
        ("the answer to a thread's move into the leaf", &leaf, threads[2]),
    ] {
        lab.hierarchy(what)
            .covers([R028])
            .file("cgroup.threads")
            .answered(&group.try_set("cgroup.threads", thread))
            .equals(
                "ok",
                "cgroup-v2.rst, Threads: no internal process constraint in a threaded subtree",
            );
    }
    for (what, group, thread, below) in [
        ("domain", &domain, threads[0], 3),
        ("inner group", &inner, threads[1], 2),
        ("leaf", &leaf, threads[2], 1),
    ] {
        lab.hierarchy(&format!("whether the {what} holds its one thread alone"))
            .covers([R028])
            .file("cgroup.threads")
            .observed(if group.ids("cgroup.threads")? == [thread] { "yes" } else { "no" })
            .equals("yes", "each group was given one thread");
        lab.accounting(&format!("threads in the {what} and below"))
            .covers([R028])
            .file("pids.current")
            .unit(Unit::Processes)
            .observed(group.number("pids.current")?)
            .equals(below, "a threaded controller counts each thread where it is");
    }
    Ok(())
}

/// The types of the groups, in a list.
fn types<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Result<String, Stop> {
    let types =
        groups.into_iter().map(|it| it.line("cgroup.type")).collect::<Result<Vec<_>, _>>()?;
    Ok(types.join(", "))
}

/// A process in `group` with so many threads that do nothing, and their ids;
/// the first is its own.
fn idle(group: &Group, threads: usize) -> Result<(Process, Vec<i32>), Stop> {
    let process = group.spawn(move || {
        for _ in 1..threads {
            std::thread::spawn(wait_forever);
        }
        wait_forever();
    })?;
    let started = wait_until(PATIENCE, || process.threads().is_ok_and(|it| it.len() == threads));
    started.ok_or_else(|| {
        Stop::Broken(format!("a process did not start {threads} threads in {PATIENCE:?}"))
    })?;
    let ids = process.threads()?;
    Ok((process, ids))
}

fn wait_forever() {
    loop {
        nix::unistd::pause();
    }
}

/// How many of `wanted` are in `listed`.
fn present(wanted: &[i32], listed: &[i32]) -> usize {
    wanted.iter().filter(|it| listed.contains(it)).count()
}

/// Starts counting the task clock of a group on the first CPU, by
/// `perf_event_open(2)`, and stops at once.
fn count_task_clock(group: &Dir) -> Result<(), Errno> {
    // `linux/perf_event.h`: type, size, config of a `perf_event_attr` of
    // PERF_ATTR_SIZE_VER0; zero is what is asked of the rest.
    const PERF_TYPE_SOFTWARE: u64 = 1;
    const PERF_ATTR_SIZE_VER0: u64 = 64;
    const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
    const PERF_FLAG_PID_CGROUP: libc::c_ulong = 4;
    let attributes: [u64; 8] =
        [PERF_TYPE_SOFTWARE | PERF_ATTR_SIZE_VER0 << 32, PERF_COUNT_SW_CPU_CLOCK, 0, 0, 0, 0, 0, 0];
    // SAFETY: the attributes are as long as they say and outlive the call.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            group.as_fd().as_raw_fd(),
            0,
            -1,
            PERF_FLAG_PID_CGROUP,
        )
    };
    let descriptor = Errno::result(opened)?;
    // SAFETY: the kernel just made it for us, and nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor).unwrap_or(-1)) });
    Ok(())
}

/// A group outside the case's own that is removed at the end.
struct Removed<'a> {
    parent: &'a Dir,
    name: &'a str,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        // What will not go is found and named by the agent.
        let _ = self.parent.remove(self.name);
    }
}
