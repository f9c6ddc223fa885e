//! Which group a process is in (cgroup-v2.rst, "Processes"): moving, birth,
//! death, and removing the group behind it.

use cgauge_lab::kernel::{self, Dir, Side, clone_into};
use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// How long a process may take to fork, to start its threads or to be gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// One write to `cgroup.procs` moves one process: two ids in one write are refused and move nobody.
#[rstest]
fn one_write_moves_one_process(lab: Lab, #[values(" ", "\n", ",")] between: &str) -> Outcome {
    let home = lab.group("home")?;
    let away = lab.group("away")?;
    let (first, second) = (home.sleeper()?, home.sleeper()?);

    let both = format!("{}{between}{}", first.pid(), second.pid());
    lab.interface("the answer to two ids in one write")
        .covers([R010])
        .file("cgroup.procs")
        .answered(&away.try_set("cgroup.procs", both))
        .equals("EINVAL", "cgroup_procs_write_start() takes one number, and two are none");
    lab.hierarchy("processes that the refused write moved")
        .covers([R010])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(away.ids("cgroup.procs")?.len())
        .equals(0, "a write that fails has no effect");

    away.admit(first.pid())?;
    lab.hierarchy("the first alone is in the new group after a write of its id")
        .covers([R010])
        .file("cgroup.procs")
        .observed(yes(away.ids("cgroup.procs")? == ids([&first])))
        .equals("yes", ONE_WRITE);
    lab.hierarchy("the second alone is in the old group then")
        .covers([R010])
        .file("cgroup.procs")
        .observed(yes(home.ids("cgroup.procs")? == ids([&second])))
        .equals("yes", ONE_WRITE);
    Ok(())
}

/// What is no process's id moves nobody.
#[rstest]
#[case::no_number("one", "EINVAL")]
#[case::nothing("", "EINVAL")]
#[case::negative("-1", "EINVAL")]
#[case::beyond_any_pid("4194305", "ESRCH")]
fn what_is_no_process_is_refused(lab: Lab, #[case] text: &str, #[case] errno: &str) -> Outcome {
    let group = lab.group("group")?;
    // A write of no bytes at all would not reach the kernel's function.
    lab.interface("the answer to what is no process's id")
        .covers([R010])
        .file("cgroup.procs")
        .answered(&group.try_set("cgroup.procs", format!("{text}\n")))
        .equals(errno, "cgroup_procs_write_start(): EINVAL for what is no id, ESRCH for one that nobody has; no id is above 4194304, PID_MAX_LIMIT");
    lab.hierarchy("processes in the group after the refusal")
        .covers([R010])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(group.ids("cgroup.procs")?.len())
        .equals(0, "nobody was named");
    Ok(())
}

/// 0 in `cgroup.procs` stands for the process that writes it.
#[rstest]
fn zero_moves_the_writer(lab: Lab) -> Outcome {
    let away = lab.group("away")?;
    let home = lab.group("home")?;
    let writer = home.spawn(|| {
        let answer = away.try_set("cgroup.procs", 0);
        (answer.is_ok(), own_cgroup())
    })?;
    let (accepted, cgroup) = writer.finish()?;
    lab.interface("0 is accepted")
        .covers([R010])
        .file("cgroup.procs")
        .observed(yes(accepted))
        .equals("yes", "cgroup_procs_write_start() takes 0 for the writer");
    lab.hierarchy("the writer's group after that")
        .covers([R010, R016])
        .observed(cgroup)
        .equals(entry(&lab, &away), ONE_WRITE);
    Ok(())
}

/// Writing the id of any thread to `cgroup.procs` moves the whole process.
#[rstest]
fn any_thread_moves_the_whole_process(lab: Lab, #[values(0, 1, 3)] thread: usize) -> Outcome {
    const THREADS: usize = 4;
    let home = lab.group("home")?;
    let away = lab.group("away")?;
    let process = home.spawn(|| {
        for _ in 1..THREADS {
            std::thread::spawn(wait_forever);
        }
        wait_forever();
    })?;
    let started = wait_until(PATIENCE, || process.threads().is_ok_and(|it| it.len() == THREADS));
    if started.is_none() {
        return Err(Stop::Broken("the process did not start its threads".into()));
    }
    let threads = process.threads()?;

    lab.interface("the answer to the id of one of the threads")
        .covers([R011])
        .file("cgroup.procs")
        .answered(&away.try_set("cgroup.procs", threads[thread]))
        .equals("ok", ANY_THREAD);
    lab.hierarchy("the new group lists the process by its own id")
        .covers([R011])
        .file("cgroup.procs")
        .observed(yes(away.ids("cgroup.procs")? == ids([&process])))
        .equals("yes", ANY_THREAD);
    lab.hierarchy("the new group has all its threads")
        .covers([R011])
        .file("cgroup.threads")
        .observed(yes(away.ids("cgroup.threads")? == threads))
        .equals("yes", ANY_THREAD);
    lab.hierarchy("threads left in the old group")
        .covers([R011])
        .file("cgroup.threads")
        .unit(Unit::Count)
        .observed(home.ids("cgroup.threads")?.len())
        .equals(0, ANY_THREAD);
    Ok(())
}

