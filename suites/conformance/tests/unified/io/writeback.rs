//! Buffered writes: who is charged for them, and when.

use std::path::PathBuf;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::filesystem::Format;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};
use cgauge_workloads::{Access, BlockIo, Operation};

use crate::counters::Counters;
use crate::rates::{PATIENCE, in_slice, in_time, record};

const MIB: u64 = 1 << 20;
/// Bytes of one write.
const BLOCK: u64 = 64 << 10;
/// What a writer dirties.
const DIRTIED: u64 = 3 * MIB;
/// A device that keeps what is written: 0.2 ms a request.
fn disk(lab: &Lab) -> Result<Disk, Stop> {
    lab.null_disk(NullDisk {
        megabytes: 128,
        completion: Duration::from_micros(200),
        depth: 8,
        contents: true,
    })
}

fn writer(path: PathBuf, bytes: u64) -> BlockIo {
    BlockIo {
        access: Access::Buffered,
        block_bytes: BLOCK,
        span_bytes: bytes,
        ..BlockIo::direct(Operation::Write, path, bytes / BLOCK)
    }
}

/// What the kernel's threads write back is charged to the group that dirtied it, to the byte.
#[rstest]
fn writeback_is_charged_to_the_dirtying_group(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let parent = lab.group("parent")?;
    parent.enable("io memory")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    one.load(&writer(files.path().join("one"), DIRTIED))?.truth(PATIENCE)?;
    other.load(&writer(files.path().join("other"), DIRTIED / 3))?.truth(PATIENCE)?;
    lab.value(
        "bytes written back before anybody asked for it",
        Unit::Bytes,
        Counters::of(&one, &disk)?.wbytes,
        Neither,
    );
    // By the case's own process, which is in neither.
    files.sync()?;
    for (whose, group, expected) in [
        ("the first", &one, DIRTIED),
        ("the second", &other, DIRTIED / 3),
        ("their parent", &parent, DIRTIED / 3 * 4),
    ] {
        lab.accounting(&format!("bytes written back for {whose}"))
            .covers([R127, S21])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(Counters::of(group, &disk)?.wbytes)
            .equals(expected, "cgroup-v2.rst, Writeback: on ext4 writeback is charged to the group of the dirty pages' inode; the file system's own blocks are no group's but the one who syncs");
    }
    Ok(())
}

/// Dirty pages are written back once they are old enough, with nobody asking for it.
#[rstest]
fn old_pages_are_written_back(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let group = lab.group("group")?;
    group.load(&writer(files.path().join("file"), DIRTIED))?.truth(PATIENCE)?;
    let mut points = Vec::new();
    for second in 1..=40 {
        pause(Duration::from_secs(1));
        points.push((Duration::from_secs(second), Counters::of(&group, &disk)?.wbytes as f64));
    }
    lab.series("bytes written back", Unit::Bytes, &points, None);
    lab.accounting("bytes written back 40 s after they were dirtied")
        .covers([R127, S21])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(Counters::of(&group, &disk)?.wbytes)
        .equals(DIRTIED, "admin-guide/sysctl/vm.rst: the flusher looks every vm.dirty_writeback_centisecs, 5 s, and what is older than vm.dirty_expire_centisecs, 30 s, is written then at the latest");
    Ok(())
}

