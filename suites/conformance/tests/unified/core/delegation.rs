//! Delegation: to a user, by giving it files, and to a namespace, by the mount
//! option `nsdelegate` (cgroup-v2.rst, "Delegation").

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};

use cgauge_lab::kernel::{Refusal, errno_of};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, seteuid, setresgid, setresuid};

/// The user that groups are given to; it has no rights but those.
const USER: u32 = 1000;

/// A move is permitted to whoever opened the file, whoever writes to it: the write fails with EACCES
/// where the opener may not.
///
/// Not so before the fix of CVE-2021-4197.
#[rstest]
fn permission_to_move_is_that_of_the_opener(
    lab: Lab,
    #[values("cgroup.procs", "cgroup.threads")] file: &str,
) -> Outcome {
    let parent = lab.group("parent")?;
    let (from, to) = (parent.make("from")?, parent.make("to")?);
    if file == "cgroup.threads" {
        // Threads move only within one domain.
        from.set("cgroup.type", "threaded")?;
        to.set("cgroup.type", "threaded")?;
    }
    // The user may open the file, but has no right over the common ancestor.
    give(&to, file)?;
    let moved = from.sleeper()?;
    let answers = lab
        .group("writer")?
        .spawn(|| {
            let as_user = || -> Result<File, Errno> {
                seteuid(Uid::from_raw(USER))?;
                let opened = to.dir().open_file(file, OFlag::O_WRONLY);
                seteuid(Uid::from_raw(0))?;
                opened.map_err(|it| it.errno)
            };
            let by_user = as_user().and_then(|it| write(it, moved.pid()));
            let is_still_there = is_in(&from, &moved);
            let opened = to.dir().open_file(file, OFlag::O_WRONLY).map_err(|it| it.errno);
            let by_root = opened.and_then(|it| {
                become_user()?;
                write(it, moved.pid())
            });
            (text(by_user), is_still_there, text(by_root))
        })?
        .finish()?;
    let (by_user, is_still_there, by_root) = answers;
    lab.delegation("the answer to root's write to a file that the user opened")
        .covers([R039])
        .file(file)
        .unit(Unit::Errno)
        .observed(by_user)
        .equals("EACCES", "kernel/cgroup/cgroup.c: \"process and thread migrations follow same delegation rule. Check permissions using the credentials from file open\"");
    lab.delegation("whether the process is still where it was after that")
        .covers([R039])
        .file("cgroup.threads")
        .observed(yes_or_no(is_still_there))
        .equals("yes", "a refused move moves nobody");
    lab.delegation("the answer to the user's write to a file that root opened")
        .covers([R039])
        .file(file)
        .unit(Unit::Errno)
        .observed(by_root)
        .equals("ok", "the opener had the right, and passed it on with the descriptor");
    lab.delegation("whether the process has moved after that")
        .covers([R039])
        .file("cgroup.threads")
        .observed(yes_or_no(is_in(&to, &moved)))
        .equals("yes", "the move was permitted");
    Ok(())
}

