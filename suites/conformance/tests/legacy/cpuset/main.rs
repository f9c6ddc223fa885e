//! The cpuset controller on legacy hierarchies (cgroup-v1/cpusets.rst), on eight
//! CPUs and two memory nodes.
//!
//! A legacy cpuset begins empty and takes nobody in; what it is given is what
//! holds, and what a CPU's end takes away does not come back.

mod flags;
mod hotplug;
mod memory;
mod rules;
mod sets;

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;

const CPUS: &str = "cpuset.cpus";
const MEMS: &str = "cpuset.mems";
const CPUS_EFFECTIVE: &str = "cpuset.effective_cpus";
const MEMS_EFFECTIVE: &str = "cpuset.effective_mems";

/// How long the kernel may take to follow a change.
const PATIENCE: Duration = Duration::from_secs(2);

/// The case's own cpuset, which has all CPUs and nodes. Skips the case on a
/// machine with other CPUs than 0 to 7.
fn root(lab: &Lab) -> Result<&Group, Stop> {
    let root = lab.legacy("cpuset")?;
    if std::fs::read_to_string("/sys/devices/system/cpu/online")?.trim() == "0-7" {
        return Ok(root);
    }
    Err(lab.skip("this machine has other CPUs than 0 to 7 (the suite asks for eight)"))
}

/// Makes a cpuset with these CPUs and with the memory nodes of its parent.
fn with_cpus(parent: &Group, name: &str, cpus: &str) -> Result<Group, Stop> {
    with(parent, name, cpus, &parent.line(MEMS)?)
}

/// Makes a cpuset with these CPUs and memory nodes.
fn with(parent: &Group, name: &str, cpus: &str, mems: &str) -> Result<Group, Stop> {
    let group = parent.make(name)?;
    group.set(CPUS, cpus)?;
    group.set(MEMS, mems)?;
    Ok(group)
}

/// The root of the whole hierarchy.
fn whole(root: &Group) -> Result<Dir, Stop> {
    let path = root.dir().path();
    Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))
}
