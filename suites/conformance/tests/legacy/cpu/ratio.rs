//! Quotas on the way down: a child's part of a CPU is not above its parent's.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_workloads::{Burn, Millis};

use super::{MILLISECOND, PATIENCE, PERIOD, QUOTA, burner, burnt, soon, tick, wait_for};

const RULE: &str = "sched-bwc.rst, Hierarchical considerations: \"an individual entity's bandwidth is always attainable, that is: max(c_i) <= C\"";

/// A child's quota over its period is at most its parent's, whichever of the two is written; many children may have more together.
#[rstest]
fn child_has_no_more_than_its_parent(lab: Lab) -> Outcome {
    let parent = lab.legacy("cpu")?.make("parent")?;
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    parent.set(QUOTA, 50_000)?;
    for (who, group, file, written, answer, why) in [
        ("a child", &one, QUOTA, "50001", "EINVAL", "50.001 % of the parent's 50"),
        ("a child", &one, QUOTA, "50000", "ok", "50 % of the parent's 50"),
        ("a child", &one, PERIOD, "99000", "EINVAL", "50.5 % by the period"),
        ("a child", &one, PERIOD, "200000", "ok", "25 % by the period"),
        ("a child", &one, QUOTA, "100000", "ok", "50 % again"),
        ("the other", &other, QUOTA, "40000", "ok", "90 % together"),
        ("the parent", &parent, QUOTA, "49999", "EINVAL", "a child has 50 %"),
        ("the parent", &parent, PERIOD, "110000", "EINVAL", "45 % by the period"),
        ("the parent", &parent, QUOTA, "60000", "ok", "a child has 50 %"),
        ("the parent", &parent, QUOTA, "-1", "ok", "no quota is above all"),
        ("a child", &one, QUOTA, "800000", "ok", "400 % of no quota"),
        ("the parent", &parent, QUOTA, "100000", "EINVAL", "a child has 400 %"),
        ("a child", &one, QUOTA, "-1", "ok", "no quota of its own"),
        ("the parent", &parent, QUOTA, "40000", "ok", "a child has 40 %"),
    ] {
        lab.interface(&format!("the answer to {written} for {who}: {why}"))
            .covers([R169])
            .file(file)
            .answered(&group.try_set(file, written))
            .equals(answer, RULE);
    }
    for (who, group, expected) in
        [("a child", &one, "-1"), ("the other", &other, "40000"), ("the parent", &parent, "40000")]
    {
        lab.interface(&format!("the quota of {who} in the end"))
            .covers([R169])
            .file(QUOTA)
            .observed(group.line(QUOTA)?)
            .equals(expected, "a refused write changes nothing");
    }
    Ok(())
}

/// The parent's quota holds for all its children, whatever their own.
#[rstest]
fn quota_of_the_parent_holds_for_its_children(lab: Lab) -> Outcome {
    const PERIODS: u64 = 6;
    let parent = lab.legacy("cpu")?.make("parent")?;
    let children = [parent.make("one")?, parent.make("other")?];
    let from_ns = soon();
    let load = Burn { from_ns, ..burner(1, 1, Millis(PERIODS * 50)) };
    let mut running = children.iter().map(|it| it.load(&load)).collect::<Result<Vec<_>, _>>()?;
    wait_for(from_ns - 5 * MILLISECOND);
    parent.set(PERIOD, 50_000)?;
    parent.set(QUOTA, 20_000)?;
    for child in &children {
        child.set(PERIOD, 50_000)?;
        child.set(QUOTA, 20_000)?;
    }
    let truths = running.iter_mut().map(|it| it.truth(PATIENCE)).collect::<Result<Vec<_>, _>>()?;
    lab.enforcement("CPU time of both children, each with as much quota as the parent")
        .covers([R169, R170])
        .file(QUOTA)
        .unit(Unit::Nanoseconds)
        .observed(truths.iter().map(burnt).sum::<u64>())
        .between(
            PERIODS * 20 * MILLISECOND - tick()?,
            (PERIODS + 1) * 20 * MILLISECOND + tick()?,
            "sched-bwc.rst: a group is throttled where \"a parent's quota is fully consumed within its period\": 20 ms in each of six periods and the parts of two more, and a tick",
        );
    for (who, truth) in ["one", "other"].into_iter().zip(&truths) {
        lab.enforcement(&format!("CPU time of {who}"))
            .covers([R169])
            .file(QUOTA)
            .unit(Unit::Nanoseconds)
            .observed(burnt(truth))
            .between(
                (PERIODS * 10 - 20) * MILLISECOND,
                (PERIODS * 10 + 30) * MILLISECOND,
                "the two have equal shares: a half, one period's quota more or less and what parts of two more add",
            );
    }
    Ok(())
}

/// A child may always be given its parent's quota and period, also after the kernel has stretched the parent's period because its timer was late (2e8e19226398 lost precision there, until 4929a4e6faa0 in 5.4).
#[rstest]
fn bug_2_child_may_have_its_parents_part_of_a_stretched_period(lab: Lab) -> Outcome {
    let parent = lab.legacy("cpu")?.make("parent")?;
    let child = parent.make("child")?;
    let from_ns = soon();
    // The CPUs take turns: the timer of a short period is late on one that waits.
    let mut running = child.load(&Burn { from_ns, ..burner(4, 4, Millis(200)) })?;
    wait_for(from_ns - 5 * MILLISECOND);
    let (quota_us, period_us) = (1100, 1000);
    parent.set(PERIOD, period_us)?;
    parent.set(QUOTA, quota_us)?;
    running.truth(PATIENCE)?;
    let began = now();
    let (quota, period) = (parent.number(QUOTA)?, parent.number(PERIOD)?);
    lab.interface("the parent's quota over its period, of what was written")
        .covers([R169])
        .file(PERIOD)
        .unit(Unit::Ratio)
        .observed((quota * period_us) as f64 / (period * quota_us) as f64)
        .between(0.999, 1.001, "sched_cfs_period_timer() stretches both alike: a period in whole microseconds is right to a thousandth");
    for (what, quota, period) in [
        ("the parent's quota and period as they are", quota, period),
        ("the parent's quota and period as they were written", quota_us, period_us),
        ("a hundred times the parent's quota and period", quota_us * 100, period_us * 100),
    ] {
        child.set(QUOTA, -1)?;
        child.set(PERIOD, period)?;
        lab.interface(&format!("the answer to {what}"))
            .covers([R169])
            .file(QUOTA)
            .answered(&child.try_set(QUOTA, quota))
            .equals("ok", RULE);
    }
    lab.value("the parent's period afterwards", Unit::Microseconds, period, Neither);
    lab.value("four writes", Unit::Nanoseconds, nanoseconds(now() - began), Lower);
    Ok(())
}