/// Under `nsdelegate` a move needs source and target within the namespace that the file was opened in: ENOENT otherwise.
#[rstest]
#[case::opened_inside("nsdelegate", Place::Inside, "ENOENT", "the target is outside the namespace of the opener: \"the migration is rejected with -ENOENT\"")]
#[case::opened_outside("nsdelegate", Place::Outside, "ok", "both groups are within the first namespace, where the file was opened")]
#[case::without_the_option("", Place::Inside, "ok", "without the option a namespace is no boundary")]
fn move_stays_within_the_namespace_of_the_opener(
    lab: Lab,
    #[values("cgroup.procs", "cgroup.threads")] file: &str,
    #[case] option: &str,
    #[case] opened: Place,
    #[case] expected: &str,
    #[case] reason: &str,
) -> Outcome {
    let _option = accepted(&lab, lab.remount(option)?)?;
    let parent = lab.group("parent")?;
    let (from, to) = (parent.make("from")?, parent.make("to")?);
    if file == "cgroup.threads" {
        from.set("cgroup.type", "threaded")?;
        to.set("cgroup.type", "threaded")?;
    }
    let (ready, looked) = (Gate::new()?, Gate::new()?);
    let mover = from.spawn(|| {
        let answer = || -> Result<(), Errno> {
            let open = || to.dir().open_file(file, OFlag::O_WRONLY).map_err(|it| it.errno);
            let first = File::open("/proc/self/ns/cgroup").map_err(|it| errno_of(&it))?;
            let opened = match opened {
                Place::Outside => {
                    let opened = open()?;
                    unshare(CloneFlags::CLONE_NEWCGROUP)?;
                    opened
                }
                Place::Inside => {
                    unshare(CloneFlags::CLONE_NEWCGROUP)?;
                    let opened = open()?;
                    setns(first.as_fd(), CloneFlags::CLONE_NEWCGROUP)?;
                    opened
                }
            };
            write(opened, nix::unistd::Pid::from_raw(0))
        };
        let answer = text(answer());
        ready.open();
        looked.pass();
        answer
    })?;
    ready.pass();
    let moved = is_in(&to, &mover);
    looked.open();
    lab.delegation("the answer to the write")
        .covers([R040])
        .file(file)
        .unit(Unit::Errno)
        .observed(mover.finish()?)
        .equals(expected, reason);
    lab.delegation("whether the process has moved")
        .covers([R040])
        .file(file)
        .observed(yes_or_no(moved))
        .equals(yes_or_no(expected == "ok"), "it moves if the write is accepted, and only then");
    Ok(())
}

/// From inside a namespace under `nsdelegate` processes move about below its root, and not out.
#[rstest]
fn namespace_holds_its_processes(lab: Lab) -> Outcome {
    let _option = accepted(&lab, lab.remount("nsdelegate")?)?;
    let (root, outside) = (lab.group("root")?, lab.group("outside")?);
    let (here, there) = (root.make("here")?, root.make("there")?);
    let stranger = outside.sleeper()?;
    let member = here.sleeper()?;
    let answers = root
        .spawn(|| {
            let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
            [
                answer(&there.try_set("cgroup.procs", member.pid())),
                answer(&outside.try_set("cgroup.procs", member.pid())),
                answer(&there.try_set("cgroup.procs", stranger.pid())),
            ]
        })?
        .finish()?;
    for (what, observed, expected) in [
        ("a move between two groups inside", &answers[0], "ok"),
        ("a move from inside to outside", &answers[1], "ENOENT"),
        ("a move from outside to inside", &answers[2], "ENOENT"),
    ] {
        lab.delegation(&format!("the answer to {what}"))
            .covers([R040])
            .file("cgroup.procs")
            .unit(Unit::Errno)
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, Delegation Containment: \"both the source and destination cgroups are reachable from the namespace\", else \"-ENOENT\"");
    }
    Ok(())
}

/// Who moves a process needs write access to the `cgroup.procs` of the common ancestor too: EACCES otherwise.
#[rstest]
fn moving_takes_a_right_over_the_common_ancestor(lab: Lab) -> Outcome {
    let parent = lab.group("parent")?;
    let (from, to) = (parent.make("from")?, parent.make("to")?);
    let moved = from.sleeper()?;
    let check = |when: &str, expected: &str| -> Outcome {
        lab.delegation(&format!("the answer to the user's move {when}"))
            .covers([R041])
            .file("cgroup.procs")
            .unit(Unit::Errno)
            .observed(as_user(&lab, || vec![answer(&to.try_set("cgroup.procs", moved.pid()))])?.join(" "))
            .equals(expected, "cgroup-v2.rst, Delegation Containment: \"the writer must have write access to the cgroup.procs file\" of the target, and \"of the common ancestor of the source and destination cgroups\"");
        Ok(())
    };
    check("with no file of its own", "EACCES")?;
    give(&parent, "cgroup.procs")?;
    check("with the common ancestor's file alone", "EACCES")?;
    keep(&parent, "cgroup.procs")?;
    give(&from, "cgroup.procs")?;
    give(&to, "cgroup.procs")?;
    check("with both groups' files and not their ancestor's", "EACCES")?;
    give(&parent, "cgroup.procs")?;
    check("with the common ancestor's file as well", "ok")
}