/// A fork is born in its parent's group of that moment, and stays there when the parent moves.
#[rstest]
fn fork_is_born_beside_its_parent_and_stays(lab: Lab) -> Outcome {
    let home = lab.group("home")?;
    let away = lab.group("away")?;
    let gate = Gate::new()?;
    let parent = home.spawn(|| {
        fork_a_sleeper();
        gate.pass();
        fork_a_sleeper();
        wait_forever();
    })?;
    let both_at_home =
        wait_until(PATIENCE, || home.ids("cgroup.procs").is_ok_and(|it| it.len() == 2));
    lab.hierarchy("the fork is in its parent's group")
        .covers([R012])
        .file("cgroup.procs")
        .happened(both_at_home)
        .equals("yes", BORN);
    let mut first_child = home.ids("cgroup.procs")?;
    first_child.retain(|it| *it != parent.pid().as_raw());

    away.admit(parent.pid())?;
    lab.hierarchy("the child alone is in the old group after its parent moved")
        .covers([R012])
        .file("cgroup.procs")
        .observed(yes(home.ids("cgroup.procs")? == first_child))
        .equals("yes", "cgroup-v2.rst, What is cgroup?: migrating a process \"doesn't affect already existing descendant processes\"");
    lab.hierarchy("the parent alone is in the new group")
        .covers([R012])
        .file("cgroup.procs")
        .observed(yes(away.ids("cgroup.procs")? == ids([&parent])))
        .equals("yes", ONE_WRITE);

    gate.open();
    let both_away = wait_until(PATIENCE, || away.ids("cgroup.procs").is_ok_and(|it| it.len() == 2));
    lab.hierarchy("the next fork is in the parent's new group")
        .covers([R012])
        .file("cgroup.procs")
        .happened(both_away)
        .equals("yes", BORN);
    lab.hierarchy("the old group is as it was")
        .covers([R012])
        .file("cgroup.procs")
        .observed(yes(home.ids("cgroup.procs")? == first_child))
        .equals("yes", BORN);
    Ok(())
}

/// A zombie is not listed in `cgroup.procs` and cannot be moved, but stays associated with its group.
#[rstest]
fn zombie_is_listed_nowhere(lab: Lab) -> Outcome {
    let home = lab.group("home")?;
    let away = lab.group("away")?;
    let mut process = home.sleeper()?;
    lab.hierarchy("processes listed while it lives")
        .covers([R013])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(home.ids("cgroup.procs")?.len())
        .equals(1, "the process is the only one in the group");

    become_a_zombie(&process)?;
    lab.hierarchy("processes listed once it is a zombie")
        .covers([R013])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(home.ids("cgroup.procs")?.len())
        .equals(0, ZOMBIE);
    lab.hierarchy("the zombie's own account of its group")
        .covers([R013, R016])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &home), "cgroup-v2.rst, Processes: \"After exit, a process stays associated with the cgroup that it belonged to at the time of exit until it's reaped\"");

    // What the write answers is not promised; that it has no effect is.
    let _ = away.try_set("cgroup.procs", process.pid());
    lab.hierarchy("the zombie's own account after an attempt to move it")
        .covers([R013])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &home), ZOMBIE);
    lab.hierarchy("populated of the group that it was written to")
        .covers([R013])
        .file("cgroup.events")
        .unit(Unit::Count)
        .observed(away.key("cgroup.events", "populated")?)
        .equals(0, ZOMBIE);
    process.wait()?;
    Ok(())
}

