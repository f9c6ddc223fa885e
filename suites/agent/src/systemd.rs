//! A machine that systemd brought up, with the agent as one of its services: which
//! hierarchies it mounted, and the part of each that it gave to the agent.
//!
//! It knows no unit but its own, and speaks to systemd through files alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgauge_lab::kernel::Dir;
use nix::sys::prctl::set_child_subreaper;

use crate::boot::{self, Error};
use crate::trees::{Kind, Tree};

/// The child of the service's group that the agent itself moves to: a group that
/// gives controllers to its children has no processes of its own.
const AGENT: &str = "agent";
/// How long systemd has to be idle before the guest counts as ready, and the most
/// that is waited for it. On the virtual clock waiting costs nothing.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_AT_MOST: u32 = 60;

/// Makes the agent at home below systemd.
pub fn join() -> Result<Vec<Tree>, Error> {
    boot::load_modules()?;
    // What a case leaves behind comes to the agent, as if it were PID 1.
    let _ = set_child_subreaper(true);
    let read = |path| fs::read_to_string(path).map_err(|source| boot::file(path, source));
    let trees = trees(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    for tree in trees.iter().filter(|it| *it.kind() == Kind::Unified) {
        Dir::open(tree.base())?.make(AGENT)?.write("cgroup.procs", "0")?;
    }
    wait_until_quiet()?;
    Ok(trees)
}

/// The hierarchies that are mounted, the unified one first, with the agent's part.
/// `/proc/self/cgroup` names a hierarchy by its controllers, `mountinfo` says where
/// it is.
fn trees(mounts: &str, groups: &str) -> Vec<Tree> {
    let mut trees = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let kind = match controllers {
            "" => Kind::Unified,
            // A hierarchy without controllers, by which systemd knows its units.
            named if named.starts_with("name=") => continue,
            _ => Kind::named(controllers),
        };
        let Some(root) = mounts.lines().find_map(|it| mounted(it, &kind)) else { continue };
        let base = root.join(group.trim_start_matches('/'));
        trees.push(Tree::part(kind, root, base));
    }
    trees.sort_by_key(|it| *it.kind() != Kind::Unified);
    trees
}

/// Where a line of `mountinfo` mounts this hierarchy, if it does.
fn mounted(line: &str, kind: &Kind) -> Option<PathBuf> {
    let (place, what) = line.split_once(" - ")?;
    let mut what = what.split(' ');
    let (filesystem, options) = (what.next()?, what.nth(1)?);
    let fits = match kind {
        Kind::Unified => filesystem == "cgroup2",
        Kind::Legacy(controllers) => {
            let options: Vec<_> = options.split(',').collect();
            filesystem == "cgroup" && controllers.iter().all(|it| options.contains(&it.as_str()))
        }
    };
    fits.then(|| Path::new(place.split(' ').nth(4).unwrap_or_default()).to_path_buf())
}

/// Waits until PID 1 sleeps: what it still does after boot would go on in every
/// guest that is restored, beside the case.
fn wait_until_quiet() -> Result<(), Error> {
    let path = "/proc/1/status";
    let switches = || {
        let status = fs::read_to_string(path).map_err(|source| boot::file(path, source))?;
        let of_switches = |it: &&str| it.contains("ctxt_switches");
        Ok::<_, Error>(status.lines().filter(of_switches).collect::<String>())
    };
    let mut before = switches()?;
    for _ in 0..QUIET_AT_MOST {
        std::thread::sleep(QUIET);
        let now = switches()?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    Err(Error::Restless)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const HYBRID: &str = "\
        31 24 0:26 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755\n\
        32 31 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
        33 31 0:28 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd\n\
        37 31 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct\n\
        38 31 0:33 / /sys/fs/cgroup/pids rw shared:16 - cgroup cgroup rw,pids\n";

    fn shown(mounts: &str, groups: &str) -> String {
        let one = |it: &Tree| format!("{:?} {}", it.kind(), it.base().display());
        trees(mounts, groups).iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_agents_part_of_each_hierarchy_is_found() {
        let own = "/cgauge.slice/cgauge-agent.service";
        insta::assert_snapshot!(shown(UNIFIED, &format!("0::{own}\n")), @"Unified /sys/fs/cgroup/cgauge.slice/cgauge-agent.service");
        let groups = format!(
            "5:pids:{own}\n4:cpu,cpuacct:{own}\n3:freezer:/\n1:name=systemd:{own}\n0::{own}\n"
        );
        insta::assert_snapshot!(shown(HYBRID, &groups), @r#"
        Unified /sys/fs/cgroup/unified/cgauge.slice/cgauge-agent.service
        Legacy(["pids"]) /sys/fs/cgroup/pids/cgauge.slice/cgauge-agent.service
        Legacy(["cpu", "cpuacct"]) /sys/fs/cgroup/cpu,cpuacct/cgauge.slice/cgauge-agent.service
        "#);
    }
}
