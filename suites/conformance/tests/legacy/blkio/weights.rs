//! BFQ's weights: what they accept, and what they share out.

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_lab::rates::{PATIENCE, record, timed};
use cgauge_workloads::{BlockIo, Operation, Pattern, truth};

const WEIGHT: &str = "blkio.bfq.weight";
const OF_DEVICE: &str = "blkio.bfq.weight_device";
/// How long shares are looked at.
const TIME: Duration = Duration::from_secs(12);
const BYTES: u64 = 4096;
/// The most that BFQ serves a queue before it looks at the next, in requests.
const BUDGET: u64 = 32;

/// 250 requests a second under BFQ, set up to keep to the weights.
fn slow(lab: &Lab, scheduler: &str) -> Result<Disk, Stop> {
    // With fewer tags than requests, tags would be what is shared out.
    let disk = lab.null_disk(NullDisk {
        completion: Duration::from_millis(4),
        contents: true,
        depth: 32,
        ..NullDisk::default()
    })?;
    disk.schedule(lab, scheduler)?;
    if scheduler == "bfq" {
        // bfq-iosched.rst asks for both where the distribution is to be kept.
        disk.set_queue("iosched/low_latency", "0")?;
        disk.set_queue("iosched/strict_guarantees", "1")?;
        disk.set_queue("iosched/max_budget", &(BUDGET * BYTES / 512).to_string())?;
    }
    Ok(disk)
}

/// Skips unless groups have BFQ's weight.
fn needs_bfq(lab: &Lab) -> Outcome {
    if lab.legacy("blkio")?.make("probe")?.has(WEIGHT)? {
        return Ok(());
    }
    Err(lab
        .skip("this kernel has no blkio.bfq.weight (CONFIG_BFQ_GROUP_IOSCHED and the module bfq)"))
}

/// What two readers or writers at once got, held against their weights.
fn compete(
    lab: &Lab,
    what: &str,
    file: &str,
    load: &BlockIo,
    groups: [(&Group, u64); 2],
) -> Outcome {
    let [(one, heavy), (other, light)] = groups;
    let (mut first, mut second) = (one.load(load)?, other.load(load)?);
    let both: [truth::BlockIo; 2] = [first.truth(PATIENCE)?, second.truth(PATIENCE)?];
    for (truth, whose) in both.iter().zip(["first", "second"]) {
        record(lab, &format!("bytes a second of the {whose}, {what}"), truth, None);
    }
    let all = both[0].requests + both[1].requests;
    let ideal = all * light / (heavy + light);
    lab.enforcement(&format!("requests of the second, {what}"))
        .covers([R177])
        .file(file)
        .unit(Unit::Count)
        .observed(both[1].requests)
        .between(ideal - BUDGET, ideal + BUDGET, &format!("bfq-iosched.rst: each group gets its fraction of the throughput, here {light} of {} parts; the scheduler serves a queue at most one budget at a time, max_budget is {BUDGET} requests here, and B-WF2Q+ is never further than one from the ideal", heavy + light));
    lab.enforcement(&format!("requests of both, {what}"))
        .covers([R177])
        .file(file)
        .unit(Unit::Count)
        .observed(all)
        .between(2700, 3002, "the device does 250 requests a second, 3000 in 12 s: who shares it out may keep it idle for a moment at each turn, a tenth at the most");
    Ok(())
}

/// Four requests in flight, so that the scheduler is never left without one.
fn random(operation: Operation, disk: &Disk) -> BlockIo {
    BlockIo {
        depth: 4,
        block_bytes: BYTES,
        pattern: Pattern::Random,
        ..timed(operation, disk, TIME)
    }
}

/// Two readers, or two writers, share a device as their BFQ weights say.
#[rstest]
#[case(Operation::Read, 100, 100)]
#[case(Operation::Read, 300, 100)]
#[case(Operation::Write, 300, 100)]
fn shares_follow_the_weights(
    lab: Lab,
    #[case] operation: Operation,
    #[case] heavy: u64,
    #[case] light: u64,
) -> Outcome {
    needs_bfq(&lab)?;
    let root = lab.legacy("blkio")?;
    let disk = slow(&lab, "bfq")?;
    let (one, other) = (root.make("heavy")?, root.make("light")?);
    one.set(WEIGHT, heavy)?;
    other.set(WEIGHT, light)?;
    compete(&lab, "direct", WEIGHT, &random(operation, &disk), [(&one, heavy), (&other, light)])
}

