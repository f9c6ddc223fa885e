//! `TasksMax=` where nobody sets it: the manager's default, and what drop-ins say.

use cgauge_lab::prelude::*;
use cgauge_systemd::{Systemd, Variant, systemd};

/// The number of tasks that percentages are of: the least of the machine's limits.
fn most_tasks() -> Result<u64, Stop> {
    let read = |path: &str| -> Result<u64, Stop> {
        let text = std::fs::read_to_string(path)?;
        text.trim().parse().map_err(|_| Stop::Broken(format!("{path} holds {text:?}")))
    };
    Ok(read("/proc/sys/kernel/threads-max")?.min(read("/proc/sys/kernel/pid_max")?))
}

/// A scope and a service get the default, a slice gets none, until a drop-in says otherwise.
#[rstest]
fn default_limit_of_tasks_comes_from_the_managers_drop_in(lab: Lab, systemd: Systemd) -> Outcome {
    let home = lab.group("home")?;
    let see = |what: &str, scope: &str, expected: u64, reason: &str| -> Outcome {
        let process = home.sleeper()?;
        let unit = systemd.scope(&lab, scope, &[process.pid()], &[])?;
        lab.interface(&format!("pids.max of a scope that sets nothing, {what}"))
            .covers([S08])
            .file("pids.max")
            .unit(Unit::Processes)
            .observed(unit.group().number("pids.max")?)
            .equals(expected, reason);
        Ok(())
    };
    let by_default = most_tasks()? * 15 / 100;
    see(
        "by default",
        "one.scope",
        by_default,
        "systemd-system.conf(5), DefaultTasksMax=: \"Defaults to 15%\" of the least of kernel.pid_max, kernel.threads-max and the root group's pids.max",
    )?;
    let dropped = systemd.files(&[(
        "/run/systemd/system.conf.d/50-tasks.conf",
        "[Manager]\nDefaultTasksMax=77\n",
    )])?;
    see(
        "with DefaultTasksMax=77",
        "two.scope",
        77,
        "the drop-in of system.conf says so, and it was read again",
    )?;
    let slice = systemd.slice(&lab, "free.slice", &[])?;
    lab.interface("pids.max of a slice that sets nothing")
        .covers([S08])
        .file("pids.max")
        .observed(slice.group().line("pids.max")?)
        .equals("max", "DefaultTasksMax= is for services, scopes, sockets, mounts and swaps (src/core, unit_defaults): a slice has none");
    drop(dropped);
    see("after the drop-in was removed", "three.scope", by_default, "the default is back")
}

/// A drop-in for a unit, and one for all units of a prefix, limit a slice that has no file of its own.
#[rstest]
#[case::of_the_unit("drop-in.slice.d", "drop-in.slice", 55)]
#[case::of_the_prefix("drop-.slice.d", "drop-in.slice", 66)]
fn drop_ins_limit_slices(
    lab: Lab,
    systemd: Systemd,
    #[case] folder: &str,
    #[case] name: &str,
    #[case] limit: u64,
) -> Outcome {
    let text = format!("[Slice]\nTasksMax={limit}\n");
    let place = format!("/run/systemd/system/{folder}/50-tasks.conf");
    let _dropped = systemd.files(&[(&place, &text)])?;
    let slice = systemd.from_file(&lab, name)?;
    lab.interface("pids.max of the slice")
        .covers([S08])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(slice.group().number("pids.max")?)
        .equals(limit, "systemd.unit(5): drop-ins of \"foo-bar.service.d/\" and of the prefix \"foo-.service.d/\" are read");
    Ok(())
}

/// A user's slice may have a third of all tasks: `user-.slice.d` says so for every user.
#[rstest]
fn slice_of_a_user_has_a_third_of_all_tasks(lab: Lab, systemd: Systemd) -> Outcome {
    // It lives as long as a unit in it does (StopWhenUnneeded=).
    let process = lab.group("home")?.sleeper()?;
    let session = [("Slice", Variant::from("user-4711.slice"))];
    let _session = systemd.scope(&lab, "session-1.scope", &[process.pid()], &session)?;
    let slice = systemd.found(&lab, "user-4711.slice")?;
    lab.interface("pids.max of user-4711.slice")
        .covers([S08])
        .file("pids.max")
        .unit(Unit::Processes)
        .observed(slice.number("pids.max")?)
        .equals(
            most_tasks()? * 33 / 100,
            "systemd's own user-.slice.d/10-defaults.conf has TasksMax=33%",
        );
    Ok(())
}