/// A process whose first thread has ended while another lives is no zombie: it is still listed.
#[rstest]
fn process_lives_as_long_as_any_of_its_threads(lab: Lab) -> Outcome {
    let home = lab.group("home")?;
    let process = without_its_first_thread(&home)?;
    lab.hierarchy("the process is listed by the id of its ended first thread")
        .covers([R013])
        .file("cgroup.procs")
        .observed(yes(home.ids("cgroup.procs")? == ids([&process])))
        .equals("yes", LIVES);
    lab.hierarchy("populated of its group")
        .covers([R013])
        .file("cgroup.events")
        .unit(Unit::Count)
        .observed(home.key("cgroup.events", "populated")?)
        .equals(1, LIVES);
    lab.hierarchy("the answer to removing its group")
        .covers([R015])
        .answered(&home.try_remove())
        .equals("EBUSY", LIVE);
    Ok(())
}

/// A process whose first thread has ended moves like any other: it is listed where its threads are.
#[rstest]
fn process_without_its_first_thread_is_listed_where_it_moved(lab: Lab) -> Outcome {
    let home = lab.group("home")?;
    let away = lab.group("away")?;
    let process = without_its_first_thread(&home)?;
    away.admit(process.pid())?;
    lab.hierarchy("populated of the group that it left")
        .covers([R011])
        .file("cgroup.events")
        .unit(Unit::Count)
        .observed(home.key("cgroup.events", "populated")?)
        .equals(0, ANY_THREAD);
    lab.hierarchy("processes listed in the group that it left")
        .covers([R011])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(home.ids("cgroup.procs")?.len())
        .equals(0, "a group that is not populated has no process to list");
    lab.hierarchy("the process is listed in the group that it moved to")
        .covers([R011])
        .file("cgroup.procs")
        .observed(yes(away.ids("cgroup.procs")? == ids([&process])))
        .equals("yes", LISTED);
    Ok(())
}

/// A group that only zombies are left in can be removed, and their path says so from then on.
#[rstest]
fn group_of_zombies_can_be_removed(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let mut process = group.sleeper()?;
    let mut another = group.sleeper()?;
    become_a_zombie(&process)?;
    lab.hierarchy("the answer to removing a group with a zombie and a live process")
        .covers([R014, R015])
        .answered(&group.try_remove())
        .equals("EBUSY", LIVE);

    become_a_zombie(&another)?;
    lab.hierarchy("the zombie's group as its account shows it")
        .covers([R016, R017])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &group), "the group is still there");
    lab.hierarchy("the group with two zombies can be removed")
        .covers([R014])
        .happened(wait_until(PATIENCE, || group.try_remove().is_ok()))
        .equals("yes", "cgroup-v2.rst, Processes: a cgroup that \"is associated only with zombie processes is considered empty and can be removed\"");
    lab.hierarchy("a zombie's group once it is removed")
        .covers([R017])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &group) + " (deleted)", DELETED);
    let _successor = lab.group("group")?;
    lab.hierarchy("a zombie's group once another has its name")
        .covers([R017])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &group) + " (deleted)", DELETED);
    process.wait()?;
    another.wait()?;
    Ok(())
}

/// A group with a live process cannot be removed.
#[rstest]
fn group_with_a_process_cannot_be_removed(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let process = group.sleeper()?;
    lab.hierarchy("the answer to removing a group with a process")
        .covers([R015])
        .answered(&group.try_remove())
        .equals("EBUSY", LIVE);
    lab.hierarchy("the process is still in it")
        .covers([R015])
        .file("cgroup.procs")
        .observed(yes(group.ids("cgroup.procs")? == ids([&process])))
        .equals("yes", "a refused rmdir has no effect");
    process.end()?;
    lab.hierarchy("the group can be removed after the process's end")
        .covers([R015])
        .happened(wait_until(PATIENCE, || group.try_remove().is_ok()))
        .equals("yes", EMPTY);
    Ok(())
}

/// A group with a child group cannot be removed, however empty both are.
#[rstest]
fn group_with_a_child_cannot_be_removed(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let child = group.make("child")?;
    lab.hierarchy("the answer to removing a group with a child")
        .covers([R015])
        .answered(&group.try_remove())
        .equals("EBUSY", "cgroup-v2.rst, Processes: a cgroup can be destroyed if it \"doesn't have any children or live processes\"");
    lab.hierarchy("the answer to removing the child")
        .covers([R015])
        .answered(&child.try_remove())
        .equals("ok", EMPTY);
    lab.hierarchy("the answer to removing the group after its child")
        .covers([R015])
        .answered(&group.try_remove())
        .equals("ok", EMPTY);
    Ok(())
}

