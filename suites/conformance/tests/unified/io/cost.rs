//! iocost: the root's two files and the shares of `io.weight`, with a model
//! that is given.

use cgauge_lab::cpus::bind;
use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_workloads::{BlockIo, Operation, Pattern, truth};

use crate::counters::line_of;
use crate::rates::{PATIENCE, record, timed};

const TIME: Duration = Duration::from_secs(8);
/// Requests a second that the model gives.
const RATE: u64 = 400;
const BLOCK: u64 = 4096;
/// Requests of one load in flight.
const DEPTH: u32 = 8;
/// All that the model gives in the time.
const GIVEN: u64 = RATE * 8;
/// What block/blk-iocost.c lets groups begin with: half a period of 50 ms.
const BEGIN: u64 = RATE / 40;
/// Requests of the 20 ms by which one load begins before the next.
const BEFORE: u64 = RATE / 50;
/// Requests that may come to one group and not to another beside its share.
const APART: u64 = DEPTH as u64 + BEGIN + BEFORE;
const APART_REASON: &str = "the eight requests that are in flight at the end, the ten of half a period that block/blk-iocost.c lets a group begin with, and eight of the 20 ms by which one load begins before the next";

/// The most that so many loads do in their time, in which both its ends are.
fn most(loads: usize) -> u64 {
    let loads = loads as u64;
    GIVEN + 1 + loads * u64::from(DEPTH) + (loads - 1) * BEFORE + BEGIN
}

fn disk(lab: &Lab) -> Result<Disk, Stop> {
    // Ten times as fast as the model says: it is iocost that holds requests back.
    let completion = Duration::from_micros(250);
    lab.null_disk(NullDisk { completion, depth: 64, ..NullDisk::default() })
}

/// Switches iocost on for the device, at a fixed speed of [`RATE`] requests a second,
/// with a period of 50 ms: twice the latencies, which are not looked at.
fn switch_on(root: &Group, disk: &Disk) -> Result<(), Stop> {
    let number = disk.number();
    root.set("io.cost.model", format!("{number} ctrl=user model=linear rbps=8589934592 rseqiops={RATE} rrandiops={RATE} wbps=8589934592 wseqiops={RATE} wrandiops={RATE}"))?;
    root.set("io.cost.qos", format!("{number} enable=1 ctrl=user rpct=0.00 rlat=25000 wpct=0.00 wlat=25000 min=100.00 max=100.00"))
}

fn load(disk: &Disk) -> BlockIo {
    BlockIo {
        block_bytes: BLOCK,
        pattern: Pattern::Random,
        depth: DEPTH,
        ..timed(Operation::Read, disk, TIME)
    }
}

fn compete(
    lab: &Lab,
    what: &str,
    disk: &Disk,
    groups: [&Group; 2],
) -> Result<[truth::BlockIo; 2], Stop> {
    let [one, other] = groups;
    let (mut one, mut other) = (one.load(&load(disk))?, other.load(&load(disk))?);
    let both = [one.truth(PATIENCE)?, other.truth(PATIENCE)?];
    for (truth, whose) in both.iter().zip(["first", "second"]) {
        record(lab, &format!("bytes a second of the {whose}, {what}"), truth, Some(RATE * BLOCK));
    }
    lab.value(
        &format!("the first's bytes over the second's, {what}"),
        Unit::Ratio,
        ratio(&both),
        Neither,
    );
    Ok(both)
}

fn ratio([one, other]: &[truth::BlockIo; 2]) -> f64 {
    one.bytes as f64 / (other.bytes as f64).max(1.0)
}

fn needs_iocost(lab: &Lab) -> Result<(), Stop> {
    lab.needs_file("io.weight", "CONFIG_BLK_CGROUP_IOCOST, since 5.4")
}

