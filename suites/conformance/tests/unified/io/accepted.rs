//! What `io.max` and the weights accept, refuse and show.

use cgauge_lab::prelude::*;

use crate::counters::{Device, line_of};

/// `io.max` shows what was set, "max" for what was not, and no line for a device without any.
#[rstest]
fn limits_read_back(lab: Lab) -> Outcome {
    let (disk, other) = (Device::Null.fast(&lab)?, Device::Null.fast(&lab)?);
    let group = lab.group("group")?;
    group.set("io.max", format!("{} wiops=7", other.number()))?;
    let number = disk.number();
    let shown = || -> Result<String, Stop> {
        let text = group.get("io.max")?;
        Ok(line_of(&text, &disk)
            .map_or("", |it| it.split_once(' ').unwrap_or_default().1)
            .to_owned())
    };
    for (written, expected, why) in [
        ("", "", "nothing was set"),
        (
            "rbps=1048576",
            "rbps=1048576 wbps=max riops=max wiops=max",
            "what was not set has no limit",
        ),
        (
            "wiops=120",
            "rbps=1048576 wbps=max riops=max wiops=120",
            "a key that is not written keeps its value",
        ),
        ("wbps=2 riops=2", "rbps=1048576 wbps=2 riops=2 wiops=120", "small limits are limits"),
        (
            "rbps=max riops=max",
            "rbps=max wbps=2 riops=max wiops=120",
            "\"max\" removes one limit and no other",
        ),
        (
            "wbps=18446744073709551614",
            "rbps=max wbps=18446744073709551614 riops=max wiops=120",
            "the largest number below U64_MAX, which is \"max\"",
        ),
        ("wbps=max wiops=max", "", "a device without a limit has no line"),
    ] {
        if !written.is_empty() {
            group.set("io.max", format!("{number} {written}"))?;
        }
        lab.interface(&format!("the device's limits after {written:?}"))
            .covers([R119])
            .file("io.max")
            .observed(shown()?)
            .equals(expected, &format!("cgroup-v2.rst, IO Interface Files, io.max: {why}"));
    }
    lab.interface("the line of another device after all this")
        .covers([R119])
        .file("io.max")
        .observed(group.line("io.max")?)
        .equals(
            format!("{} rbps=max wbps=max riops=max wiops=7", other.number()),
            "cgroup-v2.rst, io.max: lines are keyed by device, and each is set by itself",
        );
    Ok(())
}

/// `io.max` refuses what is no limit of a device, and changes nothing then.
#[rstest]
fn limits_refuse_nonsense(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let group = lab.group("group")?;
    let number = disk.number();
    group.set("io.max", format!("{number} rbps=4096"))?;
    for (written, expected) in [
        (format!("{number} rbps=0"), "ERANGE"),
        (format!("{number} riops=0"), "ERANGE"),
        (format!("{number} rbps=many"), "EINVAL"),
        (format!("{number} speed=1"), "EINVAL"),
        (format!("{number} rbps"), "EINVAL"),
        ("240:77 rbps=1".to_owned(), "ENODEV"),
        ("nonsense rbps=1".to_owned(), "EINVAL"),
    ] {
        lab.interface(&format!("the answer to {:?}", written.replace(number, "DEVICE")))
            .covers([R119])
            .file("io.max")
            .answered(&group.try_set("io.max", &written))
            .equals(expected, "block/blk-throttle.c, tg_set_limit: a limit of 0 is out of range, any other key or value invalid; block/blk-cgroup.c, blkg_conf_prep: no such device");
    }
    lab.interface("the file after what was refused")
        .covers([R119])
        .file("io.max")
        .observed(group.line("io.max")?)
        .equals(
            format!("{number} rbps=4096 wbps=max riops=max wiops=max"),
            "a refused write changes nothing",
        );
    lab.interface("whether the root has the file")
        .covers([R119])
        .file("io.max")
        .observed(if lab.whole_hierarchy()?.root().has("io.max")? { "yes" } else { "no" })
        .equals("no", "cgroup-v2.rst: io.max \"exists on non-root cgroups\"");
    Ok(())
}
