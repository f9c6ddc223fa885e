//! `tasks`, which is about threads, and `cgroup.procs`, which is about processes.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use cgauge_lab::kernel::{Refusal, errno_of};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause, wait_until};
use cgauge_workloads::{Burn, Millis, Work};
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, Pid, Uid, fork, gettid, setuid};

use crate::{ANY, text};

const PROCS: &str = "cgroup.procs";
const TASKS: &str = "tasks";
const PATIENCE: Duration = Duration::from_secs(30);

/// A process of three threads, of which each waits.
struct Threads {
    process: Process,
    ids: Vec<i32>,
    leave: std::rc::Rc<Gate>,
}

impl Threads {
    fn within(group: &Group) -> Result<Self, Stop> {
        let (ready, leave) = (Gate::new()?, std::rc::Rc::new(Gate::new()?));
        let process = group.spawn(|| {
            let leave: &Gate = &leave;
            std::thread::scope(|scope| {
                (0..2).for_each(|_| drop(scope.spawn(|| leave.pass())));
                ready.open();
                leave.pass();
            });
        })?;
        ready.pass();
        let ids = process.threads()?;
        Ok(Self { process, ids, leave })
    }

    fn end(mut self) -> Outcome {
        (0..3).for_each(|_| self.leave.open());
        self.process.wait().map(drop)
    }
}

fn list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
}

/// `tasks` lists threads and moves one, `cgroup.procs` lists processes and moves all threads of one; what a thread makes is born where it is.
#[rstest]
fn tasks_are_threads_and_procs_are_processes(lab: Lab) -> Outcome {
    let root = lab.legacy(ANY)?;
    let (one, other) = (root.make("one")?, root.make("other")?);
    let threads = Threads::within(&one)?;
    let (pid, ids) = (threads.process.pid().as_raw(), threads.ids.clone());
    let check = |when: &str, expected: [(&[i32], &[i32]); 2]| -> Outcome {
        for ((name, group), (tasks, procs)) in
            [("one", &one), ("the other", &other)].into_iter().zip(expected)
        {
            for (file, ids, why) in [
                (
                    TASKS,
                    tasks,
                    "cgroups.rst, 1.3, tasks: \"Writing a thread ID into this file moves the thread into this cgroup\"",
                ),
                (
                    PROCS,
                    procs,
                    "cgroups.rst, 1.3, cgroup.procs: \"list of thread group IDs in the cgroup\", each of which has a thread here",
                ),
            ] {
                lab.hierarchy(&format!("who is in {name} {when}"))
                    .covers([S16])
                    .file(file)
                    .observed(list(&group.ids(file)?))
                    .equals(list(ids), why);
            }
        }
        Ok(())
    };
    check("at first", [(&ids, &[pid]), (&[], &[])])?;
    other.set(TASKS, ids[1])?;
    check("once a thread is moved", [(&[ids[0], ids[2]], &[pid]), (&[ids[1]], &[pid])])?;
    other.set(TASKS, ids[0])?;
    check(
        "once the first thread is moved too",
        [(&[ids[2]], &[pid]), (&[ids[0], ids[1]], &[pid])],
    )?;
    one.set(PROCS, ids[1])?;
    check("once the process is moved by a thread's number", [(&ids, &[pid]), (&[], &[])])?;
    other.set(TASKS, ids[2])?;
    other.set(PROCS, pid)?;
    check("once it is moved where one of it is already", [(&[], &[]), (&ids, &[pid])])?;
    lab.hierarchy("the answer to removing a group with threads in it")
        .answered(&other.try_remove())
        .equals("EBUSY", "cgroups.rst, 2.1: it fails \"if the cgroup is in use (has cgroups inside, or has processes attached)\"");
    threads.end()?;
    wait_until(PATIENCE, || other.try_get(TASKS).is_ok_and(|it| it.is_empty()));
    check("once all have ended", [(&[], &[]), (&[], &[])])?;
    lab.hierarchy("the answer to removing it then")
        .answered(&other.try_remove())
        .equals("ok", "nobody is in it");
    Ok(())
}

