//! Hierarchies: one for each set of controllers, or one with a name and none;
//! and what `/proc/PID/cgroup` says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use cgauge_lab::kernel::{self, Dir, Refusal};
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use nix::errno::Errno;

use crate::text;

/// Where each legacy controller is mounted, by the kernel's own table.
fn mounted() -> Result<BTreeMap<String, PathBuf>, Stop> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let of_controller = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (PathBuf::from(fields.next()?), fields.next()?);
        let name = point.file_name()?.to_str()?.to_owned();
        (kind == "cgroup").then_some((name, point))
    };
    Ok(table.lines().filter_map(of_controller).collect())
}

/// The lines of `/proc/PID/cgroup`: the hierarchy's number, what is in it, the path.
fn groups_of(pid: nix::unistd::Pid) -> Result<Vec<[String; 3]>, Stop> {
    let text = kernel::text(format!("/proc/{pid}/cgroup"))?;
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').map(str::to_owned);
        Some([fields.next()?, fields.next()?, fields.next()?])
    };
    text.lines()
        .map(|it| line(it).ok_or_else(|| Stop::Broken(format!("/proc/{pid}/cgroup: {it:?}"))))
        .collect()
}

/// The path of the group that a process is in, of the hierarchy with this in it.
fn path_in(pid: nix::unistd::Pid, what: &str) -> Result<String, Stop> {
    let lines = groups_of(pid)?;
    Ok(lines.into_iter().find(|it| it[1] == what).map_or("none".to_owned(), |[_, _, path]| path))
}

/// A process is in one group of each controller's hierarchy, each its own, and `/proc/PID/cgroup` has a line for each; beside legacy ones the unified tree has a process too, and no controller of theirs.
#[rstest]
fn process_is_in_one_group_of_each_hierarchy(lab: Lab) -> Outcome {
    const WHY: &str = "cgroups.rst, 1.3: /proc/PID/cgroup shows \"for each active hierarchy, the subsystem names and the cgroup name as the path relative to the root\", and a task is in exactly one group of each";
    let controllers = mounted()?;
    let hybrid = controllers.values().any(|it| it.with_file_name("unified").is_dir());
    // In every other hierarchy a group of its own: they do not go together.
    let moved: Vec<&String> = controllers.keys().step_by(2).collect();
    let groups =
        moved.iter().map(|it| lab.legacy(it)?.make("apart")).collect::<Result<Vec<_>, _>>()?;
    let home = lab.legacy(moved[0])?.make("home")?;
    let sleeper = home.sleeper()?;
    for (name, group) in moved.iter().zip(&groups) {
        // An empty legacy cpuset takes nobody in.
        if *name == "cpuset" {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                group.set(file, lab.legacy("cpuset")?.line(file)?)?;
            }
        }
        group.admit(sleeper.pid())?;
    }
    let lines = groups_of(sleeper.pid())?;
    let named: Vec<&str> = lines.iter().map(|it| it[1].as_str()).collect();
    let mut expected: BTreeSet<&str> = controllers.keys().map(String::as_str).collect();
    if hybrid {
        expected.insert("");
    }
    lab.hierarchy("what the lines are about, each once")
        .covers([S01])
        .observed(
            named
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
                .join(","),
        )
        .equals(expected.iter().copied().collect::<Vec<_>>().join(","), WHY);
    lab.hierarchy("lines")
        .covers([S01])
        .unit(Unit::Count)
        .observed(lines.len())
        .equals(expected.len(), WHY);
    let numbers: BTreeSet<&str> = lines.iter().map(|it| it[0].as_str()).collect();
    lab.hierarchy("different hierarchies by their numbers, of which the unified one has 0")
        .covers([S01])
        .observed(format!("{} {}", numbers.len(), numbers.contains("0")))
        .equals(format!("{} {hybrid}", expected.len()), "the agent has mounted each controller by itself; proc(5): 0 is the unified hierarchy, which has no controller's name");
    for name in controllers.keys() {
        let is_moved = moved.contains(&name);
        lab.hierarchy(&format!("the path in the hierarchy of {name}"))
            .covers([S01])
            .file("cgroup.procs")
            .observed(path_in(sleeper.pid(), name)?)
            .equals(
                if is_moved { "/case/apart" } else { "/case/self" },
                "it was moved there in this hierarchy, or it is where its parent is",
            );
    }
    if hybrid {
        lab.hierarchy("the path in the unified tree")
            .covers([S01, R016])
            .observed(path_in(sleeper.pid(), "")?)
            .equals(
                "/case/self",
                "cgroup-v2.rst, Processes: 0::PATH; it was moved in legacy hierarchies alone",
            );
        let offered = lab.root().line("cgroup.controllers")?;
        let both: Vec<_> = offered.split(' ').filter(|it| controllers.contains_key(*it)).collect();
        lab.hierarchy("controllers of the unified tree that a legacy hierarchy has")
            .covers([S01, S02, R002])
            .file("cgroup.controllers")
            .beyond_lies("no lie adds a word to a list")
            .observed(both.join(" "))
            .equals("", "cgroup-v2.rst, Mounting: a controller is in one hierarchy at a time");
    }
    Ok(())
}

