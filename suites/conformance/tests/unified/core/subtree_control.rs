//! Which controllers a group gives its children, and what that forbids
//! (cgroup-v2.rst, "Controlling Controllers").

use cgauge_lab::prelude::*;

/// Only a controller that `cgroup.controllers` lists can be enabled.
#[rstest]
fn only_available_controllers_can_be_enabled(
    lab: Lab,
    #[values("cpu", "cpuset", "io", "memory", "pids")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let parent = lab.group("parent")?;
    let child = parent.make("child")?;
    lab.interface("controllers that a child of a group that enables none has available")
        .covers([R032])
        .file("cgroup.controllers")
        .observed(child.line("cgroup.controllers")?)
        .equals("", NONE_BY_DEFAULT);
    lab.interface("the answer to enabling what is not available")
        .covers([R032])
        .file("cgroup.subtree_control")
        .answered(&child.try_set("cgroup.subtree_control", format!("+{controller}")))
        .equals("ENOENT", ONLY_LISTED);
    lab.interface("the answer to disabling what is not available")
        .covers([R032])
        .file("cgroup.subtree_control")
        .answered(&child.try_set("cgroup.subtree_control", format!("-{controller}")))
        .equals("ok", "it is disabled as asked");

    parent.enable(controller)?;
    lab.interface("controllers that the child has available once its parent enables one")
        .covers([R032, R035])
        .file("cgroup.controllers")
        .observed(child.line("cgroup.controllers")?)
        .equals(controller, "the parent's cgroup.subtree_control is what the child has to give");
    lab.interface("the answer to enabling it in the child now")
        .covers([R032])
        .file("cgroup.subtree_control")
        .answered(&child.try_set("cgroup.subtree_control", format!("+{controller}")))
        .equals("ok", ONLY_LISTED);
    lab.interface("controllers that the child gives its children")
        .covers([R032])
        .file("cgroup.subtree_control")
        .observed(child.line("cgroup.subtree_control")?)
        .equals(controller, "it was just enabled");
    Ok(())
}

/// What is no controller's name with a sign is refused.
#[rstest]
fn what_is_no_controller_is_refused(
    lab: Lab,
    #[values("+none", "-none", "pids", "+", "+pids,+memory", "+PIDS")] text: &str,
) -> Outcome {
    let group = lab.group("group")?;
    lab.interface("the answer to what is no controller with a sign")
        .covers([R032])
        .file("cgroup.subtree_control")
        .answered(&group.try_set("cgroup.subtree_control", text))
        .equals(
            "EINVAL",
            "cgroup_subtree_control_write(): names with + or - and spaces between, nothing else",
        );
    lab.interface("controllers of the group after that")
        .covers([R032])
        .file("cgroup.subtree_control")
        .observed(group.line("cgroup.subtree_control")?)
        .equals("", NONE_BY_DEFAULT);
    Ok(())
}

/// Several operations in one write all succeed or all fail.
#[rstest]
#[case::unknown_last("+memory -pids +none", "EINVAL", "pids")]
#[case::unknown_first("+none +memory -pids", "EINVAL", "pids")]
#[case::in_use_last("+memory -pids", "EBUSY", "pids")]
#[case::in_use_first("-pids +memory", "EBUSY", "pids")]
#[case::all_possible("+memory +cpu", "ok", "cpu memory pids")]
fn operations_of_one_write_stand_or_fall_together(
    lab: Lab,
    #[case] text: &str,
    #[case] answer: &str,
    #[case] after: &str,
) -> Outcome {
    let group = lab.group("group")?;
    group.enable("pids")?;
    let user = group.make("user")?;
    user.enable("pids")?;
    lab.interface("the answer to several operations, where a child uses pids")
        .covers([R033])
        .file("cgroup.subtree_control")
        .answered(&group.try_set("cgroup.subtree_control", text))
        .equals(answer, ALL_OR_NONE);
    lab.interface("controllers enabled after that")
        .covers([R033])
        .file("cgroup.subtree_control")
        .observed(sorted(&group.line("cgroup.subtree_control")?))
        .equals(after, ALL_OR_NONE);
    Ok(())
}

/// Where one of several controllers is not available, none is enabled.
#[rstest]
fn one_unavailable_controller_spoils_the_write(
    lab: Lab,
    #[values("+pids +memory", "+memory +pids")] text: &str,
) -> Outcome {
    let parent = lab.group("parent")?;
    parent.enable("pids")?;
    let child = parent.make("child")?;
    lab.interface("the answer where pids is available and memory is not")
        .covers([R032, R033])
        .file("cgroup.subtree_control")
        .answered(&child.try_set("cgroup.subtree_control", text))
        .equals("ENOENT", ONLY_LISTED);
    lab.interface("controllers enabled after that")
        .covers([R033])
        .file("cgroup.subtree_control")
        .observed(child.line("cgroup.subtree_control")?)
        .equals("", ALL_OR_NONE);
    Ok(())
}

