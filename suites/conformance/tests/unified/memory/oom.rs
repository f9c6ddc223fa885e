//! The OOM killer in a group: whom it takes, alone or all together, who is spared,
//! what is counted where, and what the kernel log says of it.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;
use nix::libc;
use nix::sys::signal::Signal;

use crate::support::*;

const LIMIT: u64 = 8 * MIB;

/// A process that holds `mebibytes` and does nothing.
fn holder(group: &Group, mebibytes: u64) -> Result<Stepper, Stop> {
    let holder = Stepper::start(group, |turns| {
        let Ok(memory) = Memory::anonymous(mebibytes.max(1) * MIB) else { return };
        turns.step(|| memory.write(0..mebibytes * MIB / PAGE, 1));
        turns.step(|| memory.pages());
    })?;
    holder.next()?;
    Ok(holder)
}

/// Wants far more than the limit, so that it is the largest when the killer comes.
fn glutton(group: &Group) -> Result<Process<()>, Stop> {
    group.spawn(|| {
        if let Ok(memory) = Memory::anonymous(4 * LIMIT) {
            memory.touch();
        }
    })
}

fn spare(pid: nix::unistd::Pid) -> Outcome {
    // OOM_SCORE_ADJ_MIN of linux/oom.h.
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "-1000")?;
    Ok(())
}

fn alive(process: &Process<()>) -> Result<&'static str, Stop> {
    Ok(if process.ended_within(Duration::from_millis(20))? { "dead" } else { "alive" })
}

