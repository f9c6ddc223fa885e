//! Threads in a threaded subtree (cgroup-v2.rst, "Threads"): where they may
//! sit and move, which files list them, and which controllers see them.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::errno::Errno;
use nix::libc;

use super::thread_modes::INVALID;

/// How long a process may take to start its threads.
const PATIENCE: Duration = Duration::from_secs(2);

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