/// Of several operations on one controller in one write the last is effective.
#[rstest]
#[case::off_in_the_end("+pids -pids", "", "")]
#[case::on_in_the_end("-pids +pids", "", "pids")]
#[case::on_after_all("+pids -pids +pids", "", "pids")]
#[case::enabled_stays_on("-pids +pids", "+pids", "pids")]
#[case::enabled_goes_off("+pids -pids", "+pids", "")]
#[case::others_between("+pids +memory -pids", "", "memory")]
fn last_operation_on_a_controller_wins(
    lab: Lab,
    #[case] text: &str,
    #[case] before: &str,
    #[case] after: &str,
) -> Outcome {
    let group = lab.group("group")?;
    group.set("cgroup.subtree_control", format!("{before} "))?;
    lab.interface("the answer to repeated operations on one controller")
        .covers([R034])
        .file("cgroup.subtree_control")
        .answered(&group.try_set("cgroup.subtree_control", text))
        .equals("ok", LAST_WINS);
    lab.interface("controllers enabled after that")
        .covers([R034])
        .file("cgroup.subtree_control")
        .observed(group.line("cgroup.subtree_control")?)
        .equals(after, LAST_WINS);
    Ok(())
}

/// Enabling a controller creates its interface files in the children, and disabling removes them.
#[rstest]
fn interface_files_come_and_go_with_the_controller(
    lab: Lab,
    #[values("cpu", "cpuset", "io", "memory", "pids")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let parent = lab.group("parent")?;
    let older = parent.make("older")?;
    let without = files(&older)?;
    let own_files = files(&parent)?;

    parent.enable(controller)?;
    let with = files(&older)?;
    let new: Vec<_> = with.iter().filter(|it| !without.contains(it)).collect();
    lab.interface("files that a child gained")
        .covers([R035])
        .unit(Unit::Count)
        .observed(new.len())
        .at_least(1, CREATES);
    let strange = new.iter().filter(|it| !it.starts_with(&format!("{controller}."))).count();
    lab.interface("files among them that are not the controller's")
        .covers([R035])
        .unit(Unit::Count)
        .observed(strange)
        .equals(0, "cgroup-v2.rst, Enabling and Disabling: a controller's files are prefixed with its name");
    lab.interface("files that the child lost")
        .covers([R035])
        .unit(Unit::Count)
        .observed(without.iter().filter(|it| !with.contains(it)).count())
        .equals(0, "enabling takes nothing away");
    let newer = parent.make("newer")?;
    lab.interface("a child made now has the same files")
        .covers([R035])
        .observed(files(&newer)?.join(" "))
        .equals(with.join(" "), CREATES);
    lab.interface("files of the group that enabled it")
        .covers([R035])
        .observed(files(&parent)?.join(" "))
        .equals(own_files.join(" "), "the controller is enabled for the children");

    parent.set("cgroup.subtree_control", format!("-{controller}"))?;
    for (child, what) in
        [(&older, "files of the older child"), (&newer, "files of the newer child")]
    {
        lab.interface(&format!("{what} once the controller is disabled"))
            .covers([R035])
            .observed(files(child)?.join(" "))
            .equals(without.join(" "), "cgroup-v2.rst, Enabling and Disabling: disabling a controller removes its files from the children");
    }
    Ok(())
}

/// A controller cannot be disabled while a child has it enabled.
#[rstest]
fn controller_in_use_by_a_child_cannot_be_disabled(
    lab: Lab,
    #[values("cpu", "cpuset", "io", "memory", "pids")] controller: &str,
) -> Outcome {
    lab.needs_controller(controller)?;
    let (on, off) = (format!("+{controller}"), format!("-{controller}"));
    let parent = lab.group("parent")?;
    parent.set("cgroup.subtree_control", &on)?;
    let child = parent.make("child")?;
    child.set("cgroup.subtree_control", &on)?;

    lab.interface("the answer to disabling what a child has enabled")
        .covers([R036])
        .file("cgroup.subtree_control")
        .answered(&parent.try_set("cgroup.subtree_control", &off))
        .equals("EBUSY", TOP_DOWN);
    lab.interface("controllers of the parent after that")
        .covers([R036])
        .file("cgroup.subtree_control")
        .observed(parent.line("cgroup.subtree_control")?)
        .equals(controller, "a refused write has no effect");
    child.set("cgroup.subtree_control", &off)?;
    lab.interface("the answer once the child has it disabled")
        .covers([R036])
        .file("cgroup.subtree_control")
        .answered(&parent.try_set("cgroup.subtree_control", &off))
        .equals("ok", TOP_DOWN);

    parent.set("cgroup.subtree_control", &on)?;
    child.set("cgroup.subtree_control", &on)?;
    child.try_remove().map_err(|it| Stop::Broken(it.to_string()))?;
    lab.interface("the answer once the child is removed")
        .covers([R036])
        .file("cgroup.subtree_control")
        .answered(&parent.try_set("cgroup.subtree_control", &off))
        .equals("ok", TOP_DOWN);
    Ok(())
}

