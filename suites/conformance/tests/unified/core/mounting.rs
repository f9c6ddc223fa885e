//! Mounting the hierarchy (cgroup-v2.rst, "Mounting"): what a mount shows, which
//! controllers it has, and how legacy hierarchies stand beside it. What its
//! options do is in `mount_options.rs`.

use std::path::Path;

use cgauge_lab::kernel::{self, Dir, Refusal};
use cgauge_lab::lies::aside;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{pause, wait_until};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::statfs::statfs;

/// How long a controller may take from one hierarchy to another: its old state
/// is destroyed when the last reference goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Controllers that the unified hierarchy has, by their names there and in `/proc/cgroups`.
const CAPABLE: [(&str, &str); 9] = [
    ("cpuset", "cpuset"),
    ("cpu", "cpu"),
    ("io", "blkio"),
    ("memory", "memory"),
    ("hugetlb", "hugetlb"),
    ("pids", "pids"),
    ("rdma", "rdma"),
    ("misc", "misc"),
    ("dmem", "dmem"),
];

/// statfs of anything in the unified hierarchy gives its magic number, and of a legacy one another.
#[rstest]
fn statfs_gives_the_magic_number(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let legacy = mounted("legacy", "cgroup", "none,name=cgauge")?;
    let further = mounted("further", "cgroup2", "")?;
    for (path, what, expected) in [
        (lab.mount_point().as_path(), "the magic number of the hierarchy's root", UNIFIED),
        (group.dir().path(), "the magic number of a group", UNIFIED),
        (
            &group.dir().path().join("cgroup.procs"),
            "the magic number of an interface file",
            UNIFIED,
        ),
        (further.path(), "the magic number of a further mount", UNIFIED),
        (legacy.path(), "the magic number of a legacy hierarchy", LEGACY),
    ] {
        lab.interface(what)
            .covers([R001])
            .observed(magic(path)?)
            .equals(expected, "cgroup-v2.rst, Mounting: 0x63677270, which no legacy hierarchy has");
    }
    Ok(())
}

/// The root lists every capable controller that no legacy hierarchy has, and no other.
#[rstest]
fn root_lists_the_controllers_that_are_free(
    lab: Lab,
    #[values("pids", "hugetlb", "rdma")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let hierarchy = lab.whole_hierarchy()?;
    let root = hierarchy.root();
    let before = root.get("cgroup.controllers")?;
    lab.interface("controllers of the root before a legacy hierarchy takes one")
        .covers([R002])
        .file("cgroup.controllers")
        .observed(sorted(&before))
        .equals(free_controllers(&before)?, FREE);
    lab.hierarchy("the answer to a legacy mount of a controller that groups here use")
        .covers([S02])
        .answered(&Mount::new("refused", "cgroup", controller))
        .equals("EBUSY", "cgroup-v2.rst, Mounting: a controller \"can be moved across hierarchies only after the controller is no longer referenced in its current hierarchy\"");
    hierarchy.withdraw(controller)?;
    let Ok(legacy) = legacy_mount("legacy", controller) else {
        return Err(
            lab.skip(&format!("this kernel has no legacy form of the {controller} controller"))
        );
    };
    let others: Vec<_> = before.split_ascii_whitespace().filter(|it| *it != controller).collect();
    lab.interface("controllers of the root while a legacy hierarchy has one")
        .covers([R002, S02])
        .file("cgroup.controllers")
        .observed(sorted(&root.get("cgroup.controllers")?))
        .equals(sorted(&others.join(" ")), "cgroup-v2.rst, Mounting: controllers \"not bound to a v1 hierarchy are automatically bound to the v2 hierarchy\", and this one is bound");
    drop(legacy);
    wait_until(PATIENCE, || root.get("cgroup.controllers").is_ok_and(|it| it == before));
    lab.interface("controllers of the root after the legacy hierarchy's end")
        .covers([R002])
        .file("cgroup.controllers")
        .observed(sorted(&root.get("cgroup.controllers")?))
        .equals(
            sorted(&before),
            "cgroup-v2.rst, Mounting: it comes back after the final umount, if not immediately",
        );
    Ok(())
}

