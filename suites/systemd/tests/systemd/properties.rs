//! Limits as properties of units: each reaches the kernel's file, whether it was
//! given when the unit was made or is set while it runs.

use cgauge_lab::prelude::*;
use cgauge_systemd::{Property, Systemd, Variant, systemd};

/// When a property is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// With the unit.
    Creation,
    /// By `SetUnitProperties`, as `systemctl set-property --runtime` does.
    Runtime,
}

/// What a property is to leave in the kernel's file.
struct Promise {
    property: Property<'static>,
    file: &'static str,
    line: &'static str,
}

fn promise(property: &'static str, value: u64, file: &'static str, line: &'static str) -> Promise {
    Promise { property: (property, Variant::from(value)), file, line }
}

fn promises() -> [Promise; 11] {
    const UNLIMITED: u64 = u64::MAX;
    [
        promise("TasksMax", 17, "pids.max", "17"),
        promise("TasksMax", UNLIMITED, "pids.max", "max"),
        promise("MemoryMax", 32 << 20, "memory.max", "33554432"),
        promise("MemoryHigh", 16 << 20, "memory.high", "16777216"),
        promise("MemoryLow", 4 << 20, "memory.low", "4194304"),
        promise("MemoryMin", 1 << 20, "memory.min", "1048576"),
        promise("MemorySwapMax", 0, "memory.swap.max", "0"),
        // Per second, against the period of 100 ms.
        promise("CPUQuotaPerSecUSec", 250_000, "cpu.max", "25000 100000"),
        promise("CPUQuotaPerSecUSec", 3_000_000, "cpu.max", "300000 100000"),
        promise("CPUWeight", 33, "cpu.weight", "33"),
        promise("IOWeight", 250, "io.weight", "default 250"),
    ]
}

/// Each limit reaches the kernel's file: of a slice, and of a scope, whether it is given with the unit or set while it runs.
#[rstest]
fn limits_reach_the_kernels_files(
    lab: Lab,
    systemd: Systemd,
    #[values(When::Creation, When::Runtime)] when: When,
    #[values("limited.slice", "limited.scope")] name: &str,
) -> Outcome {
    let home = lab.group("home")?;
    for Promise { property, file, line } in promises() {
        let what = format!("{file} with {} {:?}", property.0, property.1);
        let given = [property];
        let at_creation: &[Property<'_>] = if when == When::Creation { &given } else { &[] };
        let process = home.sleeper()?;
        let unit = if name.ends_with(".scope") {
            systemd.scope(&lab, name, &[process.pid()], at_creation)?
        } else {
            systemd.slice(&lab, name, at_creation)?
        };
        if when == When::Runtime {
            unit.set(&given)?;
        }
        // io.weight is of iocost's making, which a kernel may lack.
        if file == "io.weight" && !unit.group().has(file)? {
            continue;
        }
        lab.interface(&what)
            .covers([S07, S08])
            .file(file)
            .observed(unit.group().line(file)?)
            .equals(line, "systemd.resource-control(5) names the file that each setting controls; cpu.max by the CPU time of a second over a period of 100 ms");
        unit.stop()?;
    }
    Ok(())
}

/// Read and write limits of a device reach `io.max`, and one that is taken back is gone.
#[rstest]
fn limits_of_a_device_reach_io_max(
    lab: Lab,
    systemd: Systemd,
    #[values(When::Creation, When::Runtime)] when: When,
) -> Outcome {
    let disk = lab.null_disk(cgauge_lab::disk::NullDisk::default())?;
    let (path, number) = (disk.path().display().to_string(), disk.number().to_owned());
    let of_device = |limit: u64| Variant::from(vec![(path.clone(), limit)]);
    let given = [("IOReadBandwidthMax", of_device(1 << 20)), ("IOWriteIOPSMax", of_device(60))];
    let at_creation: &[Property<'_>] = if when == When::Creation { &given } else { &[] };
    let slice = systemd.slice(&lab, "limited.slice", at_creation)?;
    if when == When::Runtime {
        slice.set(&given)?;
    }
    lab.interface("io.max with two of the four limits")
        .covers([S08])
        .file("io.max")
        .observed(slice.group().line("io.max")?)
        .equals(
            format!("{number} rbps=1048576 wbps=max riops=max wiops=60"),
            "systemd.resource-control(5): each \"controls the io.max control group attribute\"",
        );
    let nothing: Vec<(String, u64)> = Vec::new();
    slice.set(&[
        ("IOReadBandwidthMax", Variant::from(nothing.clone())),
        ("IOWriteIOPSMax", Variant::from(nothing)),
    ])?;
    lab.interface("io.max after both were taken back")
        .covers([S08])
        .file("io.max")
        .observed(slice.group().line("io.max")?)
        .equals("", "a device without limits has no line");
    Ok(())
}

/// A limit that is set while the unit runs is forgotten with the unit: the next of the name has none.
#[rstest]
fn limit_set_at_run_time_ends_with_its_unit(lab: Lab, systemd: Systemd) -> Outcome {
    let home = lab.group("home")?;
    for expected in ["9", "max"] {
        let process = home.sleeper()?;
        let free = [("TasksMax", Variant::from(u64::MAX))];
        let scope = systemd.scope(&lab, "again.scope", &[process.pid()], &free)?;
        if expected != "max" {
            scope.set(&[("TasksMax", Variant::from(9_u64))])?;
        }
        lab.interface("pids.max of a unit of a name that was there before")
            .covers([S08])
            .file("pids.max")
            .observed(scope.group().line("pids.max")?)
            .equals(expected, "systemctl(1), set-property --runtime: the settings apply \"until the next reboot\"; those of a transient unit go with it");
    }
    Ok(())
}