/// `/proc/PID/cgroup` has the line `0::PATH`, with the path from the hierarchy's root.
#[rstest]
fn proc_shows_the_path_of_the_group(lab: Lab) -> Outcome {
    let outer = lab.group("outer")?;
    let inner = outer.make("in ner")?;
    let process = inner.sleeper()?;
    lab.hierarchy("the path of a process two groups below the case's")
        .covers([R016])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &inner), ENTRY);
    outer.admit(process.pid())?;
    lab.hierarchy("the path after a move")
        .covers([R016])
        .observed(cgroup_of(process.pid())?)
        .equals(entry(&lab, &outer), ENTRY);
    lab.whole_hierarchy()?.root().admit(process.pid())?;
    lab.hierarchy("the path in the hierarchy's root")
        .covers([R016])
        .observed(cgroup_of(process.pid())?)
        .equals("0::/", ENTRY);
    Ok(())
}

/// clone3 with `CLONE_INTO_CGROUP` makes the child inside the group, not beside its parent.
#[rstest]
fn clone_into_a_group_makes_the_child_there(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let child = group.spawn(own_cgroup)?;
    lab.hierarchy("the child's group as its first act shows it")
        .covers([R018])
        .observed(child.finish()?)
        .equals(entry(&lab, &group), INTO);
    let child = group.sleeper()?;
    lab.hierarchy("the group lists the child as soon as clone3 returns")
        .covers([R018])
        .file("cgroup.procs")
        .observed(yes(group.ids("cgroup.procs")? == ids([&child])))
        .equals("yes", INTO);
    lab.hierarchy("the parent's group after that")
        .covers([R018])
        .observed(own_cgroup())
        .equals(entry(&lab, lab.root()) + "/self", "the flag is about the child alone");
    Ok(())
}

/// clone3 into a group that is gone, or that may hold no process, fails and makes nobody.
#[rstest]
#[case::removed(
    removed,
    "ENOENT",
    "css_tryget_online_from_dir() finds no group behind the descriptor"
)]
#[case::inner(inner, "EBUSY", "the no-internal-process rule, as for a write to cgroup.procs")]
#[case::invalid(
    invalid,
    "EOPNOTSUPP",
    "an invalid domain hosts nobody, as for a write to cgroup.procs"
)]
fn clone_into_a_bad_group_fails(
    lab: Lab,
    #[case] bad: fn(&Lab) -> Result<Vec<Group>, Stop>,
    #[case] errno: &str,
    #[case] reason: &str,
) -> Outcome {
    let groups = bad(&lab)?;
    lab.hierarchy("the answer to clone3 into the group")
        .covers([R018])
        .answered(&groups[0].try_spawn(|| ())?)
        .equals(errno, reason);
    Ok(())
}

/// clone3 into what is no group of the unified hierarchy fails with EBADF.
#[rstest]
fn clone_into_what_is_no_group_fails(lab: Lab) -> Outcome {
    let folder = Dir::open("/proc").map_err(|it| Stop::Broken(it.to_string()))?;
    lab.hierarchy("the answer to clone3 into a folder of another file system")
        .covers([R018])
        .returned(&clone_a_quitter(&folder))
        .equals("EBADF", "cgroup_get_from_file() takes descriptors of groups alone");
    let legacy = Mount::new("legacy", "cgroup", "none,name=cgauge")
        .map_err(|it| Stop::Broken(it.to_string()))?;
    let root = Dir::open(legacy.path()).map_err(|it| Stop::Broken(it.to_string()))?;
    lab.hierarchy("the answer to clone3 into a group of a legacy hierarchy")
        .covers([R018])
        .returned(&clone_a_quitter(&root))
        .equals("EBADF", "CLONE_INTO_CGROUP is for the unified hierarchy");
    Ok(())
}

const ONE_WRITE: &str =
    "cgroup-v2.rst, Processes: \"Only one process can be migrated on a single write(2) call\"";
