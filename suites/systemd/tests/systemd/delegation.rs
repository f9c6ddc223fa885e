//! `Delegate=`: what a unit may do below its own group, and what it may not do to
//! the group itself and to those around it.

use std::os::unix::fs::MetadataExt;

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_systemd::{Started, Systemd, Variant, systemd};
use nix::unistd::{Gid, Uid, setresgid, setresuid};

const SLEEP: [&str; 2] = ["/usr/bin/sleep", "infinity"];
/// `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// A service of nobody's, delegated or not.
fn service<'a>(lab: &Lab, systemd: &'a Systemd, delegated: bool) -> Result<Started<'a>, Stop> {
    systemd.service(
        lab,
        "given.service",
        &SLEEP,
        &[
            ("User", Variant::from("nobody")),
            ("Delegate", Variant::from(delegated)),
            ("TasksMax", Variant::from(50_u64)),
        ],
    )
}

/// What each request is answered, asked by a process of nobody's in the service's group.
fn asked_by_the_delegatee(group: &Group, outside: &Dir) -> Result<Vec<(String, String)>, Stop> {
    let path = group.dir().path().to_path_buf();
    let outside = outside.path().to_path_buf();
    let process = group.spawn(|| {
        let nobody = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let become_nobody = setresgid(nobody.1, nobody.1, nobody.1)
            .and_then(|()| setresuid(nobody.0, nobody.0, nobody.0));
        if let Err(errno) = become_nobody {
            return vec![("become nobody".to_owned(), format!("{errno:?}"))];
        }
        let mut answers = Vec::new();
        let mut note = |what: &str, answer: Result<(), cgauge_lab::kernel::Refusal>| {
            let text = answer.map_or_else(|it| format!("{:?}", it.errno), |()| "ok".to_owned());
            answers.push((what.to_owned(), text));
        };
        let Ok(own) = Dir::open(&path) else { return answers };
        note("make a child", own.make("child").map(drop));
        note(
            "move into the child",
            own.child("child").and_then(|it| it.write("cgroup.procs", "0")),
        );
        note("raise the unit's limit", own.write("pids.max", "max"));
        note("raise the unit's memory", own.write("memory.max", "max"));
        note("leave the unit", Dir::open(&outside).and_then(|it| it.write("cgroup.procs", "0")));
        note(
            "make a sibling",
            Dir::open(path.parent().unwrap_or(&path)).and_then(|it| it.make("sibling").map(drop)),
        );
        answers
    })?;
    process.finish()
}

/// The delegatee may do as it likes below its group, and nothing to the group's limits or outside; without Delegate= it may do nothing.
#[rstest]
#[case::delegated(true, ["ok", "ok"])]
#[case::not_delegated(false, ["EACCES", "ENOENT"])]
fn delegatee_may_do_as_it_likes_below_its_group_alone(
    lab: Lab,
    systemd: Systemd,
    #[case] delegated: bool,
    #[case] own: [&str; 2],
) -> Outcome {
    let service = service(&lab, &systemd, delegated)?;
    let outside = lab.group("outside")?;
    let answers = asked_by_the_delegatee(service.group(), outside.dir())?;
    let reason_below = if delegated {
        "systemd.resource-control(5), Delegate=: \"Units where this is enabled may create and manage their own private subhierarchy of control groups below the control group of the unit itself\", and with User= it is \"made accessible to the relevant user\""
    } else {
        "systemd.resource-control(5), Delegate=: \"Defaults to false\", and the group belongs to root"
    };
    let reason_above = "systemd.resource-control(5), Delegate=: \"the control group tree at the level of the unit's control group and above … is owned and managed by the service manager of the host\"";
    let expected = [
        ("make a child", own[0], reason_below),
        ("move into the child", own[1], reason_below),
        ("raise the unit's limit", "EACCES", reason_above),
        ("raise the unit's memory", "EACCES", reason_above),
        ("leave the unit", "EACCES", reason_above),
        ("make a sibling", "EACCES", reason_above),
    ];
    for (what, answer, reason) in expected {
        let observed = answers.iter().find(|it| it.0 == what);
        lab.delegation(&format!("the answer to the wish to {what}"))
            .covers([S07])
            .file("cgroup.procs")
            .unit(Unit::Errno)
            .observed(observed.map_or("never asked", |it| it.1.as_str()))
            .equals(answer, reason);
    }
    Ok(())
}

