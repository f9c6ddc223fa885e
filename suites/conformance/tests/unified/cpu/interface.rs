//! What the files of the cpu controller show, accept and refuse.

use cgauge_lab::prelude::*;

/// `sched_prio_to_weight` of kernel/sched/core.c: what nice -20 to 19 weighs.
const WEIGHT_OF_NICE: [u64; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// `cpu.max` is "max 100000" at first; a pair sets both, one number the limit alone, and reads back so.
#[rstest]
fn limit_and_period_read_back_what_was_written(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    lab.interface("the limit and the period of a new group")
        .covers([R074])
        .file("cpu.max")
        .observed(group.get("cpu.max")?)
        .equals("max 100000\n", "cgroup-v2.rst, cpu.max: The default is \"max 100000\"");
    // Each of these on what the one before left.
    for (written, expected) in [
        ("50000", "50000 100000\n"),
        ("20000 40000", "20000 40000\n"),
        ("30000", "30000 40000\n"),
        ("max", "max 40000\n"),
        ("1000 1000", "1000 1000\n"),
        ("1000000 1000000", "1000000 1000000\n"),
        ("8000000 1000000", "8000000 1000000\n"),
        ("max 100000", "max 100000\n"),
    ] {
        group.set("cpu.max", written)?;
        lab.interface(&format!("the limit and the period after {written:?} was written"))
            .covers([R074])
            .file("cpu.max")
            .observed(group.get("cpu.max")?)
            .equals(
                expected,
                "cgroup-v2.rst, cpu.max: \"If only one number is written, $MAX is updated\"",
            );
    }
    Ok(())
}

/// `cpu.max` refuses what is no limit, a limit or period below 1 ms, and a period above 1 s.
#[rstest]
fn refused_limits_change_nothing(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    group.set("cpu.max", "20000 40000")?;
    // The largest limit is 2^44 - 1 us, MAX_BW of kernel/sched/sched.h.
    for refused in [
        "0",
        "999",
        "-1",
        "many",
        "maximum",
        "\n",
        "20000 999",
        "20000 0",
        "20000 1000001",
        "max 999",
        "max 1000001",
        "17592186044416 100000",
    ] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R074])
            .file("cpu.max")
            .answered(&group.try_set("cpu.max", refused))
            .equals("EINVAL", "kernel/sched/core.c, cpu_max_write and what it calls: neither \"max\" nor a number, below 1 ms, a period above 1 s, a limit above 2^44 - 1 us");
    }
    lab.interface("the limit and the period after what was refused")
        .covers([R074])
        .file("cpu.max")
        .observed(group.get("cpu.max")?)
        .equals("20000 40000\n", "a refused write changes nothing");
    Ok(())
}

/// `cpu.max.burst` takes 0 to the limit, and the limit cannot go below it.
#[rstest]
fn burst_is_between_nothing_and_the_limit(lab: Lab) -> Outcome {
    lab.needs_file("cpu.max.burst", "since 5.14")?;
    const RANGE: &str = "cgroup-v2.rst, cpu.max.burst: \"in the range [0, $MAX]\"";
    let group = lab.group("group")?;
    lab.interface("the burst of a new group")
        .covers([R077])
        .file("cpu.max.burst")
        .observed(group.line("cpu.max.burst")?)
        .equals("0", "cgroup-v2.rst, cpu.max.burst: The default is \"0\"");
    group.set("cpu.max", "20000 40000")?;
    for (burst, answer, then) in [
        ("1", "ok", "1"),
        ("19999", "ok", "19999"),
        ("20000", "ok", "20000"),
        ("20001", "EINVAL", "20000"),
        ("-1", "EINVAL", "20000"),
        ("max", "EINVAL", "20000"),
        ("0", "ok", "0"),
    ] {
        lab.interface(&format!("the answer to a burst of {burst}"))
            .covers([R077])
            .file("cpu.max.burst")
            .answered(&group.try_set("cpu.max.burst", burst))
            .equals(answer, RANGE);
        lab.interface(&format!("the burst after {burst} was written"))
            .covers([R077])
            .file("cpu.max.burst")
            .observed(group.line("cpu.max.burst")?)
            .equals(then, "what was accepted holds, and a refused write changes nothing");
    }
    group.set("cpu.max.burst", 15000)?;
    for (max, answer) in [("14999", "EINVAL"), ("15000", "ok"), ("max", "ok")] {
        lab.interface(&format!("the answer to a limit of {max} with a burst of 15000"))
            .covers([R077])
            .file("cpu.max")
            .answered(&group.try_set("cpu.max", max))
            .equals(answer, RANGE);
    }
    Ok(())
}

