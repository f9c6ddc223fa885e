//! `io.latency` and `io.prio.class`, for kernels that are built with them.

use cgauge_lab::disk::NullDisk;
use cgauge_lab::prelude::*;
use cgauge_workloads::{BlockIo, Operation, Pattern};

use crate::counters::line_of;
use crate::rates::{PATIENCE, record, timed};

const TIME: Duration = Duration::from_secs(8);
/// Requests that wait for the device at most.
const QUEUE: &str = "64";

/// A group whose target is missed slows down its peers with higher targets, and no one else.
#[rstest]
fn missed_target_slows_down_the_peers(lab: Lab) -> Outcome {
    lab.needs_file("io.latency", "CONFIG_BLK_CGROUP_IOLATENCY")?;
    let wanted = NullDisk { completion: Duration::from_millis(2), ..NullDisk::default() };
    let disk = lab.null_disk(wanted)?;
    // The depth that is cut is that of the device's queue, which has a scheduler's
    // length while the device itself does one request at a time.
    disk.schedule(&lab, "mq-deadline")?;
    disk.set_queue("nr_requests", QUEUE)?;
    let (victim, peer) = (lab.group("victim")?, lab.group("peer")?);
    let load = |depth| BlockIo {
        block_bytes: 4096,
        pattern: Pattern::Random,
        depth,
        ..timed(Operation::Read, &disk, TIME)
    };
    let mut shares = Vec::new();
    for (what, targets) in [("without targets", None), ("with targets", Some((4000, 400_000)))] {
        if let Some((strict, loose)) = targets {
            victim.set("io.latency", format!("{} target={strict}", disk.number()))?;
            peer.set("io.latency", format!("{} target={loose}", disk.number()))?;
        }
        let (mut one, mut other) = (victim.load(&load(1))?, peer.load(&load(16))?);
        let (one, other) = (one.truth(PATIENCE)?, other.truth(PATIENCE)?);
        record(&lab, &format!("bytes a second of the victim {what}"), &one, None);
        record(&lab, &format!("bytes a second of the peer {what}"), &other, None);
        shares.push(one.requests as f64 / (one.requests + other.requests) as f64);
    }
    lab.enforcement("the victim's part of all requests with targets over that without")
        .covers([R129])
        .file("io.latency")
        .unit(Unit::Ratio)
        .observed(shares[1] / shares[0])
        .at_least(2.0, "cgroup-v2.rst, How IO Latency Throttling Works: the peer's queue depth is cut \"in half\" time after time while the target is missed, from 64 down to 1, and the peer has 16 of 17 requests until then");
    let text = victim.get("io.stat")?;
    let line = line_of(&text, &disk).unwrap_or_default();
    for key in ["depth", "avg_lat", "win"] {
        let shown = line.split(' ').any(|it| it.split('=').next() == Some(key));
        lab.interface(&format!("whether the line shows {key}"))
            .covers([R130])
            .file("io.stat")
            .observed(if shown { "yes" } else { "no" })
            .equals("yes", "cgroup-v2.rst, IO Latency Interface Files: with io.latency on, io.stat has depth, avg_lat and win as well");
    }
    Ok(())
}

/// `io.prio.class` takes the policies of its document and no others, and a class is obeyed by mq-deadline.
#[rstest]
fn class_of_a_group_is_that_of_its_requests(lab: Lab) -> Outcome {
    lab.needs_file("io.prio.class", "CONFIG_BLK_CGROUP_IOPRIO, since 5.14")?;
    let wanted = NullDisk { completion: Duration::from_millis(4), ..NullDisk::default() };
    let disk = lab.null_disk(wanted)?;
    disk.schedule(&lab, "mq-deadline")?;
    // So long that the scheduler has requests of both to choose from.
    disk.set_queue("nr_requests", QUEUE)?;
    let (idle, plain) = (lab.group("idle")?, lab.group("plain")?);
    for (written, expected) in
        [("no-change", "ok"), ("restrict-to-be", "ok"), ("idle", "ok"), ("urgent", "EINVAL")]
    {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R131])
            .file("io.prio.class")
            .answered(&idle.try_set("io.prio.class", written))
            .equals(
                expected,
                "cgroup-v2.rst, IO Priority: the policies that are listed, and no others",
            );
    }
    lab.interface("the policy after all this")
        .covers([R131])
        .file("io.prio.class")
        .observed(idle.line("io.prio.class")?)
        .equals("idle", "what was accepted last holds");
    let load = BlockIo {
        block_bytes: 4096,
        pattern: Pattern::Random,
        depth: 4,
        ..timed(Operation::Read, &disk, TIME)
    };
    let (mut one, mut other) = (idle.load(&load)?, plain.load(&load)?);
    let (one, other) = (one.truth(PATIENCE)?, other.truth(PATIENCE)?);
    record(&lab, "bytes a second of the idle class", &one, None);
    record(&lab, "bytes a second of the other", &other, None);
    lab.enforcement("requests of the idle class over those of the other")
        .covers([R131])
        .file("io.prio.class")
        .unit(Unit::Ratio)
        .observed(one.requests as f64 / other.requests as f64)
        .at_most(0.5, "block/mq-deadline.c serves a lower class when no higher one has requests, or after prio_aging_expire, 10 s");
    Ok(())
}