/// What a thread makes, thread or process, is born in the group of that thread; 0 stands for the one who writes.
#[rstest]
#[case::the_thread(TASKS, "self other other")]
#[case::the_process(PROCS, "other other other")]
fn children_are_born_where_their_maker_is(
    lab: Lab,
    #[case] file: &str,
    #[case] expected: &str,
) -> Outcome {
    let root = lab.legacy(ANY)?;
    let (one, other) = (root.make("self-of-the-case")?, root.make("other")?);
    let there = other.dir();
    let answers = one
        .spawn(|| {
            let place = |id: i32| {
                let text = std::fs::read_to_string(format!("/proc/{id}/cgroup"));
                let text = text.unwrap_or_default();
                let line = text.lines().find(|it| it.contains(&format!(":{ANY}:")));
                let name = line.and_then(|it| it.rsplit('/').next()).unwrap_or("none");
                name.split('-').next().unwrap_or_default().to_owned()
            };
            let made = std::thread::scope(|scope| {
                let maker = scope.spawn(|| {
                    if there.write(file, "0").is_err() {
                        return vec!["refused".to_owned()];
                    }
                    let thread = std::thread::scope(|scope| {
                        scope.spawn(|| place(gettid().as_raw())).join().unwrap_or_default()
                    });
                    // SAFETY: the child only waits to be killed.
                    let child = match unsafe { fork() } {
                        Ok(ForkResult::Child) => loop {
                            nix::unistd::pause();
                        },
                        Ok(ForkResult::Parent { child }) => child,
                        Err(errno) => return vec![format!("{errno:?}")],
                    };
                    let process = place(child.as_raw());
                    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
                    let _ = nix::sys::wait::waitpid(child, None);
                    vec![thread, process]
                });
                maker.join().unwrap_or_default()
            });
            format!("{} {}", place(std::process::id().cast_signed()), made.join(" "))
        })?
        .finish()?;
    lab.hierarchy("where the first thread is, and where a thread and a process are born that another made once it had written 0")
        .covers([R012, S16])
        .file(file)
        .observed(answers)
        .equals(expected, "cgroups.rst, 2.2: 0 is the current task, by cgroup.procs with all threads of its process; 1.3: membership is \"automatically inherited at fork by any children of that task\"");
    Ok(())
}