/// With iocost two groups share what its model gives as their weights say, and one alone has all of it.
#[rstest]
#[case(100, 100)]
#[case(300, 100)]
#[case(1000, 100)]
fn shares_follow_the_weights(lab: Lab, #[case] heavy: u64, #[case] light: u64) -> Outcome {
    needs_iocost(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let disk = disk(&lab)?;
    switch_on(hierarchy.root(), &disk)?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.weight", heavy)?;
    other.set("io.weight", light)?;
    // Before there is anything that the kernel could owe it.
    let alone = other.load(&load(&disk))?.truth(PATIENCE)?;
    record(&lab, "bytes a second of the light one alone", &alone, Some(RATE * BLOCK));
    lab.enforcement("requests of the light one alone")
        .covers([R122])
        .file("io.weight")
        .unit(Unit::Count)
        .observed(alone.requests)
        .between(GIVEN - u64::from(DEPTH), most(1), "a group that is alone has the whole device whatever its weight: cgroup-v2.rst, Weights: \"only the children that can make use of the resource at the moment participate\"; and what is in flight at the end, what a group begins with, and what one does before the next begins");
    let both = compete(&lab, "both", &disk, [&one, &other])?;
    shares(&lab, "the light one", &both, both[1].requests, [light, heavy + light]);
    speed(&lab, &both);
    Ok(())
}

/// One gets its part of the requests of all.
fn shares(lab: &Lab, whose: &str, all: &[truth::BlockIo], its: u64, [part, of]: [u64; 2]) {
    let sum: u64 = all.iter().map(|it| it.requests).sum();
    lab.enforcement(&format!("requests of {whose}"))
        .covers([R122])
        .file("io.weight")
        .unit(Unit::Count)
        .observed(its)
        .between((sum * part / of).saturating_sub(APART), sum * part / of + APART, &format!("cgroup-v2.rst, io.weight: \"the relative amount of IO time the cgroup can use in relation to its siblings\", {part} of {of} parts, for every request costs the same in the given model; give or take {APART_REASON}"));
}

/// All together get what the model gives.
fn speed(lab: &Lab, all: &[truth::BlockIo]) {
    let sum: u64 = all.iter().map(|it| it.requests).sum();
    lab.enforcement("requests of all")
        .covers([R122])
        .file("io.cost.model")
        .unit(Unit::Count)
        .observed(sum)
        .between(GIVEN - u64::from(DEPTH), most(all.len()), "min=100.00 and max=100.00 in io.cost.qos hold the device at the speed of the model, 400 requests a second; and what is in flight at the end, what a group begins with, and what one does before the next begins");
}

/// Weights are compared among siblings: in r{a 100 {c 300, d 100}, b 300}, b has three quarters of all, and c of the rest.
#[rstest]
fn competition_is_between_siblings(lab: Lab) -> Outcome {
    needs_iocost(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let disk = disk(&lab)?;
    switch_on(hierarchy.root(), &disk)?;
    let (a, b) = (lab.group("a")?, lab.group("b")?);
    a.enable("io")?;
    let (c, d) = (a.make("c")?, a.make("d")?);
    for (group, weight) in [(&a, 100), (&b, 300), (&c, 300), (&d, 100)] {
        group.set("io.weight", weight)?;
    }
    let load = load(&disk);
    let (mut of_b, mut of_c, mut of_d) = (b.load(&load)?, c.load(&load)?, d.load(&load)?);
    let all = [of_b.truth(PATIENCE)?, of_c.truth(PATIENCE)?, of_d.truth(PATIENCE)?];
    for ((whose, parts), truth) in [("b", 12), ("c", 3), ("d", 1)].into_iter().zip(&all) {
        record(&lab, &format!("bytes a second of {whose}"), truth, Some(RATE * BLOCK * parts / 16));
        shares(&lab, whose, &all, truth.requests, [parts, 16]);
    }
    speed(&lab, &all);
    Ok(())
}

/// Where iocost is off `io.weight` means nothing.
#[rstest]
fn weights_mean_nothing_without_iocost(lab: Lab) -> Outcome {
    needs_iocost(&lab)?;
    // On one CPU, whose requests wait in one line.
    bind(&[0]).map_err(Stop::broken("set an affinity"))?;
    let wanted = NullDisk { completion: Duration::from_millis(4), ..NullDisk::default() };
    let disk = lab.null_disk(wanted)?;
    disk.schedule(&lab, "none")?;
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    one.set("io.weight", 10000)?;
    other.set("io.weight", 1)?;
    let load = BlockIo { depth: 1, ..load(&disk) };
    let (mut first, mut second) = (one.load(&load)?, other.load(&load)?);
    let both = [first.truth(PATIENCE)?, second.truth(PATIENCE)?];
    let all: u64 = both.iter().map(|it| it.requests).sum();
    lab.enforcement("requests of a group with weight 1, beside one with 10000")
        .covers([R122, S19])
        .file("io.weight")
        .unit(Unit::Count)
        .observed(both[1].requests)
        .between(all / 4, all / 4 * 3, "nobody reads the weights, or it would have one request in ten thousand; each of the two waits in one line for the only place on the device, where 6.1 has been seen to favour one by 60 to 40");
    Ok(())
}

/// A weight for one device overrides the default there, until "default" takes it back.
#[rstest]
fn weights_read_back(lab: Lab) -> Outcome {
    needs_iocost(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let disk = disk(&lab)?;
    switch_on(hierarchy.root(), &disk)?;
    let number = disk.number();
    let group = lab.group("group")?;
    for (written, expected, why) in [
        ("", "default 100".to_owned(), "the default is 100"),
        ("default 200", "default 200".to_owned(), "\"default $WEIGHT\" sets the default"),
        ("10000", "default 10000".to_owned(), "so does the number alone, up to 10000"),
        ("1", "default 1".to_owned(), "and down to 1"),
        (
            "DEVICE 300",
            format!("default 1\n{number} 300"),
            "\"$MAJ:$MIN $WEIGHT\" overrides it for one device",
        ),
        ("DEVICE default", "default 1".to_owned(), "\"$MAJ:$MIN default\" unsets the override"),
    ] {
        if !written.is_empty() {
            group.set("io.weight", written.replace("DEVICE", number))?;
        }
        lab.interface(&format!("the weights after {written:?}"))
            .covers([R123])
            .file("io.weight")
            .observed(group.line("io.weight")?)
            .equals(expected, &format!("cgroup-v2.rst, IO Interface Files, io.weight: {why}"));
    }
    for (written, expected) in [
        ("0", "EINVAL"),
        ("10001", "EINVAL"),
        ("DEVICE 10001", "EINVAL"),
        ("heavy", "EINVAL"),
        ("240:77 100", "ENODEV"),
    ] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R123])
            .file("io.weight")
            .answered(&group.try_set("io.weight", written.replace("DEVICE", number)))
            .equals(expected, "cgroup-v2.rst: \"The weights are in the range [1, 10000]\"; block/blk-iocost.c, ioc_weight_write");
    }
    let other = lab.group("other")?;
    group.set("io.weight", format!("{number} 300"))?;
    let both = compete(&lab, "with an override", &disk, [&group, &other])?;
    shares(
        &lab,
        "the one with 100 beside one with an override of 300",
        &both,
        both[1].requests,
        [100, 400],
    );
    Ok(())
}

