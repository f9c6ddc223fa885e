//! `blkio.throttle.*_device`: each of the four limits, alone and together.

use cgauge_lab::disk::Disk;
use cgauge_lab::prelude::*;
use cgauge_lab::rates::{
    BLOCK, PATIENCE, SLICE_REASON, in_slice, in_time, most_in_a_window, record, timed,
};
use cgauge_lab::time::pause;
use cgauge_workloads::{BlockIo, Operation, Pattern, truth};

use crate::{READ_BPS, READ_IOPS, WRITE_BPS, WRITE_IOPS, fast, limit};

/// How long a limit is looked at.
const TIME: Duration = Duration::from_secs(4);
/// The bytes a second of the limits by bytes.
const RATE: u64 = 1 << 20;
/// The requests a second of the limits by requests: whole ones a slice.
const REQUESTS: u64 = 60;
/// Requests that take a second at the limits here, and some 20 ms without.
const SOME: u64 = RATE / BLOCK;

fn operation(file: &str) -> Operation {
    if file.contains("read") { Operation::Read } else { Operation::Write }
}

fn other(operation: Operation) -> Operation {
    if operation == Operation::Read { Operation::Write } else { Operation::Read }
}

/// What a file is given, and the bytes a second that come of it in requests of [`BLOCK`].
fn limit_of(file: &str) -> (u64, u64) {
    if file.contains("bps") { (RATE, RATE) } else { (REQUESTS, REQUESTS * BLOCK) }
}

fn some(operation: Operation, disk: &Disk) -> BlockIo {
    BlockIo { block_bytes: BLOCK, ..BlockIo::direct(operation, disk.path(), SOME) }
}

/// Two-sided: what went through is what the limit gives in the time, and no
/// window has more than it may.
fn holds(lab: &Lab, whose: &str, file: &str, truth: &truth::BlockIo, rate: u64, block: u64) {
    record(lab, &format!("bytes a second of {whose}"), truth, Some(rate));
    let given = in_time(rate, truth.elapsed_ns);
    lab.enforcement(&format!("bytes of {whose} in the whole time"))
        .covers([R174, R175])
        .file(file)
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .between(given - in_slice(rate) - block, given + in_slice(rate) + block, SLICE_REASON);
    lab.enforcement(&format!("the most bytes of {whose} in a window of 250 ms"))
        .covers([R174, R175])
        .file(file)
        .unit(Unit::Bytes)
        .observed(most_in_a_window(truth))
        .at_most(in_time(rate, truth.window_ns) + in_slice(rate) + block, SLICE_REASON);
}

/// What is not limited takes a fraction of the second that it would take.
fn is_free(lab: &Lab, what: &str, file: &str, truth: &truth::BlockIo) {
    lab.enforcement(&format!("how long {what} takes"))
        .covers([R174])
        .file(file)
        .took(Duration::from_nanos(truth.elapsed_ns))
        .at_most(200_000_000_u64, "64 requests of a device that takes 0.2 ms for each, and as much again for the calls, are done in 26 ms; at 64 a second they take one second less one slice");
}

/// Each of the four limits holds its own kind of direct I/O on its device to its rate, and nothing else, until it is removed by 0.
#[rstest]
fn each_limit_holds_its_rate(
    lab: Lab,
    #[values(READ_BPS, WRITE_BPS, READ_IOPS, WRITE_IOPS)] file: &str,
) -> Outcome {
    let root = lab.legacy("blkio")?;
    let (disk, elsewhere) = (fast(&lab)?, fast(&lab)?);
    let (bounded, neighbour) = (root.make("bounded")?, root.make("neighbour")?);
    let (limited, rate) = limit_of(file);
    let kind = operation(file);
    limit(&bounded, file, &disk, limited)?;
    let mut load = bounded.load(&timed(kind, &disk, TIME))?;
    pause(TIME / 4);
    for (what, group, kind, disk) in [
        ("the same by a neighbour", &neighbour, kind, &disk),
        ("I/O of the other direction", &bounded, other(kind), &disk),
        ("I/O on another device", &bounded, kind, &elsewhere),
    ] {
        is_free(&lab, what, file, &group.load(&some(kind, disk))?.truth(PATIENCE)?);
    }
    holds(&lab, "the group", file, &load.truth(PATIENCE)?, rate, BLOCK);
    limit(&bounded, file, &disk, 0)?;
    let after = bounded.load(&some(kind, &disk))?.truth(PATIENCE)?;
    is_free(&lab, "the same once the limit is removed", file, &after);
    Ok(())
}