/// On the unified hierarchy a process has one line and one group, wherever it moves.
#[rstest]
fn unified_process_is_in_exactly_one_group(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let groups = [lab.group("first")?, lab.group("second")?, lab.group("third")?];
    let process = groups[0].sleeper()?;
    for to in &groups {
        to.admit(process.pid())?;
        let mut listing = 0;
        for group in groups.iter().chain([hierarchy.root(), lab.root()]) {
            listing += group
                .ids("cgroup.procs")?
                .iter()
                .filter(|it| **it == process.pid().as_raw())
                .count();
        }
        lab.hierarchy("groups that list the process after a move")
            .covers([S01])
            .file("cgroup.procs")
            .unit(Unit::Groups)
            .observed(listing)
            .equals(1, "cgroup-v2.rst, What is cgroup?: \"every process in the system belongs to one and only one cgroup\"");
        lab.hierarchy("its lines in /proc/PID/cgroup")
            .covers([S01])
            .observed(memberships(&process)?)
            .equals(
                format!("0::/case/{}", to.dir().name()),
                "there is one hierarchy, and its line is 0::PATH",
            );
    }
    Ok(())
}

/// A process sits in one group of each legacy hierarchy beside its group of the unified one, and each moves it alone.
#[rstest]
fn legacy_hierarchies_place_a_process_apart(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    hierarchy.withdraw("pids")?;
    let group = lab.group("group")?;
    let (Ok(_freezer), Ok(pids)) =
        (legacy_mount("freezer", "freezer"), legacy_mount("pids", "pids"))
    else {
        return Err(lab.skip("this kernel has no legacy freezer and pids controllers"));
    };
    let named = mounted("named", "cgroup", "none,name=cgauge")?;
    let process = group.sleeper()?;
    let check = |what: &str, expected: &str| -> Outcome {
        lab.hierarchy(what).covers([S01]).observed(memberships(&process)?).equals(
            expected,
            "one line for each hierarchy, ID:CONTROLLERS:PATH, and 0::PATH; ids left out here",
        );
        Ok(())
    };
    check(
        "the lines of a process born with three legacy hierarchies",
        "0::/case/group freezer:/ name=cgauge:/ pids:/",
    )?;
    let in_pids = LegacyGroup::new(&pids, "one")?;
    in_pids.dir.write("cgroup.procs", &process.pid().to_string()).map_err(broken)?;
    check(
        "after a move in the pids hierarchy",
        "0::/case/group freezer:/ name=cgauge:/ pids:/one",
    )?;
    let in_named = LegacyGroup::new(&named, "two")?;
    in_named.dir.write("cgroup.procs", &process.pid().to_string()).map_err(broken)?;
    check(
        "after a move in the named hierarchy",
        "0::/case/group freezer:/ name=cgauge:/two pids:/one",
    )?;
    hierarchy.root().admit(process.pid())?;
    check("after a move in the unified one", "0::/ freezer:/ name=cgauge:/two pids:/one")?;
    process.end()
}

/// With every controller in a legacy hierarchy of its own the unified tree is left empty-handed, and still a tree.
#[rstest]
fn hybrid_leaves_the_unified_tree_empty_handed(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let root = hierarchy.root();
    hierarchy.withdraw(&root.line("cgroup.controllers")?)?;
    let names: Vec<_> = proc_cgroups()?.into_iter().map(|it| it.name).collect();
    let legacy: Vec<_> = names.iter().filter_map(|it| legacy_mount(it, it).ok()).collect();
    let bound = names.iter().filter(|it| legacy.iter().any(|mount| mount.path().ends_with(it)));

    let left = root.get("cgroup.controllers")?;
    lab.hierarchy("controllers left to the unified hierarchy")
        .covers([S01, R002])
        .file("cgroup.controllers")
        .observed(sorted(&left))
        .equals(
            free_controllers(&left)?,
            "a controller is in one hierarchy; only one without a legacy form is left",
        );
    let group = lab.group("group")?;
    let process = group.sleeper()?;
    let mut expected: Vec<_> = bound.map(|it| format!("{it}:/")).collect();
    expected.push("0::/case/group".into());
    expected.sort();
    lab.hierarchy("the lines of a process of the unified tree")
        .covers([S01])
        .observed(memberships(&process)?)
        .equals(expected.join(" "), "one line for each controller's hierarchy, and 0::PATH");
    process.end()
}

