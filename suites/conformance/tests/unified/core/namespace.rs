//! Cgroup namespaces: what a process sees of the hierarchy from inside one
//! (cgroup-v2.rst, "Namespace").

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cgauge_lab::kernel::{self, Dir};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Uid, setresgid, setresuid};

/// `/proc/PID/cgroup` shows a group's path from the root of the reader's namespace.
#[rstest]
fn path_is_relative_to_the_root_of_the_reader(lab: Lab) -> Outcome {
    let base = own_base()?;
    let outer = lab.group("outer")?;
    let inner = outer.make("inner")?;
    let below = inner.sleeper()?;
    let (ready, done) = (Gate::new()?, Gate::new()?);
    let reader = outer.spawn(|| {
        let before = path_of("self");
        let unshared = leave(CloneFlags::CLONE_NEWCGROUP);
        let seen = (before, path_of("self"), path_of(&below.pid().to_string()), unshared.is_ok());
        ready.open();
        done.pass();
        seen
    })?;
    ready.pass();
    let from_outside = path_of(&reader.pid().to_string());
    done.open();
    let (before, own, of_other, unshared) = reader.finish()?;
    if !unshared {
        return Err(Stop::Broken("root may not unshare the cgroup namespace".to_owned()));
    }
    for (what, observed, expected) in [
        ("its own path before it has a namespace", before, format!("{base}/outer")),
        ("its own path at the root of its namespace", own, "/".to_owned()),
        ("the path of a process below", of_other, "/inner".to_owned()),
        ("its path as one outside the namespace reads it", from_outside, format!("{base}/outer")),
    ] {
        lab.hierarchy(what)
            .covers([R154])
            .file("/proc/PID/cgroup")
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, Namespace: the path is \"relative to the cgroup namespace root of the caller\"");
    }
    Ok(())
}

/// Seen from inside a namespace, a group outside it has a path that climbs with `/..`.
#[rstest]
fn path_outside_the_namespace_climbs(lab: Lab) -> Outcome {
    let outer = lab.group("outer")?;
    let (inner, beside) = (outer.make("inner")?, outer.make("beside")?);
    let far = lab.group("far")?;
    let deep = far.make("deep")?;
    let sleepers = [outer.sleeper()?, beside.sleeper()?, deep.sleeper()?];
    let own_pid = nix::unistd::getpid();
    let seen = inner
        .spawn(|| {
            let _ = leave(CloneFlags::CLONE_NEWCGROUP);
            let pids = sleepers.iter().map(Process::pid).chain([own_pid]);
            pids.map(|it| path_of(&it.to_string())).collect::<Vec<_>>()
        })?
        .finish()?;
    let expected = [
        ("the parent of its root", "/.."),
        ("the sibling of its root", "/../beside"),
        ("a group two levels up and two down", "/../../far/deep"),
        ("the case's own group", "/../../self"),
    ];
    for ((what, expected), observed) in expected.into_iter().zip(seen) {
        lab.hierarchy(&format!("the path of a process in {what}"))
            .covers([R155])
            .file("/proc/PID/cgroup")
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, Namespace: a path \"always starts with '/'\" and climbs from the reader's root to what is outside it");
    }
    Ok(())
}

/// A namespace keeps the root that it was made with when its maker moves away.
#[rstest]
fn root_of_a_namespace_stays_when_its_maker_moves(lab: Lab) -> Outcome {
    let (home, elsewhere) = (lab.group("home")?, lab.group("elsewhere")?);
    let below = home.make("below")?;
    let stays = below.sleeper()?;
    let (ready, moved) = (Gate::new()?, Gate::new()?);
    let maker = home.spawn(|| {
        let _ = leave(CloneFlags::CLONE_NEWCGROUP);
        ready.open();
        moved.pass();
        let first = (path_of("self"), path_of(&stays.pid().to_string()));
        ready.open();
        moved.pass();
        (first, path_of("self"))
    })?;
    ready.pass();
    elsewhere.admit(maker.pid())?;
    moved.open();
    ready.pass();
    below.admit(maker.pid())?;
    moved.open();
    let ((outside, of_other), back) = maker.finish()?;
    for (what, observed, expected) in [
        ("its own path once it has moved out of the root", outside, "/../elsewhere"),
        ("the path of a process that stayed below the root", of_other, "/below"),
        ("its own path once it has moved below the root", back, "/below"),
    ] {
        lab.hierarchy(what)
            .covers([R156])
            .file("/proc/PID/cgroup")
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, Namespace: \"the cgroupns root cgroup does not change even if the namespace creator process later moves to a different cgroup\"");
    }
    Ok(())
}

