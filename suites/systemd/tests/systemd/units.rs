//! Slices, scopes and services: where their groups are, who is in them, and where
//! they may come from.

use std::fs;
use std::path::Path;

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use cgauge_systemd::{Refused, Systemd, Variant, systemd};
use nix::unistd::Pid;

const SLEEP: [&str; 2] = ["/usr/bin/sleep", "infinity"];

/// The group that the kernel says a process is in, on the unified hierarchy.
fn group_of(pid: Pid) -> Result<String, Stop> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("0::"));
    line.map(str::to_owned).ok_or_else(|| Stop::Broken(format!("{text:?} names no group")))
}

/// What systemd answered: `ok`, or the last part of the error's name.
fn answer(result: &Result<(), Refused>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(it) => it.name.rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

/// A slice's name is its path: `a-b-c.slice` lies in `a-b.slice` in `a.slice`.
#[rstest]
#[case("a.slice", "/a.slice")]
#[case("a-b.slice", "/a.slice/a-b.slice")]
#[case("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")]
fn name_of_a_slice_is_its_path(
    lab: Lab,
    systemd: Systemd,
    #[case] name: &str,
    #[case] path: &str,
) -> Outcome {
    let slice = systemd.slice(&lab, name, &[])?;
    lab.hierarchy("the path that systemd tells of the slice")
        .covers([S07])
        .observed(slice.path())
        .equals(path, "systemd.slice(5): the name is \"a dash-separated series of names, which describes the path to the slice from the root slice\"");
    let inside = slice.group().sleeper()?;
    lab.hierarchy("the path that the kernel tells of a process born there")
        .covers([S07])
        .file("cgroup.procs")
        .observed(group_of(inside.pid())?)
        .equals(path, "the unit's group is the one that systemd names");
    Ok(())
}

/// A scope takes in processes that were made elsewhere, and systemd and the kernel agree on who is there.
#[rstest]
fn scope_takes_in_processes_made_elsewhere(lab: Lab, systemd: Systemd) -> Outcome {
    let elsewhere = lab.group("elsewhere")?;
    let processes = [elsewhere.sleeper()?, elsewhere.sleeper()?, elsewhere.sleeper()?];
    let mut pids: Vec<_> = processes.iter().map(|it| it.pid()).collect();
    let slice = systemd.slice(&lab, "taken.slice", &[])?;
    // To attach more is for units that are delegated.
    let within = [("Slice", Variant::from(slice.name())), ("Delegate", Variant::from(true))];
    let scope = systemd.scope(&lab, "in.scope", &pids[..2], &within)?;
    for pid in &pids[..2] {
        lab.hierarchy("the group of a process that the scope was made of")
            .covers([S07])
            .file("cgroup.procs")
            .observed(group_of(*pid)?)
            .equals("/taken.slice/in.scope", "systemd.scope(5): \"scope units manage externally created processes\"; the scope's path is its slice's and its name");
    }
    lab.hierarchy("the group of a process that the scope was not made of")
        .covers([S07])
        .file("cgroup.procs")
        .observed(group_of(pids[2])?)
        .equals(
            format!("{}/elsewhere", lab.root().dir().path().display())
                .replace("/sys/fs/cgroup", ""),
            "nobody asked for it to be moved",
        );
    scope.attach(&pids[2..])?;
    pids.sort_unstable();
    let expected: Vec<i32> = pids.iter().map(|it| it.as_raw()).collect();
    lab.hierarchy("the processes of the scope after the third was attached")
        .covers([S07])
        .file("cgroup.procs")
        .observed(format!("{:?}", scope.group().ids("cgroup.procs")?))
        .equals(format!("{expected:?}"), "org.freedesktop.systemd1(5), AttachProcessesToUnit");
    Ok(())
}

/// A service's process is born in the service's group, below the slice asked for or else system.slice.
#[rstest]
#[case::asked_for(Some("mine.slice"), "/mine.slice/sleeps.service")]
#[case::by_default(None, "/system.slice/sleeps.service")]
fn service_runs_in_its_group(
    lab: Lab,
    systemd: Systemd,
    #[case] slice: Option<&str>,
    #[case] path: &str,
) -> Outcome {
    let properties: Vec<_> = slice.map(|it| ("Slice", Variant::from(it))).into_iter().collect();
    let service = systemd.service(&lab, "sleeps.service", &SLEEP, &properties)?;
    let main: u32 = service.property("MainPID")?;
    lab.hierarchy("the group of the service's process")
        .covers([S07])
        .file("cgroup.procs")
        .observed(group_of(Pid::from_raw(main.cast_signed()))?)
        .equals(path, "systemd.slice(5): services are in system.slice unless Slice= says otherwise; systemd.resource-control(5), Slice=");
    lab.hierarchy("the processes of the service")
        .covers([S07])
        .file("cgroup.procs")
        .observed(format!("{:?}", service.group().ids("cgroup.procs")?))
        .equals(format!("[{main}]"), "the one that was asked for");
    Ok(())
}

/// When a unit is stopped its processes are gone, and its group too.
#[rstest]
fn stopped_unit_leaves_no_group(lab: Lab, systemd: Systemd) -> Outcome {
    let slice = systemd.slice(&lab, "ends.slice", &[])?;
    let within = [("Slice", Variant::from(slice.name()))];
    let service = systemd.service(&lab, "ends.service", &SLEEP, &within)?;
    let main: u32 = service.property("MainPID")?;
    let place = service.group().dir().path().to_path_buf();
    service.stop()?;
    lab.hierarchy("the group of the stopped service")
        .covers([S07])
        .file("cgroup.procs")
        .observed(if place.exists() { "there" } else { "gone" })
        .equals("gone", "nobody is in it, and systemd made it");
    // systemd may hear that the group is empty before it reaps.
    let gone = wait_until(Duration::from_secs(1), || !Path::new(&format!("/proc/{main}")).exists());
    lab.hierarchy("whether the process of the stopped service is gone")
        .covers([S07])
        .happened(gone)
        .equals("yes", "systemd.kill(5): a unit that is stopped has its processes killed");
    lab.hierarchy("the children of the slice after it")
        .covers([S07])
        .file("cgroup.procs")
        .observed(slice.group().dir().children().map_err(Stop::Refused)?.join(" "))
        .equals("", "the service was the only one");
    Ok(())
}

/// Slices can come from unit files, with their limits; scopes cannot, and cannot be empty.
#[rstest]
fn slices_come_from_unit_files_and_scopes_do_not(lab: Lab, systemd: Systemd) -> Outcome {
    let files = systemd.unit_files(&[
        ("filed.slice", "[Slice]\nTasksMax=7\nMemoryMax=8M\n"),
        ("filed.scope", "[Scope]\nTasksMax=7\n"),
    ])?;
    let slice = systemd.from_file(&lab, "filed.slice")?;
    for (file, expected) in [("pids.max", "7"), ("memory.max", "8388608")] {
        lab.interface(&format!("{file} of a slice from a unit file"))
            .covers([S07])
            .file(file)
            .observed(slice.group().line(file)?)
            .equals(expected, "the unit file's [Slice] section says so");
    }
    let refused = systemd.try_start_file("filed.scope");
    lab.interface("the answer to the start of a scope from a unit file")
        .covers([S07])
        .beyond_lies("systemd answers, not a file of a group")
        .observed(answer(&refused))
        .equals("NoSuchUnit", "systemd.scope(5): \"Scope units are not configured via unit configuration files, but are only created programmatically using the bus interfaces of systemd\"");
    let empty = systemd.try_start("empty.scope", &[]);
    lab.interface("whether a scope of nobody is made")
        .covers([S07])
        .beyond_lies("systemd answers, not a file of a group")
        .observed(if empty.is_ok() { "made" } else { "refused" })
        .equals("refused", "systemd.scope(5): a scope lives by \"the existence of at least one process in the scope\"");
    drop((slice, files));
    Ok(())
}