/// Mounting the unified hierarchy anywhere gives its root, which lists every process there but zombies.
#[rstest]
fn any_mount_shows_the_root(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    hierarchy.withdraw(&hierarchy.root().line("cgroup.subtree_control")?)?;
    let further = mounted("further", "cgroup2", "")?;
    let root = Dir::open(further.path()).map_err(broken)?;
    let read = |file: &str| root.read(file).map_err(broken);

    let listed = read("cgroup.controllers")?;
    lab.interface("controllers of the further mount's root")
        .covers([S03])
        .file("cgroup.controllers")
        .observed(sorted(&listed))
        .equals(
            free_controllers(&listed)?,
            "cgroup-v2.rst, Mounting: they \"show up at the root\"",
        );
    lab.interface("controllers that the root gives its children")
        .covers([S03])
        .file("cgroup.subtree_control")
        .observed(read("cgroup.subtree_control")?)
        .equals("", "cgroup-v2.rst, Enabling and Disabling: \"No controller is enabled by default\"; a mount enables none");
    hierarchy.root().set("cgroup.subtree_control", "+pids")?;
    lab.interface("what it shows after +pids by way of the other mount")
        .covers([S03])
        .file("cgroup.subtree_control")
        .observed(read("cgroup.subtree_control")?)
        .equals("pids\n", "cgroup-v2.rst, Mounting: \"cgroup v2 has only single hierarchy\"");

    let live = hierarchy.root().sleeper()?;
    let zombie = hierarchy.root().sleeper()?;
    zombie.signal(Signal::SIGKILL)?;
    if !zombie.ended_within(PATIENCE)? {
        return Err(Stop::Broken("a killed process did not end".into()));
    }
    let listed: Vec<i32> = read("cgroup.procs")?.lines().filter_map(|it| it.parse().ok()).collect();
    for (process, what, expected) in [
        (&live, "a live process of the root is listed", "yes"),
        (&zombie, "a zombie of the root is listed", "no"),
    ] {
        lab.hierarchy(what)
            .covers([S03, R013])
            .file("cgroup.procs")
            .observed(yes(listed.contains(&process.pid().as_raw())))
            .equals(expected, EVERY_PROCESS);
    }
    let missing = live_processes_of_the_root()?.iter().filter(|it| !listed.contains(it)).count();
    lab.hierarchy("live processes and kernel threads of the root that are not listed")
        .covers([S03])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(missing)
        .equals(0, EVERY_PROCESS);
    Ok(())
}

const UNIFIED: &str = "0x63677270";
const LEGACY: &str = "0x27e0eb";
const FREE: &str = "those of /proc/cgroups that are enabled, capable, and in hierarchy 0";
const EVERY_PROCESS: &str = "cgroup-v2.rst, Processes: \"Initially, only the root cgroup exists to which all processes belong\", and zombies are not listed";