/// Whose capabilities a process has that enters a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// Over its own user namespace and that of the cgroup namespace.
    Both,
    /// Over its own user namespace alone.
    OwnAlone,
    /// Over that of the cgroup namespace alone, which its user has made.
    TargetAlone,
    /// None.
    Neither,
}

/// `setns` into a cgroup namespace takes CAP_SYS_ADMIN in both user namespaces, and moves nobody.
#[rstest]
#[case(Rights::Both, "ok")]
#[case(Rights::OwnAlone, "EPERM")]
#[case(Rights::TargetAlone, "EPERM")]
#[case(Rights::Neither, "EPERM")]
fn entering_a_namespace_takes_both_rights_and_moves_nobody(
    lab: Lab,
    #[case] rights: Rights,
    #[case] expected: &str,
) -> Outcome {
    let base = own_base()?;
    let (theirs, ours) = (lab.group("theirs")?, lab.group("ours")?);
    let (ready, hold) = (Gate::new()?, Gate::new()?);
    let maker = theirs.spawn(|| {
        let made = match rights {
            Rights::TargetAlone => become_nobody()
                .and_then(|()| leave(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP)),
            _ => leave(CloneFlags::CLONE_NEWCGROUP),
        };
        ready.open();
        hold.pass();
        text(made)
    })?;
    ready.pass();
    let namespace = File::open(format!("/proc/{}/ns/cgroup", maker.pid()))?;

    let (entered, looked) = (Gate::new()?, Gate::new()?);
    let enterer = ours.spawn(|| {
        let prepared = match rights {
            Rights::Both => Ok(()),
            Rights::OwnAlone => leave(CloneFlags::CLONE_NEWUSER),
            Rights::TargetAlone | Rights::Neither => become_nobody(),
        };
        let answer = kernel::call("setns", || setns(&namespace, CloneFlags::CLONE_NEWCGROUP));
        let seen = (text(prepared), text(answer), path_of("self"));
        entered.open();
        looked.pass();
        seen
    })?;
    entered.pass();
    let listed = ours.ids("cgroup.procs")? == [enterer.pid().as_raw()];
    looked.open();
    hold.open();
    let (prepared, answer, sees) = enterer.finish()?;
    if (prepared.as_str(), maker.finish()?.as_str()) != ("ok", "ok") {
        return Err(Stop::Broken("a process could not be given its rights".to_owned()));
    }

    lab.delegation(&format!("the answer to setns with {rights:?} of the rights"))
        .covers([R157])
        .file("/proc/PID/ns/cgroup")
        .unit(Unit::Errno)
        .observed(answer)
        .equals(expected, "cgroup-v2.rst, Namespace: setns is allowed with CAP_SYS_ADMIN \"against its current user namespace\" and \"against the target cgroup namespace's userns\"");
    lab.hierarchy("whether the process is still where it was")
        .covers([R157])
        .file("cgroup.procs")
        .observed(if listed { "yes" } else { "no" })
        .equals("yes", "cgroup-v2.rst, Namespace: \"no implicit cgroup changes happen with attaching to another cgroup namespace\"");
    if expected == "ok" {
        lab.hierarchy("its own path as it sees it from within")
            .covers([R155, R157])
            .file("/proc/PID/cgroup")
            .observed(sees)
            .equals("/../ours", "it is beside the root of the namespace that it has entered");
    } else {
        lab.hierarchy("its own path as it sees it from without")
            .covers([R157])
            .file("/proc/PID/cgroup")
            .observed(sees)
            .equals(format!("{base}/ours"), "it has entered nothing");
    }
    Ok(())
}

