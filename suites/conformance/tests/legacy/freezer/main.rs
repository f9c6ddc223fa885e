//! The freezer controller on legacy hierarchies (cgroup-v1/freezer-subsystem.rst).

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::sys::signal::Signal;

/// How long a sleeping process may take to stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// A frozen group holds its processes, and thawed ones go on: a killed process ends only then.
#[rstest]
fn frozen_process_ends_when_it_is_thawed(lab: Lab) -> Outcome {
    let frozen = lab.legacy("freezer")?.make("frozen")?;
    let mut sleeper = frozen.sleeper()?;
    frozen.set("freezer.state", "FROZEN")?;
    // A process stops when it next returns to user space: until then it is FREEZING.
    let stopped =
        wait_until(PATIENCE, || frozen.try_get("freezer.state").is_ok_and(|it| it == "FROZEN\n"));
    lab.enforcement("the group is frozen in time")
        .covers([R179])
        .file("freezer.state")
        .happened(stopped)
        .equals("yes", "freezer-subsystem.rst: FREEZING turns into FROZEN once every task has stopped, and a sleeper does at once");
    lab.interface("the answer to a state that nobody may ask for")
        .covers([R179])
        .file("freezer.state")
        .answered(&frozen.try_set("freezer.state", "FREEZING"))
        .equals("EINVAL", "freezer-subsystem.rst: FREEZING cannot be written");
    sleeper.signal(Signal::SIGKILL)?;
    lab.enforcement("the process ended while it was frozen")
        .covers([R179])
        .file("freezer.state")
        .observed(if sleeper.ended_within(Duration::from_millis(200))? { "yes" } else { "no" })
        .equals(
            "no",
            "freezer-subsystem.rst: tasks in a frozen group are not scheduled, not even to die",
        );
    frozen.set("freezer.state", "THAWED")?;
    lab.enforcement("how the process ended once it was thawed")
        .covers([R179])
        .file("freezer.state")
        .observed(format!("{:?}", sleeper.wait()?))
        .equals("Signal(SIGKILL)", "the signal that waited for it");
    Ok(())
}

/// What is frozen above is frozen below: the child says so, and who froze it.
#[rstest]
fn freezing_reaches_the_children(lab: Lab) -> Outcome {
    let parent = lab.legacy("freezer")?.make("parent")?;
    let child = parent.make("child")?;
    let _sleeper = child.sleeper()?;
    let says = |group: &Group, file: &str| group.line(file);
    for (step, state, by_parent, by_itself) in
        [("FROZEN", "FROZEN", "1", "0"), ("THAWED", "THAWED", "0", "0")]
    {
        parent.set("freezer.state", step)?;
        wait_until(PATIENCE, || child.try_get("freezer.state").is_ok_and(|it| it.trim() == state));
        for (file, expected) in [
            ("freezer.state", state),
            ("freezer.parent_freezing", by_parent),
            ("freezer.self_freezing", by_itself),
        ] {
            lab.hierarchy(&format!("what the child shows when its parent is {step}"))
                .covers([R180])
                .file(file)
                .observed(says(&child, file)?)
                .equals(expected, "freezer-subsystem.rst: a group is frozen if it or an ancestor is, self_freezing shows its own wish and parent_freezing an ancestor's");
        }
        lab.hierarchy(&format!("what the parent wishes for itself when it is {step}"))
            .covers([R180])
            .file("freezer.self_freezing")
            .observed(says(&parent, "freezer.self_freezing")?)
            .equals(by_parent, "freezer-subsystem.rst, self_freezing: 0 if the group itself is THAWED, otherwise 1");
    }
    Ok(())
}