/// A group that gives a domain controller to its children takes no process; threaded controllers do no harm.
#[rstest]
#[case::domain("memory", "EBUSY")]
#[case::domain_io("io", "EBUSY")]
#[case::domain_and_threaded("memory pids", "EBUSY")]
#[case::threaded("pids", "ok")]
#[case::threaded_cpu("cpu cpuset", "ok")]
fn no_process_enters_a_group_that_gives_domain_controllers(
    lab: Lab,
    #[case] controllers: &str,
    #[case] answer: &str,
) -> Outcome {
    for controller in controllers.split(' ') {
        lab.needs_controller(controller)?;
    }
    let outside = lab.group("outside")?;
    let group = lab.group("group")?;
    let child = group.make("child")?;
    group.enable(controllers)?;
    let process = outside.sleeper()?;

    lab.hierarchy("the answer to moving a process into the group")
        .covers([R037])
        .file("cgroup.procs")
        .answered(&group.try_set("cgroup.procs", process.pid()))
        .equals(answer, NO_INTERNAL);
    outside.admit(process.pid())?;
    lab.hierarchy("the answer to moving it into the group's child")
        .covers([R037])
        .file("cgroup.procs")
        .answered(&child.try_set("cgroup.procs", process.pid()))
        .equals("ok", "the child gives nothing to children of its own");
    outside.admit(process.pid())?;

    let off: Vec<_> = controllers.split(' ').map(|it| format!("-{it}")).collect();
    group.set("cgroup.subtree_control", off.join(" "))?;
    lab.hierarchy("the answer to moving it into the group once it gives nothing")
        .covers([R037])
        .file("cgroup.procs")
        .answered(&group.try_set("cgroup.procs", process.pid()))
        .equals("ok", "cgroup-v2.rst, No Internal Process Constraint: a group without enabled controllers may have processes");
    Ok(())
}

/// A domain controller cannot be enabled in a group that has processes of its own.
#[rstest]
#[case::domain("memory", "EBUSY")]
#[case::domain_io("io", "EBUSY")]
#[case::domain_and_threaded("pids memory", "EBUSY")]
#[case::threaded("pids", "ok")]
#[case::threaded_cpu("cpu cpuset", "ok")]
fn no_domain_controller_in_a_group_with_processes(
    lab: Lab,
    #[case] controllers: &str,
    #[case] answer: &str,
) -> Outcome {
    for controller in controllers.split(' ') {
        lab.needs_controller(controller)?;
    }
    let on: Vec<_> = controllers.split(' ').map(|it| format!("+{it}")).collect();
    let group = lab.group("group")?;
    let child = group.make("child")?;
    let process = group.sleeper()?;

    lab.hierarchy("the answer to enabling it with a process in the group")
        .covers([R038])
        .file("cgroup.subtree_control")
        .answered(&group.try_set("cgroup.subtree_control", on.join(" ")))
        .equals(answer, NO_INTERNAL);
    let refused = answer != "ok";
    lab.hierarchy("controllers of the group after that")
        .covers([R038])
        .file("cgroup.subtree_control")
        .observed(sorted(&group.line("cgroup.subtree_control")?))
        .equals(if refused { String::new() } else { sorted(controllers) }, ALL_OR_NONE);
    if refused {
        child.admit(process.pid())?;
        lab.hierarchy("the answer once the process is in the group's child")
            .covers([R038])
            .file("cgroup.subtree_control")
            .answered(&group.try_set("cgroup.subtree_control", on.join(" ")))
            .equals("ok", "cgroup-v2.rst, No Internal Process Constraint: processes go to leaves before controllers are enabled");
    }
    Ok(())
}