/// One task at a time is moved, one that is there, by one who may.
#[rstest]
fn moves_are_checked(lab: Lab, #[values(TASKS, PROCS)] file: &str) -> Outcome {
    let root = lab.legacy(ANY)?;
    let (group, outside) = (root.make("group")?, root.make("outside")?);
    let [one, other] = [outside.sleeper()?, outside.sleeper()?];
    let two = format!("{} {}", one.pid(), other.pid());
    let gone = {
        let process = outside.sleeper()?;
        let pid = process.pid();
        process.end()?;
        pid.to_string()
    };
    for (what, written, expected, why) in [
        (
            "two at once",
            two.as_str(),
            "EINVAL",
            "cgroups.rst, 2.2: \"You can only attach ONE task at a time\"",
        ),
        ("one that has gone", &gone, "ESRCH", "nobody has the number"),
        ("-1", "-1", "EINVAL", "no process has it"),
        ("a word", "me", "EINVAL", "it is no number"),
    ] {
        lab.hierarchy(&format!("the answer to moving {what}"))
            .covers([R010])
            .file(file)
            .answered(&group.try_set(file, written))
            .equals(expected, why);
    }
    lab.hierarchy("who is in the group after what was refused")
        .covers([R010])
        .file(file)
        .observed(list(&group.ids(file)?))
        .equals("", "nobody was moved");
    // Another user, who may write the file; and one who got it open from root.
    let path = group.dir().path().join(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    let by_root = group.dir().open_file(file, OFlag::O_WRONLY).map_err(Stop::Refused)?;
    let answers = outside
        .spawn(|| {
            let own = |pid: Pid| group.try_set(file, pid).map_err(|it| it.errno);
            let mut by_root = by_root;
            let mut handed = |pid: Pid| by_root.write(pid.to_string().as_bytes());
            if setuid(Uid::from_raw(65_534)).is_err() {
                return None;
            }
            Some([
                text(own(one.pid())),
                text(handed(one.pid()).map_err(|it| errno_of(&it))),
                text(own(nix::unistd::getpid())),
            ])
        })?
        .finish()?;
    for ((what, promise, expected, why), answer) in [
        ("moves root's process", None, "EACCES", "kernel/cgroup/cgroup-v1.c, __cgroup1_procs_write: root, or the user whose process it is"),
        ("moves root's process by a file that root had opened", Some(R039), "ok", "the same asks for the credentials of who opened the file, since 1756d7994ad8 (CVE-2021-4197)"),
        ("moves itself", None, "ok", "it is its own"),
    ]
    .into_iter()
    .zip(answers.into_iter().flatten())
    {
        lab.delegation(&format!("the answer to another user who {what}"))
            .covers(promise)
            .file(file)
            .unit(Unit::Errno)
            .observed(answer)
            .equals(expected, why);
    }
    group.kill()?;
    let path = group.dir().path().to_owned();
    let dead = group.dir().open_file(file, OFlag::O_WRONLY).map_err(Stop::Refused)?;
    group.try_remove().map_err(Stop::Refused)?;
    let answer = {
        let mut dead = dead;
        dead.write(one.pid().to_string().as_bytes()).map_err(|it| Refusal {
            request: cgauge_lab::kernel::Request::Write(one.pid().to_string()),
            path,
            errno: errno_of(&it),
        })
    };
    lab.hierarchy("the answer to a move into a group that was removed")
        .file(file)
        .answered(&answer)
        .equals("ENODEV", "the group is gone, whoever holds its file");
    Ok(())
}

/// Threads of one process in different groups have each its own group's share of a CPU, and their time is counted there.
#[rstest]
fn threads_of_a_process_have_their_own_groups(lab: Lab) -> Outcome {
    const TIME: u64 = 300;
    let (cpu, account) = (lab.legacy("cpu")?, lab.legacy("cpuacct")?);
    let shares = [cpu.make("light")?, cpu.make("heavy")?];
    let accounts = [account.make("light")?, account.make("heavy")?];
    shares[1].set("cpu.shares", 3072)?;
    let from_ns = nanoseconds(now() + Duration::from_millis(100));
    let load = Burn {
        threads: 2,
        cpus: 1,
        work: Work::Loop,
        burst_us: 0,
        every_us: 0,
        stall_us: 2000,
        window_us: 10_000,
        from_ns,
        time: Millis(TIME),
    };
    let mut running = shares[0].load(&load)?;
    let mut threads = Vec::new();
    wait_until(PATIENCE, || {
        threads = running.process().threads().unwrap_or_default();
        threads.len() == 3
    });
    let [_, first, second] = threads[..] else {
        return Err(Stop::Broken("a load of two threads has not three".into()));
    };
    shares[1].set(TASKS, second)?;
    accounts[0].set(TASKS, first)?;
    accounts[1].set(TASKS, second)?;
    pause(Duration::from_nanos(from_ns - 3_000_000).saturating_sub(now()));
    let used = || accounts.each_ref().map(|it| it.number("cpuacct.usage"));
    let before = used();
    let truth = running.truth(PATIENCE)?;
    let after = used();
    let burnt = [0, 1].map(|nth| truth.threads[nth].cpu_ns);
    lab.enforcement("the second thread's part of what both burnt")
        .covers([S16, R173])
        .file("cpu.shares")
        .unit(Unit::Ratio)
        .observed(burnt[1] as f64 / (burnt[0] + burnt[1]) as f64)
        .between(
            0.71,
            0.79,
            "3072 of 4096 shares; three ticks of 4 ms in 300 ms are a twenty-fifth",
        );
    for (nth, (before, after)) in before.into_iter().zip(after).enumerate() {
        lab.accounting(&format!("CPU time of the group of thread {}", nth + 1))
            .covers([S16, R064])
            .file("cpuacct.usage")
            .unit(Unit::Nanoseconds)
            .observed(after? - before?)
            .between(burnt[nth], burnt[nth] + 2_000_000, "the thread's own clock, and its end");
    }
    Ok(())
}