/// Lower thresholds start writeback sooner, still charged to the one who dirtied.
#[rstest]
#[case::background_bytes("dirty_background_bytes", MIB)]
#[case::background_ratio("dirty_background_ratio", 1)]
#[case::bytes("dirty_bytes", MIB)]
#[case::ratio("dirty_ratio", 1)]
fn thresholds_shift_writeback(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
    #[case] setting: &str,
    #[case] value: u64,
) -> Outcome {
    // What is above the background threshold the flusher writes, which is to have
    // time for it; what is above the other one the writer itself waits for.
    let (shown, rest, why) = if setting.contains("background") {
        (
            "nr_dirty_background_threshold",
            Duration::from_secs(1),
            "the writer wakes the flusher once more than this is dirty, which writes until no more is",
        )
    } else {
        (
            "nr_dirty_threshold",
            Duration::ZERO,
            "the writer itself waits while more than this is dirty",
        )
    };
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let (before, after) = (lab.group("before")?, lab.group("after")?);
    before.load(&writer(files.path().join("before"), DIRTIED))?.truth(PATIENCE)?;
    pause(rest);
    lab.accounting("bytes written back with the threshold as it was")
        .covers([S21])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(Counters::of(&before, &disk)?.wbytes)
        .equals(0, "admin-guide/sysctl/vm.rst: 3 MiB are less than dirty_background_ratio, a tenth of the memory, and the flusher first looks 5 s after they began to be dirty");
    files.sync()?;
    std::fs::write(format!("/proc/sys/vm/{setting}"), value.to_string())?;
    let lowered = threshold(shown)?;
    let dirtied = 2 * lowered / BLOCK * BLOCK;
    let truth = after.load(&writer(files.path().join("after"), dirtied))?.truth(PATIENCE)?;
    pause(rest);
    lab.value("time to dirty them", Unit::Nanoseconds, truth.elapsed_ns, Neither);
    lab.accounting(&format!("bytes of {dirtied} written back with a threshold of {lowered}"))
        .covers([R127, S21])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(Counters::of(&after, &disk)?.wbytes)
        .between(
            dirtied.saturating_sub(lowered),
            dirtied,
            &format!("cgroup-v2.rst, Writeback, and admin-guide/sysctl/vm.rst: {why}"),
        );
    Ok(())
}

/// A threshold of dirty memory as `/proc/vmstat` has it, in bytes.
fn threshold(name: &str) -> Result<u64, Stop> {
    let text = std::fs::read_to_string("/proc/vmstat")?;
    let pages = text.lines().find_map(|it| it.strip_prefix(name)?.trim().parse::<u64>().ok());
    pages.map(|it| it * 4096).ok_or_else(|| Stop::Broken(format!("/proc/vmstat has no {name}")))
}

/// A file that another group keeps dirtying becomes that group's.
#[rstest]
fn inode_goes_to_the_group_that_dirties_it(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    const ROUNDS: u64 = 12;
    const ONCE: &str = "each round dirties 1 MiB, and it is charged once, to one or the other; on ext4 the block with the file's inode, whose times every round changes, is in the device's own page cache and charged to whoever brought it there; XFS and Btrfs keep theirs where no group is charged";
    // One block of inodes.
    let metadata = if format == Format::Ext4 { 4096 } else { 0 };
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let parent = lab.group("parent")?;
    parent.enable("io memory")?;
    let (first, second) = (parent.make("first")?, parent.make("second")?);
    let load = writer(files.path().join("file"), MIB);
    first.load(&load)?.truth(PATIENCE)?;
    files.sync()?;
    let begun = Counters::of(&first, &disk)?.wbytes;
    lab.accounting("bytes charged to the group that made the file")
        .covers([R127])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(begun)
        .equals(MIB, "it dirtied the file first");
    let (mut of_first, mut of_second, mut switched) = (Vec::new(), Vec::new(), None);
    for round in 0..ROUNDS {
        let before = [Counters::of(&first, &disk)?, Counters::of(&second, &disk)?];
        // A page that is in the cache stays with the group that brought it there.
        files.forget()?;
        second.load(&load)?.truth(PATIENCE)?;
        files.sync()?;
        pause(Duration::from_millis(500));
        let one = Counters::of(&first, &disk)?.since(before[0]).wbytes;
        let other = Counters::of(&second, &disk)?.since(before[1]).wbytes;
        let at = Duration::from_millis(500 * round);
        of_first.push((at, one as f64));
        of_second.push((at, other as f64));
        lab.accounting(&format!("bytes charged to either in round {round}"))
            .covers([R128])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(one + other)
            .between(MIB, MIB + metadata, ONCE);
        if other >= MIB && switched.is_none() {
            switched = Some(round);
        }
    }
    lab.series(
        "bytes a round charged to the group that made the file",
        Unit::Bytes,
        &of_first,
        None,
    );
    lab.series("bytes a round charged to the group that dirties it", Unit::Bytes, &of_second, None);
    lab.accounting("rounds until the file is the other's")
        .covers([R128])
        .file("io.stat")
        .unit(Unit::Count)
        .observed(switched.unwrap_or(ROUNDS))
        .between(2, 9, "cgroup-v2.rst, Writeback: ownership is switched to a group that is \"responsible for most of the\" dirtying over time; fs/fs-writeback.c keeps a history of 16 slots, of which a round takes 1 to 5 (WB_FRN_HIST_MAX_SLOTS), and switches once more than 8 are another's: after 2 to 9 rounds, before the next one");
    lab.accounting("bytes of the last round charged to the group that dirties it")
        .covers([R128])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(of_second.last().map_or(0.0, |it| it.1))
        .between(MIB as f64, (MIB + metadata) as f64, ONCE);
    Ok(())
}

