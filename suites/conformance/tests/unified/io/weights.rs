//! BFQ's weights: what they accept, what they share out, and where they do not
//! reach.

use cgauge_lab::cpus::bind;
use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::filesystem::Format;
use cgauge_lab::prelude::*;
use cgauge_lab::stacked::Kind;
use cgauge_lab::time::pause;
use cgauge_workloads::{Access, BlockIo, Operation, Pattern, truth};

use crate::counters::Counters;
use crate::rates::{PATIENCE, record, timed};

/// How long shares are looked at.
const TIME: Duration = Duration::from_secs(12);
const BLOCK: u64 = 4096;
/// The most that BFQ serves a queue before it looks at the next, in requests.
const BUDGET: u64 = 32;

/// 250 requests a second, one at a time: little I/O makes much time. With BFQ it
/// is the scheduler that sees to that, and always has requests to choose from.
fn slow(lab: &Lab, scheduler: &str) -> Result<Disk, Stop> {
    let bfq = scheduler == "bfq";
    // A queue has twice as many tags as the hardware: with one, tags would be
    // what is shared out. Setting nr_requests instead leaves writes one tag on
    // kernels before 7d337eef4aff, which reckon with the number before.
    let depth = if bfq { 32 } else { 1 };
    let disk = lab.null_disk(NullDisk {
        completion: Duration::from_millis(4),
        contents: true,
        depth,
        ..NullDisk::default()
    })?;
    disk.schedule(lab, scheduler)?;
    if bfq {
        // bfq-iosched.rst asks for both where the distribution is to be kept.
        disk.set_queue("iosched/low_latency", "0")?;
        disk.set_queue("iosched/strict_guarantees", "1")?;
        disk.set_queue("iosched/max_budget", &(BUDGET * BLOCK / 512).to_string())?;
    }
    Ok(disk)
}

/// Skips unless groups have BFQ's weight.
fn needs_bfq(lab: &Lab) -> Result<(), Stop> {
    lab.needs_file("io.bfq.weight", "CONFIG_BFQ_GROUP_IOSCHED and the module bfq")
}

