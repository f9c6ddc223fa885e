//! Values of the CPU controller that hang together: weight and nice, idle and
//! weight, quota and burst (cgroup-v2.rst, "CPU Interface Files").

use cgauge_lab::prelude::*;

/// `cpu.weight.nice` takes -20 to 19, shows what it took, and one step is a quarter more or less weight.
#[rstest]
fn nice_is_a_weight_of_steps_of_a_quarter(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let mut weights = Vec::new();
    for nice in -20..=19 {
        group.set("cpu.weight.nice", nice)?;
        lab.interface(&format!("nice after {nice} was written"))
            .covers([R071])
            .file("cpu.weight.nice")
            .unit(Unit::Other)
            .observed(group.line("cpu.weight.nice")?.parse::<i32>().unwrap_or(i32::MAX))
            .equals(
                nice,
                "cgroup-v2.rst, cpu.weight.nice: \"the nice value is in the range [-20, 19]\"",
            );
        let exact = 100.0 * 1.25_f64.powi(-nice);
        let weight = group.number("cpu.weight")?;
        lab.interface(&format!("weight of nice {nice}"))
            .covers([R071])
            .file("cpu.weight")
            .unit(Unit::Other)
            .observed(weight)
            .between(
                whole(exact * 0.97 - 0.5),
                whole(exact * 1.03 + 0.5),
                "kernel/sched/core.c, sched_prio_to_weight: a step is a factor of 1.25, each weight of the table is within 3 % of that, and what is shown is rounded to a whole number",
            );
        weights.push((nice, weight));
    }
    for weight in [1_u64, 3, 10, 50, 90, 100, 110, 120, 500, 1000, 5000, 9000, 10000] {
        group.set("cpu.weight", weight)?;
        let nice: i32 = group.line("cpu.weight.nice")?.parse().unwrap_or(i32::MAX);
        let distance = |nice: i32| {
            let of = weights.iter().find(|it| it.0 == nice).map_or(u64::MAX, |it| it.1);
            of.abs_diff(weight)
        };
        let nearest = weights.iter().map(|it| distance(it.0)).min().unwrap_or_default();
        lab.interface(&format!("distance of weight {weight} from the weight of the nice value shown"))
            .covers([R071])
            .file("cpu.weight.nice")
            .unit(Unit::Other)
            .observed(distance(nice))
            .between(
                nearest,
                nearest + 1,
                "cgroup-v2.rst, cpu.weight.nice: \"the read value is the closest approximation of the current weight\"; one more since weights are shown rounded",
            );
    }
    Ok(())
}

/// An idle group shows weight 0 and takes no weight until it is no longer idle, with its weight as at first.
#[rstest]
fn idle_group_has_no_weight(lab: Lab) -> Outcome {
    lab.needs_file("cpu.idle", "since 5.15")?;
    let group = lab.group("group")?;
    group.set("cpu.weight", 300)?;
    group.set("cpu.idle", 1)?;
    lab.interface("the weight of an idle group")
        .covers([R070])
        .file("cpu.weight")
        .unit(Unit::Other)
        .observed(group.number("cpu.weight")?)
        .equals(0, "cgroup-v2.rst, cpu.weight: \"if the cgroup has been configured to be SCHED_IDLE (cpu.idle = 1), then the weight will show as a 0\"");
    lab.interface("the answer to a weight for an idle group")
        .covers([R070])
        .file("cpu.weight")
        .answered(&group.try_set("cpu.weight", 200))
        .equals("EINVAL", "kernel/sched/fair.c, sched_group_set_shares: the weight of an idle group cannot be set");
    group.set("cpu.idle", 0)?;
    lab.interface("the weight of a group that is no longer idle")
        .covers([R070])
        .file("cpu.weight")
        .unit(Unit::Other)
        .observed(group.number("cpu.weight")?)
        .equals(
            100,
            "kernel/sched/fair.c, sched_group_set_idle: it begins again with that of nice 0",
        );
    Ok(())
}

/// `cpu.max.burst` takes 0 to the quota, and a quota below it is refused.
#[rstest]
fn burst_is_at_most_the_quota(lab: Lab) -> Outcome {
    lab.needs_file("cpu.max.burst", "since 5.14")?;
    let group = lab.group("group")?;
    group.set("cpu.max", "50000 100000")?;
    for (burst, answer, shown) in [
        (0, "ok", 0),
        (1, "ok", 1),
        (49_999, "ok", 49_999),
        (50_000, "ok", 50_000),
        (50_001, "EINVAL", 50_000),
        (100_000, "EINVAL", 50_000),
    ] {
        lab.interface(&format!("the answer to a burst of {burst} with a quota of 50000"))
            .covers([R077])
            .file("cpu.max.burst")
            .answered(&group.try_set("cpu.max.burst", burst))
            .equals(answer, "cgroup-v2.rst, cpu.max.burst: \"the burst in the range [0, $MAX]\"");
        lab.interface(&format!("the burst after {burst} was written"))
            .covers([R077])
            .file("cpu.max.burst")
            .unit(Unit::Microseconds)
            .observed(group.number("cpu.max.burst")?)
            .equals(shown, "what was taken holds, and a refused write changes nothing");
    }
    for (max, answer, shown) in [
        ("49999", "EINVAL", "50000 100000"),
        ("50000 200000", "ok", "50000 200000"),
        ("80000", "ok", "80000 200000"),
    ] {
        lab.interface(&format!("the answer to the quota {max:?} with a burst of 50000"))
            .covers([R077, R074])
            .file("cpu.max")
            .answered(&group.try_set("cpu.max", max))
            .equals(answer, "cgroup-v2.rst, cpu.max.burst: \"the burst in the range [0, $MAX]\"");
        lab.interface(&format!("the quota after {max:?} was written"))
            .covers([R077, R074])
            .file("cpu.max")
            .observed(group.line("cpu.max")?)
            .equals(shown, "what was taken holds, and a refused write changes nothing");
    }
    Ok(())
}

/// A number as a bound; those here are small.
#[expect(clippy::cast_possible_truncation, reason = "from 0 to 10000")]
fn whole(number: f64) -> i64 {
    number.round() as i64
}