/// Whose limit holds a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Own,
    OfParent,
}

/// Buffered writes are held to the limit of the group that dirtied, buffered reads to the reader's; no one else waits for them.
#[rstest]
fn bug_18_buffered_io_is_held_to_the_limit(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
    #[values(Limit::Own, Limit::OfParent)] limit: Limit,
) -> Outcome {
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let (parent, neighbour) = (lab.group("parent")?, lab.group("neighbour")?);
    parent.enable("io memory")?;
    let group = parent.make("group")?;
    let path = files.path().join("file");
    let bounded = if limit == Limit::Own { &group } else { &parent };
    bounded.set("io.max", format!("{} wbps={MIB} rbps={MIB}", disk.number()))?;
    // Dirtied first, at the page cache's speed; then nothing is left but to sync.
    group.load(&writer(path.clone(), DIRTIED))?.truth(PATIENCE)?;
    let sync = BlockIo { access: Access::Synced, requests: 0, ..writer(path.clone(), DIRTIED) };
    let mut load = group.load(&sync)?;
    let beside = BlockIo { access: Access::Synced, ..writer(files.path().join("beside"), MIB) };
    let (began, mut points, mut last, mut neighbours) = (now(), Vec::new(), (now(), 0), None);
    let written = loop {
        if let Some(truth) = load.truth_within(Duration::from_millis(250))? {
            break truth;
        }
        let (at, bytes) = (now(), Counters::of(&group, &disk)?.wbytes);
        points
            .push((at - began, bytes.saturating_sub(last.1) as f64 / (at - last.0).as_secs_f64()));
        last = (at, bytes);
        if neighbours.is_none() {
            neighbours = Some(neighbour.load(&beside)?.truth(PATIENCE)?);
        }
    };
    lab.series("bytes a second written back", Unit::BytesPerSecond, &points, Some(MIB as f64));
    let beside = match neighbours {
        Some(truth) => truth,
        // The limit did not hold, as is seen below.
        None => neighbour.load(&beside)?.truth(PATIENCE)?,
    };
    files.forget()?;
    let read = BlockIo { operation: Operation::Read, ..writer(path, DIRTIED) };
    let read = group.load(&read)?.truth(PATIENCE)?;
    record(&lab, "bytes a second read", &read, Some(MIB));
    let seen = Counters::of(&group, &disk)?;
    for (what, bytes, elapsed_ns) in
        [("written", seen.wbytes, written.elapsed_ns), ("read", seen.rbytes, read.elapsed_ns)]
    {
        lab.accounting(&format!("bytes {what} by the group"))
            .covers([R127, S20])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(bytes)
            .between(DIRTIED, DIRTIED + OWN_BLOCKS, "the whole file once, for nothing of it was on the device, or in the page cache; and the file system's own blocks that a group which reads and syncs by itself needs for one file: inodes, the folder, a map of what is free");
        let given = in_time(MIB, elapsed_ns);
        lab.enforcement(&format!("bytes {what} in the time that it took"))
            .covers([R118, S20])
            .file("io.max")
            .unit(Unit::Bytes)
            .observed(bytes)
            .between(
                given.saturating_sub(in_slice(MIB) + AHEAD),
                given + in_slice(MIB),
                BUFFERED_REASON,
            );
    }
    lab.enforcement("how long 1 MiB takes a neighbour that writes and syncs meanwhile")
        .covers([R118])
        .file("io.max")
        .took(Duration::from_nanos(beside.elapsed_ns))
        .at_most(500_000_000_u64, "it has no limit, and the kernel's threads that write back do not wait for a throttled request: 16 writes and a sync are done in a tenth of a second; behind the group's it would be two seconds and more");
    Ok(())
}

/// Eight blocks, of which a cluster of XFS's inodes is four.
const OWN_BLOCKS: u64 = 32 << 10;
/// What is read ahead at a time, read_ahead_kb.
const AHEAD: u64 = 128 << 10;
const BUFFERED_REASON: &str = "block/blk-throttle.c gives budgets by slices of 100 ms, one of which may be ahead; behind may be as much again, and the time that the pages read ahead take to be copied before the next are asked for";
