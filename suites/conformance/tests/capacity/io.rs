//! What isolation on a disk gives: a victim that asks for little beside a
//! neighbour that asks for all, under each way to keep them apart.
//!
//! The device does 500 requests a second, whichever way: alone it takes two
//! milliseconds for one; under BFQ the scheduler hands it one at a time; under
//! iocost the model says so.

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_workloads::{Access, BlockIo, Millis, Operation, Pattern, truth};

use crate::PATIENCE;

/// Requests a second that the device does.
const SPEED: u64 = 500;
/// Requests a second that the victim asks for.
const ASKED: u64 = 50;
const TIME: u64 = 4000;
const BLOCK: u64 = 4096;

/// A way to keep groups apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    None,
    Bfq,
    Iocost,
    IoMax,
}

/// A victim gets its requests done, alone and beside a neighbour, whatever keeps them apart.
#[rstest]
fn victim_beside_a_neighbour(
    lab: Lab,
    #[values(How::None, How::Bfq, How::Iocost, How::IoMax)] how: How,
    #[values("alone", "beside")] neighbour: &str,
) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let (victim, other) = (lab.group("victim")?, lab.group("neighbour")?);
    let disk = prepare(&lab, how, hierarchy.root(), &other)?;
    let beside = if neighbour == "beside" {
        Some(other.load(&BlockIo { depth: 16, ..random(&disk) })?)
    } else {
        None
    };
    let load = BlockIo { rate: ASKED, seed: 7, requests: ASKED * TIME / 1000, ..random(&disk) };
    let load = BlockIo { deadline: Millis(4 * TIME), ..load };
    let of_victim = victim.load(&load)?.truth(PATIENCE)?;
    lab.latencies("latency of the victim", &latencies(&of_victim));
    lab.value("requests a second of the victim", Unit::PerSecond, rate(&of_victim), Higher);
    if let Some(mut beside) = beside {
        let of_other = beside.truth(PATIENCE)?;
        lab.value("requests a second of the neighbour", Unit::PerSecond, rate(&of_other), Higher);
        lab.value(
            "share of the device that is used",
            Unit::Ratio,
            (rate(&of_other) + rate(&of_victim)) / SPEED as f64,
            Higher,
        );
    }
    lab.performance("requests of the victim that were done")
        .file("io.stat")
        .unit(Unit::Count)
        .observed(of_victim.requests)
        .between(1, load.requests, "none is refused, however long it takes");
    Ok(())
}

/// A reader goes on next to a writer whose pages the kernel writes back.
#[rstest]
fn reader_beside_buffered_writes(lab: Lab, #[values(How::None, How::Bfq)] how: How) -> Outcome {
    let hierarchy = lab.whole_hierarchy()?;
    let (reader, writer) = (lab.group("reader")?, lab.group("writer")?);
    let disk = prepare(&lab, how, hierarchy.root(), &writer)?;
    std::fs::write("/proc/sys/vm/dirty_background_bytes", (1_u64 << 20).to_string())?;
    std::fs::write("/proc/sys/vm/dirty_bytes", (4_u64 << 20).to_string())?;
    let writes = BlockIo {
        access: Access::Buffered,
        offset_bytes: 32 << 20,
        span_bytes: 16 << 20,
        block_bytes: 64 << 10,
        deadline: Millis(TIME / 2),
        ..BlockIo::direct(Operation::Write, disk.path(), u64::MAX)
    };
    let mut reads = reader.load(&random(&disk))?;
    cgauge_lab::time::pause(Duration::from_millis(TIME / 4));
    let mut written = writer.load(&writes)?;
    let (reads, written) = (reads.truth(PATIENCE)?, written.truth(PATIENCE)?);
    let shift = written.began_ns.saturating_sub(reads.began_ns);
    series(&lab, "bytes a second of the reader", &reads, 0);
    series(&lab, "bytes a second of the buffered writer", &written, shift);
    lab.value("requests a second of the reader", Unit::PerSecond, rate(&reads), Higher);
    lab.performance("requests of the reader that were done")
        .file("io.stat")
        .unit(Unit::Count)
        .observed(reads.requests)
        .between(
            1,
            SPEED * TIME / 1000 + 64,
            "the device does no more in the time, and it goes on",
        );
    Ok(())
}

fn random(disk: &Disk) -> BlockIo {
    BlockIo {
        block_bytes: BLOCK,
        pattern: Pattern::Random,
        window: Millis(100),
        deadline: Millis(TIME),
        ..BlockIo::direct(Operation::Read, disk.path(), u64::MAX)
    }
}

fn prepare(lab: &Lab, how: How, root: &Group, neighbour: &Group) -> Result<Disk, Stop> {
    let (completion, depth) = match how {
        How::None | How::IoMax => (Duration::from_millis(2), 1),
        How::Bfq => (Duration::from_millis(2), 32),
        How::Iocost => (Duration::from_micros(100), 64),
    };
    match how {
        How::Bfq => {
            lab.needs_file("io.bfq.weight", "CONFIG_BFQ_GROUP_IOSCHED and the module bfq")?
        }
        How::Iocost => lab.needs_file("io.weight", "CONFIG_BLK_CGROUP_IOCOST, since 5.4")?,
        How::None | How::IoMax => {}
    }
    let disk = lab.null_disk(NullDisk { completion, depth, ..NullDisk::default() })?;
    disk.schedule(lab, if how == How::Bfq { "bfq" } else { "none" })?;
    let number = disk.number();
    match how {
        How::None => {}
        How::Bfq => {
            disk.set_queue("iosched/low_latency", "0")?;
            disk.set_queue("iosched/strict_guarantees", "1")?;
        }
        How::Iocost => {
            root.set("io.cost.model", format!("{number} ctrl=user model=linear rbps=8589934592 rseqiops={SPEED} rrandiops={SPEED} wbps=8589934592 wseqiops={SPEED} wrandiops={SPEED}"))?;
            root.set("io.cost.qos", format!("{number} enable=1 ctrl=user rpct=0.00 rlat=25000 wpct=0.00 wlat=25000 min=100.00 max=100.00"))?;
        }
        // Half of the device for the neighbour.
        How::IoMax => neighbour.set("io.max", format!("{number} riops={}", SPEED / 2))?,
    }
    Ok(disk)
}

fn rate(truth: &truth::BlockIo) -> f64 {
    truth.requests as f64 * 1e9 / truth.elapsed_ns.max(1) as f64
}

fn latencies(truth: &truth::BlockIo) -> Vec<Duration> {
    let each = truth.latencies_ns.iter();
    each.flat_map(|(ns, count)| (0..*count).map(|_| Duration::from_nanos(*ns))).collect()
}

fn series(lab: &Lab, metric: &str, truth: &truth::BlockIo, shift_ns: u64) {
    let width = truth.window_ns as f64 / 1e9;
    let points: Vec<_> = (0_u64..)
        .zip(&truth.windows)
        .map(|(nth, bytes)| {
            (Duration::from_nanos(shift_ns + nth * truth.window_ns), *bytes as f64 / width)
        })
        .collect();
    lab.series(metric, Unit::BytesPerSecond, &points, None);
}
