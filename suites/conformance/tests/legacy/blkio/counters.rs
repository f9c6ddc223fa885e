//! `io_service_bytes` and `io_serviced`, of throttling and of BFQ, against what
//! was issued.

use std::collections::BTreeMap;

use cgauge_lab::disk::Disk;
use cgauge_lab::prelude::*;
use cgauge_lab::rates::PATIENCE;
use cgauge_workloads::{BlockIo, Operation};

use crate::{READ_BPS, WRITE_BPS, fast, limit};

const WHY: &str = "blkio-controller.rst: bytes transferred and IOs (bio) issued \"by the group\", \"further divided by the type of operation - read or write, sync or async\"; each request of the load is one direct I/O, which somebody waits for";

/// What a file says of a device, by the kind of operation; nothing for no line.
pub fn of_device(group: &Group, file: &str, disk: &Disk) -> Result<BTreeMap<String, u64>, Stop> {
    let text = group.get(file)?;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let [device, kind, number] = words[..]
            && device == disk.number()
        {
            let number = number
                .parse()
                .map_err(|_| Stop::Broken(format!("{file}: {line:?} in {text:?}")))?;
            found.insert(kind.to_owned(), number);
        }
    }
    Ok(found)
}

fn io(operation: Operation, disk: &Disk, block_bytes: u64, requests: u64) -> BlockIo {
    BlockIo {
        block_bytes,
        span_bytes: 4 << 20,
        ..BlockIo::direct(operation, disk.path(), requests)
    }
}

/// Limits that no load here reaches: newer kernels count what passes a limit.
fn unreached(group: &Group, disk: &Disk) -> Outcome {
    for file in [READ_BPS, WRITE_BPS] {
        limit(group, file, disk, 1 << 40)?;
    }
    Ok(())
}

/// What a group does is counted whether or not it has a limit.
#[rstest]
fn direct_io_is_counted_without_a_limit(lab: Lab) -> Outcome {
    let group = lab.legacy("blkio")?.make("group")?;
    let disk = fast(&lab)?;
    let truth = group.load(&io(Operation::Read, &disk, 4096, 37))?.truth(PATIENCE)?;
    for (file, unit, expected) in [
        ("blkio.throttle.io_service_bytes", Unit::Bytes, truth.bytes),
        ("blkio.throttle.io_serviced", Unit::Count, truth.requests),
    ] {
        lab.accounting("reads of a group without a limit")
            .covers([R176])
            .file(file)
            .unit(unit)
            .observed(of_device(&group, file, &disk)?.get("Read").copied().unwrap_or(0))
            .equals(expected, WHY);
    }
    Ok(())
}

/// Direct I/O is counted to the byte and to the request in the group that issued it; the recursive files have that of all below as well.
#[rstest]
#[case::by_throttling("blkio.throttle", "none")]
#[case::by_bfq("blkio.bfq", "bfq")]
fn direct_io_is_counted_exactly(
    lab: Lab,
    #[case] policy: &str,
    #[case] scheduler: &str,
) -> Outcome {
    let root = lab.legacy("blkio")?;
    let disk = fast(&lab)?;
    disk.schedule(&lab, scheduler)?;
    let parent = root.make("parent")?;
    let (busy, idle) = (parent.make("busy")?, parent.make("idle")?);
    for group in [&parent, &busy, &idle] {
        unreached(group, &disk)?;
    }
    let bytes = format!("{policy}.io_service_bytes");
    let requests = format!("{policy}.io_serviced");
    if !busy.has(&bytes)? {
        return Err(lab.skip("this kernel has no BFQ for groups (CONFIG_BFQ_GROUP_IOSCHED)"));
    }
    let read = busy.load(&io(Operation::Read, &disk, 4096, 37))?.truth(PATIENCE)?;
    let written = busy.load(&io(Operation::Write, &disk, 16384, 23))?.truth(PATIENCE)?;
    let own = parent.load(&io(Operation::Read, &disk, 4096, 5))?.truth(PATIENCE)?;
    let kinds = ["Read", "Write", "Sync", "Async", "Discard", "Total"];
    let numbers = |reads: u64, writes: u64| [reads, writes, reads + writes, 0, 0, reads + writes];
    let all = "_recursive";
    for (who, group, suffix, of_bytes, of_requests) in [
        ("the group", &busy, "", [read.bytes, written.bytes], [read.requests, written.requests]),
        (
            "the group and below",
            &busy,
            all,
            [read.bytes, written.bytes],
            [read.requests, written.requests],
        ),
        ("its parent", &parent, "", [own.bytes, 0], [own.requests, 0]),
        (
            "its parent and below",
            &parent,
            all,
            [own.bytes + read.bytes, written.bytes],
            [own.requests + read.requests, written.requests],
        ),
    ] {
        for (file, unit, [reads, writes]) in
            [(&bytes, Unit::Bytes, of_bytes), (&requests, Unit::Count, of_requests)]
        {
            let file = format!("{file}{suffix}");
            let seen = of_device(group, &file, &disk)?;
            for (kind, expected) in kinds.into_iter().zip(numbers(reads, writes)) {
                lab.accounting(&format!("{kind} of {who}"))
                    .covers([R176])
                    .file(&file)
                    .unit(unit)
                    .observed(seen.get(kind).copied().unwrap_or(u64::MAX))
                    .equals(expected, WHY);
            }
        }
    }
    lab.accounting("what a neighbour that did nothing has of the device")
        .covers([R176])
        .file(&bytes)
        .unit(Unit::Bytes)
        .observed(of_device(&idle, &bytes, &disk)?.get("Total").copied().unwrap_or(0))
        .equals(0, "it issued nothing");
    for file in [&bytes, &requests] {
        lab.interface("the answer to a write to a counter")
            .covers([R176])
            .file(file)
            .answered(&busy.try_set(file, 0))
            .equals("EINVAL", "the file has no write method");
    }
    lab.interface("the sum over all devices")
        .covers([R176])
        .file(&bytes)
        .observed(busy.get(&bytes)?.lines().last().unwrap_or_default())
        .equals(
            format!("Total {}", read.bytes + written.bytes),
            "block/blk-cgroup.c, blkcg_print_blkgs: the last line is the total of all devices",
        );
    Ok(())
}

/// A write to `reset_stats` begins the counters of the group anew, and nobody else's.
#[rstest]
fn counters_begin_anew_with_a_write(lab: Lab) -> Outcome {
    const RESET: &str = "blkio.reset_stats";
    const BYTES: &str = "blkio.throttle.io_service_bytes";
    let root = lab.legacy("blkio")?;
    let disk = fast(&lab)?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    for it in [&group, &neighbour] {
        unreached(it, &disk)?;
        it.load(&io(Operation::Read, &disk, 4096, 11))?.truth(PATIENCE)?;
    }
    group.set(RESET, 1)?;
    for (who, group, expected) in [("the group", &group, 0), ("a neighbour", &neighbour, 11 * 4096)]
    {
        lab.accounting(&format!("bytes of {who} after the group's counters were reset"))
            .covers([R176])
            .file(BYTES)
            .unit(Unit::Bytes)
            .observed(of_device(group, BYTES, &disk)?.get("Read").copied().unwrap_or(0))
            .equals(expected, "blkio-controller.rst, reset_stats: \"Writing an int to this file will result in resetting all the stats for that cgroup\"");
    }
    Ok(())
}
