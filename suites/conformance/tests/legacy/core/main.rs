//! What legacy hierarchies have whatever controller is in them: how they are
//! mounted and named, who is in which group, and the release agent
//! (cgroup-v1/cgroups.rst).

mod agent;
mod hierarchies;
mod privilege;
mod release;
mod tasks;

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;

/// The controller whose hierarchy the cases use that need any one: every kernel
/// has it, and it does nothing by itself.
const ANY: &str = "freezer";

/// The root of the hierarchy that a case's group is in.
fn whole(group: &Group) -> Result<Dir, Stop> {
    let path = group.dir().path();
    Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))
}

/// `ok`, or the errno's name.
fn text<T>(answer: Result<T, nix::errno::Errno>) -> String {
    answer.map_or_else(|it| format!("{it:?}"), |_| "ok".to_owned())
}