/// The root of the hierarchy may have processes beside any controller.
#[rstest]
fn root_has_processes_and_controllers(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let given = hierarchy.root().line("cgroup.subtree_control")?;
    lab.hierarchy("the root gives the memory controller")
        .covers([R037, R038])
        .file("cgroup.subtree_control")
        .observed(if given.split(' ').any(|it| it == "memory") { "yes" } else { "no" })
        .equals("yes", "the agent enabled every controller there before the case began");
    let group = lab.group("group")?;
    let process = group.sleeper()?;
    lab.hierarchy("the answer to moving a process into the root")
        .covers([R037])
        .file("cgroup.procs")
        .answered(&hierarchy.root().try_set("cgroup.procs", process.pid()))
        .equals("ok", "cgroup-v2.rst, No Internal Process Constraint: \"The root cgroup is exempt from this restriction\"");
    hierarchy.withdraw("memory")?;
    lab.hierarchy("the answer to enabling the memory controller in the populated root")
        .covers([R038])
        .file("cgroup.subtree_control")
        .answered(&hierarchy.root().try_set("cgroup.subtree_control", "+memory"))
        .equals("ok", "cgroup-v2.rst, No Internal Process Constraint: \"The root cgroup is exempt from this restriction\"");
    group.admit(process.pid())?;
    Ok(())
}

/// `+pids` in the root makes files in the root's children only; theirs get them from their own parent.
#[rstest]
fn each_level_enables_for_the_next_one_only(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let root = hierarchy.root();
    hierarchy.withdraw("pids")?;
    let child = lab.root();
    let grandchild = lab.group("grandchild")?;
    let groups = [root, child, &grandchild];
    lab.interface(
        "pids.max in the root, its child and its grandchild with pids disabled everywhere",
    )
    .covers([S04])
    .file("pids.max")
    .observed(have("pids.max", groups)?)
    .equals("no, no, no", "nobody enabled the controller");
    root.set("cgroup.subtree_control", "+pids")?;
    lab.interface("pids.max in the three with +pids in the root")
        .covers([S04, R035])
        .file("pids.max")
        .observed(have("pids.max", groups)?)
        .equals("no, yes, no", IMMEDIATE);
    lab.interface("pids is available to the grandchild")
        .covers([S04])
        .file("cgroup.controllers")
        .observed(if grandchild.get("cgroup.controllers")?.contains("pids") { "yes" } else { "no" })
        .equals("no", IMMEDIATE);
    child.set("cgroup.subtree_control", "+pids")?;
    lab.interface("pids.max in the three with +pids in the child as well")
        .covers([S04, R035])
        .file("pids.max")
        .observed(have("pids.max", groups)?)
        .equals("no, yes, yes", IMMEDIATE);
    child.set("cgroup.subtree_control", "-pids")?;
    lab.interface("pids.max in the three with -pids in the child")
        .covers([S04, R035])
        .file("pids.max")
        .observed(have("pids.max", groups)?)
        .equals("no, yes, no", IMMEDIATE);
    Ok(())
}

const NONE_BY_DEFAULT: &str =
    "cgroup-v2.rst, Enabling and Disabling: \"No controller is enabled by default\"";
const ONLY_LISTED: &str = "cgroup-v2.rst, Enabling and Disabling: \"Only controllers which are listed in cgroup.controllers can be enabled\"";
const ALL_OR_NONE: &str = "cgroup-v2.rst, Enabling and Disabling: of several operations \"either they all succeed or fail\"";
const LAST_WINS: &str = "cgroup-v2.rst, Enabling and Disabling: of several operations on the same controller \"the last one is effective\"";
const CREATES: &str = "cgroup-v2.rst, Enabling and Disabling: enabling a controller \"creates the controller's interface files in the child cgroups\"";
const TOP_DOWN: &str = "cgroup-v2.rst, Top-down Constraint: \"a controller can't be disabled if one or more children have it enabled\"";
const NO_INTERNAL: &str = "cgroup-v2.rst, No Internal Process Constraint: only domain cgroups without processes of their own can enable domain controllers for their children; threaded ones compete by themselves";
const IMMEDIATE: &str =
    "cgroup-v2.rst, Enabling and Disabling: a controller is enabled for the \"immediate children\"";

/// The names in alphabetical order: the kernel's own order is nobody's promise.
fn sorted(controllers: &str) -> String {
    let mut names: Vec<_> = controllers.split_ascii_whitespace().collect();
    names.sort_unstable();
    names.join(" ")
}

fn files(group: &Group) -> Result<Vec<String>, Stop> {
    group.dir().files().map_err(|it| Stop::Broken(it.to_string()))
}

/// Which of the groups have the file.
fn have<const N: usize>(file: &str, groups: [&Group; N]) -> Result<String, Stop> {
    let answers: Result<Vec<_>, Stop> =
        groups.iter().map(|it| Ok(if it.has(file)? { "yes" } else { "no" })).collect();
    Ok(answers?.join(", "))
}
