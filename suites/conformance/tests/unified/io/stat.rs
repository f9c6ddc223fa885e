//! `io.stat`: bytes and requests against what was issued.

use cgauge_lab::cpus::bind;
use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_lab::stacked::Kind;
use cgauge_workloads::{Access, BlockIo, Operation, truth};

use crate::counters::{Counters, Device, line_of};

/// Longer than any load here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const DOCUMENT: &str = "cgroup-v2.rst, IO Interface Files: rbytes, wbytes, dbytes are bytes read, written, discarded; rios, wios, dios the number of such I/Os; each request of the load is one direct I/O";

/// Direct I/O is counted to the byte and to the request, under every scheduler.
#[rstest]
fn bug_17_direct_io_is_counted_exactly(
    lab: Lab,
    #[values("none", "mq-deadline", "kyber", "bfq")] scheduler: &str,
    #[values(Device::Null, Device::Scsi)] device: Device,
) -> Outcome {
    let disk = device.fast(&lab)?;
    disk.schedule(&lab, scheduler)?;
    let parent = lab.group("parent")?;
    parent.enable("io")?;
    let (busy, idle) = (parent.make("busy")?, parent.make("idle")?);
    let device_before = disk.traffic()?;
    let before = Counters::of(&busy, &disk)?;
    let (mut read, mut written) = (Sum::default(), Sum::default());
    // The second time the counters have been read since the first I/O.
    for time in ["once", "twice"] {
        read.add(&busy.load(&io(Operation::Read, &disk, 4096, 37))?.truth(PATIENCE)?);
        written.add(&busy.load(&io(Operation::Write, &disk, 16384, 23))?.truth(PATIENCE)?);
        for (whose, group) in [("the group", &busy), ("its parent", &parent)] {
            let seen = Counters::of(group, &disk)?.since(before);
            for (what, unit, observed, truth) in [
                ("bytes read", Unit::Bytes, seen.rbytes, read.bytes),
                ("reads", Unit::Count, seen.rios, read.requests),
                ("bytes written", Unit::Bytes, seen.wbytes, written.bytes),
                ("writes", Unit::Count, seen.wios, written.requests),
                ("bytes discarded", Unit::Bytes, seen.dbytes, 0),
                ("discards", Unit::Count, seen.dios, 0),
            ] {
                lab.accounting(&format!("{what} by {whose} that has done it {time}"))
                    .covers([R116, R117, S19])
                    .file("io.stat")
                    .unit(unit)
                    .observed(observed)
                    .equals(truth, DOCUMENT);
            }
        }
    }
    let text = busy.get("io.stat")?;
    lab.interface("a line for the device that was used")
        .covers([R116])
        .file("io.stat")
        .observed(line_of(&text, &disk).map_or("none", |_| "one"))
        .equals("one", "cgroup-v2.rst, IO Interface Files: \"Lines are keyed by $MAJ:$MIN device numbers\", and this one has done I/O for the group");
    let of_device = disk.traffic()?;
    lab.accounting("bytes read by the group over those that the device's own file adds")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(Counters::of(&busy, &disk)?.since(before).rbytes)
        .equals(of_device.read_bytes - device_before.read_bytes, "/sys/block/X/stat counts the device's requests apart from any group, and nobody else used it");
    lab.accounting("bytes and requests of a neighbour that did none")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Text)
        .observed(format!("{:?}", Counters::of(&idle, &disk)?))
        .equals(format!("{:?}", Counters::default()), "it issued nothing");
    Ok(())
}

/// What several loads did.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    bytes: u64,
    requests: u64,
}

impl Sum {
    fn add(&mut self, truth: &truth::BlockIo) {
        self.bytes += truth.bytes;
        self.requests += truth.requests;
    }
}

fn io(operation: Operation, disk: &Disk, block_bytes: u64, requests: u64) -> BlockIo {
    BlockIo {
        block_bytes,
        span_bytes: 4 << 20,
        ..BlockIo::direct(operation, disk.path(), requests)
    }
}