/// A controller is in one hierarchy: to mount it with others elsewhere is refused, to mount the same set again shows the same groups.
#[rstest]
fn controller_is_in_one_hierarchy(lab: Lab) -> Outcome {
    let controllers = mounted()?;
    let mut names = controllers.keys();
    let (Some(one), Some(other)) = (names.next(), names.next()) else {
        return Err(lab.skip("this kernel has fewer than two controllers for legacy hierarchies"));
    };
    let group = lab.legacy(one)?.make("seen")?;
    let again = Mount::new("again", "cgroup", one).map_err(Stop::Refused)?;
    lab.hierarchy("the group as another mount of the same controller shows it")
        .covers([S02])
        .beyond_lies("it is looked for by its path")
        .observed(again.path().join("case").join("seen").is_dir().to_string())
        .equals("true", "cgroups.rst, 1.3: \"If an active hierarchy with exactly the same set of subsystems already exists, it will be reused for the new mount\"");
    drop((again, group));
    let beyond = "the answer is that of mount(2), not of a file of a group";
    for (options, expected, why) in [
        (
            format!("{one},{other}"),
            "EBUSY",
            "cgroups.rst, 1.3: \"any of the requested subsystems are in use in an existing hierarchy\"",
        ),
        (format!("{one},name=cgauge"), "EBUSY", "the same, with a name"),
        ("nonsense".to_owned(), "EINVAL", "no such controller"),
        (format!("none,{one}"), "EINVAL", "none and one exclude each other"),
        ("none".to_owned(), "EINVAL", "cgroup-v1.c: \"Need name or subsystem set\""),
    ] {
        lab.hierarchy(&format!("the answer to mounting: {why}"))
            .covers([S02])
            .unit(Unit::Errno)
            .beyond_lies(beyond)
            .observed(answer(Mount::new("refused", "cgroup", &options)))
            .equals(expected, why);
    }
    Ok(())
}

fn answer(mounted: Result<Mount, Refusal>) -> String {
    text(mounted.map_err(|it| it.errno))
}