/// The model and its quality of service are the root's; a device has a line from the first write on, and a parameter makes it the user's.
#[rstest]
fn parameters_are_the_roots(lab: Lab) -> Outcome {
    needs_iocost(&lab)?;
    let hierarchy = lab.whole_hierarchy()?;
    let root = hierarchy.root();
    let disk = disk(&lab)?;
    let number = disk.number();
    let group = lab.group("group")?;
    for file in ["io.cost.qos", "io.cost.model"] {
        lab.interface("whether a group that is not the root has the file")
            .covers([R124])
            .file(file)
            .observed(if group.has(file)? { "yes" } else { "no" })
            .equals("no", "cgroup-v2.rst: the file \"exists only on the root cgroup\"");
        let text = root.get(file)?;
        lab.interface("the device's line before the first write")
            .covers([R124])
            .file(file)
            .observed(line_of(&text, &disk).unwrap_or("none"))
            .equals("none", "cgroup-v2.rst: \"The line for a given device is populated on the first write for the device\"");
    }
    let word = |file: &str, key: &str| -> Result<String, Stop> {
        let text = root.get(file)?;
        let line = line_of(&text, &disk).unwrap_or_default();
        let found = line.split(' ').find_map(|it| it.strip_prefix(key)?.strip_prefix('='));
        Ok(found.unwrap_or("none").to_owned())
    };
    for (file, written, key, expected) in [
        ("io.cost.qos", "enable=1", "enable", "1"),
        ("io.cost.qos", "", "ctrl", "auto"),
        ("io.cost.model", "", "ctrl", "auto"),
        ("io.cost.model", "", "model", "linear"),
        ("io.cost.qos", "min=50.00", "ctrl", "user"),
        ("io.cost.qos", "", "min", "50.00"),
        ("io.cost.qos", "ctrl=auto", "ctrl", "auto"),
        ("io.cost.model", "rbps=1048576", "ctrl", "user"),
        ("io.cost.model", "", "rbps", "1048576"),
        ("io.cost.model", "ctrl=auto", "ctrl", "auto"),
        ("io.cost.qos", "enable=0", "enable", "0"),
    ] {
        if !written.is_empty() {
            root.set(file, format!("{number} {written}"))?;
        }
        lab.interface(&format!("{key} after {written:?}"))
            .covers([R124])
            .file(file)
            .observed(word(file, key)?)
            .equals(expected, "cgroup-v2.rst, io.cost.qos and io.cost.model: \"Setting to a parameter switches\" ctrl to user, and ctrl=auto gives it back to the kernel");
    }
    for (file, written) in [
        ("io.cost.qos", "rpct=101.00"),
        ("io.cost.qos", "min=200.00 max=100.00"),
        ("io.cost.qos", "speed=1"),
        ("io.cost.model", "model=cubic"),
        ("io.cost.model", "speed=1"),
    ] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R124])
            .file(file)
            .answered(&root.try_set(file, format!("{number} {written}")))
            .equals("EINVAL", "block/blk-iocost.c, ioc_qos_write and ioc_cost_model_write: no percentage, a minimum above the maximum, no such key or model");
    }
    Ok(())
}
