//! `io.max`: each of the four limits, alone and together, over time.

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_lab::stacked::Kind;
use cgauge_lab::time::pause;
use cgauge_workloads::{BlockIo, Millis, Operation, Pattern, truth};

use crate::counters::{Counters, Device};
use crate::rates::{
    BLOCK, PATIENCE, SLICE, SLICE_REASON, in_ns, in_slice, in_time, most_in_a_window, record, timed,
};

/// How long a limit is looked at.
const TIME: Duration = Duration::from_secs(4);

/// The bytes a second of every limit here that is not said otherwise.
const RATE: u64 = 1 << 20;

/// Requests that take a second at the limits here, and some 20 ms without.
const SOME: u64 = RATE / BLOCK;

/// One of the four limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Rbps,
    Wbps,
    Riops,
    Wiops,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Self::Rbps => "rbps",
            Self::Wbps => "wbps",
            Self::Riops => "riops",
            Self::Wiops => "wiops",
        }
    }

    fn operation(self) -> Operation {
        match self {
            Self::Rbps | Self::Riops => Operation::Read,
            Self::Wbps | Self::Wiops => Operation::Write,
        }
    }

    /// About 1 MiB a second, and in whole requests a slice.
    fn limit(self) -> u64 {
        match self {
            Self::Rbps | Self::Wbps => RATE,
            Self::Riops | Self::Wiops => 60,
        }
    }

    /// The bytes a second that the limit gives in requests of [`BLOCK`].
    fn rate(self) -> u64 {
        match self {
            Self::Rbps | Self::Wbps => RATE,
            Self::Riops | Self::Wiops => 60 * BLOCK,
        }
    }
}

fn other(operation: Operation) -> Operation {
    if operation == Operation::Read { Operation::Write } else { Operation::Read }
}

fn some(operation: Operation, disk: &Disk) -> BlockIo {
    BlockIo { block_bytes: BLOCK, ..BlockIo::direct(operation, disk.path(), SOME) }
}

/// Two-sided: what went through is what the limit gives in the time, no window
/// has more than it may.
fn holds(lab: &Lab, whose: &str, truth: &truth::BlockIo, limit: u64, block: u64) {
    record(lab, &format!("bytes a second of {whose}"), truth, Some(limit));
    let given = in_time(limit, truth.elapsed_ns);
    lab.enforcement(&format!("bytes of {whose} in the whole time"))
        .covers([R118, S20])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .between(
            given.saturating_sub(in_slice(limit) + block),
            given + in_slice(limit) + block,
            SLICE_REASON,
        );
    lab.enforcement(&format!("the most bytes of {whose} in a window of 250 ms"))
        .covers([R118, R121, S20])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(most_in_a_window(truth))
        .at_most(in_time(limit, truth.window_ns) + in_slice(limit) + block, SLICE_REASON);
}

/// What is not limited takes a fraction of the second that it would take.
fn is_free(lab: &Lab, what: &str, truth: &truth::BlockIo) {
    lab.enforcement(&format!("how long {what} takes"))
        .covers([R118, R119])
        .file("io.max")
        .took(Duration::from_nanos(truth.elapsed_ns))
        .at_most(200_000_000_u64, "64 requests of a device that takes 0.2 ms for each, and as much again for the calls, are done in 26 ms; at 64 a second they take one second less one slice");
}

/// Each of the four limits holds its own kind of I/O to its rate, and nothing else.
#[rstest]
fn each_limit_holds_its_rate(
    lab: Lab,
    #[values(Key::Rbps, Key::Wbps, Key::Riops, Key::Wiops)] key: Key,
    #[values(Device::Null, Device::Scsi)] device: Device,
) -> Outcome {
    let disk = device.fast(&lab)?;
    let (bounded, neighbour) = (lab.group("bounded")?, lab.group("neighbour")?);
    bounded.set("io.max", format!("{} {}={}", disk.number(), key.name(), key.limit()))?;
    let mut load = bounded.load(&timed(key.operation(), &disk, TIME))?;
    pause(TIME / 4);
    let beside = neighbour.load(&some(key.operation(), &disk))?.truth(PATIENCE)?;
    let across = bounded.load(&some(other(key.operation()), &disk))?.truth(PATIENCE)?;
    let truth = load.truth(PATIENCE)?;
    holds(&lab, "the group", &truth, key.rate(), BLOCK);
    is_free(&lab, "the same by a neighbour", &beside);
    is_free(&lab, "I/O of the other direction", &across);

    bounded.set("io.max", format!("{} {}=max", disk.number(), key.name()))?;
    let after = bounded.load(&some(key.operation(), &disk))?.truth(PATIENCE)?;
    is_free(&lab, "the same once the limit is removed", &after);
    Ok(())
}