/// A weight for one device holds there, and the default on all others.
#[rstest]
fn weight_of_a_device_is_for_that_device(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let root = lab.legacy("blkio")?;
    let (special, plain) = (slow(&lab, "bfq")?, slow(&lab, "bfq")?);
    let (one, other) = (root.make("one")?, root.make("other")?);
    one.set(OF_DEVICE, format!("{} 400", special.number()))?;
    lab.interface("the weights of devices")
        .covers([R177])
        .file(OF_DEVICE)
        .observed(one.get(OF_DEVICE)?)
        .equals(format!("default 100\n{} 400\n", special.number()), "blkio-controller.rst, weight_device: a line a device that has one of its own, behind that of the default");
    for (what, disk, heavy) in [("the device", &special, 400), ("another device", &plain, 100)] {
        let load = random(Operation::Read, disk);
        let what = format!("on {what}");
        compete(&lab, &what, OF_DEVICE, &load, [(&one, heavy), (&other, 100)])?;
    }
    Ok(())
}

/// A device's weight that was taken back counts no longer: the group's own does.
#[rstest]
fn weight_of_a_device_is_gone_once_it_is_taken_back(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let root = lab.legacy("blkio")?;
    let disk = slow(&lab, "bfq")?;
    let (one, other) = (root.make("one")?, root.make("other")?);
    let load = random(Operation::Read, &disk);
    one.set(OF_DEVICE, format!("{} 400", disk.number()))?;
    compete(&lab, "with 400", OF_DEVICE, &load, [(&one, 400), (&other, 100)])?;
    one.set(OF_DEVICE, format!("{} default", disk.number()))?;
    compete(&lab, "once it is taken back", OF_DEVICE, &load, [(&one, 100), (&other, 100)])
}

/// Weights go from 1 to 1000, 100 at first; a device has one only where BFQ runs.
#[rstest]
fn weights_go_from_1_to_1000(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let (with, without) = (slow(&lab, "bfq")?, slow(&lab, "none")?);
    let group = lab.legacy("blkio")?.make("group")?;
    for (file, written, answer, weight, of_device) in [
        (WEIGHT, String::new(), "ok", 100, String::new()),
        (WEIGHT, "1".to_owned(), "ok", 1, String::new()),
        (WEIGHT, "0".to_owned(), "ERANGE", 1, String::new()),
        (WEIGHT, "1000".to_owned(), "ok", 1000, String::new()),
        (WEIGHT, "1001".to_owned(), "ERANGE", 1000, String::new()),
        (WEIGHT, "heavy".to_owned(), "EINVAL", 1000, String::new()),
        (OF_DEVICE, format!("{} 1", with.number()), "ok", 1000, format!("{} 1\n", with.number())),
        (
            OF_DEVICE,
            format!("{} 1001", with.number()),
            "ERANGE",
            1000,
            format!("{} 1\n", with.number()),
        ),
        (
            OF_DEVICE,
            format!("{} 500", without.number()),
            "EOPNOTSUPP",
            1000,
            format!("{} 1\n", with.number()),
        ),
        (OF_DEVICE, "999:999 500".to_owned(), "ENODEV", 1000, format!("{} 1\n", with.number())),
        (OF_DEVICE, format!("{} default", with.number()), "ok", 1000, String::new()),
    ] {
        let words =
            written.replace(with.number(), "BFQ-DEVICE").replace(without.number(), "DEVICE");
        if !written.is_empty() {
            lab.interface(&format!("the answer to {words:?}"))
                .covers([R177])
                .file(file)
                .answered(&group.try_set(file, &written))
                .equals(answer, "bfq-iosched.rst: weights are 1 to 1000 (commit 65752aef0a40); a device without BFQ has no weight to set");
        }
        lab.interface(&format!("the group's weight after {words:?}"))
            .covers([R177])
            .file(WEIGHT)
            .unit(Unit::Count)
            .observed(group.number(WEIGHT)?)
            .equals(weight, "100 is the default; what was refused changes nothing");
        lab.interface(&format!("the devices' weights after {words:?}"))
            .covers([R177])
            .file(OF_DEVICE)
            .observed(group.get(OF_DEVICE)?)
            .equals(format!("default {weight}\n{of_device}"), "the default, and a line a device that has one of its own; what was refused changes nothing");
    }
    Ok(())
}

/// A device's weight is removed by 0.
#[rstest]
fn weight_of_a_device_is_removed_by_0(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let group = lab.legacy("blkio")?.make("group")?;
    group.set(OF_DEVICE, format!("{} 500", disk.number()))?;
    lab.interface("the answer to a device's weight of 0")
        .covers([R177])
        .file(OF_DEVICE)
        .answered(&group.try_set(OF_DEVICE, format!("{} 0", disk.number())))
        .equals("ok", "blkio-controller.rst, weight_device: \"Remove specific weight for /dev/sda in this cgroup\" by writing \"8:0 0\"");
    Ok(())
}
