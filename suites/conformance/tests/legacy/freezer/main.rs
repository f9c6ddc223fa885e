//! The freezer controller on legacy hierarchies (cgroup-v1/freezer-subsystem.rst).

use cgauge_lab::prelude::*;
use nix::sys::signal::Signal;

/// A frozen group holds its processes, and thawed ones go on: a killed process ends only then.
#[rstest]
fn frozen_process_ends_when_it_is_thawed(lab: Lab) -> Outcome {
    let frozen = lab.legacy("freezer")?.make("frozen")?;
    let mut sleeper = frozen.sleeper()?;
    frozen.set("freezer.state", "FROZEN")?;
    lab.interface("the state of a group that was frozen")
        .covers([R179])
        .file("freezer.state")
        .observed(frozen.line("freezer.state")?)
        .equals("FROZEN", "freezer-subsystem.rst: a frozen group without running tasks is FROZEN");
    sleeper.signal(Signal::SIGKILL)?;
    lab.enforcement("the process ended while it was frozen")
        .covers([R179])
        .file("freezer.state")
        .observed(if sleeper.ended_within(Duration::from_millis(200))? { "yes" } else { "no" })
        .equals("no", "freezer-subsystem.rst: tasks in a frozen group are not scheduled, not even to die");
    frozen.set("freezer.state", "THAWED")?;
    lab.enforcement("how the process ended once it was thawed")
        .covers([R179])
        .file("freezer.state")
        .observed(format!("{:?}", sleeper.wait()?))
        .equals("Signal(SIGKILL)", "the signal that waited for it");
    Ok(())
}