/// Which of its processes a group loses: with `memory.oom.group` all, without it the largest alone.
#[rstest]
#[case::all_together("1", "dead", 4, 1)]
#[case::the_largest_alone("0", "alive", 1, 0)]
fn bug_11_oom_group_decides_between_one_and_all(
    lab: Lab,
    #[case] setting: &str,
    #[case] others: &str,
    #[case] kills: u64,
    #[case] group_kills: u64,
) -> Outcome {
    no_khugepaged()?;
    let group = lab.group("group")?;
    lab.interface("memory.oom.group of a new group")
        .covers([R098])
        .file("memory.oom.group")
        .observed(group.line("memory.oom.group")?)
        .equals("0", "cgroup-v2.rst, memory.oom.group: \"The default value is 0\" (known bug 11: the change was Kubernetes's, not the kernel's)");
    group.set("memory.oom.group", setting)?;
    // One in the group itself and one below each of two children without controllers.
    let (below, deep) = (group.make("below")?, group.make("deep")?);
    let deepest = deep.make("deepest")?;
    group.set("memory.max", LIMIT)?;
    let elsewhere = lab.group("elsewhere")?;
    let outside = elsewhere.sleeper()?;
    let inside = [group.sleeper()?, below.sleeper()?, deepest.sleeper()?];
    let mut victim = glutton(&group)?;
    lab.enforcement("the end of the largest process")
        .covers([R092, R098])
        .file("memory.max")
        .observed(format!("{:?}", victim.wait()?))
        .equals(
            "Signal(SIGKILL)",
            "the killer takes the largest first (mm/oom_kill.c, oom_badness)",
        );
    for (process, place) in inside.iter().zip(["the group", "a child", "a grandchild"]) {
        lab.enforcement(&format!("a small process in {place} after it"))
            .covers([R098])
            .file("memory.oom.group")
            .observed(alive(process)?)
            .equals(others, "cgroup-v2.rst, memory.oom.group: if set \"all tasks belonging to the cgroup or to its descendants (if the memory cgroup is not a leaf cgroup) are killed together or not at all\"");
    }
    lab.enforcement("a process outside the group after it")
        .covers([R092, R098])
        .file("memory.oom.group")
        .observed(alive(&outside)?)
        .equals("alive", "the limit is the group's");
    let counted = events(&group, "memory.events")?;
    lab.accounting("processes that were killed")
        .covers([R098, R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(counted["oom_kill"])
        .equals(kills, "cgroup-v2.rst, memory.events, oom_kill: \"The number of processes belonging to this cgroup killed by any kind of OOM killer\", here the case's own count; mm/oom_kill.c, oom_kill_process, kills the chosen one first and then, with the rest of its group, a second time");
    if let Some(count) = counted.get("oom_group_kill") {
        lab.accounting("times that a whole group was killed")
            .covers([R103])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(*count)
            .equals(group_kills, "cgroup-v2.rst, memory.events, oom_group_kill: \"The number of times a group OOM has occurred\"");
    } else if release()? >= (5, 17) {
        lab.interface("the key oom_group_kill")
            .covers([R103])
            .file("memory.events")
            .observed("missing")
            .equals("there", "since 5.17");
    }
    Ok(())
}

/// Processes with an oom_score_adj of -1000 are spared, whoever gave it to them, also where all are killed together.
#[rstest]
fn bug_10_spared_processes_survive(lab: Lab, #[values("0", "1")] together: &str) -> Outcome {
    no_khugepaged()?;
    let group = lab.group("group")?;
    group.set("memory.oom.group", together)?;
    // It sets it for itself, the way a daemon does.
    let by_itself = group.spawn(|| {
        let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
        loop {
            nix::unistd::pause();
        }
    })?;
    let mut spared = holder(&group, 4)?;
    let by_another = spared.process().pid();
    spare(by_another)?;
    let other = group.sleeper()?;
    group.set("memory.max", LIMIT)?;
    let mut victim = glutton(&group)?;
    lab.enforcement("the end of the process that wants too much")
        .covers([R099])
        .file("memory.max")
        .observed(format!("{:?}", victim.wait()?))
        .equals("Signal(SIGKILL)", "it is not spared");
    for (state, what) in [
        (alive(&by_itself)?, "a process that spared itself"),
        (
            alive(spared.process())?,
            "the process that another spared, with half of the group's memory",
        ),
    ] {
        lab.enforcement(what)
            .covers([R099])
            .file("memory.oom.group")
            .observed(state)
            .equals("alive", "cgroup-v2.rst, memory.oom.group: \"Tasks with the OOM protection (oom_score_adj set to -1000) are treated as an exception and are never killed\"");
    }
    lab.enforcement("a process beside them that is not spared")
        .covers([R098, R099])
        .file("memory.oom.group")
        .observed(alive(&other)?)
        .equals(
            if together == "1" { "dead" } else { "alive" },
            "it dies with the group or not at all",
        );
    lab.enforcement("pages that the spared process still has")
        .covers([R099])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(spared.next_if_alive()?)
        .equals(4 * MIB / PAGE, "it was left alone");
    Ok(())
}

/// Known bug 10: the global init survives an OOM kill of a whole group that it is in.
#[rstest]
fn bug_10_global_init_survives_the_kill_of_its_group(lab: Lab) -> Outcome {
    // Only on a stage where the case sees the machine's own PID 1, and may move it.
    let hierarchy = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let home = std::fs::read_to_string("/proc/1/cgroup")?;
    let home = home.lines().find_map(|it| it.strip_prefix("0::")).unwrap_or("/").to_owned();
    let home = cgauge_lab::kernel::Dir::open(format!("{}{home}", lab.mount_point().display()))
        .map_err(|it| Stop::Broken(it.to_string()))?;
    group.set("memory.oom.group", 1)?;
    group.set("memory.max", LIMIT)?;
    let init = nix::unistd::Pid::from_raw(1);
    let began = std::fs::read_to_string("/proc/1/stat")?;
    group.admit(init)?;
    let other = group.sleeper()?;
    let mut victim = glutton(&group)?;
    let end = format!("{:?}", victim.wait()?);
    let where_it_is = group.ids("cgroup.procs")?;
    home.write("cgroup.procs", "1").map_err(|it| Stop::Broken(it.to_string()))?;
    lab.enforcement("the end of the process that wants too much")
        .covers([R098])
        .file("memory.oom.group")
        .observed(end)
        .equals("Signal(SIGKILL)", "the limit holds, with init in the group or not");
    lab.enforcement("a small process beside init")
        .covers([R098])
        .file("memory.oom.group")
        .observed(alive(&other)?)
        .equals("dead", "the group is killed together");
    lab.enforcement("whether init is in the group still after the kill")
        .covers([R099])
        .file("memory.oom.group")
        .observed(if where_it_is.contains(&1) { "yes" } else { "no" })
        .equals("yes", "mm/oom_kill.c, oom_kill_memcg_member, leaves out the global init, since d342a0b38674 (5.1)");
    let start = |text: &str| {
        text.rsplit(')')
            .next()
            .and_then(|it| it.split_ascii_whitespace().nth(19))
            .map(str::to_owned)
    };
    lab.enforcement("whether process 1 is the same as before")
        .covers([R099])
        .file("memory.oom.group")
        .observed(start(&std::fs::read_to_string("/proc/1/stat")?).unwrap_or_default())
        .equals(start(&began).unwrap_or_default(), "its start time is");
    drop(hierarchy);
    Ok(())
}

/// `memory.oom.group` of an ancestor widens no kill that a limit below it brings.
#[rstest]
fn oom_group_of_an_ancestor_widens_no_kill_below(lab: Lab) -> Outcome {
    no_khugepaged()?;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    parent.set("memory.oom.group", 1)?;
    let (limited, sibling) = (parent.make("limited")?, parent.make("sibling")?);
    limited.set("memory.max", LIMIT)?;
    let (beside, inside) = (sibling.sleeper()?, limited.sleeper()?);
    glutton(&limited)?.wait()?;
    for (process, what) in [
        (&beside, "a process in a sibling of the group that hit its limit"),
        (&inside, "a small process in that group"),
    ] {
        lab.enforcement(what)
            .covers([R100])
            .file("memory.oom.group")
            .observed(alive(process)?)
            .equals("alive", "cgroup-v2.rst, memory.oom.group: \"If the OOM killer is invoked in a cgroup, it's not going to kill any tasks outside of this cgroup, regardless memory.oom.group values of ancestor cgroups\"");
    }
    // The other way round: the ancestor's own limit kills all of it.
    limited.set("memory.max", "max")?;
    parent.set("memory.max", LIMIT)?;
    glutton(&limited)?.wait()?;
    for (process, what) in [
        (&beside, "a process in the sibling once the parent hit its own limit"),
        (&inside, "a small process in the group then"),
    ] {
        lab.enforcement(what)
            .covers([R098])
            .file("memory.oom.group")
            .observed(alive(process)?)
            .equals("dead", "now the kill is in the parent, with all that is below it");
    }
    Ok(())
}

/// The kernel log names the kind of limit, the group whose limit it was and the victim with its group.
#[rstest]
fn log_names_the_group_and_the_victim(lab: Lab) -> Outcome {
    no_khugepaged()?;
    let mut log =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let group = parent.make("group")?;
    parent.set("memory.max", LIMIT)?;
    let mut victim = glutton(&group)?;
    let pid = victim.pid();
    victim.wait()?;
    // One record a read.
    let mut records = String::new();
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => records.push_str(&String::from_utf8_lossy(&record[..length])),
            // What was overwritten before it was read is skipped.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    let line = records
        .lines()
        .filter(|it| it.contains("oom-kill:constraint="))
        .find(|it| it.contains(&format!("pid={pid}")));
    lab.notification("whether the log has a line of the kill")
        .covers([S06])
        .file("memory.max")
        .observed(if line.is_some() { "yes" } else { "no" })
        .equals("yes", "mm/oom_kill.c, dump_oom_summary, since 5.0");
    let line = line.and_then(|it| it.split_once("oom-kill:")).map_or("", |it| it.1);
    let field = |name: &str| {
        line.split(',')
            .find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .to_owned()
    };
    let path = |it: &Group| {
        it.dir().path().display().to_string().replacen(
            &lab.mount_point().display().to_string(),
            "",
            1,
        )
    };
    for (name, expected, why) in [
        (
            "constraint",
            "CONSTRAINT_MEMCG".to_owned(),
            "the limit is a group's and not the machine's",
        ),
        ("oom_memcg", path(&parent), "the group whose limit it was"),
        ("task_memcg", path(&group), "the victim's own group"),
        ("pid", pid.to_string(), "the victim"),
        ("uid", "0".to_owned(), "the victim's user"),
    ] {
        lab.notification(&format!("{name} in it"))
            .covers([S06])
            .file("memory.max")
            .observed(field(name))
            .equals(expected, why);
    }
    lab.notification("whether the log says that the victim was killed")
        .covers([S06])
        .file("memory.max")
        .observed(if records.contains(&format!("Killed process {pid} ")) { "yes" } else { "no" })
        .equals("yes", "mm/oom_kill.c, __oom_kill_process");
    Ok(())
}

/// In a slice of 450 MiB with two scopes, the one that overruns is killed, its sibling survives, and the slice remembers after the scope is gone.
#[rstest]
fn slice_remembers_the_scope_that_overran(lab: Lab) -> Outcome {
    let slice = lab.group("task.slice")?;
    slice.enable("memory")?;
    slice.set("memory.max", 450 * MIB)?;
    let (good, bad) = (slice.make("good.scope")?, slice.make("bad.scope")?);
    // Huge pages: the same bytes at a hundredth of the faults.
    let use_huge = |group: &Group, bytes: u64| {
        Stepper::start(group, |turns| {
            let Ok(memory) = Memory::huge(bytes) else { return };
            // Where there is no room for a huge page the kernel gives small ones.
            turns.step(|| memory.write(0..memory.pages(), 5));
            turns.step(|| memory.read(0..memory.pages(), 5));
            turns.step(|| 0);
        })
    };
    let survivor = use_huge(&good, 100 * MIB)?;
    survivor.next()?;
    let mut victim = use_huge(&bad, 400 * MIB)?;
    victim.turns().begin()?;
    lab.enforcement("the end of the scope that wants 400 MiB of the 350 that are left")
        .covers([S05, R092])
        .file("memory.max")
        .observed(format!("{:?}", victim.process().wait()?))
        .equals("Signal(SIGKILL)", "it is the largest below the limit");
    lab.enforcement("pages that its sibling still has")
        .covers([S05])
        .file("memory.max")
        .unit(Unit::Pages)
        .observed(survivor.next_if_alive()?)
        .equals(100 * MIB / PAGE, "it has its 100 MiB");
    drop(victim);
    drop(bad);
    let counted = events(&slice, "memory.events")?;
    for (key, expected) in [("oom", 1), ("oom_kill", 1)] {
        lab.accounting(&format!("{key} of the slice once the scope is removed"))
            .covers([S05, R101])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(counted[key])
            .equals(expected, "one scope was killed, and the count is the slice's own");
    }
    lab.accounting("max of the slice once the scope is removed")
        .covers([S05, R101])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(counted["max"])
        .at_least(1, "the slice was full");
    if slice.has("memory.peak")? {
        lab.enforcement("the most that the slice ever had")
            .covers([S05])
            .file("memory.peak")
            .unit(Unit::Bytes)
            .observed(slice.number("memory.peak")?)
            .between(448 * MIB, 450 * MIB, "the limit, less than a huge page below it at most");
    }
    Ok(())
}

/// A process that is killed by the case is no OOM kill.
#[rstest]
fn kill_from_outside_is_no_oom_kill(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    group.set("memory.max", LIMIT)?;
    let mut process = group.sleeper()?;
    process.signal(Signal::SIGKILL)?;
    process.wait()?;
    for (key, count) in events(&group, "memory.events")? {
        lab.accounting(&format!("{key} after a kill by the case"))
            .covers([R101])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(count)
            .equals(0, "memory was never short");
    }
    Ok(())
}