/// A user builds and moves about below what it was given, and neither pulls in nor pushes out.
#[rstest]
fn user_is_contained_in_what_it_was_given(lab: Lab) -> Outcome {
    let (given, other) = (lab.group("given")?, lab.group("other")?);
    delegate(&given)?;
    delegate(&other)?;
    let (member, stranger) = (given.sleeper()?, other.sleeper()?);
    let answers = as_user(&lab, || {
        let made = given.dir().make("made");
        let into = |it: &Process| match &made {
            Ok(made) => answer(&made.write("cgroup.procs", &it.pid().to_string())),
            Err(refusal) => answer::<()>(&Err(refusal.clone())),
        };
        vec![
            answer(&made),
            into(&member),
            into(&stranger),
            answer(&other.try_set("cgroup.procs", member.pid())),
            answer(&lab.root().dir().make("beside")),
            answer(&given.try_set("pids.max", "max")),
        ]
    })?;
    let expected = [
        ("making a group below", "ok", "the directory was given"),
        ("moving a member to it", "ok", "the common ancestor is what was given"),
        ("pulling a process in", "EACCES", "the common ancestor was not given: \"it can't pull in from or push out to outside the sub-hierarchy\""),
        ("pushing a member out, even to another group of its own", "EACCES", "the common ancestor was not given: \"it can't pull in from or push out to outside the sub-hierarchy\""),
        ("making a group beside", "EACCES", "the directory above was not given"),
        ("lifting the limit on what it was given", "EACCES", "the files that distribute the parent's resources are not given"),
    ];
    for ((what, expected, reason), observed) in expected.into_iter().zip(answers) {
        lab.delegation(&format!("the answer to {what}"))
            .covers([R041])
            .unit(Unit::Errno)
            .observed(observed)
            .equals(expected, reason);
    }
    Ok(())
}

/// Under `nsdelegate` the root of a namespace refuses writes from inside with EPERM, except to the files that
/// `/sys/kernel/cgroup/delegate` lists.
#[rstest]
fn root_of_a_namespace_takes_only_what_is_delegated(lab: Lab) -> Outcome {
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate")?;
    let listed: Vec<_> = listed.lines().collect();
    for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        lab.interface(&format!("whether the list has {file}"))
            .covers([R042])
            .file("/sys/kernel/cgroup/delegate")
            .observed(yes_or_no(listed.contains(&file)))
            .equals("yes", "cgroup-v2.rst, Model of Delegation: these three are what a delegation gives");
    }

    let root = lab.group("root")?;
    let below = root.make("below")?;
    // The files of `root` that take a write at all: those of the core, and of
    // every controller.
    let (free, kept): (Vec<_>, Vec<_>) =
        writable_files(&root)?.into_iter().partition(|it| listed.contains(&it.as_str()));
    lab.interface("whether there are files of a controller to be refused")
        .covers([R042])
        .observed(yes_or_no(kept.iter().any(|it| it == "pids.max" || it == "memory.max")))
        .equals("yes", "every controller is enabled for the group");

    for (option, from, expected) in [("nsdelegate", Place::Inside, true), ("nsdelegate", Place::Outside, false), ("", Place::Inside, false)] {
        let _option = accepted(&lab, lab.remount(option)?)?;
        let when = format!("from {from:?} with the options {option:?}");
        let reason = if expected {
            "cgroup-v2.rst, Model of Delegation: \"the kernel rejects writes to all files on a namespace root from inside the cgroup namespace, except for those files listed in /sys/kernel/cgroup/delegate\""
        } else {
            "only the option makes a namespace a boundary, and only for those inside"
        };
        lab.delegation(&format!("files outside the list that refuse a write with EPERM, {when}"))
            .covers([R042])
            .observed(refusing(&root, from, &root, &kept)?.join(" "))
            .equals(if expected { kept.join(" ") } else { String::new() }, reason);
        lab.delegation(&format!("files of the list that refuse a write with EPERM, {when}"))
            .covers([R042])
            .observed(refusing(&root, from, &root, &free)?.join(" "))
            .equals("", "they are delegated");
        lab.delegation(&format!("files of the group below that refuse a write with EPERM, {when}"))
            .covers([R042])
            .observed(refusing(&root, from, &below, &writable_files(&below)?)?.join(" "))
            .equals("", "below the root of a namespace all belongs to those inside");
    }
    Ok(())
}