/// A device on top of another has a line of its own, exact; what it passes on is counted below.
#[rstest]
fn bug_17_stacked_devices_are_counted_exactly(
    lab: Lab,
    #[values(Kind::Loop, Kind::Mapper, Kind::Md)] kind: Kind,
) -> Outcome {
    let lower = Device::Null.fast(&lab)?;
    let upper = lab.stacked(kind, &lower)?;
    let group = lab.group("group")?;
    let read = group.load(&io(Operation::Read, upper.disk(), 4096, 41))?.truth(PATIENCE)?;
    let written = group.load(&io(Operation::Write, upper.disk(), 8192, 19))?.truth(PATIENCE)?;
    let above = Counters::of(&group, upper.disk())?;
    let below = Counters::of(&group, &lower)?;
    for (what, unit, observed, truth) in [
        ("bytes read", Unit::Bytes, above.rbytes, read.bytes),
        ("reads", Unit::Count, above.rios, read.requests),
        ("bytes written", Unit::Bytes, above.wbytes, written.bytes),
        ("writes", Unit::Count, above.wios, written.requests),
    ] {
        lab.accounting(&format!("{what} on the upper device"))
            .covers([R116, R117, S19])
            .file("io.stat")
            .unit(unit)
            .observed(observed)
            .equals(truth, DOCUMENT);
    }
    for (what, unit, observed, truth) in [
        ("bytes read", Unit::Bytes, below.rbytes, read.bytes),
        ("reads", Unit::Count, below.rios, read.requests),
        ("bytes written", Unit::Bytes, below.wbytes, written.bytes),
        ("writes", Unit::Count, below.wios, written.requests),
    ] {
        lab.accounting(&format!("{what} on the lower device"))
            .covers([R117, S19])
            .file("io.stat")
            .unit(unit)
            .observed(observed)
            .equals(truth, DOCUMENT);
    }
    Ok(())
}

/// A discard is counted as such, to the byte and request, and as nothing else.
#[rstest]
fn discards_are_counted_exactly(lab: Lab) -> Outcome {
    let disk = lab.null_disk(NullDisk { contents: true, depth: 8, ..NullDisk::default() })?;
    let group = lab.group("group")?;
    // A group that has read shows all keys.
    let read = group.load(&io(Operation::Read, &disk, 4096, 1))?.truth(PATIENCE)?;
    let truth = group.load(&io(Operation::Discard, &disk, 256 << 10, 9))?.truth(PATIENCE)?;
    let seen = Counters::of(&group, &disk)?;
    for (what, unit, observed, expected) in [
        ("bytes discarded", Unit::Bytes, seen.dbytes, truth.bytes),
        ("discards", Unit::Count, seen.dios, 9),
        ("bytes read", Unit::Bytes, seen.rbytes, read.bytes),
        ("bytes written", Unit::Bytes, seen.wbytes, 0),
        ("reads", Unit::Count, seen.rios, 1),
        ("writes", Unit::Count, seen.wios, 0),
    ] {
        lab.accounting(what)
            .covers([R125])
            .file("io.stat")
            .unit(unit)
            .observed(observed)
            .equals(expected, "cgroup-v2.rst, IO Interface Files: dbytes are \"Bytes being discarded\", dios the \"Number of discard IOs\"; each BLKDISCARD of 256 KiB is one");
    }
    Ok(())
}

/// A group that discards and does nothing else has its discards shown.
#[rstest]
fn discards_alone_are_shown(lab: Lab) -> Outcome {
    let disk = lab.null_disk(NullDisk { contents: true, depth: 8, ..NullDisk::default() })?;
    let group = lab.group("group")?;
    group.load(&io(Operation::Discard, &disk, 256 << 10, 9))?.truth(PATIENCE)?;
    let text = group.get("io.stat")?;
    let line = line_of(&text, &disk).unwrap_or_default();
    for expected in ["dbytes=2359296", "dios=9"] {
        let shown = line.split(' ').find(|it| it.split('=').next() == expected.split('=').next());
        lab.accounting(&format!("what stands for {expected}"))
            .covers([R125])
            .file("io.stat")
            .observed(shown.unwrap_or("nothing"))
            .equals(expected, "cgroup-v2.rst, IO Interface Files: dbytes and dios are defined for every line, whatever else the group did; nine BLKDISCARD of 256 KiB went before; block/blk-cgroup.c, blkcg_print_one_stat, asks for rbytes, wbytes, rios or wios before it shows any");
    }
    Ok(())
}

/// A request that the device cannot take whole is counted as the pieces that it takes, its bytes once.
#[rstest]
fn split_requests_are_counted_once_in_bytes(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    disk.set_queue("max_sectors_kb", "64")?;
    let group = lab.group("group")?;
    let before = disk.traffic()?.reads;
    let truth = group.load(&io(Operation::Read, &disk, 256 << 10, 7))?.truth(PATIENCE)?;
    let seen = Counters::of(&group, &disk)?;
    lab.accounting("bytes read in requests that are split")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(seen.rbytes)
        .equals(truth.bytes, "block/blk-cgroup.c, blk_cgroup_bio_start: the pieces of a bio do not add its bytes again");
    lab.accounting("reads in requests that are split into four")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Count)
        .observed(seen.rios)
        .equals(
            4 * truth.requests,
            "256 KiB are four pieces of max_sectors_kb=64, and blk_cgroup_bio_start counts each",
        );
    lab.accounting("requests that reached the device")
        .covers([R117])
        .file("io.stat")
        .unit(Unit::Count)
        .observed(seen.rios)
        .equals(
            disk.traffic()?.reads - before,
            "/sys/block/X/stat counts the device's requests apart from any group",
        );
    Ok(())
}