fn broken(refusal: Refusal) -> Stop {
    Stop::Broken(refusal.to_string())
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

fn mounted(name: &str, kind: &str, options: &str) -> Result<Mount, Stop> {
    Mount::new(name, kind, options).map_err(broken)
}

/// Mounts the controller's legacy hierarchy as soon as it is free.
fn legacy_mount(name: &str, controller: &str) -> Result<Mount, Refusal> {
    let mut mount = Mount::new(name, "cgroup", controller);
    wait_until(PATIENCE, || match &mount {
        Err(refusal) if refusal.errno == Errno::EBUSY => {
            mount = Mount::new(name, "cgroup", controller);
            false
        }
        _ => true,
    });
    mount
}

fn magic(path: &Path) -> Result<String, Stop> {
    let found = statfs(path).map_err(Stop::broken("statfs"))?;
    let magic = u64::try_from(found.filesystem_type().0).unwrap_or(0);
    Ok(format!("{:#x}", kernel::figure("statfs", magic)))
}

fn sorted(controllers: &str) -> String {
    let mut names: Vec<_> = controllers.split_ascii_whitespace().collect();
    names.sort_unstable();
    names.join(" ")
}

/// A line of `/proc/cgroups`.
struct Controller {
    name: String,
    hierarchy: u32,
    enabled: bool,
}

fn proc_cgroups() -> Result<Vec<Controller>, Stop> {
    let table = kernel::text("/proc/cgroups")?;
    let controller = |line: &str| {
        let words: Vec<_> = line.split('\t').collect();
        let [name, hierarchy, _groups, enabled] = words[..] else {
            return None;
        };
        Some(Controller {
            name: name.into(),
            hierarchy: hierarchy.parse().ok()?,
            enabled: enabled == "1",
        })
    };
    Ok(table.lines().filter(|it| !it.starts_with('#')).filter_map(controller).collect())
}

/// What a root that lists `listed` has to list: what is enabled, capable, and in
/// no legacy hierarchy.
///
/// Newer kernels leave a controller without a legacy form out of `/proc/cgroups`:
/// of such a one it cannot be told from there whether the kernel has it.
fn free_controllers(listed: &str) -> Result<String, Stop> {
    let all = proc_cgroups()?;
    let is_free = |(new, old): &&(&str, &str)| match all.iter().find(|it| it.name == *old) {
        Some(known) => known.enabled && known.hierarchy == 0,
        None => listed.split_ascii_whitespace().any(|it| it == *new),
    };
    let free: Vec<_> = CAPABLE.iter().filter(is_free).map(|(new, _)| *new).collect();
    Ok(sorted(&free.join(" ")))
}

/// The lines of `/proc/PID/cgroup`, sorted, without the numbers that legacy
/// hierarchies happen to have.
fn memberships(process: &Process) -> Result<String, Stop> {
    let text = kernel::text(format!("/proc/{}/cgroup", process.pid()))?;
    let line = |it: &str| match it.split_once(':') {
        Some((number, rest)) if number != "0" => rest.to_owned(),
        _ => it.to_owned(),
    };
    let mut lines: Vec<_> = text.lines().map(line).collect();
    lines.sort();
    Ok(lines.join(" "))
}

/// Processes and kernel threads that are in the hierarchy's root and no zombies.
fn live_processes_of_the_root() -> Result<Vec<i32>, Stop> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|it| it.parse::<i32>().ok()) else {
            continue;
        };
        // What ends meanwhile was not there to be listed.
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let in_the_root = read("cgroup").lines().any(|it| it == "0::/");
        if in_the_root && !read("status").lines().any(|it| it.starts_with("State:\tZ")) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// A group of a legacy hierarchy. Its processes go to the root when it goes.
struct LegacyGroup<'a> {
    hierarchy: &'a Mount,
    dir: Dir,
}

impl<'a> LegacyGroup<'a> {
    fn new(hierarchy: &'a Mount, name: &str) -> Result<Self, Stop> {
        let dir = Dir::open(hierarchy.path()).and_then(|it| it.make(name)).map_err(broken)?;
        Ok(Self { hierarchy, dir })
    }
}

impl Drop for LegacyGroup<'_> {
    fn drop(&mut self) {
        let Ok(root) = Dir::open(self.hierarchy.path()) else {
            return;
        };
        aside(|| {
            for pid in self.dir.read("cgroup.procs").unwrap_or_default().lines() {
                // It may have ended since it was listed.
                let _ = root.write("cgroup.procs", pid);
            }
            wait_until(PATIENCE, || root.remove(self.dir.name()).is_ok());
            // A hierarchy that is unmounted before its last group has quite gone
            // stays, and keeps its controllers.
            pause(Duration::from_millis(100));
        });
    }
}