/// Whatever a user does below, it gets no more processes than the group above allows.
#[rstest]
fn limit_on_processes_above_a_delegation_holds(lab: Lab) -> Outcome {
    const LIMIT: u64 = 4;
    let above = lab.group("above")?;
    above.enable("pids")?;
    above.set("pids.max", LIMIT)?;
    let given = above.make("given")?;
    delegate(&given)?;
    let (settings, forks) = given
        .spawn(|| {
            let settings = loosen_below(&given, "pids", "pids.max");
            // Each child stays until all forks are tried; all die with this process.
            let forks: Vec<_> = (0..2 * LIMIT).map(|_| fork(nix::unistd::pause)).collect();
            (settings, forks.into_iter().map(|it| text(it.map(drop))).collect::<Vec<_>>())
        })?
        .finish()?;
    lab.delegation("the answers to all that the user sets on its way")
        .covers([R043])
        .file("pids.max")
        .unit(Unit::Errno)
        .observed(settings.join(" "))
        .equals(LOOSENED, "below what it was given it may set what it likes, and on what it was given nothing");
    lab.enforcement("processes that the user gets beside the one that it has")
        .covers([R043])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(forks.iter().filter(|it| *it == "ok").count())
        .equals(LIMIT - 1, "cgroup-v2.rst, Model of Delegation: \"nothing can escape the resource restrictions imposed by the parent\"");
    lab.enforcement("forks that it is refused with EAGAIN")
        .covers([R043])
        .file("pids.max")
        .unit(Unit::Events)
        .observed(forks.iter().filter(|it| *it == "EAGAIN").count())
        .equals(LIMIT + 1, "it tried twice as many as the group above allows");
    Ok(())
}

/// Whatever a user does below, it gets no more memory than the group above allows.
#[rstest]
fn limit_on_memory_above_a_delegation_holds(lab: Lab, #[values(1, 4)] halves: usize) -> Outcome {
    const LIMIT: usize = 8 << 20;
    let above = lab.group("above")?;
    above.enable("memory")?;
    above.set("memory.max", LIMIT)?;
    let given = above.make("given")?;
    delegate(&given)?;
    let (settings, ended) = given
        .spawn(|| {
            let settings = loosen_below(&given, "memory", "memory.max");
            let hoarder = fork(|| drop(std::hint::black_box(vec![1_u8; halves * LIMIT / 2])));
            let ended = hoarder.and_then(|it| nix::sys::wait::waitpid(it, None));
            (settings, ended.ok().and_then(signal_of).unwrap_or_default())
        })?
        .finish()?;
    lab.delegation("the answers to all that the user sets on its way")
        .covers([R043])
        .file("memory.max")
        .unit(Unit::Errno)
        .observed(settings.join(" "))
        .equals(LOOSENED, "below what it was given it may set what it likes, and on what it was given nothing");
    let too_much = halves > 2;
    lab.enforcement(&format!("the signal that ends a process which wants {halves}/2 of what the group above allows"))
        .covers([R043])
        .file("memory.max")
        .observed(ended)
        .equals(if too_much { "SIGKILL" } else { "" }, "there is no swap: who needs more than the limit is killed, and nobody else");
    lab.accounting("kills that the group above counts")
        .covers([R043])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(above.key("memory.events", "oom_kill")?)
        .equals(u64::from(too_much), "its limit is the one that was hit");
    Ok(())
}

/// Where a file is opened, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the namespace under test.
    Inside,
    /// In the first namespace.
    Outside,
}

/// What [`loosen_below`] is to be answered with.
const LOOSENED: &str = "ok ok ok ok ok EACCES";

/// Becomes the user, moves into a group of its own below `given`, gives that
/// group every freedom, and tries to give `given` the same.
fn loosen_below(given: &Group, controller: &str, limit: &str) -> Vec<String> {
    let became = become_user();
    let made = given.dir().make("made");
    let set = |file: &str, value: &str| {
        made.as_ref().map_err(Refusal::clone).and_then(|it| it.write(file, value))
    };
    let moved = set("cgroup.procs", "0");
    let enabled = given.try_set("cgroup.subtree_control", format!("+{controller}"));
    let loosened = set(limit, "max");
    let lifted = given.try_set(limit, "max");
    let made = made.as_ref().map(drop).map_err(Refusal::clone);
    let rest = [made, moved, enabled, loosened, lifted];
    std::iter::once(text(became)).chain(rest.iter().map(answer)).collect()
}

