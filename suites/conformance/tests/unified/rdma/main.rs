//! The RDMA controller (cgroup-v2.rst, "RDMA"): handles and objects of a device.
//!
//! A device without hardware is the modules `rdma_rxe` and `siw`, which Debian
//! builds for none of its kernels that run here. What needs no device is
//! checked everywhere.

use cgauge_lab::parse;
use cgauge_lab::prelude::*;

/// The RDMA files are below the root and not in it, and list a device only if there is one.
#[rstest]
fn files_list_the_devices_there_are(lab: Lab) -> Outcome {
    lab.needs_controller("rdma")?;
    let whole = lab.whole_hierarchy()?;
    let group = lab.group("group")?;
    let devices = devices();
    for file in ["rdma.max", "rdma.current"] {
        lab.interface("whether a group below the root has the file")
            .covers([R149])
            .file(file)
            .observed(group.has(file)?.to_string())
            .equals("true", "cgroup-v2.rst, RDMA Interface Files: it \"exists for all the cgroups except root\"");
        lab.interface("whether the root has the file")
            .covers([R149])
            .file(file)
            .observed(whole.root().has(file)?.to_string())
            .equals("false", "cgroup-v2.rst, RDMA Interface Files: it \"exists for all the cgroups except root\"");
        let text = group.get(file)?;
        let lines =
            parse::nested_keyed(&text).map_err(|it| Stop::Broken(format!("{file}: {it}")))?;
        let shown: Vec<_> = lines.keys().cloned().collect();
        lab.interface("the devices that a group lists")
            .covers([R149])
            .file(file)
            .beyond_lies(beyond_lies(&devices))
            .observed(shown.join(" "))
            .equals(devices.join(" "), "one line for each device of /sys/class/infiniband");
        for (device, keys) in lines {
            let keys: Vec<_> = keys.keys().cloned().collect();
            lab.interface(&format!("the keys of {device}"))
                .covers([R149])
                .file(file)
                .observed(keys.join(" "))
                .equals("hca_handle hca_object", "cgroup-v2.rst, RDMA: the two resources");
        }
    }
    Ok(())
}

/// `rdma.max` answers ENODEV for a device that is not there, EINVAL for what is no limit.
#[rstest]
#[case::no_such_device("nosuch0 hca_handle=2 hca_object=2000", "ENODEV")]
#[case::no_such_device_without_limit("nosuch0 hca_handle=max", "ENODEV")]
#[case::device_alone("nosuch0", "ENODEV")]
#[case::unknown_resource("nosuch0 hca_qp=1", "EINVAL")]
#[case::negative("nosuch0 hca_handle=-1", "EINVAL")]
#[case::no_number("nosuch0 hca_handle=many", "EINVAL")]
#[case::no_value("nosuch0 hca_handle", "EINVAL")]
fn limit_of_what_is_not_there_is_refused(
    lab: Lab,
    #[case] written: &str,
    #[case] answer: &str,
) -> Outcome {
    lab.needs_controller("rdma")?;
    let group = lab.group("group")?;
    lab.interface("the answer to the limit")
        .covers([R149])
        .file("rdma.max")
        .answered(&group.try_set("rdma.max", written))
        .equals(answer, "kernel/cgroup/rdma.c, rdmacg_resource_set_max: EINVAL for what does not parse, then ENODEV for a name that no device has");
    lab.interface("the limits afterwards")
        .covers([R149])
        .file("rdma.max")
        .beyond_lies(beyond_lies(&devices()))
        .observed(group.get("rdma.max")?)
        .equals(
            devices()
                .iter()
                .map(|it| format!("{it} hca_handle=max hca_object=max\n"))
                .collect::<String>(),
            "a refused write changes nothing",
        );
    lab.interface("the answer to a write to the counter")
        .covers([R149])
        .file("rdma.current")
        .answered(&group.try_set("rdma.current", written))
        .equals("EINVAL", "cgroup-v2.rst: a read-only file; cgroup_file_write() answers EINVAL for a file without a write method");
    Ok(())
}

/// A device's limits begin as "max" and read back what they took, each resource by itself.
#[rstest]
fn limits_read_back_what_they_took(lab: Lab) -> Outcome {
    lab.needs_controller("rdma")?;
    let devices = devices();
    let Some(device) = devices.first() else {
        return Err(lab.skip("this kernel has no RDMA device: neither CONFIG_RDMA_RXE nor CONFIG_RDMA_SIW is built, and the machine has no adapter"));
    };
    let group = lab.group("group")?;
    let line = |group: &Group| -> Result<String, Stop> {
        let text = group.get("rdma.max")?;
        let of_device = text.lines().find_map(|it| it.strip_prefix(device.as_str()));
        Ok(of_device.unwrap_or_default().trim().to_owned())
    };
    for (written, shown) in [
        ("", "hca_handle=max hca_object=max"),
        ("hca_handle=2 hca_object=2000", "hca_handle=2 hca_object=2000"),
        ("hca_object=7", "hca_handle=2 hca_object=7"),
        ("hca_handle=max", "hca_handle=max hca_object=7"),
    ] {
        if !written.is_empty() {
            group.set("rdma.max", format!("{device} {written}"))?;
        }
        lab.interface(&format!("the limits after {written:?} was written"))
            .covers([R149])
            .file("rdma.max")
            .observed(line(&group)?)
            .equals(shown, "cgroup-v2.rst, rdma.max: a resource that is not named keeps its limit");
    }
    Ok(())
}

/// Why no lie turns what is empty on a machine without a device; empty itself where there is one.
fn beyond_lies(devices: &[String]) -> &'static str {
    if devices.is_empty() {
        "no line is shown that a lie could change: the machine has no device"
    } else {
        ""
    }
}

/// The RDMA devices, sorted.
fn devices() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/infiniband")
        .into_iter()
        .flatten()
        .filter_map(|it| it.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