/// Each of the 40 nice values stands for its weight of the scheduler's table, and the nearest of them is shown for a weight.
#[rstest]
fn nice_values_stand_for_weights(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    lab.interface("the nice value of a new group")
        .covers([R071])
        .file("cpu.weight.nice")
        .observed(group.line("cpu.weight.nice")?)
        .equals("0", "cgroup-v2.rst, cpu.weight.nice: The default is \"0\"");
    for (nice, weight) in (-20..).zip(WEIGHT_OF_NICE) {
        group.set("cpu.weight.nice", nice)?;
        lab.interface(&format!("the nice value after {nice} was written"))
            .covers([R071])
            .file("cpu.weight.nice")
            .observed(group.line("cpu.weight.nice")?)
            .equals(
                nice.to_string(),
                "cgroup-v2.rst, cpu.weight.nice: \"the same values used by nice(2)\"",
            );
        lab.interface(&format!("the weight at nice {nice}"))
            .covers([R071])
            .file("cpu.weight")
            .observed(group.number("cpu.weight")?)
            .equals((weight * 100 + 512) / 1024, "sched_prio_to_weight of kernel/sched/core.c, where 1024 is the weight 100, rounded");
    }
    for (weight, nice) in [
        (1, 19),
        (50, 3),
        (100, 0),
        (101, 0),
        (112, 0),
        (113, -1),
        (200, -3),
        (8668, -20),
        (10000, -20),
    ] {
        group.set("cpu.weight", weight)?;
        lab.interface(&format!("the nice value of the weight {weight}"))
            .covers([R071])
            .file("cpu.weight.nice")
            .observed(group.line("cpu.weight.nice")?)
            .equals(nice.to_string(), "cgroup-v2.rst, cpu.weight.nice: \"the closest approximation of the current weight\", by the same table");
        lab.interface(&format!("the weight after {weight} was written"))
            .covers([R069])
            .file("cpu.weight")
            .observed(group.number("cpu.weight")?)
            .equals(weight, "what was written is what holds");
    }
    for (refused, answer) in
        [("-21", "ERANGE"), ("20", "ERANGE"), ("nice", "EINVAL"), ("1.5", "EINVAL")]
    {
        lab.interface(&format!("the answer to nice {refused}"))
            .covers([R071])
            .file("cpu.weight.nice")
            .answered(&group.try_set("cpu.weight.nice", refused))
            .equals(answer, "cgroup-v2.rst, cpu.weight.nice: \"in the range [-20, 19]\"; the errno is that of cpu_weight_nice_write_s64");
    }
    Ok(())
}

/// `cpu.idle` is 0 at first, 1 once that was written, and nothing else.
#[rstest]
fn idle_is_no_or_yes(lab: Lab) -> Outcome {
    lab.needs_file("cpu.idle", "since 5.15")?;
    let group = lab.group("group")?;
    lab.interface("whether a new group is idle")
        .covers([R079])
        .file("cpu.idle")
        .observed(group.line("cpu.idle")?)
        .equals("0", "cgroup-v2.rst, cpu.idle: \"The default is 0.\"");
    for (written, answer, then) in [
        ("1", "ok", "1"),
        ("-1", "EINVAL", "1"),
        ("2", "EINVAL", "1"),
        ("idle", "EINVAL", "1"),
        ("0", "ok", "0"),
    ] {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R079])
            .file("cpu.idle")
            .answered(&group.try_set("cpu.idle", written))
            .equals(answer, "kernel/sched/fair.c, sched_group_set_idle: 0 or 1");
        lab.interface(&format!("whether the group is idle after {written:?} was written"))
            .covers([R079])
            .file("cpu.idle")
            .observed(group.line("cpu.idle")?)
            .equals(then, "what was taken holds, and a refused write changes nothing");
    }
    Ok(())
}