/// Nobody gets a cgroup namespace of its own without CAP_SYS_ADMIN.
#[rstest]
fn making_a_namespace_takes_rights(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let answers = group
        .spawn(|| {
            let refused = become_nobody().and_then(|()| leave(CloneFlags::CLONE_NEWCGROUP));
            let granted = leave(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP);
            (text(refused), text(granted))
        })?
        .finish()?;
    lab.delegation("the answer to unshare without capabilities")
        .covers([R157])
        .unit(Unit::Errno)
        .observed(answers.0)
        .equals("EPERM", "kernel/cgroup/namespace.c, copy_cgroup_ns: \"allow only sysadmin to create cgroup namespace\"");
    lab.delegation("the answer together with a user namespace of its own")
        .covers([R157])
        .unit(Unit::Errno)
        .observed(answers.1)
        .equals("ok", "in the user namespace that it makes it has every capability");
    Ok(())
}

/// A mount made inside a namespace shows its root and what is below, and nothing else.
#[rstest]
fn mount_from_inside_shows_the_root_of_the_namespace(lab: Lab) -> Outcome {
    let base = own_base()?;
    let outer = lab.group("outer")?;
    let _inner = outer.make("inner")?;
    let inode = std::fs::metadata(outer.dir().path())?.ino();
    let (ready, looked) = (Gate::new()?, Gate::new()?);
    let mounter = outer.spawn(|| {
        let apart = leave(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP);
        let mounted = apart.map_err(|errno| errno.to_string()).and_then(|()| {
            Mount::new("from-inside", "cgroup2", "").map_err(|refusal| refusal.errno.to_string())
        });
        let seen = mounted.as_ref().map_err(String::clone).and_then(|mount| look(mount.path()));
        ready.open();
        looked.pass();
        seen
    })?;
    ready.pass();
    let from_outside = mounted_root(&mounter.pid().to_string(), "from-inside");
    looked.open();
    let (groups, seen_inode, from_inside) = mounter.finish()?.map_err(Stop::Broken)?;

    lab.hierarchy("the groups at the top of the mount")
        .covers([R158])
        .observed(groups.join(" "))
        .equals(
            "inner",
            "cgroup-v2.rst, Namespace: the mount has \"cgroupns root as the filesystem root\"",
        );
    lab.hierarchy("whether its top is the very group that is the namespace's root")
        .covers([R158])
        .observed(if seen_inode == inode { "yes" } else { "no" })
        .equals("yes", "one group has one inode, through whichever mount");
    for (what, observed, expected) in [
        ("the root of the mount as mountinfo shows it inside", from_inside, "/".to_owned()),
        (
            "the root of the mount as mountinfo shows it outside",
            from_outside,
            format!("{base}/outer"),
        ),
    ] {
        lab.hierarchy(what)
            .covers([R154, R158])
            .file("/proc/PID/mountinfo")
            .observed(observed.unwrap_or_default())
            .equals(expected, "kernel/cgroup/cgroup.c, cgroup_show_path: the path from the reader's root to the mount's");
    }

    let ordinary =
        Mount::new("from-outside", "cgroup2", "").map_err(|it| Stop::Broken(it.to_string()))?;
    lab.hierarchy("whether a mount from outside shows the root of all groups")
        .covers([R158])
        .observed(if ordinary.path().join(&base[1..]).join("outer").is_dir() {
            "yes"
        } else {
            "no"
        })
        .equals("yes", "it was made in the first namespace, whose root that is");
    Ok(())
}