/// A hierarchy with a name and no controller tracks processes and nothing else, is found again by its name, and outlives its mounts while it has groups.
#[rstest]
fn named_hierarchy_is_found_by_its_name(lab: Lab) -> Outcome {
    const NAMED: &str = "name=cgauge";
    let beyond = "the answer is that of mount(2), not of a file of a group";
    let home = lab.legacy(crate::ANY)?.make("home")?;
    let sleeper = home.sleeper()?;
    let first = Mount::new("first", "cgroup", "none,name=cgauge").map_err(Stop::Refused)?;
    let open = |it: &Mount| Dir::open(it.path()).map_err(Stop::Refused);
    let root = open(&first)?;
    let group = root.make("group").map_err(Stop::Refused)?;
    let common = ["cgroup.clone_children", "cgroup.procs", "notify_on_release", "tasks"];
    for (who, dir, own) in [
        ("the root", &root, &["cgroup.sane_behavior", "release_agent"][..]),
        ("a group", &group, &[]),
    ] {
        let mut expected: Vec<_> = common.iter().chain(own).copied().collect();
        expected.sort_unstable();
        lab.interface(&format!("the files of {who}"))
            .observed(dir.files().map_err(Stop::Refused)?.join(" "))
            .equals(
                expected.join(" "),
                "cgroups.rst, 1.3 and 2.1: those of every hierarchy, and none of a controller",
            );
    }
    lab.hierarchy("whether the root has the process before anybody moved it")
        .file("cgroup.procs")
        .observed(has(&root, &sleeper)?)
        .equals("yes", "cgroups.rst, 1.1: every task in the system is in exactly one group of a hierarchy, also of a new one");
    group.write("cgroup.procs", &sleeper.pid().to_string()).map_err(Stop::Refused)?;
    for (who, dir, expected) in [("the root", &root, "no"), ("the group", &group, "yes")] {
        lab.hierarchy(&format!("whether {who} has the process once it is moved"))
            .file("cgroup.procs")
            .observed(has(dir, &sleeper)?)
            .equals(expected, "it is where it was moved to, and nowhere else");
    }
    lab.hierarchy("the path in the hierarchy with the name")
        .covers([S01])
        .file("cgroup.procs")
        .observed(path_in(sleeper.pid(), NAMED)?)
        .equals("/group", "cgroups.rst, 2.3: the name appears in /proc/PID/cgroup");
    lab.hierarchy("the path in the other hierarchy")
        .covers([S01])
        .observed(path_in(sleeper.pid(), crate::ANY)?)
        .equals("/case/home", "a move is one hierarchy's");

    drop((root, group, first));
    let second = Mount::new("second", "cgroup", NAMED).map_err(Stop::Refused)?;
    let group = open(&second)?.child("group").map_err(Stop::Refused)?;
    lab.hierarchy("whether the group has the process after the hierarchy was unmounted and mounted again")
        .file("cgroup.procs")
        .observed(has(&group, &sleeper)?)
        .equals("yes", "cgroups.rst, 1.3: \"if there are any child cgroups created below the top-level cgroup, that hierarchy will remain active even though unmounted\"");
    for (options, expected, why) in [
        ("none,name=cgauge", "ok", "the same by its name, and without controllers as it is"),
        ("none,name=other", "ok", "another name is another hierarchy"),
        ("none,name=", "EINVAL", "an empty name"),
        ("none,name=a/b", "EINVAL", "cgroups.rst, 2.3: \"The name should match [\\w.-]+\""),
        ("none,name=a,name=b", "EINVAL", "two names"),
        (
            "none,name=0123456789012345678901234567890123456789012345678901234567890123",
            "EINVAL",
            "64 letters are one more than fit (MAX_CGROUP_ROOT_NAMELEN)",
        ),
    ] {
        lab.hierarchy(&format!("the answer to mounting {options:?}: {why}"))
            .unit(Unit::Errno)
            .beyond_lies(beyond)
            .observed(answer(Mount::new("third", "cgroup", options)))
            .equals(expected, why);
    }
    sleeper.end()?;
    open(&second)?.remove("group").map_err(Stop::Refused)?;
    // A group that was removed is a child until the kernel has let go of it.
    pause(Duration::from_millis(200));
    drop((group, second));
    lab.hierarchy("the answer to mounting by the name alone once its last group and mount are gone")
        .unit(Unit::Errno)
        .beyond_lies(beyond)
        .observed(answer(Mount::new("gone", "cgroup", NAMED)))
        .equals("EINVAL", "cgroups.rst, 1.3: \"if there are no child cgroups then the hierarchy will be deactivated\"; cgroup-v1.c: a new one needs to be told its controllers, or none: \"No subsys list or none specified\"");
    Ok(())
}

fn has(dir: &Dir, process: &Process) -> Result<&'static str, Stop> {
    let text = dir.read("cgroup.procs").map_err(Stop::Refused)?;
    let pid = process.pid().to_string();
    Ok(if text.lines().any(|it| it == pid) { "yes" } else { "no" })
}

/// A group of a legacy hierarchy is renamed in place, and not moved.
#[rstest]
fn group_is_renamed_in_place(lab: Lab) -> Outcome {
    let root = lab.legacy(crate::ANY)?;
    let (group, other) = (root.make("group")?, root.make("other")?);
    let sleeper = group.sleeper()?;
    let from = group.dir().path();
    let into_other = other.dir().path().join("group");
    for (what, to, expected, why) in [
        (
            "into another group",
            into_other.clone(),
            Errno::EIO as i32,
            "cgroup1_rename(): \"Only allow simple rename of directories in place\"",
        ),
        (
            "to a name that is taken",
            other.dir().path().to_owned(),
            Errno::EEXIST as i32,
            "kernfs_rename_ns()",
        ),
        (
            "to a name with a new line",
            root.dir().path().join("a\nb"),
            Errno::EINVAL as i32,
            "cgroup1_rename(): it would make /proc/PID/cgroup unparsable",
        ),
        ("in place", root.dir().path().join("renamed"), 0, "it is a new name in the same place"),
    ] {
        let answer = fs::rename(from, &to).map_err(|it| cgauge_lab::kernel::errno_of(&it));
        let expected = if expected == 0 { Ok(()) } else { Err(Errno::from_raw(expected)) };
        lab.hierarchy(&format!("the answer to renaming a group {what}"))
            .unit(Unit::Errno)
            .beyond_lies("the answer is that of rename(2), not of a file of the group")
            .observed(text(answer))
            .equals(text(expected), why);
    }
    lab.hierarchy("the path of its process after it")
        .covers([S01])
        .observed(path_in(sleeper.pid(), crate::ANY)?)
        .equals("/case/renamed", "the group is the same by another name");
    sleeper.end()?;
    // The handle removes by the name that it knows.
    fs::rename(root.dir().path().join("renamed"), from)?;
    Ok(())
}
