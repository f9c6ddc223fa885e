//! Accounting that spreads: turned on for one unit, it is on for its siblings and
//! for all above.

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_systemd::{Systemd, Variant, systemd};
use cgauge_workloads::{BlockIo, Operation};

const PATIENCE: Duration = Duration::from_secs(60);

/// I/O accounting of one unit turns it on for its siblings and parents, and not for a cousin.
#[rstest]
#[case::at_creation(true)]
#[case::at_run_time(false)]
fn accounting_spreads_to_siblings_and_parents(
    lab: Lab,
    systemd: Systemd,
    #[case] at_creation: bool,
) -> Outcome {
    // What has accounting below a parent shows io.stat there.
    let off = || [("IOAccounting", Variant::from(false))];
    let parent = systemd.slice(&lab, "up.slice", &off())?;
    let sibling = systemd.slice(&lab, "up-sibling.slice", &off())?;
    let cousin = systemd.slice(&lab, "up-sibling-child.slice", &off())?;
    lab.interface("io.stat of the sibling before")
        .covers([S10])
        .file("io.stat")
        .observed(shows(sibling.group())?)
        .equals("no", "nobody below up.slice has I/O accounting or an I/O limit");
    let one =
        systemd.slice(&lab, "up-one.slice", &[("IOAccounting", Variant::from(at_creation))])?;
    if !at_creation {
        one.set(&[("IOAccounting", Variant::from(true))])?;
    }
    for (who, group, expected, reason) in [
        ("the unit", one.group(), "yes", "it was turned on for it"),
        (
            "the sibling",
            sibling.group(),
            "yes",
            "systemd.resource-control(5), IOAccounting=: \"turning on block I/O accounting for one unit will also implicitly turn it on for all units contained in the same slice\"",
        ),
        (
            "the parent",
            parent.group(),
            "yes",
            "systemd.resource-control(5), IOAccounting=: \"and all for its parent slices\"",
        ),
        (
            "the sibling's child",
            cousin.group(),
            "no",
            "it is in another slice, in which nobody has asked for it",
        ),
    ] {
        lab.interface(&format!("io.stat of {who} after it was turned on for one unit"))
            .covers([S10])
            .file("io.stat")
            .observed(shows(group)?)
            .equals(expected, reason);
    }
    Ok(())
}

fn shows(group: &Group) -> Result<&'static str, Stop> {
    Ok(if group.has("io.stat")? { "yes" } else { "no" })
}

/// What accounting costs a reader whose sibling asked for it.
#[rstest]
fn accounting_of_a_sibling_costs_little(lab: Lab, systemd: Systemd) -> Outcome {
    const REQUESTS: u64 = 4000;
    // Requests end at once: what is left is the kernel's own work.
    let disk =
        lab.null_disk(NullDisk { completion: Duration::from_nanos(1), ..NullDisk::default() })?;
    let _parent = systemd.slice(&lab, "cost.slice", &[])?;
    let reader = systemd.slice(&lab, "cost-reader.slice", &[])?;
    let without = read(reader.group(), &disk, REQUESTS)?;
    let _one = systemd.slice(&lab, "cost-one.slice", &[("IOAccounting", Variant::from(true))])?;
    lab.interface("io.stat of the reader")
        .covers([S10])
        .file("io.stat")
        .observed(shows(reader.group())?)
        .equals("yes", "its sibling has I/O accounting");
    let with = read(reader.group(), &disk, REQUESTS)?;
    lab.value("time of a direct read without accounting", Unit::Nanoseconds, without, Lower);
    lab.value("time of a direct read with accounting", Unit::Nanoseconds, with, Lower);
    lab.value(
        "what accounting adds to a direct read",
        Unit::Ratio,
        with as f64 / without as f64 - 1.0,
        Lower,
    );
    let counted = reader.group().get("io.stat")?;
    lab.accounting("bytes that were counted for the reader")
        .covers([S10])
        .file("io.stat")
        .observed(word_of(&counted, disk.number(), "rbytes"))
        .equals(
            (REQUESTS * 4096).to_string(),
            "the load's own count of what it read since accounting was on",
        );
    Ok(())
}

/// The mean time of a read, in nanoseconds.
fn read(group: &Group, disk: &Disk, requests: u64) -> Result<u64, Stop> {
    let load = BlockIo::direct(Operation::Read, disk.path(), requests);
    let truth = group.load(&load)?.truth(PATIENCE)?;
    Ok(truth.elapsed_ns / truth.requests.max(1))
}

fn word_of(text: &str, device: &str, key: &str) -> String {
    let line = text.lines().find_map(|it| it.strip_prefix(device)).unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let value = words.find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or("missing").to_owned()
}