/// With all four limits set each direction is held by the tighter of its two.
#[rstest]
fn limits_together_each_hold(lab: Lab, #[values(4096, 65536)] block_bytes: u64) -> Outcome {
    let (disk, free) = (Device::Null.fast(&lab)?, Device::Null.fast(&lab)?);
    let bounded = lab.group("bounded")?;
    let limits = "rbps=1048576 riops=60 wbps=524288 wiops=30";
    bounded.set("io.max", format!("{} {limits}", disk.number()))?;
    let load = |operation| BlockIo { block_bytes, ..timed(operation, &disk, TIME) };
    let mut reads = bounded.load(&load(Operation::Read))?;
    let mut writes = bounded.load(&load(Operation::Write))?;
    // A limit is one device's.
    let elsewhere = bounded.load(&some(Operation::Read, &free))?.truth(PATIENCE)?;
    is_free(&lab, "I/O of the group on another device", &elsewhere);
    // 60 requests of 4 KiB are less than 1 MiB, 16 of 64 KiB are 1 MiB.
    holds(&lab, "the reads", &reads.truth(PATIENCE)?, RATE.min(60 * block_bytes), block_bytes);
    holds(
        &lab,
        "the writes",
        &writes.truth(PATIENCE)?,
        (RATE / 2).min(30 * block_bytes),
        block_bytes,
    );
    Ok(())
}

/// A limit holds however many requests are in flight and wherever they go.
#[rstest]
fn limit_holds_with_many_requests_in_flight(
    lab: Lab,
    #[values(Key::Rbps, Key::Wiops)] key: Key,
) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let bounded = lab.group("bounded")?;
    bounded.set("io.max", format!("{} {}={}", disk.number(), key.name(), key.limit()))?;
    let load =
        BlockIo { depth: 8, pattern: Pattern::Random, ..timed(key.operation(), &disk, TIME) };
    // Those in flight at the end are done one after the other, at the rate.
    holds(&lab, "the group", &bounded.load(&load)?.truth(PATIENCE)?, key.rate(), BLOCK);
    Ok(())
}

/// A small limit, and one that is no whole number of requests a slice, holds as well.
#[rstest]
#[case("riops", 7, 7 * BLOCK)]
#[case("riops", 64, 64 * BLOCK)]
#[case("riops", 99, 99 * BLOCK)]
#[case("rbps", 100_000, 100_000)]
#[case("rbps", 262_144, 262_144)]
fn limit_of_any_size_holds(
    lab: Lab,
    #[case] key: &str,
    #[case] limit: u64,
    #[case] rate: u64,
) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let bounded = lab.group("bounded")?;
    bounded.set("io.max", format!("{} {key}={limit}", disk.number()))?;
    let truth = bounded.load(&timed(Operation::Read, &disk, 2 * TIME))?.truth(PATIENCE)?;
    record(&lab, "bytes a second", &truth, Some(rate));
    lab.value(
        "requests a second",
        Unit::PerSecond,
        truth.requests as f64 * 1e9 / truth.elapsed_ns as f64,
        Higher,
    );
    let given = in_time(rate, truth.elapsed_ns);
    lab.enforcement("bytes in the whole time, at the most")
        .covers([R118])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .at_most(given + in_slice(rate) + BLOCK, "cgroup-v2.rst, io.max: BPS and IOPS limits; block/blk-throttle.c gives budgets by slices of HZ/10, 100 ms, and one slice and one request may be ahead (throtl_trim_iops of newer kernels takes a slice that gives less than one request for an overflow, and forgets what went through in it)");
    // Whole requests a slice; or whole slices a request.
    let slices = truth.elapsed_ns / in_ns(SLICE);
    let least = match (key, limit) {
        ("rbps", _) => given.saturating_sub(in_slice(rate)),
        (_, 0..10) => slices / 10_u64.div_ceil(limit) * BLOCK,
        _ => limit / 10 * slices * BLOCK,
    };
    lab.enforcement("bytes in the whole time, at the least")
        .covers([R118])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .at_least(least.saturating_sub(BLOCK), "block/blk-throttle.c rounds the requests of a slice of 100 ms down to whole ones; a limit of less than one lets one through every so many whole slices");
    Ok(())
}

