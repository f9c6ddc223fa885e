//! The misc controller (cgroup-v2.rst, "Misc"): scalar resources that a
//! processor has few of.
//!
//! The only ones are identifiers for encrypted guests (SEV, SEV-ES, TDX), which
//! no emulated processor has. What needs none is checked everywhere; the rest
//! asks for a machine that has one.

use cgauge_lab::parse;
use cgauge_lab::prelude::*;

const LACKING: &str = "this machine offers no misc resource: they are SEV and SEV-ES ASIDs (CONFIG_KVM_AMD_SEV) and TDX HKIDs (CONFIG_KVM_INTEL_TDX or CONFIG_INTEL_TDX_HOST), and the processor has neither";

/// Why no lie turns what is empty on a machine without a resource; empty itself where there is one.
fn beyond_lies(known: &[String]) -> &'static str {
    if known.is_empty() {
        "no line is shown that a lie could change: the machine has no resource"
    } else {
        ""
    }
}

/// Each file of misc is where the document puts it, in the root or below it, and lists a resource only if the machine has it.
#[rstest]
fn files_list_what_the_machine_has(lab: Lab) -> Outcome {
    lab.needs_controller("misc")?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let capacity = whole.root().get("misc.capacity")?;
    let known = resources(&capacity)?;
    for file in ["misc.current", "misc.max", "misc.events"] {
        lab.interface("whether a group below the root has the file")
            .covers([R152])
            .file(file)
            .observed(group.has(file)?.to_string())
            .equals("true", "cgroup-v2.rst, Misc Interface Files: shown in the non-root cgroups");
    }
    for (file, there) in [("misc.max", "false"), ("misc.events", "false")] {
        lab.interface("whether the root has the file")
            .covers([R152])
            .file(file)
            .observed(whole.root().has(file)?.to_string())
            .equals(there, "cgroup-v2.rst, Misc Interface Files: shown in the non-root cgroups");
    }
    lab.interface("whether a group below the root tells the capacity")
        .covers([R152])
        .file("misc.capacity")
        .observed(group.has("misc.capacity")?.to_string())
        .equals("false", "cgroup-v2.rst, misc.capacity: \"shown only in the root cgroup\"");
    // misc.peak and misc.events.local are of 6.11 and come together.
    lab.interface("whether misc.peak and misc.events.local come together")
        .covers([R152])
        .file("misc.peak")
        .observed(group.has("misc.peak")?.to_string())
        .equals(
            group.has("misc.events.local")?.to_string(),
            "both came with 6.11; a kernel has both or neither",
        );
    for file in ["misc.current", "misc.max", "misc.peak"] {
        if group.has(file)? {
            let mut shown: Vec<_> = resources(&group.get(file)?)?;
            shown.sort();
            lab.interface("the resources that a group lists")
                .covers([R152])
                .file(file)
                .beyond_lies(beyond_lies(&known))
                .observed(shown.join(" "))
                .equals(known.join(" "), "kernel/cgroup/misc.c shows what has a capacity");
        }
    }
    for file in ["misc.events", "misc.events.local"] {
        if group.has(file)? {
            let mut shown: Vec<_> = resources(&group.get(file)?)?;
            shown.sort();
            let expected: Vec<_> = known.iter().map(|it| format!("{it}.max")).collect();
            lab.interface("the events that a group lists")
                .covers([R152])
                .file(file)
                .beyond_lies(beyond_lies(&known))
                .observed(shown.join(" "))
                .equals(expected.join(" "), "one event a resource that has a capacity");
        }
    }
    Ok(())
}

/// `misc.max` refuses a resource that the kernel does not know, and one that the machine does not have.
#[rstest]
fn limit_of_what_is_not_there_is_refused(lab: Lab) -> Outcome {
    lab.needs_controller("misc")?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let known = resources(&whole.root().get("misc.capacity")?)?;
    for written in ["nosuch 5", "nosuch max", "nosuch", "", "max", "5", "SEV 1", "sevs 1"] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R152])
            .file("misc.max")
            .answered(&group.try_set("misc.max", format!("{written}\n")))
            .equals("EINVAL", "kernel/cgroup/misc.c, misc_cg_max_write: the name is no resource");
    }
    // Names that kernels have had so far. One without capacity is as good as none.
    for name in ["sev", "sev_es", "tdx", "mshv"].iter().filter(|it| !known.iter().any(|k| k == *it))
    {
        for value in ["0", "1", "max"] {
            lab.interface(&format!(
                "the answer to {name} {value}, which the machine does not have"
            ))
            .covers([R152])
            .file("misc.max")
            .answered(&group.try_set("misc.max", format!("{name} {value}")))
            .equals(
                "EINVAL",
                "kernel/cgroup/misc.c, misc_cg_max_write: the resource has a capacity of 0",
            );
        }
    }
    lab.interface("the limits after what was refused")
        .covers([R152])
        .file("misc.max")
        .beyond_lies(beyond_lies(&known))
        .observed(group.get("misc.max")?)
        .equals(
            known.iter().map(|it| format!("{it} max\n")).collect::<String>(),
            "a refused write changes nothing",
        );
    Ok(())
}

/// What misc shows nobody can write, not even root.
#[rstest]
#[case::current("misc.current")]
#[case::peak("misc.peak")]
#[case::events("misc.events")]
#[case::local_events("misc.events.local")]
fn counters_are_read_only(lab: Lab, #[case] file: &str) -> Outcome {
    lab.needs_controller("misc")?;
    lab.needs_file(file, "misc.peak and misc.events.local since 6.11, the others since 5.13")?;
    let group = lab.group("group")?;
    lab.interface("the answer to a write")
        .covers([R152])
        .file(file)
        .answered(&group.try_set(file, "sev 1"))
        .equals("EINVAL", "cgroup-v2.rst: a read-only file; cgroup_file_write() answers EINVAL for a file without a write method");
    Ok(())
}

/// `misc.max` may be higher than the capacity, and reads back what it took.
#[rstest]
fn limit_may_exceed_the_capacity(lab: Lab) -> Outcome {
    lab.needs_controller("misc")?;
    let whole = lab.whole_hierarchy()?;
    let text = whole.root().get("misc.capacity")?;
    let capacities =
        parse::flat_keyed(&text).map_err(|it| Stop::Broken(format!("misc.capacity: {it}")))?;
    if capacities.is_empty() {
        return Err(lab.skip(LACKING));
    }
    let group = lab.group("group")?;
    for (name, capacity) in capacities {
        for value in [0, capacity, capacity + 1] {
            group.set("misc.max", format!("{name} {value}"))?;
            lab.interface(&format!("the limit of {name} after {value} was written"))
                .covers([R152])
                .file("misc.max")
                .observed(group.key("misc.max", &name)?)
                .equals(
                    value,
                    "cgroup-v2.rst, misc.max: \"Limits can be set higher than the capacity value\"",
                );
        }
        group.set("misc.max", format!("{name} max"))?;
        lab.interface(&format!("the line of {name} without a limit"))
            .covers([R152])
            .file("misc.max")
            .observed(
                group.get("misc.max")?.lines().any(|it| it == format!("{name} max")).to_string(),
            )
            .equals("true", "\"max\" is the default and takes a limit away");
    }
    Ok(())
}

/// The first word of every line, sorted.
fn resources(text: &str) -> Result<Vec<String>, Stop> {
    let mut names: Vec<_> = text
        .lines()
        .map(|line| {
            let name = line.split_once(' ').map(|(name, _)| name.to_owned());
            name.ok_or_else(|| Stop::Broken(format!("{line:?} is no `NAME VALUE` line")))
        })
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}
