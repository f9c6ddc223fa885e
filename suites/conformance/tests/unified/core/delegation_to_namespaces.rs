//! Delegation to a cgroup namespace, by the mount option `nsdelegate`
//! (cgroup-v2.rst, "Delegation").

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use cgauge_lab::kernel::{self, Refusal, errno_of};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};

use crate::delegation::{answer, is_in, text, write, yes_or_no};

/// Under `nsdelegate` a move needs source and target within the namespace that the file was opened in: ENOENT otherwise.
#[rstest]
#[case::opened_inside(
    "nsdelegate",
    Place::Inside,
    "ENOENT",
    "the target is outside the namespace of the opener: \"the migration is rejected with -ENOENT\""
)]
#[case::opened_outside(
    "nsdelegate",
    Place::Outside,
    "ok",
    "both groups are within the first namespace, where the file was opened"
)]
#[case::without_the_option(
    "",
    Place::Inside,
    "ok",
    "without the option a namespace is no boundary"
)]
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

/// Under `nsdelegate` the root of a namespace refuses writes from inside with EPERM, except to the files that
/// `/sys/kernel/cgroup/delegate` lists.
#[rstest]
fn root_of_a_namespace_takes_only_what_is_delegated(lab: Lab) -> Outcome {
    let listed = kernel::text("/sys/kernel/cgroup/delegate")?;
    let listed: Vec<_> = listed.lines().collect();
    for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        lab.interface(&format!("whether the list has {file}"))
            .covers([R042])
            .file("/sys/kernel/cgroup/delegate")
            .observed(yes_or_no(listed.contains(&file)))
            .equals(
                "yes",
                "cgroup-v2.rst, Model of Delegation: these three are what a delegation gives",
            );
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

    for (option, from, expected) in [
        ("nsdelegate", Place::Inside, true),
        ("nsdelegate", Place::Outside, false),
        ("", Place::Inside, false),
    ] {
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

/// Where a file is opened, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the namespace under test.
    Inside,
    /// In the first namespace.
    Outside,
}

/// Those of `files` of `group` that refuse a write with EPERM, asked by a
/// process in `home`, which is the root of its namespace if it asks from inside.
fn refusing(
    home: &Group,
    from: Place,
    group: &Group,
    files: &[String],
) -> Result<Vec<String>, Stop> {
    let refusing = home.spawn(|| {
        if from == Place::Inside {
            unshare(CloneFlags::CLONE_NEWCGROUP).ok()?;
        }
        // No file takes this for a setting: what a right to write leads to is
        // another errno, and nothing is changed.
        let refuses =
            |file: &&String| group.try_set(file, "?").is_err_and(|it| it.errno == Errno::EPERM);
        Some(files.iter().filter(refuses).cloned().collect())
    })?;
    let refusing: Option<Vec<String>> = refusing.finish()?;
    refusing.ok_or_else(|| Stop::Broken("root may not unshare the cgroup namespace".to_owned()))
}

/// The files of a group that its owner may write.
fn writable_files(group: &Group) -> Result<Vec<String>, Stop> {
    let mut files = group.dir().files().map_err(|it| Stop::Broken(it.to_string()))?;
    let mode = |file: &str| {
        std::fs::metadata(group.dir().path().join(file)).map_or(0, |it| it.permissions().mode())
    };
    files.retain(|file| mode(file) & 0o200 != 0);
    Ok(files)
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
