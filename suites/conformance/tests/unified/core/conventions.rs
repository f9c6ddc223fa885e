//! Conventions that hold for the files of all controllers (cgroup-v2.rst,
//! "Resource Distribution Models", "Format" and "Conventions").

use cgauge_lab::kernel::Refusal;
use cgauge_lab::prelude::*;

/// A weight is 100 unless set, takes 1 to 10000, and nothing else.
#[rstest]
#[case::cpu("cpu.weight", "", "ERANGE", "since 4.15")]
#[case::io("io.weight", "default ", "EINVAL", "since 5.4, with CONFIG_BLK_CGROUP_IOCOST")]
fn weight_takes_1_to_10000(
    lab: Lab,
    #[case] file: &str,
    #[case] prefix: &str,
    #[case] out_of_range: &str,
    #[case] since: &str,
) -> Outcome {
    lab.needs_file(file, since)?;
    let group = lab.group("group")?;
    lab.interface("the weight of a new group")
        .covers([R044])
        .file(file)
        .observed(group.line(file)?)
        .equals(format!("{prefix}100"), "cgroup-v2.rst, Conventions: \"100 as the default\"");
    for weight in [1, 2, 99, 101, 9999, 10000] {
        group.set(file, weight)?;
        lab.interface(&format!("the weight after {weight} was written"))
            .covers([R044])
            .file(file)
            .observed(group.line(file)?)
            .equals(
                format!("{prefix}{weight}"),
                "cgroup-v2.rst, Conventions: \"the range [1, 10000]\"",
            );
    }
    for (weight, expected) in
        [("0", out_of_range), ("10001", out_of_range), ("-1", "EINVAL"), ("heavy", "EINVAL")]
    {
        lab.interface(&format!("the answer to {weight:?}"))
            .covers([R044])
            .file(file)
            .answered(&group.try_set(file, weight))
            .equals(expected, "cgroup-v2.rst, Conventions: \"the range [1, 10000]\"; the errno is that of the kernel's cpu_weight_write_u64 or ioc_weight_write");
    }
    lab.interface("the weight after what was refused")
        .covers([R044])
        .file(file)
        .observed(group.line(file)?)
        .equals(format!("{prefix}10000"), "a refused write changes nothing");
    Ok(())
}

/// Limits begin as "max", protections as 0; both take a number and "max", and no other word.
#[rstest]
#[case::cpu_max("cpu.max", "max 100000", "50000 100000", "max 100000", "since 4.15")]
#[case::memory_max("memory.max", "max", "8388608", "max", "since 4.5")]
#[case::memory_high("memory.high", "max", "8388608", "max", "since 4.5")]
#[case::memory_low("memory.low", "0", "8388608", "max", "since 4.5")]
#[case::memory_min("memory.min", "0", "8388608", "max", "since 4.18")]
#[case::swap_max("memory.swap.max", "max", "8388608", "max", "since 4.5, with CONFIG_SWAP")]
#[case::swap_high("memory.swap.high", "max", "8388608", "max", "since 5.8, with CONFIG_SWAP")]
#[case::zswap_max("memory.zswap.max", "max", "8388608", "max", "since 5.19, with CONFIG_ZSWAP")]
#[case::pids_max("pids.max", "max", "1234", "max", "since 4.5")]
#[case::hugetlb_max(
    "hugetlb.2MB.max",
    "max",
    "8388608",
    "max",
    "since 5.6, with CONFIG_CGROUP_HUGETLB"
)]
#[case::hugetlb_reserved_max(
    "hugetlb.2MB.rsvd.max",
    "max",
    "8388608",
    "max",
    "since 5.7, with CONFIG_CGROUP_HUGETLB"
)]
fn limits_and_protections_take_a_number_and_max(
    lab: Lab,
    #[case] file: &str,
    #[case] at_first: &str,
    #[case] number: &str,
    #[case] max: &str,
    #[case] since: &str,
) -> Outcome {
    lab.needs_file(file, since)?;
    let group = lab.group("group")?;
    lab.interface("the value of a new group")
        .covers([R045])
        .file(file)
        .observed(group.line(file)?)
        .equals(at_first, "cgroup-v2.rst, Resource Distribution Models: the default of a limit is max and that of a protection 0, \"which is noop\"");
    for (written, expected) in [(number, number), ("max", max), ("0", "0"), (number, number)] {
        // No bandwidth at all is no limit that the CPU controller has.
        if (file, written) == ("cpu.max", "0") {
            continue;
        }
        group.set(file, written)?;
        lab.interface(&format!("the value after {written:?} was written"))
            .covers([R045])
            .file(file)
            .observed(group.line(file)?)
            .equals(expected, "cgroup-v2.rst, Conventions: \"the special token max should be used to represent upward infinity for both reading and writing\"");
    }
    for word in ["-1", "maximum", "infinity"] {
        lab.interface(&format!("the answer to {word:?}"))
            .covers([R045])
            .file(file)
            .answered(&group.try_set(file, word))
            .equals("EINVAL", "it is neither a number nor \"max\"");
    }
    lab.interface("the value after what was refused")
        .covers([R045])
        .file(file)
        .observed(group.line(file)?)
        .equals(number, "a refused write changes nothing");
    Ok(())
}