/// Of a delegated group the delegatee owns the files by which it is divided, and root all others.
#[rstest]
fn delegated_files_are_those_that_divide(lab: Lab, systemd: Systemd) -> Outcome {
    let service = service(&lab, &systemd, true)?;
    let owner = |file: &str| -> Result<u64, Stop> {
        Ok(std::fs::metadata(service.group().dir().path().join(file))?.uid().into())
    };
    for (file, expected) in [
        (".", NOBODY),
        ("cgroup.procs", NOBODY),
        ("cgroup.subtree_control", NOBODY),
        ("cgroup.threads", NOBODY),
        ("pids.max", 0),
        ("memory.max", 0),
        ("cpu.max", 0),
        ("cgroup.type", 0),
    ] {
        lab.delegation(&format!("the owner of {file}"))
            .covers([S07])
            .file(file)
            .unit(Unit::Count)
            .beyond_lies("the owner of a file is no answer of the file's")
            .observed(owner(file)?)
            .equals(u64::from(expected), "cgroup-v2.rst, Delegation: write access to the directory and its cgroup.procs, cgroup.threads and cgroup.subtree_control; the limits of the group itself are its parent's to distribute");
    }
    Ok(())
}

/// A list of controllers delegates these; `yes` delegates all that systemd knows.
#[rstest]
fn delegated_controllers_are_those_asked_for(lab: Lab, systemd: Systemd) -> Outcome {
    let home = lab.group("home")?;
    let process = home.sleeper()?;
    // Below a slice of its own, for what one unit has its siblings have too.
    let _parent = systemd.slice(&lab, "few.slice", &[])?;
    let some = [
        ("Slice", Variant::from("few.slice")),
        ("DelegateControllers", Variant::from(vec!["pids"])),
        ("MemoryAccounting", Variant::from(false)),
        ("TasksMax", Variant::from(9_u64)),
    ];
    let scope = systemd.scope(&lab, "few.scope", &[process.pid()], &some)?;
    lab.delegation("the controllers of a unit to which pids was delegated")
        .covers([S07])
        .file("cgroup.controllers")
        .observed(scope.group().line("cgroup.controllers")?)
        .equals("pids", "systemd.resource-control(5), Delegate=: \"If set to a list of controllers, delegation is turned on, and the specified controllers are enabled for the unit\"");
    let process = home.sleeper()?;
    let all = [("Slice", Variant::from("few.slice")), ("Delegate", Variant::from(true))];
    let whole = systemd.scope(&lab, "whole.scope", &[process.pid()], &all)?;
    let offered = whole.group().line("cgroup.controllers")?;
    for controller in ["cpu", "io", "memory", "pids"] {
        let has = offered.split_ascii_whitespace().any(|it| it == controller);
        lab.delegation(&format!("whether {controller} came with Delegate=yes"))
            .covers([S07])
            .file("cgroup.controllers")
            .observed(if has { "yes" } else { "no" })
            .equals("yes", "systemd.resource-control(5), Delegate=: \"If true, delegation is turned on, and all supported controllers are enabled for the unit\"");
    }
    Ok(())
}

/// systemd leaves alone what a delegatee made, also when the unit is changed and the manager reads its files again.
#[rstest]
fn what_a_delegatee_made_is_left_alone(lab: Lab, systemd: Systemd) -> Outcome {
    let home = lab.group("home")?;
    let anchor = home.sleeper()?;
    let given = [("Delegate", Variant::from(true))];
    let scope = systemd.scope(&lab, "kept.scope", &[anchor.pid()], &given)?;
    let inner = scope.group().make("inner")?;
    inner.admit(anchor.pid())?;
    scope.group().enable("pids memory")?;
    let leaf = scope.group().make("leaf")?;
    leaf.set("pids.max", 3)?;
    leaf.set("memory.max", 8 << 20)?;
    scope.set(&[
        ("TasksMax", Variant::from(20_u64)),
        ("MemoryMax", Variant::from(64_u64 << 20)),
        ("CPUWeight", Variant::from(50_u64)),
    ])?;
    systemd.reload()?;
    for (file, expected) in
        [("pids.max", "3"), ("memory.max", "8388608"), ("cgroup.type", "domain")]
    {
        lab.delegation(&format!("{file} of the delegatee's own group"))
            .covers([S07])
            .file(file)
            .observed(leaf.line(file)?)
            .equals(expected, "systemd.resource-control(5), Delegate=: \"the service manager will refrain from manipulating control groups or moving processes below the unit's control group\"");
    }
    lab.delegation("the processes of the delegatee's inner group")
        .covers([S07])
        .file("cgroup.procs")
        .observed(format!("{:?}", inner.ids("cgroup.procs")?))
        .equals(format!("[{}]", anchor.pid()), "nobody but the delegatee moves them");
    lab.delegation("the unit's own limit")
        .covers([S07])
        .file("pids.max")
        .observed(scope.group().line("pids.max")?)
        .equals("20", "the unit's own group stays the manager's");
    Ok(())
}
