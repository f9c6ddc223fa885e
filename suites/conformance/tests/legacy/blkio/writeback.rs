//! Buffered I/O, of which a legacy group has what it does itself: reads, and
//! writes that it waits for. What the kernel's threads write back is nobody's.

use std::path::PathBuf;

use cgauge_lab::disk::NullDisk;
use cgauge_lab::filesystem::Format;
use cgauge_lab::prelude::*;
use cgauge_lab::rates::{PATIENCE, SLICE, in_slice, in_time, record};
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Access, BlockIo, Operation};

use crate::counters::of_device;
use crate::{READ_BPS, WRITE_BPS, limit};

const MIB: u64 = 1 << 20;
/// What is read or written.
const WORK: u64 = 3 * MIB;
const BYTES: &str = "blkio.throttle.io_service_bytes";
/// Blocks of the file system's own that somebody reads or writes on the way.
const METADATA: u64 = 256 << 10;

fn io(operation: Operation, access: Access, path: PathBuf) -> BlockIo {
    let block_bytes = 64 << 10;
    BlockIo {
        access,
        block_bytes,
        span_bytes: WORK,
        ..BlockIo::direct(operation, path, WORK / block_bytes)
    }
}

/// Buffered writes are written back past the limit of the group that dirtied, and counted for nobody of its own; written and waited for, and read, they are the group's.
#[rstest]
fn bug_18_writeback_goes_past_the_limit(
    lab: Lab,
    #[values(Format::Ext4, Format::Xfs, Format::Btrfs)] format: Format,
) -> Outcome {
    let root = lab.legacy("blkio")?;
    let disk = lab.null_disk(NullDisk {
        megabytes: 128,
        completion: Duration::from_micros(200),
        depth: 8,
        contents: true,
    })?;
    let files = lab.file_system(format, &disk)?;
    let group = root.make("group")?;
    limit(&group, WRITE_BPS, &disk, MIB)?;
    limit(&group, READ_BPS, &disk, MIB)?;
    let counted = |kind: &str| -> Result<u64, Stop> {
        Ok(of_device(&group, BYTES, &disk)?.get(kind).copied().unwrap_or(0))
    };
    let at_the_limit = u64::try_from(Duration::from_secs(3).saturating_sub(SLICE).as_nanos());
    let at_the_limit = at_the_limit.unwrap_or(u64::MAX);

    let before = disk.traffic()?.written_bytes;
    let began = now();
    let file = files.path().join("file");
    group.load(&io(Operation::Write, Access::Buffered, file.clone()))?.truth(PATIENCE)?;
    files.sync()?;
    lab.enforcement("time to dirty 3 MiB and have the kernel write them back, under a limit of 1 MiB a second")
        .covers([S21, R174])
        .file(WRITE_BPS)
        .unit(Unit::Nanoseconds)
        .observed(nanoseconds(now() - began))
        .at_most(at_the_limit / 3, "blkio-controller.rst limits what a group issues, and the kernel's threads issue this: the limit is not its (PMSS #622); at the limit it would take 3 s less a slice");
    lab.accounting("bytes that the device has written meanwhile")
        .covers([S21])
        .unit(Unit::Bytes)
        .beyond_lies("the device counts by itself")
        .observed(disk.traffic()?.written_bytes - before)
        .between(
            WORK,
            WORK + METADATA,
            "all that was dirtied, and blocks of the file system's own",
        );
    lab.accounting("bytes of it that are counted for the group")
        .covers([S21])
        .file(BYTES)
        .unit(Unit::Bytes)
        .observed(counted("Write")?)
        .equals(
            0,
            "cgroup-v2.rst, Writeback: only the unified hierarchy knows whose dirty pages are",
        );

    // An fsync writes back in the name of who calls it, which is the group's.
    let synced = group
        .load(&io(Operation::Write, Access::Synced, files.path().join("synced")))?
        .truth(PATIENCE)?;
    lab.enforcement("time to write 3 MiB and wait for them")
        .covers([S21, R174])
        .file(WRITE_BPS)
        .unit(Unit::Nanoseconds)
        .observed(synced.elapsed_ns)
        .between(at_the_limit, at_the_limit + 2 * nanoseconds(SLICE) + 1_000_000_000 * METADATA / MIB, "the group issues them itself, at 1 MiB a second, with a slice more or less and the file system's own blocks");
    lab.accounting("bytes of them that are counted for the group")
        .covers([S21])
        .file(BYTES)
        .unit(Unit::Bytes)
        .observed(counted("Write")?)
        .between(WORK, WORK + METADATA, "it issued them itself");

    files.forget()?;
    let read = group.load(&io(Operation::Read, Access::Buffered, file))?.truth(PATIENCE)?;
    record(&lab, "bytes a second read", &read, Some(MIB));
    lab.enforcement(
        "bytes read through the page cache over those that the limit gives in the time",
    )
    .covers([R174])
    .file(READ_BPS)
    .unit(Unit::Ratio)
    .observed(read.bytes as f64 / in_time(MIB, read.elapsed_ns) as f64)
    .between(
        0.9,
        WORK as f64 / (WORK - in_slice(MIB) - METADATA) as f64,
        "readahead is the reader's own I/O: 1 MiB a second, with a slice and a request of 128 KiB",
    );
    lab.accounting("bytes read that are counted for the group")
        .covers([R176])
        .file(BYTES)
        .unit(Unit::Bytes)
        .observed(counted("Read")?)
        .between(WORK, WORK + METADATA, "nothing of it was in the page cache");
    Ok(())
}