/// The hierarchy's root has no file that limits, protects or weighs.
#[rstest]
fn root_has_no_resource_control_files(lab: Lab) -> Outcome {
    let controls = |files: Result<Vec<String>, Refusal>| -> Result<Vec<String>, Stop> {
        let mut files = files.map_err(|it| Stop::Broken(it.to_string()))?;
        files.retain(|it| is_a_control(it));
        Ok(files)
    };
    let of_a_group = controls(lab.group("group")?.dir().files())?;
    let of_the_root = controls(lab.whole_hierarchy()?.root().dir().files())?;
    for file in ["cpu.weight", "cpu.max", "memory.low", "memory.high", "memory.max", "pids.max"] {
        lab.interface(&format!("whether a group has {file}"))
            .covers([R046])
            .file(file)
            .observed(if of_a_group.iter().any(|it| it == file) { "yes" } else { "no" })
            .equals("yes", "the controller is enabled for it");
    }
    lab.interface("files of the root that limit, protect or weigh")
        .covers([R046])
        .observed(of_the_root.join(" "))
        .equals("", "cgroup-v2.rst, Conventions: \"the root cgroup should be exempt from resource control and thus shouldn't have resource control interface files\"");
    Ok(())
}

/// The default may be written with and without "default", and is the first line.
#[rstest]
fn default_may_be_written_in_two_ways(lab: Lab) -> Outcome {
    lab.needs_file("io.weight", "since 5.4, with CONFIG_BLK_CGROUP_IOCOST")?;
    let group = lab.group("group")?;
    for written in ["150", "default 125", "default 150", "125"] {
        group.set("io.weight", written)?;
        let number = written.trim_start_matches("default ");
        lab.interface(&format!("the file after {written:?} was written"))
            .covers([R047])
            .file("io.weight")
            .observed(group.get("io.weight")?)
            .equals(format!("default {number}\n"), "cgroup-v2.rst, Conventions: \"the default value can be updated by writing either default $VAL or $VAL\"");
    }
    lab.interface("the answer to a default without a value")
        .covers([R047])
        .file("io.weight")
        .answered(&group.try_set("io.weight", "default"))
        .equals("EINVAL", "block/blk-iocost.c, ioc_weight_write: there is no number in it");
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

/// Whether the name of a file is that of a weight, a limit or a protection of a controller.
fn is_a_control(file: &str) -> bool {
    let last = file.rsplit('.').next().unwrap_or_default();
    !file.starts_with("cgroup.") && ["weight", "min", "low", "high", "max"].contains(&last)
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
