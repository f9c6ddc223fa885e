//! Conventions that hold for the files of all controllers (cgroup-v2.rst,
//! "Resource Distribution Models", "Format" and "Conventions").

use cgauge_lab::prelude::*;

/// A group's name has no newline, which would break the lines of `/proc/PID/cgroup`, and is no file's.
#[rstest]
#[case::newline(
    "two\nlines",
    "EINVAL",
    "cgroup_mkdir() takes none, so that /proc/PID/cgroup can be parsed"
)]
#[case::file("cgroup.procs", "EEXIST", "an interface file has the name")]
#[case::prefix(
    "cgroup.mine",
    "ok",
    "cgroup-v2.rst, Avoid Name Collisions: \"cgroup doesn't do anything to prevent name collisions\""
)]
fn group_has_a_name_of_its_own(
    lab: Lab,
    #[case] name: &str,
    #[case] answer: &str,
    #[case] reason: &str,
) -> Outcome {
    lab.hierarchy("the answer to making a group of this name")
        .covers([R016])
        .answered(&lab.root().try_make(name))
        .equals(answer, reason);
    Ok(())
}

/// A device's override stands below the default until the device is set to "default".
#[rstest]
fn override_stays_until_it_is_default_again(lab: Lab) -> Outcome {
    lab.needs_file("io.weight", "since 5.4, with CONFIG_BLK_CGROUP_IOCOST")?;
    let device = null_block_device(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let _model = CostModel::enable(hierarchy.root(), &device)?;
    let group = lab.group("group")?;
    let check = |written: &str, lines: String| -> Outcome {
        let answer = group.try_set("io.weight", written);
        // The number of a device is the machine's own affair.
        let shown = written.replace(&device, "MAJ:MIN");
        lab.interface(&format!("the answer to {shown:?}"))
            .covers([R047])
            .file("io.weight")
            .answered(&answer)
            .equals("ok", "cgroup-v2.rst, Conventions: \"$MAJ:$MIN $VAL\" sets an override and \"$MAJ:$MIN default\" clears it");
        lab.interface(&format!("the file after {shown:?}"))
            .covers([R047])
            .file("io.weight")
            .observed(group.get("io.weight")?.replace(&device, "MAJ:MIN"))
            .equals(lines, "cgroup-v2.rst, Conventions: the default is \"the first entry in the file\", and overrides \"with default as the value must not appear when read\"");
        Ok(())
    };
    check(&format!("{device} 300"), "default 100\nMAJ:MIN 300\n".into())?;
    check("default 150", "default 150\nMAJ:MIN 300\n".into())?;
    check("125", "default 125\nMAJ:MIN 300\n".into())?;
    check(&format!("{device} 125"), "default 125\nMAJ:MIN 125\n".into())?;
    check(&format!("{device} default"), "default 125\n".into())?;
    check(&format!("{device} default"), "default 125\n".into())?;
    for (value, expected) in [("0", "EINVAL"), ("10001", "EINVAL"), ("1", "ok"), ("10000", "ok")] {
        lab.interface(&format!("the answer to an override of {value}"))
            .covers([R044, R047])
            .file("io.weight")
            .answered(&group.try_set("io.weight", format!("{device} {value}")))
            .equals(expected, "cgroup-v2.rst, Conventions: \"the range [1, 10000]\"");
    }
    lab.interface("the answer to an override for a device that is not there")
        .covers([R047])
        .file("io.weight")
        .answered(&group.try_set("io.weight", "4095:1 300"))
        .equals("ENODEV", "block/blk-cgroup.c: no block device has the number");
    Ok(())
}

/// Sub keys of a nested keyed file come in any order, and those left out keep their values.
#[rstest]
fn sub_keys_come_in_any_order(lab: Lab) -> Outcome {
    lab.needs_file("io.max", "since 4.5, with CONFIG_BLK_DEV_THROTTLING")?;
    let device = null_block_device(&lab)?;
    let group = lab.group("group")?;
    let check = |keys: &str, line: &str| -> Outcome {
        lab.interface(&format!("the answer to {keys:?}"))
            .covers([R048])
            .file("io.max")
            .answered(&group.try_set("io.max", format!("{device} {keys}")))
            .equals("ok", "cgroup-v2.rst, Format: \"the sub key pairs may be specified in any order and not all pairs have to be specified\"");
        lab.interface(&format!("the file after {keys:?}"))
            .covers([R048])
            .file("io.max")
            .observed(group.get("io.max")?.replace(&device, "MAJ:MIN"))
            .equals(line, "what was written holds, and what was left out is as it was");
        Ok(())
    };
    check("wiops=120", "MAJ:MIN rbps=max wbps=max riops=max wiops=120\n")?;
    check("rbps=2097152", "MAJ:MIN rbps=2097152 wbps=max riops=max wiops=120\n")?;
    check(
        "wiops=30 riops=20 wbps=1048576",
        "MAJ:MIN rbps=2097152 wbps=1048576 riops=20 wiops=30\n",
    )?;
    check("rbps=max wiops=max", "MAJ:MIN rbps=max wbps=1048576 riops=20 wiops=max\n")?;
    for refused in ["rbps", "rbps=", "rbps=fast", "speed=1"] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R048])
            .file("io.max")
            .answered(&group.try_set("io.max", format!("{device} {refused}")))
            .equals(
                "EINVAL",
                "block/blk-throttle.c, tg_set_limit: no pair of a known key and a limit",
            );
    }
    check("wbps=max riops=max", "")
}

/// The number of the block device that the module `null_blk` makes.
fn null_block_device(lab: &Lab) -> Result<String, Stop> {
    match std::fs::read_to_string("/sys/block/nullb0/dev") {
        Ok(number) => Ok(number.trim_end().to_owned()),
        Err(_) => {
            Err(lab
                .skip("this kernel has no null_blk device (CONFIG_BLK_DEV_NULL_BLK, since 3.13)"))
        }
    }
}

/// The cost model of a device, whose weights count only while it is on; off
/// again when this goes out of scope.
struct CostModel<'a> {
    root: &'a Group,
    device: &'a str,
}

impl<'a> CostModel<'a> {
    fn enable(root: &'a Group, device: &'a str) -> Result<Self, Stop> {
        root.set("io.cost.qos", format!("{device} enable=1"))?;
        Ok(Self { root, device })
    }
}

impl Drop for CostModel<'_> {
    fn drop(&mut self) {
        // It was switched on with the same words.
        let _ = self.root.try_set("io.cost.qos", format!("{} enable=0", self.device));
    }
}
