//! What the files of the I/O controller take and show of a device: limits,
//! weights, the cost model (cgroup-v2.rst, "IO Interface Files").

use std::fs::File;
use std::os::unix::fs::FileExt;

use cgauge_lab::prelude::*;

/// The device that these cases set limits on.
const DEVICE: &str = "/sys/block/nullb0";

/// A limit of `io.max` that is not set reads as max, and "max" takes one limit away.
#[rstest]
fn io_max_shows_what_was_set_and_max_for_the_rest(lab: Lab) -> Outcome {
    lab.needs_file("io.max", "since 4.5, with CONFIG_BLK_DEV_THROTTLING")?;
    let device = Device::find(&lab)?;
    let group = lab.group("group")?;
    for (written, shown) in [
        ("rbps=1048576", "MAJ:MIN rbps=1048576 wbps=max riops=max wiops=max"),
        ("wiops=120 wbps=2", "MAJ:MIN rbps=1048576 wbps=2 riops=max wiops=120"),
        ("rbps=max", "MAJ:MIN rbps=max wbps=2 riops=max wiops=120"),
        (
            "riops=4294967294 rbps=9223372036854775807",
            "MAJ:MIN rbps=9223372036854775807 wbps=2 riops=4294967294 wiops=120",
        ),
        ("rbps=max wbps=max riops=max wiops=max", ""),
    ] {
        device.takes(&lab, &group, "io.max", written, shown, [R048, R119])?;
    }
    group.set("io.max", device.line("wbps=4096"))?;
    has_keys(&lab, "io.max", &group.line("io.max")?, &["rbps", "wbps", "riops", "wiops"]);
    for (refused, errno) in [
        ("rbps=0", "ERANGE"),
        ("wiops=0", "ERANGE"),
        ("rbps", "EINVAL"),
        ("rbps=", "EINVAL"),
        ("rbps=fast", "EINVAL"),
        ("speed=1", "EINVAL"),
        ("1048576", "EINVAL"),
    ] {
        device.refuses(&lab, &group, "io.max", refused, errno, [R119]);
    }
    device.shows(
        &lab,
        &group,
        "io.max",
        "MAJ:MIN rbps=max wbps=4096 riops=max wiops=max",
        [R119],
    )?;
    // The document names no least rate; 6.12 refuses one byte a second, 7.2 takes it.
    let least = group.try_set("io.max", device.line("wbps=1"));
    let answer = least.map_or_else(|it| format!("{:?}", it.errno), |()| "ok".to_owned());
    lab.value("io.max makes of \"MAJ:MIN wbps=1\"", Unit::Text, answer, Neither);
    Ok(())
}

/// A device that a group has read from has a line in `io.stat`, with each of its keys once.
#[rstest]
fn io_stat_shows_a_device_that_was_read(lab: Lab) -> Outcome {
    // Beyond what the kernel itself reads to find partitions.
    const PLACE: u64 = 8 << 20;
    lab.needs_controller("io")?;
    let device = Device::find(&lab)?;
    let group = lab.group("group")?;
    let read = || -> std::io::Result<()> {
        let file = File::open("/dev/nullb0")?;
        file.read_exact_at(&mut [0; 4096], PLACE)
    };
    let read = group.spawn(|| read().map_err(|it| it.to_string()))?;
    read.finish()?.map_err(|it| Stop::Broken(format!("read the device: {it}")))?;
    let text = group.get("io.stat")?;
    let line = text.lines().find(|it| it.starts_with(&device.line("")));
    has_keys(
        &lab,
        "io.stat",
        line.unwrap_or_default(),
        &["rbytes", "wbytes", "rios", "wios", "dbytes", "dios"],
    );
    Ok(())
}