/// Those of `files` of `group` that refuse a write with EPERM, asked by a
/// process in `home`, which is the root of its namespace if it asks from inside.
fn refusing(home: &Group, from: Place, group: &Group, files: &[String]) -> Result<Vec<String>, Stop> {
    let refusing = home.spawn(|| {
        if from == Place::Inside {
            unshare(CloneFlags::CLONE_NEWCGROUP).ok()?;
        }
        // No file takes this for a setting: what a right to write leads to is
        // another errno, and nothing is changed.
        let refuses = |file: &&String| group.try_set(file, "?").is_err_and(|it| it.errno == Errno::EPERM);
        Some(files.iter().filter(refuses).cloned().collect())
    })?;
    let refusing: Option<Vec<String>> = refusing.finish()?;
    refusing.ok_or_else(|| Stop::Broken("root may not unshare the cgroup namespace".to_owned()))
}

/// The files of a group that its owner may write.
fn writable_files(group: &Group) -> Result<Vec<String>, Stop> {
    let mut files = group.dir().files().map_err(|it| Stop::Broken(it.to_string()))?;
    let mode = |file: &str| std::fs::metadata(group.dir().path().join(file)).map_or(0, |it| it.permissions().mode());
    files.retain(|file| mode(file) & 0o200 != 0);
    Ok(files)
}

/// Gives a group to the user, as "Model of Delegation" has it.
fn delegate(group: &Group) -> Outcome {
    give(group, ".")?;
    ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"].iter().try_for_each(|it| give(group, it))
}

fn give(group: &Group, file: &str) -> Outcome {
    Ok(chown(group.dir().path().join(file), Some(USER), Some(USER))?)
}

fn keep(group: &Group, file: &str) -> Outcome {
    Ok(chown(group.dir().path().join(file), Some(0), Some(0))?)
}

fn become_user() -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    nix::unistd::setgroups(&[])?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

/// The answers that `body` gets when the user runs it, in a group of its own.
fn as_user(lab: &Lab, body: impl FnOnce() -> Vec<String>) -> Result<Vec<String>, Stop> {
    let home = lab.group("home")?;
    let asked = home.spawn(|| become_user().ok().map(|()| body()))?;
    asked.finish()?.ok_or_else(|| Stop::Broken("root may not become another user".to_owned()))
}

/// Runs `body` in a child that dies with its parent.
fn fork(body: impl FnOnce()) -> Result<nix::unistd::Pid, Errno> {
    // SAFETY: the caller has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            body();
            // SAFETY: ends the child without running what is its parent's.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

fn signal_of(status: nix::sys::wait::WaitStatus) -> Option<String> {
    match status {
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Some(signal.to_string()),
        _ => None,
    }
}

fn write(mut file: File, pid: nix::unistd::Pid) -> Result<(), Errno> {
    // In one write: kernfs takes it whole or not at all.
    file.write(pid.to_string().as_bytes()).map(drop).map_err(|it| errno_of(&it))
}

fn is_in(group: &Group, process: &Process<impl Sized>) -> bool {
    group.ids("cgroup.threads").is_ok_and(|it| it.contains(&process.pid().as_raw()))
}

/// What the kernel has promised to do; a refusal is a failed check.
fn accepted<T>(lab: &Lab, answer: Result<T, Refusal>) -> Result<T, Stop> {
    answer.map_err(|refusal| {
        lab.interface("the answer to a remount with nsdelegate or with no option")
            .answered::<()>(&Err(refusal.clone()))
            .equals("ok", "cgroup-v2.rst, Mounting: nsdelegate can be \"modified through remount from the init namespace\"");
        Stop::Refused(refusal)
    })
}

fn answer<T>(answer: &Result<T, Refusal>) -> String {
    text(answer.as_ref().map(drop).map_err(|it| it.errno))
}

fn text(answer: Result<(), Errno>) -> String {
    answer.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())
}

fn yes_or_no(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
