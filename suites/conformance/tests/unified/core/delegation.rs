//! Delegation to a user, who is given files (cgroup-v2.rst, "Delegation").

use std::io::Write;
use std::os::unix::fs::chown;

use cgauge_lab::kernel::{Open, Refusal, errno_of};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, seteuid, setresgid, setresuid};

/// The user that groups are given to; it has no rights but those.
const USER: u32 = 1000;

/// Known bug 25: a move is permitted to whoever opened the file, whoever writes to it: the write fails with EACCES
/// where the opener may not.
///
/// Not so before the fix of CVE-2021-4197.
#[rstest]
fn bug_25_permission_to_move_is_that_of_the_opener(
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
            let as_user = || -> Result<Open, Errno> {
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
        (
            "pulling a process in",
            "EACCES",
            "the common ancestor was not given: \"it can't pull in from or push out to outside the sub-hierarchy\"",
        ),
        (
            "pushing a member out, even to another group of its own",
            "EACCES",
            "the common ancestor was not given: \"it can't pull in from or push out to outside the sub-hierarchy\"",
        ),
        ("making a group beside", "EACCES", "the directory above was not given"),
        (
            "lifting the limit on what it was given",
            "EACCES",
            "the files that distribute the parent's resources are not given",
        ),
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

/// A process is born by clone3 only where its maker could move it: EACCES elsewhere.
#[rstest]
fn birth_in_a_group_takes_the_rights_of_a_move(lab: Lab) -> Outcome {
    let (given, outside) = (lab.group("given")?, lab.group("outside")?);
    let (home, closed) = (given.make("home")?, given.make("closed")?);
    for group in [&given, &outside, &home] {
        delegate(group)?;
    }
    let places = [
        ("the group above, which was given", &given, "ok", "it may move a process there"),
        ("a group below that was kept", &closed, "EACCES", "its cgroup.procs was not given"),
        (
            "another group that was given",
            &outside,
            "EACCES",
            "the common ancestor was not given, as for a write to cgroup.procs",
        ),
    ];
    let answers = home
        .spawn(|| {
            let born = |group: &Group| match group.try_spawn(|| ()) {
                Ok(born) => answer(&born),
                Err(stop) => format!("{stop:?}"),
            };
            let became = text(become_user());
            (became, places.map(|(_, group, ..)| born(group)))
        })?
        .finish()?;
    if answers.0 != "ok" {
        return Err(Stop::Broken("root may not become another user".to_owned()));
    }
    for ((place, _, expected, reason), observed) in places.into_iter().zip(answers.1) {
        lab.delegation(&format!("the answer to a birth in {place}"))
            .covers([R018, R041])
            .unit(Unit::Errno)
            .observed(observed)
            .equals(expected, reason);
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
        .equals(
            LOOSENED,
            "below what it was given it may set what it likes, and on what it was given nothing",
        );
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
        .equals(
            LOOSENED,
            "below what it was given it may set what it likes, and on what it was given nothing",
        );
    let too_much = halves > 2;
    lab.enforcement(&format!(
        "the signal that ends a process which wants {halves}/2 of what the group above allows"
    ))
    .covers([R043])
    .file("memory.max")
    .observed(ended)
    .equals(
        if too_much { "SIGKILL" } else { "" },
        "there is no swap: who needs more than the limit is killed, and nobody else",
    );
    lab.accounting("kills that the group above counts")
        .covers([R043])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(above.key("memory.events", "oom_kill")?)
        .equals(u64::from(too_much), "its limit is the one that was hit");
    Ok(())
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

/// Gives a group to the user, as "Model of Delegation" has it.
fn delegate(group: &Group) -> Outcome {
    give(group, ".")?;
    ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"]
        .iter()
        .try_for_each(|it| give(group, it))
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

pub(crate) fn write(mut file: Open, pid: nix::unistd::Pid) -> Result<(), Errno> {
    // In one write: kernfs takes it whole or not at all.
    file.write(pid.to_string().as_bytes()).map(drop).map_err(|it| errno_of(&it))
}

pub(crate) fn is_in(group: &Group, process: &Process<impl Sized>) -> bool {
    group.ids("cgroup.threads").is_ok_and(|it| it.contains(&process.pid().as_raw()))
}

pub(crate) fn answer<T>(answer: &Result<T, Refusal>) -> String {
    text(answer.as_ref().map(drop).map_err(|it| it.errno))
}

pub(crate) fn text(answer: Result<(), Errno>) -> String {
    answer.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())
}

pub(crate) fn yes_or_no(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
