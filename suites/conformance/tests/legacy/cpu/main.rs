//! The cpu controller on legacy hierarchies.

use cgauge_lab::prelude::*;

/// Shows what is there.
#[rstest]
fn shows_what_is_there(lab: Lab) -> Outcome {
    let group = lab.legacy("cpu")?.make("group")?;
    let root = cgauge_lab::kernel::Dir::open("/sys/fs/cgroup/cpu");
    if let Ok(root) = root {
        println!("ROOT {:?}", root.files());
    }
    for file in group.dir().files().unwrap_or_default() {
        println!("{file}: {:?}", group.try_get(&file));
    }
    println!("{}", std::fs::read_to_string("/proc/cgroups")?);
    println!("{:?}", std::fs::read_dir("/sys/fs/cgroup")?.map(|it| it.map(|it| it.path())).collect::<Vec<_>>());
    for f in ["sched_rt_runtime_us", "sched_rt_period_us","sched_cfs_bandwidth_slice_us"] {
    println!("{:?}", std::fs::read_to_string(format!("/proc/sys/kernel/{f}")));
    }
    println!("{:?}", lab.legacy("cpuacct").and_then(|it| it.get("cpuacct.stat")));
    Ok(())
}
