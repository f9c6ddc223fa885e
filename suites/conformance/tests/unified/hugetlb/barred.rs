//! A controller that the kernel was told at boot to keep from legacy hierarchies
//! (`cgroup_no_v1=`). The whole machine of this suite is booted so.

use cgauge_lab::prelude::*;
use cgauge_lab::time::wait_until;
use nix::errno::Errno;

const BARRED: &str = "hugetlb";
/// How long a controller may take to be free: its old state is destroyed when the
/// last reference goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A controller that is barred from legacy hierarchies is in none, and in the unified one.
#[rstest]
fn barred_controller_is_not_taken_by_a_legacy_hierarchy(lab: Lab) -> Outcome {
    lab.needs_controller(BARRED)?;
    let line = std::fs::read_to_string("/proc/cmdline")?;
    if !line.split_ascii_whitespace().any(|it| it == "cgroup_no_v1=hugetlb") {
        return Err(lab.skip("this machine was not booted with cgroup_no_v1=hugetlb"));
    }
    let hierarchy = lab.whole_hierarchy()?;
    // Nothing but the word at boot stands in its way.
    hierarchy.withdraw("hugetlb pids")?;
    for (controller, answer) in [(BARRED, "EINVAL"), ("pids", "ok")] {
        let mut mount = Mount::new("legacy", "cgroup", controller);
        wait_until(PATIENCE, || match &mount {
            Err(refusal) if refusal.errno == Errno::EBUSY => {
                mount = Mount::new("legacy", "cgroup", controller);
                false
            }
            _ => true,
        });
        lab.hierarchy(&format!("the answer to a legacy mount of {controller}"))
            .covers([S02])
            .answered(&mount)
            .equals(answer, "kernel-parameters.txt, cgroup_no_v1=: \"Disable cgroup controllers and named hierarchies in v1\", here hugetlb alone; an option that cannot be had is EINVAL");
    }
    let listed = hierarchy.root().get("cgroup.controllers")?;
    let has = listed.split_ascii_whitespace().any(|it| it == BARRED);
    lab.interface("whether the unified hierarchy has the barred controller")
        .covers([S02, R002])
        .file("cgroup.controllers")
        .observed(if has { "yes" } else { "no" })
        .equals("yes", "what is barred from legacy hierarchies is bound to the unified one");
    Ok(())
}