const ANY_THREAD: &str = "cgroup-v2.rst, Processes: \"writing the PID of any thread migrates all threads of the process\"";
const BORN: &str = "cgroup-v2.rst, Processes: a new process \"is born into the cgroup that the forking process belongs to at the time of the operation\"";
const LISTED: &str = "cgroup-v2.rst, Processes: cgroup.procs \"lists the PIDs of all processes which belong to the cgroup\"";
const ZOMBIE: &str = "cgroup-v2.rst, Processes: a zombie \"does not appear in cgroup.procs and thus can't be moved to another cgroup\"";
const LIVES: &str =
    "a process is live while one of its threads is, and its id is that of its first thread";
const LIVE: &str = "cgroup-v2.rst, Processes: a cgroup can be destroyed if it \"doesn't have any children or live processes\"; cgroup_destroy_locked() gives EBUSY";
const EMPTY: &str = "it has neither children nor live processes now";
const ENTRY: &str =
    "cgroup-v2.rst, Processes: \"The entry for cgroup v2 is always in the format 0::$PATH\"";
const DELETED: &str = "cgroup-v2.rst, Processes: if the cgroup of a zombie is removed, \" (deleted)\" is appended to the path";
const INTO: &str = "clone(2), CLONE_INTO_CGROUP: the child is created in the given cgroup";

fn removed(lab: &Lab) -> Result<Vec<Group>, Stop> {
    let group = lab.group("group")?;
    lab.hierarchy("the answer to removing an empty group")
        .covers([R015])
        .answered(&group.try_remove())
        .equals("ok", EMPTY);
    Ok(vec![group])
}

fn inner(lab: &Lab) -> Result<Vec<Group>, Stop> {
    let group = lab.group("group")?;
    group.enable("memory")?;
    Ok(vec![group])
}

fn invalid(lab: &Lab) -> Result<Vec<Group>, Stop> {
    let domain = lab.group("domain")?;
    let threaded = domain.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    let invalid = domain.make("invalid")?;
    Ok(vec![invalid, threaded, domain])
}

/// The line that `/proc/PID/cgroup` promises for a process of `group`.
fn entry(lab: &Lab, group: &Group) -> String {
    let path = group.dir().path();
    format!("0::/{}", path.strip_prefix(lab.mount_point()).unwrap_or(path).display())
}

/// What `/proc/PID/cgroup` says of the unified hierarchy.
fn cgroup_of(pid: Pid) -> Result<String, Stop> {
    Ok(unified_line(&kernel::text(format!("/proc/{pid}/cgroup"))?))
}

fn own_cgroup() -> String {
    unified_line(&kernel::text("/proc/self/cgroup").unwrap_or_default())
}

fn unified_line(text: &str) -> String {
    text.lines().find(|it| it.starts_with("0::")).unwrap_or_default().to_owned()
}

/// The processes' ids as a group lists them.
fn ids<const N: usize>(processes: [&Process; N]) -> Vec<i32> {
    let mut ids: Vec<_> = processes.iter().map(|it| it.pid().as_raw()).collect();
    ids.sort_unstable();
    ids
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn wait_forever() {
    loop {
        nix::unistd::pause();
    }
}

/// A child of the calling process, which the group's end ends.
fn fork_a_sleeper() {
    // SAFETY: a case's process has one thread.
    if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
        wait_forever();
    }
}

/// A process in `group` whose first thread has ended and whose second lives.
fn without_its_first_thread(group: &Group) -> Result<Process, Stop> {
    let process = group.spawn(|| {
        std::thread::spawn(wait_forever);
        // SAFETY: ends this thread alone; nothing of it is used by the other.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    })?;
    let ended = wait_until(PATIENCE, || {
        process.status("State").is_ok_and(|it| it.is_some_and(|it| it.starts_with('Z')))
    });
    match ended {
        Some(_) => Ok(process),
        None => Err(Stop::Broken("the process's first thread did not end".into())),
    }
}

/// Kills it and leaves it unreaped.
fn become_a_zombie(process: &Process) -> Outcome {
    process.signal(Signal::SIGKILL)?;
    if process.ended_within(PATIENCE)? {
        return Ok(());
    }
    Err(Stop::Broken("a killed process did not end".into()))
}

/// A child in `group` that ends at once.
fn clone_a_quitter(group: &Dir) -> Result<(), Errno> {
    // SAFETY: a case's process has one thread.
    match unsafe { clone_into(Some(group), 0) }? {
        // SAFETY: ends the child without dropping what is its parent's.
        Side::Child => unsafe { libc::_exit(0) },
        Side::Parent(cloned) => nix::sys::wait::waitpid(cloned.pid, None).map(|_| ()),
    }
}
