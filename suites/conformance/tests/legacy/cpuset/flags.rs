//! The flags of a set: what they begin with and take, and what
//! `sched_load_balance` does.

use cgauge_lab::cpus::Roamers;
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use nix::sched::{CpuSet, sched_setaffinity};

use crate::{root, whole, with_cpus};

const BALANCE: &str = "cpuset.sched_load_balance";
/// Many times as long as the scheduler waits between two looks at its CPUs.
const WATCH: Duration = Duration::from_millis(300);

/// Each flag begins as the document says, takes 0 and 1 and nothing that is no number; those of spreading are inherited.
#[rstest]
fn flags_have_their_defaults(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    let group = with_cpus(root, "group", "1-2")?;
    for (flag, default, inherited) in [
        ("cpuset.cpu_exclusive", "0", false),
        ("cpuset.mem_exclusive", "0", false),
        ("cpuset.mem_hardwall", "0", false),
        ("cpuset.memory_migrate", "0", false),
        ("cpuset.memory_spread_page", "0", true),
        ("cpuset.memory_spread_slab", "0", true),
        (BALANCE, "1", false),
    ] {
        lab.interface("the flag of a new set")
            .covers([R139])
            .file(flag)
            .observed(group.line(flag)?)
            .equals(default, "cpusets.rst, 1.3 to 1.9: all flags are off but sched_load_balance");
        // An exclusive one needs an exclusive parent: that has a case of its own.
        if flag.ends_with("exclusive") {
            continue;
        }
        let changed = if default == "0" { "1" } else { "0" };
        for (written, answer, shown) in
            [("on", "EINVAL", default), ("-1", "EINVAL", default), (changed, "ok", changed)]
        {
            lab.interface(&format!("the answer to {written}"))
                .covers([R139])
                .file(flag)
                .answered(&group.try_set(flag, written))
                .equals(answer, "a flag is a number, 0 or 1");
            lab.interface(&format!("the flag after {written}"))
                .covers([R139])
                .file(flag)
                .observed(group.line(flag)?)
                .equals(shown, "what was accepted holds, what was refused changes nothing");
        }
        lab.interface("the flag of a child of a set that has it changed")
            .covers([R139])
            .file(flag)
            .observed(group.make("child")?.line(flag)?)
            .equals(if inherited { changed } else { default }, "cpusets.rst, 1.6: new cpusets \"inherit the memory spread settings of their parent\", and nothing else");
    }
    for (written, answer) in [("-1", "ok"), ("0", "ok"), ("-2", "EINVAL"), ("99", "EINVAL")] {
        lab.interface(&format!("the answer to a level of {written}"))
            .covers([R139])
            .file("cpuset.sched_relax_domain_level")
            .answered(&group.try_set("cpuset.sched_relax_domain_level", written))
            .equals(
                answer,
                "cpusets.rst, 1.8: -1 for no request, and levels from 0 to those that there are",
            );
    }
    Ok(())
}

/// Where load balancing is off, in the set and in all that overlap it, busy processes stay on the CPU that they are on; where it is on they spread.
#[rstest]
fn processes_spread_where_load_is_balanced(lab: Lab) -> Outcome {
    let root = root(&lab)?;
    let (on, off) = (with_cpus(root, "on", "2-3")?, with_cpus(root, "off", "4-5")?);
    // Whoever has all CPUs has the load of all balanced.
    let home = root.dir().child("self").map_err(Stop::Refused)?;
    for dir in [&whole(root)?, root.dir(), &home, off.dir()] {
        dir.write(BALANCE, "0").map_err(Stop::Refused)?;
    }
    let check = |what: &str, group: &Group, cpus: &'static [usize; 2], expected: &str| -> Outcome {
        // Both begin on the first CPU, and then may use both.
        let roamers = Roamers::start(group, 2, &cpus[..1])?;
        pause(Duration::from_millis(20));
        let mut both = CpuSet::new();
        for cpu in cpus {
            both.set(*cpu).map_err(Stop::broken("name a CPU"))?;
        }
        for process in &roamers.processes {
            sched_setaffinity(process.pid(), &both).map_err(Stop::broken("free a process"))?;
        }
        lab.enforcement(&format!("CPUs that two busy processes ran on {what}"))
            .covers([R146])
            .file(BALANCE)
            .observed(roamers.watch(WATCH))
            .equals(expected, "cpusets.rst, 1.7: with the flag in a set its CPUs are in one scheduling domain, within which tasks are moved to where there is less to do; without it in any that overlaps, \"the scheduler will avoid load balancing across the CPUs in that cpuset\"");
        Ok(())
    };
    check("where load is balanced", &on, &[2, 3], "2-3")?;
    check("where it is not", &off, &[4, 5], "4")?;
    off.set(BALANCE, 1)?;
    check("where it is balanced again", &off, &[4, 5], "4-5")?;
    off.set(BALANCE, 0)?;
    whole(root)?.write(BALANCE, "1").map_err(Stop::Refused)?;
    check("where the root's flag is on", &off, &[4, 5], "4-5")
}