/// With limits by bytes and by requests both hold: each direction is held by the tighter of its two.
#[rstest]
fn both_limits_hold(lab: Lab, #[values(4096, 65536)] block_bytes: u64) -> Outcome {
    let disk = fast(&lab)?;
    let bounded = lab.legacy("blkio")?.make("bounded")?;
    for (file, limited) in
        [(READ_BPS, RATE), (READ_IOPS, 60), (WRITE_BPS, RATE / 2), (WRITE_IOPS, 30)]
    {
        limit(&bounded, file, &disk, limited)?;
    }
    let load = |operation| BlockIo { block_bytes, ..timed(operation, &disk, TIME) };
    let mut reads = bounded.load(&load(Operation::Read))?;
    let mut writes = bounded.load(&load(Operation::Write))?;
    // 60 requests of 4 KiB are less than 1 MiB, 16 of 64 KiB are 1 MiB.
    for (whose, file, load, rate) in [
        ("the reads", READ_IOPS, &mut reads, RATE.min(60 * block_bytes)),
        ("the writes", WRITE_IOPS, &mut writes, (RATE / 2).min(30 * block_bytes)),
    ] {
        holds(&lab, whose, file, &load.truth(PATIENCE)?, rate, block_bytes);
    }
    Ok(())
}

/// A limit holds with many requests in flight, from one process and from several of the group together.
#[rstest]
fn limit_is_the_groups_and_not_a_processs(
    lab: Lab,
    #[values(READ_BPS, WRITE_IOPS)] file: &str,
) -> Outcome {
    let disk = fast(&lab)?;
    let bounded = lab.legacy("blkio")?.make("bounded")?;
    let (limited, rate) = limit_of(file);
    limit(&bounded, file, &disk, limited)?;
    let load =
        BlockIo { depth: 8, pattern: Pattern::Random, ..timed(operation(file), &disk, TIME) };
    // Those in flight at the end are done one after the other, at the rate.
    holds(&lab, "one with 8 in flight", file, &bounded.load(&load)?.truth(PATIENCE)?, rate, BLOCK);
    let load = timed(operation(file), &disk, TIME);
    let (mut one, mut other) = (bounded.load(&load)?, bounded.load(&load)?);
    let (one, other) = (one.truth(PATIENCE)?, other.truth(PATIENCE)?);
    let given = in_time(rate, one.elapsed_ns.max(other.elapsed_ns));
    lab.enforcement("bytes of two processes of the group")
        .covers([R174])
        .file(file)
        .unit(Unit::Bytes)
        .observed(one.bytes + other.bytes)
        .between(
            given - in_slice(rate) - 2 * BLOCK,
            given + in_slice(rate) + 2 * BLOCK,
            SLICE_REASON,
        );
    Ok(())
}

/// A limit is one group's: on a legacy hierarchy it binds no child, and a parent not by its child's.
#[rstest]
fn limit_is_one_groups(lab: Lab) -> Outcome {
    let disk = fast(&lab)?;
    let parent = lab.legacy("blkio")?.make("parent")?;
    let (child, slow) = (parent.make("child")?, parent.make("slow")?);
    limit(&parent, READ_BPS, &disk, RATE)?;
    limit(&slow, READ_BPS, &disk, RATE / 4)?;
    let mut load = slow.load(&timed(Operation::Read, &disk, TIME))?;
    let free = child.load(&some(Operation::Read, &disk))?.truth(PATIENCE)?;
    is_free(&lab, "I/O of a child without a limit", READ_BPS, &free);
    holds(&lab, "the child with its own", READ_BPS, &load.truth(PATIENCE)?, RATE / 4, BLOCK);
    let truth = parent.load(&timed(Operation::Read, &disk, TIME))?.truth(PATIENCE)?;
    holds(&lab, "the parent itself", READ_BPS, &truth, RATE, BLOCK);
    Ok(())
}

