//! Limits of devices that stand on others, and what the lower one makes of it.

use cgauge_lab::prelude::*;
use cgauge_lab::rates::{BLOCK, PATIENCE, SLICE_REASON, in_slice, in_time, record, timed};
use cgauge_lab::stacked::Kind;
use cgauge_workloads::Operation;

use crate::{READ_BPS, READ_IOPS, WRITE_IOPS, fast, limit};

/// How long a limit is looked at.
const TIME: Duration = Duration::from_secs(4);

/// A limit of a device that stands on another holds there as on any other (reads of md were seen at 57 times their limit on legacy hierarchies: PMSS #622).
#[rstest]
fn bug_18_limit_of_a_stacked_device_holds(
    lab: Lab,
    #[values(Kind::Loop, Kind::Mapper, Kind::Md)] kind: Kind,
    #[values((READ_IOPS, 60), (READ_BPS, 1 << 20), (WRITE_IOPS, 60))] limited: (&str, u64),
) -> Outcome {
    let (file, number) = limited;
    let root = lab.legacy("blkio")?;
    let lower = fast(&lab)?;
    let upper = lab.stacked(kind, &lower)?;
    let group = root.make("group")?;
    limit(&group, file, upper.disk(), number)?;
    let rate = if file == READ_BPS { number } else { number * BLOCK };
    let operation = if file == WRITE_IOPS { Operation::Write } else { Operation::Read };
    let truth = group.load(&timed(operation, upper.disk(), TIME))?.truth(PATIENCE)?;
    record(&lab, "bytes a second", &truth, Some(rate));
    let given = in_time(rate, truth.elapsed_ns);
    lab.enforcement("bytes in the whole time")
        .covers([R174, S19])
        .file(file)
        .unit(Unit::Bytes)
        .observed(truth.bytes)
        .between(given - in_slice(rate) - BLOCK, given + in_slice(rate) + BLOCK, SLICE_REASON);
    Ok(())
}