/// A buffered read is counted once: what the page cache gives costs no I/O.
#[rstest]
fn buffered_reads_are_counted_when_they_reach_the_device(lab: Lab) -> Outcome {
    let disk = lab.null_disk(NullDisk { megabytes: 2, depth: 8, ..NullDisk::default() })?;
    // The page cache of a device goes with its last user.
    let _held = std::fs::File::open(disk.path())?;
    let group = lab.group("group")?;
    let whole = BlockIo {
        access: Access::Buffered,
        span_bytes: 2 << 20,
        ..BlockIo::direct(Operation::Read, disk.path(), 512)
    };
    for (what, expected) in [("the first time", 2 << 20), ("the second time", 0)] {
        let before = Counters::of(&group, &disk)?;
        let truth = group.load(&whole)?.truth(PATIENCE)?;
        let seen = Counters::of(&group, &disk)?.since(before);
        lab.accounting(&format!("bytes that the load read {what}"))
            .covers([R116])
            .unit(Unit::Bytes)
            .observed(truth.bytes)
            .equals(2_u64 << 20, "the whole device");
        lab.accounting(&format!("bytes counted when the whole device is read {what}"))
            .covers([R116])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(seen.rbytes)
            .equals(expected, "cgroup-v2.rst counts I/O of the device; the second time every page is in the page cache, and readahead ends with the device");
    }
    Ok(())
}

/// What a removed group did stays in its parent's counters.
#[rstest]
fn counts_of_a_removed_group_stay_with_the_parent(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("io")?;
    let mut sum = 0;
    for requests in [11, 17] {
        let child = parent.make("child")?;
        let mut load = child.load(&io(Operation::Read, &disk, 4096, requests))?;
        sum += load.truth(PATIENCE)?.bytes;
        drop(load);
        child.kill()?;
        drop(child);
        lab.accounting(&format!("bytes read by the parent once a child with {requests} reads is gone"))
            .covers([R117])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(Counters::of(&parent, &disk)?.rbytes)
            .equals(sum, "cgroup-v2.rst, Organizing: a controller's counters are of the whole subtree, and the past does not change");
    }
    Ok(())
}

/// The root's counters are the device's own.
#[rstest]
fn root_counts_what_the_device_did(lab: Lab) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let disk = Device::Null.fast(&lab)?;
    let group = lab.group("group")?;
    let before = (Counters::of(hierarchy.root(), &disk)?, disk.traffic()?);
    group.load(&io(Operation::Read, &disk, 4096, 29))?.truth(PATIENCE)?;
    group.load(&io(Operation::Write, &disk, 8192, 13))?.truth(PATIENCE)?;
    let seen = Counters::of(hierarchy.root(), &disk)?.since(before.0);
    let done = disk.traffic()?;
    for (what, unit, observed, expected) in [
        ("bytes read", Unit::Bytes, seen.rbytes, done.read_bytes - before.1.read_bytes),
        ("reads", Unit::Count, seen.rios, done.reads - before.1.reads),
        ("bytes written", Unit::Bytes, seen.wbytes, done.written_bytes - before.1.written_bytes),
        ("writes", Unit::Count, seen.wios, done.writes - before.1.writes),
    ] {
        lab.accounting(&format!("{what} that the root shows"))
            .covers([R116, R117])
            .file("io.stat")
            .unit(unit)
            .observed(observed)
            .equals(expected, "block/blk-cgroup.c, blkcg_fill_root_iostats: the root's are the device's, which /sys/block/X/stat shows as well");
    }
    Ok(())
}

/// What a group did on each CPU is added up.
#[rstest]
fn counts_of_every_cpu_are_added_up(lab: Lab) -> Outcome {
    let disk = Device::Null.fast(&lab)?;
    let parent = lab.group("parent")?;
    parent.enable("io")?;
    let group = parent.make("group")?;
    let mut sum = Sum::default();
    for (round, cpu) in [0, 1, 0, 1].into_iter().enumerate() {
        // The load has what its parent may use.
        bind(&[cpu]).map_err(Stop::broken("set an affinity"))?;
        let load = io(Operation::Read, &disk, 4096, 7 + round as u64);
        sum.add(&group.load(&load)?.truth(PATIENCE)?);
        bind(&[0, 1]).map_err(Stop::broken("set an affinity"))?;
        for (whose, group) in [("the group", &group), ("its parent", &parent)] {
            let seen = Counters::of(group, &disk)?;
            lab.accounting(&format!("bytes read by {whose} after the load on CPU {cpu}"))
                .covers([R117])
                .file("io.stat")
                .unit(Unit::Bytes)
                .observed(seen.rbytes)
                .equals(sum.bytes, DOCUMENT);
            lab.accounting(&format!("reads by {whose} after the load on CPU {cpu}"))
                .covers([R117])
                .file("io.stat")
                .unit(Unit::Count)
                .observed(seen.rios)
                .equals(sum.requests, DOCUMENT);
        }
    }
    Ok(())
}
