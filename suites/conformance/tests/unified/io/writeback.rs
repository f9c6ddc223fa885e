//! Buffered writes: who is charged for them, and when.

use std::path::PathBuf;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::filesystem::Format;
use cgauge_lab::prelude::*;
use cgauge_lab::time::pause;
use cgauge_workloads::{Access, BlockIo, Operation};

use crate::counters::Counters;
use crate::rates::{PATIENCE, SLICE_REASON, in_slice, in_time};

const MIB: u64 = 1 << 20;
/// What a writer dirties.
const DIRTIED: u64 = 3 * MIB;
/// Two blocks of the file system's own that whoever brought them into the cache is
/// charged for, beside the file's data.
const METADATA: u64 = 8192;
const METADATA_REASON: &str = "each round dirties 1 MiB, and it is charged once, to one or the other; the file's inode and the bitmap are blocks in the device's own page cache, charged to whoever brought those in";

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
        block_bytes: 64 << 10,
        span_bytes: bytes,
        ..BlockIo::direct(Operation::Write, path, bytes / (64 << 10))
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
#[case(
    "dirty_background_bytes",
    2,
    "the writer wakes the flusher once more than this is dirty, which writes until no more is"
)]
#[case("dirty_bytes", 0, "the writer itself waits while more than this is dirty")]
fn thresholds_shift_writeback(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
    #[case] threshold: &str,
    #[case] seconds: u64,
    #[case] why: &str,
) -> Outcome {
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let (before, after) = (lab.group("before")?, lab.group("after")?);
    let rest = Duration::from_secs(seconds);
    before.load(&writer(files.path().join("before"), DIRTIED))?.truth(PATIENCE)?;
    pause(rest);
    // A new device may be written to at once: its part of the threshold is small
    // until it has been seen to write.
    lab.value(
        "bytes written back with the threshold as it was",
        Unit::Bytes,
        Counters::of(&before, &disk)?.wbytes,
        Neither,
    );
    files.sync()?;
    set_system(&format!("vm/{threshold}"), MIB)?;
    let truth = after.load(&writer(files.path().join("after"), DIRTIED))?.truth(PATIENCE)?;
    pause(rest);
    let seen = Counters::of(&after, &disk)?.wbytes;
    lab.value("time to write 3 MiB", Unit::Nanoseconds, truth.elapsed_ns, Neither);
    lab.value("bytes written back", Unit::Bytes, seen, Neither);
    lab.accounting("bytes written back with a threshold of 1 MiB")
        .covers([R127, S21])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(seen)
        .between(
            DIRTIED - MIB,
            DIRTIED,
            &format!("cgroup-v2.rst, Writeback, and admin-guide/sysctl/vm.rst, {threshold}: {why}"),
        );
    Ok(())
}

fn set_system(name: &str, value: u64) -> Result<(), Stop> {
    Ok(std::fs::write(format!("/proc/sys/{name}"), value.to_string())?)
}

/// A file that another group keeps dirtying becomes that group's.
#[rstest]
fn inode_goes_to_the_group_that_dirties_it(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    /// The history of an inode has 16 slots; more than half make a majority.
    const ROUNDS: u64 = 20;
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
        let before = [Counters::of(&first, &disk)?.wbytes, Counters::of(&second, &disk)?.wbytes];
        // A page that is in the cache stays with the group that brought it there.
        files.forget()?;
        second.load(&load)?.truth(PATIENCE)?;
        files.sync()?;
        pause(Duration::from_millis(500));
        let one = Counters::of(&first, &disk)?.wbytes - before[0];
        let other = Counters::of(&second, &disk)?.wbytes - before[1];
        let at = Duration::from_millis(500 * round);
        of_first.push((at, one as f64));
        of_second.push((at, other as f64));
        lab.accounting(&format!("bytes charged to either in round {round}"))
            .covers([R128])
            .file("io.stat")
            .unit(Unit::Bytes)
            .observed(one + other)
            .between(MIB, MIB + METADATA, METADATA_REASON);
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
        .between(1, 16, "cgroup-v2.rst, Writeback: ownership is switched to a group that is \"responsible for most of the\" dirtying over time; fs/fs-writeback.c keeps a history of 16 slots, at least one a round, and switches at more than half of them, asynchronously");
    lab.accounting("bytes of the last round charged to the group that dirties it")
        .covers([R128])
        .file("io.stat")
        .unit(Unit::Bytes)
        .observed(of_second.last().map_or(0.0, |it| it.1))
        .between(MIB as f64, (MIB + METADATA) as f64, METADATA_REASON);
    Ok(())
}

/// Buffered writes are held to the limit of the group that dirtied, buffered reads to the reader's.
#[rstest]
fn buffered_io_is_held_to_the_limit(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    let disk = disk(&lab)?;
    let files = lab.file_system(format, &disk)?;
    let group = lab.group("group")?;
    let path = files.path().join("file");
    group.set("io.max", format!("{} wbps={MIB} rbps={MIB}", disk.number()))?;
    let before = disk.traffic()?;
    let synced = BlockIo { access: Access::Synced, ..writer(path.clone(), DIRTIED) };
    let written = group.load(&synced)?.truth(PATIENCE)?;
    let between = disk.traffic()?;
    files.forget()?;
    let read = BlockIo { operation: Operation::Read, ..writer(path, DIRTIED) };
    let read = group.load(&read)?.truth(PATIENCE)?;
    let after = disk.traffic()?;
    crate::rates::record(&lab, "bytes a second read", &read, Some(MIB));
    for (what, bytes, moved, elapsed_ns) in [
        (
            "written and synced",
            written.bytes,
            between.written_bytes - before.written_bytes,
            written.elapsed_ns,
        ),
        ("read", read.bytes, after.read_bytes - between.read_bytes, read.elapsed_ns),
    ] {
        lab.accounting(&format!("bytes of the device for {bytes} bytes {what}"))
            .covers([S20])
            .unit(Unit::Bytes)
            .observed(moved)
            .between(bytes, bytes + MIB / 8, "nothing of it was in the page cache, and 128 KiB are enough for the file system's own blocks");
        lab.enforcement(&format!("bytes {what} over those that 1 MiB a second gives in the time"))
            .covers([R118, S20])
            .file("io.max")
            .unit(Unit::Ratio)
            .observed(bytes as f64 / in_time(MIB, elapsed_ns) as f64)
            .between(
                0.9,
                (DIRTIED as f64) / ((DIRTIED - in_slice(MIB) - MIB / 8) as f64),
                SLICE_REASON,
            );
    }
    Ok(())
}