/// A device's weight is set and taken away with "default"; `io.bfq.weight` needs BFQ on the device and ends at 1000.
#[rstest]
#[case::cost("io.weight", 10000, "EINVAL", "since 5.4, with CONFIG_BLK_CGROUP_IOCOST")]
#[case::bfq("io.bfq.weight", 1000, "ERANGE", "since 4.12, with CONFIG_BFQ_GROUP_IOSCHED")]
fn weight_of_a_device_overrides_the_default(
    lab: Lab,
    #[case] file: &str,
    #[case] most: u64,
    #[case] out_of_range: &str,
    #[case] since: &str,
) -> Outcome {
    lab.needs_file(file, since)?;
    let device = Device::find(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    group.set(file, 200)?;
    if file == "io.bfq.weight" {
        // The cost model, once on, stays with the device.
        device.policy(file, hierarchy.root(), false)?;
        device.refuses(&lab, &group, file, "300", "EOPNOTSUPP", [R047, R123]);
    }
    device.policy(file, hierarchy.root(), true)?;
    for (written, shown) in [
        ("300".to_owned(), "default 200\nMAJ:MIN 300".to_owned()),
        ("1".to_owned(), "default 200\nMAJ:MIN 1".to_owned()),
        (most.to_string(), format!("default 200\nMAJ:MIN {most}")),
    ] {
        device.takes(&lab, &group, file, &written, &shown, [R044, R123])?;
    }
    for refused in ["0".to_owned(), (most + 1).to_string()] {
        device.refuses(&lab, &group, file, &refused, out_of_range, [R044, R123]);
    }
    device.refuses(&lab, &group, file, "heavy", "EINVAL", [R123]);
    device.shows(&lab, &group, file, &format!("default 200\nMAJ:MIN {most}"), [R123])?;
    device.takes(&lab, &group, file, "default", "default 200", [R047, R123])?;
    device.policy(file, hierarchy.root(), false)
}

/// A new default leaves the devices that were given a weight of their own as they are.
#[rstest]
#[case::cost("io.weight", "since 5.4, with CONFIG_BLK_CGROUP_IOCOST")]
#[case::bfq("io.bfq.weight", "since 4.12, with CONFIG_BFQ_GROUP_IOSCHED")]
fn new_default_leaves_the_weights_of_devices(
    lab: Lab,
    #[case] file: &str,
    #[case] since: &str,
) -> Outcome {
    lab.needs_file(file, since)?;
    let device = Device::find(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    device.policy(file, hierarchy.root(), true)?;
    device.takes(&lab, &group, file, "300", "default 100\nMAJ:MIN 300", [R047, R123])?;
    for (written, default) in [("150", 150), ("default 125", 125)] {
        group.set(file, written)?;
        lab.interface(&format!("what {file} shows after {written:?}"))
            .covers([R047, R123])
            .file(file)
            .observed(device.hidden(&group.line(file)?))
            .equals(format!("default {default}\nMAJ:MIN 300"), "cgroup-v2.rst, Conventions: \"The default value can be updated by writing either \"default $VAL\" or \"$VAL\"\"; in its example the override of 8:0 is gone only once \"8:0 default\" was written");
    }
    device.policy(file, hierarchy.root(), false)
}

/// `io.cost.qos` shows a device once it was written, and setting a parameter turns `ctrl` from auto to user.
#[rstest]
fn cost_parameters_are_the_users_once_set(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let root = hierarchy.root();
    if !root.has("io.cost.qos")? {
        return Err(
            lab.skip("this kernel has no io.cost.qos (since 5.4, with CONFIG_BLK_CGROUP_IOCOST)")
        );
    }
    let device = Device::find(&lab)?;
    let group = lab.group("group")?;
    for file in ["io.cost.qos", "io.cost.model"] {
        lab.interface(&format!("what {file} shows before the first write"))
            .covers([R124])
            .file(file)
            .observed(root.line(file)?)
            .equals("", "cgroup-v2.rst, io.cost.qos: \"the line for a given device is populated on the first write for the device\"");
        lab.interface(&format!("whether a group that is not the root has {file}"))
            .covers([R046, R124])
            .file(file)
            .observed(if group.has(file)? { "yes" } else { "no" })
            .equals("no", "cgroup-v2.rst: the file \"exists only on the root cgroup\"");
    }
    let qos = |what: &str, written: &str, expected: [&str; 3]| -> Outcome {
        if !written.is_empty() {
            lab.interface(&format!("the answer of io.cost.qos to {written:?}"))
                .covers([R048, R124])
                .file("io.cost.qos")
                .answered(&root.try_set("io.cost.qos", device.line(written)))
                .equals(
                    "ok",
                    "cgroup-v2.rst, io.cost.qos: the parameters of a device, each with its key",
                );
        }
        let text = root.line("io.cost.qos")?;
        let found: Vec<_> = text
            .split(' ')
            .filter(|it| ["enable=", "ctrl=", "rlat="].iter().any(|key| it.starts_with(key)))
            .collect();
        lab.interface(&format!("enable, ctrl and rlat {what}"))
            .covers([R124])
            .file("io.cost.qos")
            .observed(found.join(" "))
            .equals(expected.join(" "), "cgroup-v2.rst, io.cost.qos: \"setting ctrl to auto\" brings the kernel's parameters back, and any parameter that is set is the user's");
        Ok(())
    };
    root.set("io.cost.qos", device.line("enable=0"))?;
    let automatic = root.line("io.cost.qos")?;
    let latency =
        automatic.split(' ').find(|it| it.starts_with("rlat=")).unwrap_or_default().to_owned();
    qos("after the first write", "", ["enable=0", "ctrl=auto", &latency])?;
    has_keys(
        &lab,
        "io.cost.qos",
        &automatic,
        &["enable", "ctrl", "rpct", "rlat", "wpct", "wlat", "min", "max"],
    );
    qos("once rlat was set", "rlat=7777", ["enable=0", "ctrl=user", "rlat=7777"])?;
    qos("once the device was enabled", "enable=1", ["enable=1", "ctrl=user", "rlat=7777"])?;
    qos("once ctrl was given back", "enable=0 ctrl=auto", ["enable=0", "ctrl=auto", &latency])?;
    for (refused, errno) in [
        ("rpct=101", "EINVAL"),
        ("rlat=fast", "EINVAL"),
        ("speed=1", "EINVAL"),
        ("ctrl=mine", "EINVAL"),
    ] {
        device.refuses(&lab, root, "io.cost.qos", refused, errno, [R124]);
    }

    root.set("io.cost.model", device.line("ctrl=user rbps=1000000000"))?;
    let model = root.line("io.cost.model")?;
    has_keys(
        &lab,
        "io.cost.model",
        &model,
        &["ctrl", "model", "rbps", "rseqiops", "rrandiops", "wbps", "wseqiops", "wrandiops"],
    );
    lab.interface("ctrl, model and rbps once rbps was set")
        .covers([R124])
        .file("io.cost.model")
        .observed(model.split(' ').skip(1).take(3).collect::<Vec<_>>().join(" "))
        .equals("ctrl=user model=linear rbps=1000000000", "cgroup-v2.rst, io.cost.model: \"model: the cost model in use - linear\"; what was set is the user's");
    for refused in ["model=cubic", "ctrl=mine", "rbps=fast", "speed=1"] {
        device.refuses(&lab, root, "io.cost.model", refused, "EINVAL", [R124]);
    }
    root.set("io.cost.model", device.line("ctrl=auto"))?;
    lab.interface("ctrl of io.cost.model once it was given back")
        .covers([R124])
        .file("io.cost.model")
        .observed(root.line("io.cost.model")?.split(' ').nth(1).unwrap_or_default())
        .equals("ctrl=auto", "cgroup-v2.rst, io.cost.model: \"auto\" or \"user\"");
    Ok(())
}

/// Checks that the line of a device has these keys, in this order and no others.
fn has_keys(lab: &Lab, file: &str, line: &str, keys: &[&str]) {
    let covers: &[_] = match file {
        "io.stat" => &[R116],
        "io.max" => &[R048, R119],
        _ => &[R048, R124],
    };
    let mut shown = line.split(' ').skip(1).map(|it| it.split('=').next().unwrap_or_default());
    for (place, key) in keys.iter().enumerate() {
        lab.interface(&format!("key {} of a device's line", place + 1))
            .covers(covers.iter().copied())
            .file(&format!("{file}:{key}"))
            .observed(shown.next().unwrap_or_default())
            .equals(*key, "cgroup-v2.rst, IO Interface Files: the file's keys");
    }
    lab.interface(&format!("keys of {file} beyond these"))
        .covers(covers.iter().copied())
        .file(file)
        .observed(shown.collect::<Vec<_>>().join(" "))
        .equals("", "cgroup-v2.rst, IO Interface Files: the file's keys");
}

/// A block device of this machine.
struct Device {
    /// MAJ:MIN, which is the machine's own affair and stands in no record.
    number: String,
}

impl Device {
    fn find(lab: &Lab) -> Result<Self, Stop> {
        match std::fs::read_to_string(format!("{DEVICE}/dev")) {
            Ok(number) => Ok(Self { number: number.trim_end().to_owned() }),
            Err(_) => {
                Err(lab.skip("this machine has no null_blk device (CONFIG_BLK_DEV_NULL_BLK)"))
            }
        }
    }

    /// What is written of the device.
    fn line(&self, value: &str) -> String {
        format!("{} {value}", self.number)
    }

    /// What a file shows, without the number.
    fn hidden(&self, text: &str) -> String {
        text.replace(&self.number, "MAJ:MIN")
    }

    /// Switches what makes the weights of `file` count on this device on or off.
    fn policy(&self, file: &str, root: &Group, on: bool) -> Outcome {
        if file == "io.bfq.weight" {
            let scheduler = if on { "bfq" } else { "none" };
            std::fs::write(format!("{DEVICE}/queue/scheduler"), scheduler)?;
            return Ok(());
        }
        root.set("io.cost.qos", self.line(if on { "enable=1" } else { "enable=0" }))
    }

    fn takes<const N: usize>(
        &self,
        lab: &Lab,
        group: &Group,
        file: &str,
        written: &str,
        shown: &str,
        requirements: [cgauge_record::Requirement; N],
    ) -> Outcome {
        lab.interface(&format!("the answer of {file} to \"MAJ:MIN {written}\""))
            .covers(requirements)
            .file(file)
            .answered(&group.try_set(file, self.line(written)))
            .equals("ok", "cgroup-v2.rst, IO Interface Files: what the file takes of a device");
        self.shows(lab, group, file, shown, requirements)
    }

    fn shows<const N: usize>(
        &self,
        lab: &Lab,
        group: &Group,
        file: &str,
        shown: &str,
        requirements: [cgauge_record::Requirement; N],
    ) -> Outcome {
        lab.interface(&format!("what {file} shows then"))
            .covers(requirements)
            .file(file)
            .observed(self.hidden(&group.line(file)?))
            .equals(shown, "cgroup-v2.rst, IO Interface Files: what was taken holds, what was refused changes nothing, and a device with nothing set has no line");
        Ok(())
    }

    fn refuses<const N: usize>(
        &self,
        lab: &Lab,
        group: &Group,
        file: &str,
        written: &str,
        errno: &str,
        requirements: [cgauge_record::Requirement; N],
    ) {
        lab.interface(&format!("the answer of {file} to \"MAJ:MIN {written}\""))
            .covers(requirements)
            .file(file)
            .answered(&group.try_set(file, self.line(written)))
            .equals(
                errno,
                "it is no value that the document allows; the errno is that of the file's parser",
            );
    }
}