/// Utilisation clamps are percentages of two decimals from 0 to 100 and "max".
#[rstest]
fn clamps_are_percentages(lab: Lab) -> Outcome {
    lab.needs_file("cpu.uclamp.min", "CONFIG_UCLAMP_TASK_GROUP")?;
    let group = lab.group("group")?;
    for (file, at_first) in [("cpu.uclamp.min", "0.00"), ("cpu.uclamp.max", "max")] {
        lab.interface("the clamp of a new group")
            .covers([R080])
            .file(file)
            .observed(group.line(file)?)
            .equals(at_first, "cgroup-v2.rst, cpu.uclamp.min and cpu.uclamp.max: the default is \"0\" and \"max\"");
        for (written, expected) in [
            ("12.34", "12.34"),
            ("0", "0.00"),
            ("99.9", "99.90"),
            ("7.5", "7.50"),
            ("40", "40.00"),
            ("100", "max"),
            ("100.00", "max"),
            ("0.01", "0.01"),
            ("max", "max"),
        ] {
            group.set(file, written)?;
            lab.interface(&format!("the clamp after {written:?} was written"))
                .covers([R080])
                .file(file)
                .observed(group.line(file)?)
                .equals(expected, "cgroup-v2.rst: \"a percentage rational number, e.g. 12.34 for 12.34%\"; kernel/sched/core.c shows the whole as max");
        }
        group.set(file, "12.34")?;
        for (refused, answer) in [
            ("100.01", "ERANGE"),
            ("101", "ERANGE"),
            ("-1", "ERANGE"),
            ("much", "EINVAL"),
            ("\n", "EINVAL"),
        ] {
            lab.interface(&format!("the answer to {refused:?}"))
                .covers([R080])
                .file(file)
                .answered(&group.try_set(file, refused))
                .equals(
                    answer,
                    "kernel/sched/core.c, capacity_from_percent: no number, or beyond 0 to 100 %",
                );
        }
        lab.interface("the clamp after what was refused")
            .covers([R080])
            .file(file)
            .observed(group.line(file)?)
            .equals("12.34", "a refused write changes nothing");
    }
    Ok(())
}

/// A task's clamp is no more than what its group and every ancestor allow, and the least is capped by the most.
#[rstest]
fn clamps_of_a_group_hold_for_its_tasks(lab: Lab) -> Outcome {
    lab.needs_file("cpu.uclamp.min", "CONFIG_UCLAMP_TASK_GROUP")?;
    if !std::path::Path::new("/proc/self/sched").exists() {
        return Err(lab.skip("this kernel has no /proc/PID/sched (CONFIG_SCHED_DEBUG)"));
    }
    // A least clamp of any ancestor caps those below, and 0 is the default.
    lab.root().set("cpu.uclamp.min", "max")?;
    let parent = lab.group("parent")?;
    parent.enable("cpu")?;
    let group = parent.make("group")?;
    let sleeper = group.sleeper()?;
    // The kernel clamps at 1024 steps: 25 % is 256 of them.
    for (min, max, of_parent, least, most) in [
        ("0", "max", "max", 0, 1024),
        ("25", "50", "max", 256, 512),
        ("75", "50", "max", 512, 512),
        ("25", "max", "12.5", 128, 128),
        ("0", "75", "50", 0, 512),
    ] {
        parent.set("cpu.uclamp.min", "max")?;
        parent.set("cpu.uclamp.max", of_parent)?;
        group.set("cpu.uclamp.min", min)?;
        group.set("cpu.uclamp.max", max)?;
        let text = std::fs::read_to_string(format!("/proc/{}/sched", sleeper.pid()))?;
        let shown = |key: &str| {
            text.lines()
                .find_map(|line| {
                    line.strip_prefix(key)?.trim().strip_prefix(':')?.trim().parse::<u64>().ok()
                })
                .ok_or_else(|| Stop::Broken(format!("/proc/PID/sched does not say {key}")))
        };
        for (file, key, expected) in [
            ("cpu.uclamp.min", "effective uclamp.min", least),
            ("cpu.uclamp.max", "effective uclamp.max", most),
        ] {
            lab.enforcement(&format!("{key} of a task in a group with {min} and {max} below one with {of_parent}"))
                .covers([R080])
                .file(file)
                .unit(Unit::Count)
                .observed(shown(key)?)
                .equals(expected, "cgroup-v2.rst: the requested minimum \"is always capped by the current value for the maximum utilization (limit)\", and a parent's limits cap its children's; of 1024 steps");
        }
    }
    Ok(())
}