/// Inside a cgroup and a PID namespace the first process is 1 and its group `/`; `NSpid` shows both ids.
#[rstest]
fn first_process_inside_is_one_in_the_root(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let (ready, looked) = (Gate::new()?, Gate::new()?);
    let maker = group.spawn(|| {
        leave(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWPID).ok()?;
        let first = group.spawn(|| {
            let seen =
                (nix::unistd::getpid().as_raw(), path_of("self"), group.ids("cgroup.procs").ok());
            ready.open();
            looked.pass();
            seen
        });
        let first = first.map_err(|_| ready.open()).ok()?;
        first.finish().ok()
    })?;
    ready.pass();
    let outside: Vec<_> =
        group.ids("cgroup.procs")?.into_iter().filter(|it| *it != maker.pid().as_raw()).collect();
    let nspid = outside.first().and_then(|pid| status_of(*pid, "NSpid")).unwrap_or_default();
    looked.open();
    let Some((own, path, listed)) = maker.finish()? else {
        return Err(Stop::Broken("root may not unshare the cgroup and PID namespaces".to_owned()));
    };

    lab.hierarchy("the process id that the first process has inside")
        .covers([S28])
        .unit(Unit::Count)
        .observed(own)
        .equals(1, "the first process of a PID namespace is its init");
    lab.hierarchy("the path of its group as it sees it")
        .covers([S28, R154])
        .file("/proc/PID/cgroup")
        .observed(path)
        .equals("/", "its group is the root of its namespace");
    lab.hierarchy("the process ids that the group lists inside: its own, and 0 for its parent outside")
        .covers([S28])
        .file("cgroup.procs")
        .observed(format!("{:?}", listed.unwrap_or_default()))
        .equals("[0, 1]", "kernel/cgroup/cgroup.c, cgroup_procs_show, writes an id as the reader's PID namespace has it, and 0 for a process that it has not");
    let ids: Vec<i32> = nspid.split_ascii_whitespace().filter_map(|it| it.parse().ok()).collect();
    lab.hierarchy("whether NSpid shows the id outside and then 1")
        .covers([S28])
        .file("/proc/PID/status")
        .observed(if outside.len() == 1 && ids == [outside[0], 1] { "yes" } else { "no" })
        .equals(
            "yes",
            "proc(5), NSpid: the id in each PID namespace, from the reader's to the innermost",
        );
    Ok(())
}

/// Leaves the namespaces of these kinds for new ones.
fn leave(namespaces: CloneFlags) -> Result<(), Errno> {
    kernel::call("unshare", || unshare(namespaces))
}

/// The path in the unified hierarchy that `/proc/PID/cgroup` shows to the caller.
fn path_of(pid: &str) -> String {
    let text = kernel::text(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

/// The path of the case's root: its own process is in `self` below.
fn own_base() -> Result<String, Stop> {
    let own = path_of("self");
    let base = own.strip_suffix("/self").map(str::to_owned);
    base.ok_or_else(|| {
        Stop::Broken("the case is not in the group that the agent made for it".to_owned())
    })
}

fn status_of(pid: i32, field: &str) -> Option<String> {
    let text = kernel::text(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

fn text(answer: Result<(), Errno>) -> String {
    answer.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())
}

/// Becomes a user without rights, who may still look at its own files in `/proc`.
fn become_nobody() -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(1000), Gid::from_raw(1000));
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    set_dumpable(true)
}

/// What a mount of the hierarchy looks like: the groups at its top, the inode
/// of its top, and its root as `mountinfo` shows it.
fn look(path: &Path) -> Result<(Vec<String>, u64, Option<String>), String> {
    let dir = Dir::open(path).map_err(|it| it.to_string())?;
    let groups = dir.children().map_err(|it| it.to_string())?;
    let inode = std::fs::metadata(path).map_err(|it| it.to_string())?.ino();
    Ok((groups, inode, mounted_root("self", dir.name())))
}

/// The fourth field of the line of `mountinfo` whose mount point ends in `name`.
fn mounted_root(pid: &str, name: &str) -> Option<String> {
    let table = kernel::text(format!("/proc/{pid}/mountinfo")).ok()?;
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .into_iter()
        .find(|it| it.get(4).is_some_and(|it| it.ends_with(name)))
        .map(|it| it[3].to_owned())
}