/// A parent's limit is for all its descendants together, and a child's own limit holds below it.
#[rstest]
fn limit_of_the_parent_binds_its_children(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("io")?;
    let (slow, between) = (parent.make("slow")?, parent.make("between")?);
    between.enable("io")?;
    // Two levels below the limit.
    let quick = between.make("quick")?;
    parent.set("io.max", format!("{} rbps={RATE}", disk.number()))?;
    slow.set("io.max", format!("{} rbps={}", disk.number(), RATE / 4))?;

    let load = timed(Operation::Read, &disk, TIME);
    let (mut of_slow, mut of_quick) = (slow.load(&load)?, quick.load(&load)?);
    let (of_slow, of_quick) = (of_slow.truth(PATIENCE)?, of_quick.truth(PATIENCE)?);
    record(&lab, "bytes a second of the child with a limit", &of_slow, Some(RATE / 4));
    record(&lab, "bytes a second of the child without", &of_quick, None);
    let given = in_time(RATE, of_quick.elapsed_ns.max(of_slow.elapsed_ns));
    lab.enforcement("bytes of both children under the parent's limit")
        .covers([R118, R120, S20])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(of_slow.bytes + of_quick.bytes)
        .between(
            given.saturating_sub(in_slice(RATE) + 2 * BLOCK),
            given + in_slice(RATE) + 2 * BLOCK,
            SLICE_REASON,
        );
    lab.enforcement("bytes of the child with a limit of its own")
        .covers([R118, R120])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(of_slow.bytes)
        .at_most(in_time(RATE / 4, of_slow.elapsed_ns) + in_slice(RATE / 4) + BLOCK, SLICE_REASON);

    // Raised above what the child's own limit gives, the parent's binds it no more.
    parent.set("io.max", format!("{} rbps=max", disk.number()))?;
    holds(
        &lab,
        "the child with a limit, its parent without",
        &slow.load(&load)?.truth(PATIENCE)?,
        RATE / 4,
        BLOCK,
    );
    is_free(
        &lab,
        "I/O of the child without, its parent without",
        &quick.load(&some(Operation::Read, &disk))?.truth(PATIENCE)?,
    );
    Ok(())
}

/// Time in which a group did nothing is not saved up: the burst after it is bounded.
#[rstest]
fn burst_after_a_rest_is_bounded(lab: Lab, #[values(Key::Rbps, Key::Wiops)] key: Key) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let bounded = lab.group("bounded")?;
    bounded.set("io.max", format!("{} {}={}", disk.number(), key.name(), key.limit()))?;
    bounded.load(&some(key.operation(), &disk))?.truth(PATIENCE)?;
    for rest in [1, 10, 20] {
        pause(Duration::from_secs(rest));
        let load =
            BlockIo { window: Millis(50), ..timed(key.operation(), &disk, Duration::from_secs(1)) };
        let truth = bounded.load(&load)?.truth(PATIENCE)?;
        record(&lab, &format!("bytes a second after a rest of {rest} s"), &truth, Some(key.rate()));
        let burst: u64 = truth.windows.iter().take(4).sum();
        lab.enforcement(&format!("bytes in the first 200 ms after a rest of {rest} s"))
            .covers([R121])
            .file("io.max")
            .unit(Unit::Bytes)
            .observed(burst)
            .between(in_time(key.rate(), 200_000_000) - in_slice(key.rate()) - BLOCK, in_time(key.rate(), 200_000_000) + in_slice(key.rate()) + BLOCK, "cgroup-v2.rst, IO: \"Temporary bursts are allowed\"; block/blk-throttle.c: a group that comes back begins a new slice, which is all that it has in store");
        lab.enforcement(&format!("bytes in the first second after a rest of {rest} s"))
            .covers([R118, R121])
            .file("io.max")
            .unit(Unit::Bytes)
            .observed(truth.bytes)
            .at_most(
                in_time(key.rate(), truth.elapsed_ns) + in_slice(key.rate()) + BLOCK,
                SLICE_REASON,
            );
    }
    Ok(())
}