/// What two readers or writers at once got.
fn compete(
    lab: &Lab,
    what: &str,
    load: &BlockIo,
    groups: [&Group; 2],
) -> Result<[truth::BlockIo; 2], Stop> {
    let [one, other] = groups;
    let (mut one, mut other) = (one.load(load)?, other.load(load)?);
    let both = [one.truth(PATIENCE)?, other.truth(PATIENCE)?];
    for (truth, whose) in both.iter().zip(["first", "second"]) {
        record(lab, &format!("bytes a second of the {whose}, {what}"), truth, None);
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

/// Four requests in flight, so that the scheduler is never left without one.
fn random(operation: Operation, disk: &Disk) -> BlockIo {
    BlockIo { depth: 4, ..one_by_one(operation, disk) }
}

fn one_by_one(operation: Operation, disk: &Disk) -> BlockIo {
    BlockIo { block_bytes: BLOCK, pattern: Pattern::Random, ..timed(operation, disk, TIME) }
}

/// The second's requests are its share of all, give or take what BFQ serves at a time.
fn shares(lab: &Lab, what: &str, both: &[truth::BlockIo; 2], [first, second]: [u64; 2]) {
    let all = both[0].requests + both[1].requests;
    let ideal = all * second / (first + second);
    lab.enforcement(&format!("requests of the second, {what}"))
        .covers([S17, S18])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(both[1].requests)
        .between(ideal.saturating_sub(BUDGET), ideal + BUDGET, &format!("bfq-iosched.rst: each group gets its fraction of the throughput, here {second} of {} parts; the scheduler serves a queue at most one budget at a time, max_budget is {BUDGET} requests here, and B-WF2Q+ is never further than one from the ideal", first + second));
    lab.enforcement(&format!("requests of both, {what}"))
        .covers([S18])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(all)
        .between(2823, 3002, "the device does 250 requests a second, 3000 in 12 s and two that are in flight at the end; between two of them it waits for the guest, which takes 0.25 ms at the most, 31000 instructions");
}

/// Two readers, or two writers, share a device as their BFQ weights say.
#[rstest]
#[case(Operation::Read, 100, 100)]
#[case(Operation::Read, 300, 100)]
#[case(Operation::Read, 1000, 100)]
#[case(Operation::Write, 300, 100)]
#[case(Operation::Read, 2, 1)]
fn shares_follow_the_weights(
    lab: Lab,
    #[case] operation: Operation,
    #[case] heavy: u64,
    #[case] light: u64,
) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.bfq.weight", heavy)?;
    other.set("io.bfq.weight", light)?;
    let both = compete(&lab, "direct", &random(operation, &disk), [&one, &other])?;
    shares(&lab, "direct", &both, [heavy, light]);
    Ok(())
}

/// The extremes of the weights leave the light one next to nothing, but not nothing.
#[rstest]
fn lightest_is_not_starved_by_the_heaviest(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.bfq.weight", 1000)?;
    other.set("io.bfq.weight", 1)?;
    let both = compete(&lab, "1000 to 1", &random(Operation::Read, &disk), [&one, &other])?;
    lab.enforcement("requests of the light one")
        .covers([S18])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(both[1].requests)
        .between(1, 3 + BUDGET + 4, "3 of 3000 requests are its share, BFQ is never further than one budget from the ideal, and four are in flight at the end");
    let alone = other.load(&random(Operation::Read, &disk))?.truth(PATIENCE)?;
    record(&lab, "bytes a second of the light one alone", &alone, None);
    lab.enforcement("requests of the light one once it is alone")
        .covers([S18])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(alone.requests)
        .between(2823, 3004, "a group that is alone has the whole device whatever its weight: 3000 requests in 12 s and four in flight at the end, less 0.25 ms of the guest's for each");
    Ok(())
}

/// A weight that is changed while I/O goes on holds from then on.
#[rstest]
fn changed_weight_holds_from_then_on(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    one.set("io.bfq.weight", 300)?;
    let load = random(Operation::Read, &disk);
    let (mut first, mut second) = (one.load(&load)?, other.load(&load)?);
    pause(TIME / 2);
    one.set("io.bfq.weight", 100)?;
    other.set("io.bfq.weight", 300)?;
    let (first, second) = (first.truth(PATIENCE)?, second.truth(PATIENCE)?);
    record(&lab, "bytes a second of the one that had 300 and then 100", &first, None);
    record(&lab, "bytes a second of the one that had 100 and then 300", &second, None);
    // Windows of 250 ms, without the one in which the change took place.
    for (half, parts, windows) in [("first", 1, 0..23), ("second", 3, 25..47)] {
        let sum = |it: &truth::BlockIo| it.windows[windows.clone()].iter().sum::<u64>() / BLOCK;
        let all = sum(&first) + sum(&second);
        lab.enforcement(&format!("requests of the other in the {half} half"))
            .covers([S18])
            .file("io.bfq.weight")
            .unit(Unit::Count)
            .observed(sum(&second))
            .between((all * parts / 4).saturating_sub(BUDGET), all * parts / 4 + BUDGET, "bfq-iosched.rst: each group gets its fraction of the throughput, one part of four and then three; BFQ is at most one budget from the ideal");
    }
    Ok(())
}

/// Weights are compared among siblings: in r{a 100 {c 300, d 100}, b 200}, b gets twice what c gets.
#[rstest]
fn competition_is_between_siblings(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let (a, b) = (lab.group("a")?, lab.group("b")?);
    a.enable("io")?;
    let (c, d) = (a.make("c")?, a.make("d")?);
    for (group, weight) in [(&a, 100), (&b, 200), (&c, 300), (&d, 100)] {
        group.set("io.bfq.weight", weight)?;
    }
    let both = compete(&lab, "b and c", &random(Operation::Read, &disk), [&b, &c])?;
    shares(&lab, "b and c", &both, [200, 100]);
    // d comes in: b keeps its two thirds, c has three quarters of the rest.
    let load = random(Operation::Read, &disk);
    let (mut of_b, mut of_c, mut of_d) = (b.load(&load)?, c.load(&load)?, d.load(&load)?);
    let (of_b, of_c, of_d) = (of_b.truth(PATIENCE)?, of_c.truth(PATIENCE)?, of_d.truth(PATIENCE)?);
    let all = of_b.requests + of_c.requests + of_d.requests;
    for (whose, truth, twelfths) in [("b", of_b, 8), ("c", of_c, 3), ("d", of_d, 1)] {
        record(&lab, &format!("bytes a second of {whose} among three"), &truth, None);
        lab.enforcement(&format!("requests of {whose} among three"))
            .covers([S17])
            .file("io.bfq.weight")
            .unit(Unit::Count)
            .observed(truth.requests)
            .between((all * twelfths / 12).saturating_sub(2 * BUDGET), all * twelfths / 12 + 2 * BUDGET, "b has 200 of 300, a the rest, of which c has 300 of 400; at each of two levels BFQ is at most one budget from the ideal");
    }
    Ok(())
}

/// A weight for one device holds there, and the default holds on all others.
#[rstest]
fn weight_of_a_device_is_for_that_device(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let (special, plain) = (slow(&lab, "bfq")?, slow(&lab, "bfq")?);
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    one.set("io.bfq.weight", format!("{} 400", special.number()))?;
    lab.interface("the weights of the group")
        .covers([R123])
        .file("io.bfq.weight")
        .observed(one.line("io.bfq.weight")?)
        .equals(format!("default 100\n{} 400", special.number()), "bfq-iosched.rst: the default of 100, and a line a device that has one of its own (commit 795fe54c2a8)");
    let both = compete(&lab, "on the device", &random(Operation::Read, &special), [&one, &other])?;
    shares(&lab, "on the device", &both, [400, 100]);
    let both =
        compete(&lab, "on another device", &random(Operation::Read, &plain), [&one, &other])?;
    shares(&lab, "on another device", &both, [100, 100]);
    one.set("io.bfq.weight", format!("{} default", special.number()))?;
    lab.interface("the weights once that of the device is taken back")
        .covers([R123])
        .file("io.bfq.weight")
        .observed(one.line("io.bfq.weight")?)
        .equals(
            "default 100",
            "cgroup-v2.rst, Conventions: \"default\" as a value removes the override",
        );
    Ok(())
}

/// `io.bfq.weight` goes from 1 to 1000, and for a device only where BFQ runs.
#[rstest]
fn bug_16_weights_go_from_1_to_1000(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let with = slow(&lab, "bfq")?;
    let without = slow(&lab, "none")?;
    let group = lab.group("group")?;
    for (written, expected) in [
        ("1".to_owned(), "ok"),
        ("1000".to_owned(), "ok"),
        ("default 500".to_owned(), "ok"),
        (format!("{} 1", with.number()), "ok"),
        (format!("{} 1000", with.number()), "ok"),
        ("0".to_owned(), "ERANGE"),
        ("1001".to_owned(), "ERANGE"),
        (format!("{} 1001", with.number()), "ERANGE"),
        ("heavy".to_owned(), "EINVAL"),
        (format!("{} 500", without.number()), "EOPNOTSUPP"),
    ] {
        let shown =
            written.replace(with.number(), "BFQ-DEVICE").replace(without.number(), "DEVICE");
        lab.interface(&format!("the answer to {shown:?}"))
            .covers([R123])
            .file("io.bfq.weight")
            .answered(&group.try_set("io.bfq.weight", &written))
            .equals(expected, "bfq-iosched.rst: weights are 1 to 1000 (commit 65752aef0a40); a device without BFQ has no weight to set");
    }
    lab.interface("the weights after all this")
        .covers([R123])
        .file("io.bfq.weight")
        .observed(group.line("io.bfq.weight")?)
        .equals(
            format!("default 500\n{} 1000", with.number()),
            "what was accepted last holds, what was refused changes nothing",
        );
    Ok(())
}

/// Where BFQ does not run its weights mean nothing.
#[rstest]
fn weights_mean_nothing_without_bfq(
    lab: Lab,
    #[values("none", "mq-deadline", "kyber")] scheduler: &str,
) -> Outcome {
    needs_bfq(&lab)?;
    // On one CPU, whose requests wait in one line.
    bind(&[0]).map_err(Stop::broken("set an affinity"))?;
    let disk = slow(&lab, scheduler)?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.bfq.weight", 1000)?;
    other.set("io.bfq.weight", 100)?;
    let both = compete(&lab, scheduler, &one_by_one(Operation::Read, &disk), [&one, &other])?;
    lab.enforcement("the first's bytes over the second's, weights 1000 to 100")
        .covers([S19])
        .file("io.bfq.weight")
        .unit(Unit::Ratio)
        .observed(ratio(&both))
        .between(0.97, 1.03, "each of two has one request in flight on a device that does one at a time: they take turns, 1500 each in 12 s, whatever a weight says that nobody reads; one begins some 20 ms, five requests, before the other, and without a scheduler one may find the device free again before the other is awake, which no document rules out: a weight that was read would give 10");
    Ok(())
}

/// What weights come to on a device that stands on one with BFQ.
#[rstest]
fn weights_on_stacked_devices(
    lab: Lab,
    #[values(Kind::Loop, Kind::Mapper, Kind::Md)] kind: Kind,
) -> Outcome {
    needs_bfq(&lab)?;
    let lower = slow(&lab, "bfq")?;
    let upper = lab.stacked(kind, &lower)?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.bfq.weight", 300)?;
    other.set("io.bfq.weight", 100)?;
    let both = compete(
        &lab,
        &format!("{kind:?}"),
        &random(Operation::Read, upper.disk()),
        [&one, &other],
    )?;
    if kind == Kind::Loop {
        // Its worker issues for all: what comes of it is shown, not promised.
        lab.enforcement("requests of both on loop")
            .covers([S19])
            .file("io.bfq.weight")
            .unit(Unit::Count)
            .observed(both[0].requests + both[1].requests)
            .between(2400, 3002, "the lower device does 3000 in the time");
    } else {
        shares(&lab, "on the device above", &both, [300, 100]);
    }
    Ok(())
}

/// Buffered writers of weights 300 and 100, and what their weights come to: shown beside direct ones.
#[rstest]
fn buffered_writers_follow_loosely(lab: Lab) -> Outcome {
    needs_bfq(&lab)?;
    let disk = slow(&lab, "bfq")?;
    let files = lab.file_system(Format::Ext4, &disk)?;
    let (one, other) = (lab.group("heavy")?, lab.group("light")?);
    one.set("io.bfq.weight", 300)?;
    other.set("io.bfq.weight", 100)?;
    let bytes = 2 << 20;
    let load = |name: &str| BlockIo {
        access: Access::Synced,
        pattern: Pattern::Random,
        block_bytes: BLOCK,
        span_bytes: 4 * bytes,
        ..BlockIo::direct(Operation::Write, files.path().join(name), bytes / BLOCK)
    };
    let (mut first, mut second) = (one.load(&load("one"))?, other.load(&load("other"))?);
    let (first, second) = (first.truth(PATIENCE)?, second.truth(PATIENCE)?);
    let ratio = second.elapsed_ns as f64 / first.elapsed_ns as f64;
    lab.value("the light one's time over the heavy one's, buffered", Unit::Ratio, ratio, Neither);
    for (whose, group) in [("heavy", &one), ("light", &other)] {
        let seen = Counters::of(group, &disk)?;
        lab.value(&format!("bytes charged to the {whose} one"), Unit::Bytes, seen.wbytes, Neither);
    }
    // How far writeback follows the weights is nowhere promised; that each
    // pays for its own is.
    for (whose, group, truth) in [("heavy", &one, first), ("light", &other, second)] {
        let distinct = 4096 * 430;
        lab.accounting(&format!("bytes charged to the {whose} one for what it wrote and synced"))
            .covers([S18])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(Counters::of(group, &disk)?.wbytes)
            .between(distinct, truth.bytes + 64 * BLOCK, "512 writes of a page at random places among 2048 hit 453 of them, each written back once, and a few pages of metadata");
    }
    Ok(())
}