/// A limit that is changed while I/O goes on holds from then on.
#[rstest]
fn changed_limit_holds_from_then_on(lab: Lab) -> Outcome {
    let disk = fast(&lab)?;
    let bounded = lab.legacy("blkio")?.make("bounded")?;
    limit(&bounded, READ_BPS, &disk, RATE / 8)?;
    let mut load = bounded.load(&timed(Operation::Read, &disk, 3 * TIME))?;
    pause(TIME);
    limit(&bounded, READ_BPS, &disk, RATE)?;
    let truth = load.truth(PATIENCE)?;
    record(&lab, "bytes a second under 1/8 and 1 MiB/s", &truth, None);
    let windows =
        |from: usize, count: usize| truth.windows.iter().skip(from).take(count).sum::<u64>();
    // 16 windows a phase: each without its last and first second, where the change is.
    for (what, from, count, rate) in
        [("before the change", 0, 12, RATE / 8), ("after it", 20, 24, RATE)]
    {
        let given = in_time(rate, truth.window_ns * count as u64);
        lab.enforcement(&format!("bytes {what}"))
            .covers([R174])
            .file(READ_BPS)
            .unit(Unit::Bytes)
            .observed(windows(from, count))
            .between(given - in_slice(rate) - BLOCK, given + in_slice(rate) + BLOCK, SLICE_REASON);
    }
    Ok(())
}

/// Each file has a line for each device with a limit, and takes a device and a number, 0 for none.
#[rstest]
fn limits_read_back(
    lab: Lab,
    #[values(READ_BPS, WRITE_BPS, READ_IOPS, WRITE_IOPS)] file: &str,
) -> Outcome {
    let root = lab.legacy("blkio")?;
    let (one, other) = (fast(&lab)?, fast(&lab)?);
    let group = root.make("group")?;
    let (first, second) = (one.number(), other.number());
    for (written, answer, shown) in [
        (String::new(), "ok", String::new()),
        (format!("{first} 1048576"), "ok", format!("{first} 1048576")),
        (format!("{first} 12345"), "ok", format!("{first} 12345")),
        ("999:999 1000".to_owned(), "ENODEV", format!("{first} 12345")),
        (format!("{first} many"), "EINVAL", format!("{first} 12345")),
        (first.to_owned(), "EINVAL", format!("{first} 12345")),
        ("1000".to_owned(), "EINVAL", format!("{first} 12345")),
        (format!("{second} 99"), "ok", format!("{first} 12345\n{second} 99")),
        (format!("{first} 0"), "ok", format!("{second} 99")),
        (format!("{second} 0"), "ok", String::new()),
    ] {
        let words = written.replace(first, "ONE").replace(second, "OTHER");
        if !written.is_empty() {
            lab.interface(&format!("the answer to {words:?}"))
                .covers([R174])
                .file(file)
                .answered(&group.try_set(file, &written))
                .equals(answer, "blkio-controller.rst: the format is \"<major>:<minor> <rate>\"");
        }
        let text = group.get(file)?;
        let mut lines: Vec<_> = text.lines().collect();
        // The newest device may come first.
        lines.sort_unstable();
        lab.interface(&format!("the limits after {words:?}"))
            .covers([R174])
            .file(file)
            .observed(lines.join("\n"))
            .equals(shown, "a rule a device, which 0 removes, and what is refused changes nothing");
    }
    Ok(())
}