/// A load that wants less than its limit gets what it wants.
#[rstest]
fn load_below_its_limit_is_not_held_up(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let bounded = lab.group("bounded")?;
    bounded.set("io.max", format!("{} riops=200", disk.number()))?;
    let load =
        BlockIo { rate: 50, requests: 400, ..BlockIo::direct(Operation::Read, disk.path(), 400) };
    let truth = bounded.load(&load)?.truth(PATIENCE)?;
    record(
        &lab,
        "bytes a second that a Poisson process of 50 requests a second gets",
        &truth,
        Some(200 * 4096),
    );
    let late: u64 = truth.latencies_ns.iter().filter(|it| it.0 > 5_000_000).map(|it| it.1).sum();
    lab.enforcement("requests that arrived")
        .covers([R118])
        .file("io.max")
        .unit(Unit::Count)
        .observed(truth.requests)
        .equals(400, "a quarter of the limit arrives");
    lab.enforcement("requests that took more than 5 ms from their arrival")
        .covers([R118])
        .file("io.max")
        .unit(Unit::Count)
        .observed(late)
        .at_most(4, "the device takes 0.2 ms; with 20 requests a slice, five arriving, a Poisson process fills one in ten million slices: 1 % is for the time the guest itself takes");
    Ok(())
}

/// A limit that is changed while I/O goes on holds from then on.
#[rstest]
fn changed_limit_holds_from_then_on(lab: Lab) -> Outcome {
    const PHASE: u64 = 2;
    let disk =
        lab.null_disk(NullDisk { completion: Duration::from_millis(2), ..NullDisk::default() })?;
    let bounded = lab.group("bounded")?;
    let rates = [RATE, RATE / 4, 2 * RATE];
    bounded.set("io.max", format!("{} rbps={}", disk.number(), rates[0]))?;
    let mut load = bounded.load(&timed(Operation::Read, &disk, Duration::from_secs(4 * PHASE)))?;
    for rate in [Some(rates[1]), Some(rates[2]), None] {
        pause(Duration::from_secs(PHASE));
        let limit = rate.map_or("max".to_owned(), |it| it.to_string());
        bounded.set("io.max", format!("{} rbps={limit}", disk.number()))?;
    }
    let truth = load.truth(PATIENCE)?;
    record(&lab, "bytes a second under 1, 1/4, 2 MiB/s and no limit", &truth, None);
    let windows = |phase: u64| {
        // Each phase without its first half second and its last window: the changes
        // take place there, for the load's windows begin some 20 ms after the pauses.
        let of_phase = truth.windows.iter().skip((phase * 8 + 2) as usize).take(5);
        of_phase.sum::<u64>()
    };
    for (rate, phase) in rates.into_iter().zip(0..) {
        // The time is cut out of a longer one, and a request counts where it ends:
        // one too many at one end or the other.
        let given = in_time(rate, 1_250_000_000);
        lab.enforcement(&format!("bytes in 1.25 s under a limit of {rate} bytes a second"))
            .covers([R118])
            .file("io.max")
            .unit(Unit::Bytes)
            .observed(windows(phase))
            .between(
                given.saturating_sub(in_slice(rate) + BLOCK),
                given + in_slice(rate) + BLOCK,
                SLICE_REASON,
            );
    }
    lab.enforcement("bytes in 1.25 s after the limit was removed")
        .covers([R118, R119])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(windows(3))
        .at_least(in_time(3 * RATE, 1_250_000_000), "the device takes 2 ms for a request of 16 KiB: 7.8 MiB/s, half of it for what the calls take");
    Ok(())
}

/// A process that moves is held to its new group's limit, and charged there, from then on.
#[rstest]
fn process_that_moves_is_held_to_its_new_group(lab: Lab) -> Outcome {
    const PHASE: u64 = 2;
    let disk = Device::Null.fast(&lab)?;
    let (tight, loose) = (lab.group("tight")?, lab.group("loose")?);
    tight.set("io.max", format!("{} rbps={}", disk.number(), RATE / 2))?;
    loose.set("io.max", format!("{} rbps={}", disk.number(), 2 * RATE))?;
    let mut load = tight.load(&timed(Operation::Read, &disk, Duration::from_secs(3 * PHASE)))?;
    let pid = load.process().pid();
    for group in [&loose, &tight] {
        pause(Duration::from_secs(PHASE));
        group.admit(pid)?;
    }
    let truth = load.truth(PATIENCE)?;
    record(&lab, "bytes a second in the tight, the loose and the tight one", &truth, None);
    for (rate, phase) in [RATE / 2, 2 * RATE, RATE / 2].into_iter().zip(0..) {
        // As above: the moves take place in the other windows.
        let windows = truth.windows.iter().skip(phase * 8 + 2).take(5);
        let given = in_time(rate, 1_250_000_000);
        lab.enforcement(&format!(
            "bytes in 1.25 s in phase {phase}, in a group with {rate} a second"
        ))
        .covers([R118])
        .file("io.max")
        .unit(Unit::Bytes)
        .observed(windows.sum::<u64>())
        .between(
            given.saturating_sub(in_slice(rate) + BLOCK),
            given + in_slice(rate) + BLOCK,
            SLICE_REASON,
        );
    }
    let (of_tight, of_loose) = (Counters::of(&tight, &disk)?, Counters::of(&loose, &disk)?);
    lab.accounting("bytes charged to both")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(of_tight.rbytes + of_loose.rbytes)
        .equals(truth.bytes, "every request is charged once, to the group that the process is in");
    // The phase ends half a window after its last, at the most.
    let phase: u64 = truth.windows.iter().skip(8).take(8).sum();
    lab.accounting("bytes charged to the loose one")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(of_loose.rbytes)
        .between(phase.saturating_sub(in_slice(2 * RATE) + BLOCK), phase + in_slice(2 * RATE) + BLOCK, "what the load did in its two seconds there; its windows began some milliseconds before or after the moves, which are less than a slice");
    Ok(())
}

/// A limit on a stacked device holds there, and one on the device below holds for what comes from above.
#[rstest]
fn bug_18_limit_holds_on_stacked_devices(
    lab: Lab,
    #[values(Kind::Loop, Kind::Mapper, Kind::Md)] kind: Kind,
    #[values("upper", "lower")] limited: &str,
    #[values(Key::Rbps, Key::Wiops)] key: Key,
) -> Outcome {
    let lower = Device::Null.fast(&lab)?;
    let upper = lab.stacked(kind, &lower)?;
    let bounded = lab.group("bounded")?;
    let device = if limited == "upper" { upper.disk() } else { &lower };
    bounded.set("io.max", format!("{} {}={}", device.number(), key.name(), key.limit()))?;
    let truth = bounded.load(&timed(key.operation(), upper.disk(), TIME))?.truth(PATIENCE)?;
    holds(&lab, "the group", &truth, key.rate(), BLOCK);
    Ok(())
}

/// Pressure rises while a limit holds a group up, for just as long, and rests when nothing is held up.
#[rstest]
fn pressure_rises_while_a_limit_holds_up(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let (bounded, neighbour) = (lab.group("bounded")?, lab.group("neighbour")?);
    if !bounded.has("io.pressure")? {
        return Err(lab.skip("this kernel has no io.pressure (CONFIG_PSI)"));
    }
    bounded.set("io.max", format!("{} riops=16", disk.number()))?;
    let truth = bounded.load(&timed(Operation::Read, &disk, TIME))?.truth(PATIENCE)?;
    for kind in ["some", "full"] {
        let stalled = stalled(&bounded, kind)?;
        lab.value(
            &format!("{kind} of the time"),
            Unit::Ratio,
            stalled as f64 * 1000.0 / truth.elapsed_ns as f64,
            Neither,
        );
        lab.accounting(&format!("time that {kind} tasks of the group stood still for I/O"))
            .covers([R126])
            .file("io.pressure")
            .unit(Unit::Microseconds)
            .observed(stalled)
            .between(truth.elapsed_ns.saturating_sub(in_ns(SLICE)) / 1000 * 98 / 100, truth.elapsed_ns / 1000, "the one task of the group waits for its next request all the time but the first slice; 2 % are its own CPU time and the device's 0.2 ms a request");
    }
    lab.accounting("time that tasks of the neighbour stood still for I/O")
        .covers([R126])
        .file("io.pressure")
        .unit(Unit::Microseconds)
        .observed(stalled(&neighbour, "some")?)
        .equals(0, "it has no task");
    Ok(())
}

/// `total=` of a line of `io.pressure`, in microseconds.
fn stalled(group: &Group, kind: &str) -> Result<u64, Stop> {
    let text = group.get("io.pressure")?;
    let line = text.lines().find_map(|it| it.strip_prefix(kind)?.split_once("total="));
    line.and_then(|it| it.1.parse().ok())
        .ok_or_else(|| Stop::Broken(format!("io.pressure has no total of {kind}: {text:?}")))
}
