//! `cpu.shares`: what it accepts, and who gets how much of the CPUs that
//! several want.

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_workloads::{Burn, Millis, truth};

use super::{MILLISECOND, PATIENCE, burner, burnt, ratio_of, soon, tick};

const FILE: &str = "cpu.shares";

/// Burns in all groups at once, each with so many threads, and gives each one's truth.
fn contend(groups: &[(&Group, u32)], cpus: u32, time: Millis) -> Result<Vec<truth::Burn>, Stop> {
    let from_ns = soon();
    let start = |(group, threads): &(&Group, u32)| {
        group.load(&Burn { from_ns, ..burner(*threads, cpus, time) })
    };
    let mut running = groups.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    running.iter_mut().map(|it| it.truth(PATIENCE)).collect()
}

/// `cpu.shares` begins at 1024 and is kept within 2 and 262144; the root takes none.
#[rstest]
fn shares_are_kept_within_bounds(lab: Lab) -> Outcome {
    let root = lab.legacy("cpu")?;
    let group = root.make("group")?;
    lab.interface("the shares of a new group")
        .covers([R173])
        .file(FILE)
        .unit(Unit::Count)
        .observed(group.number(FILE)?)
        .equals(1024, "sched-design-CFS.rst, 7: groups of equal shares have 1024 each by default");
    for (written, shown) in [
        ("0", 2),
        ("1", 2),
        ("2", 2),
        ("3", 3),
        ("1023", 1023),
        ("262143", 262_143),
        ("262144", 262_144),
        ("262145", 262_144),
        ("18014398509481984", 262_144),
    ] {
        group.set(FILE, written)?;
        lab.interface(&format!("the shares after {written} was written"))
            .covers([R173])
            .file(FILE)
            .unit(Unit::Count)
            .observed(group.number(FILE)?)
            .equals(
                shown,
                "kernel/sched/core.c: clamped to MIN_SHARES, 2, and MAX_SHARES, 1 << 18",
            );
    }
    group.set(FILE, 512)?;
    for refused in ["many", "-1", "1.5", "2 3", ""] {
        lab.interface(&format!("whether {refused:?} changes the shares"))
            .covers([R173])
            .file(FILE)
            .observed(match group.try_set(FILE, refused) {
                // An empty write is none at all.
                Ok(()) if !refused.is_empty() => "yes".to_owned(),
                _ => (group.number(FILE)? != 512).to_string(),
            })
            .equals("false", "it is no whole number");
    }
    let path = root.dir().path();
    let whole =
        Dir::open(path.parent().unwrap_or(path)).map_err(|it| Stop::Broken(it.to_string()))?;
    lab.interface("the answer to shares of the root")
        .covers([R173])
        .file(FILE)
        .answered(&whole.write(FILE, "512"))
        .equals(
            "EINVAL",
            "sched_group_set_shares(): \"We can't change the weight of the root cgroup\"",
        );
    Ok(())
}

/// Groups of 2048, 1024 and 1024 shares have two, one and one of four CPUs.
#[rstest]
fn shares_divide_four_cpus(lab: Lab) -> Outcome {
    const TIME: u64 = 1000;
    let root = lab.legacy("cpu")?;
    let groups = [root.make("heavy")?, root.make("one")?, root.make("other")?];
    groups[0].set(FILE, 2048)?;
    let each = [(&groups[0], 4), (&groups[1], 4), (&groups[2], 4)];
    let truths = contend(&each, 4, Millis(TIME))?;
    let late = ratio_of(3 * 4 * tick()?, TIME * MILLISECOND);
    for ((who, cpus), truth) in
        [("the group of 2048", 2.0), ("one of 1024", 1.0), ("the other of 1024", 1.0)]
            .iter()
            .zip(&truths)
    {
        lab.enforcement(&format!("CPUs that {who} had"))
            .covers([R173, S24])
            .file(FILE)
            .unit(Unit::Ratio)
            .observed(ratio_of(burnt(truth), TIME * MILLISECOND))
            .between(
                cpus - 4.0 * late,
                cpus + 4.0 * late,
                "sched-design-CFS.rst, 7: CPU time in proportion to the shares, 2048 to 1024 to 1024 of four CPUs; a turn of three ticks more or less on each of four that await each other",
            );
    }
    let all: u64 = truths.iter().map(burnt).sum();
    lab.enforcement("CPUs that all had")
        .covers([R173, S24])
        .file(FILE)
        .unit(Unit::Ratio)
        .observed(ratio_of(all, TIME * MILLISECOND))
        .between(
            3.8,
            4.0 + 4.0 * late,
            "four, less a twentieth for the kernel itself; the last turns end late",
        );
    Ok(())
}

/// A group of 2048 shares with one thread has one CPU, and what it leaves of its share is the others'.
#[rstest]
fn idle_shares_are_given_away(lab: Lab) -> Outcome {
    const TIME: u64 = 1000;
    let root = lab.legacy("cpu")?;
    let groups = [root.make("heavy")?, root.make("one")?, root.make("other")?];
    groups[0].set(FILE, 2048)?;
    // As the kernel places them: the one thread may be anywhere, and so may the rest.
    let each = [(&groups[0], 1), (&groups[1], 4), (&groups[2], 4)];
    let truths = contend(&each, 0, Millis(TIME))?;
    let late = ratio_of(3 * 4 * tick()?, TIME * MILLISECOND);
    for ((who, least, most), truth) in [
        ("the group with one thread", 0.75, 1.0 + late),
        ("one of the others", 1.5 - 8.0 * late, 1.5 + 8.0 * late),
        ("the other", 1.5 - 8.0 * late, 1.5 + 8.0 * late),
    ]
    .iter()
    .zip(&truths)
    {
        lab.enforcement(&format!("CPUs that {who} had"))
            .covers([R173, S24])
            .file(FILE)
            .unit(Unit::Ratio)
            .observed(ratio_of(burnt(truth), TIME * MILLISECOND))
            .between(
                *least,
                *most,
                "a thread is on one CPU at a time, and nearly alone there, for its 2048 shares are all on that CPU; the two others have equal parts of the three that are left, within two turns on each while the threads are spread",
            );
    }
    lab.enforcement("CPUs that the two others had together")
        .covers([R173, S24])
        .file(FILE)
        .unit(Unit::Ratio)
        .observed(ratio_of(truths[1..].iter().map(burnt).sum(), TIME * MILLISECOND))
        .between(2.8, 3.0 + 4.0 * late, "their shares of four CPUs would be two: the third is what the first group leaves, less a twentieth of all for the kernel itself");
    let all: u64 = truths.iter().map(burnt).sum();
    lab.enforcement("CPUs that all had")
        .covers([R173, S24])
        .file(FILE)
        .unit(Unit::Ratio)
        .observed(ratio_of(all, TIME * MILLISECOND))
        .between(
            3.8,
            4.0 + 4.0 * late,
            "no share is lost: four, less a twentieth for the kernel itself",
        );
    Ok(())
}

/// On one CPU shares divide its time, those of a sleeping group go to the others, and shares multiply on the way down.
#[rstest]
fn shares_divide_one_cpu(lab: Lab) -> Outcome {
    const TIME: u64 = 400;
    let root = lab.legacy("cpu")?;
    let (parent, uncle, sleeping) =
        (root.make("parent")?, root.make("uncle")?, root.make("asleep")?);
    let (one, other) = (parent.make("one")?, parent.make("other")?);
    sleeping.set(FILE, 262_144)?;
    let _asleep = [sleeping.sleeper()?, sleeping.sleeper()?];
    other.set(FILE, 3072)?;
    let truths = contend(&[(&one, 1), (&other, 1), (&uncle, 1)], 1, Millis(TIME))?;
    let all: u64 = truths.iter().map(burnt).sum();
    for ((who, expected), truth) in
        [("the child of 1024", 0.125), ("the child of 3072", 0.375), ("the uncle", 0.5)]
            .iter()
            .zip(&truths)
    {
        lab.enforcement(&format!("the part of {who}"))
            .covers([R173])
            .file(FILE)
            .unit(Unit::Ratio)
            .observed(ratio_of(burnt(truth), all))
            .between(
                expected - 0.045,
                expected + 0.045,
                "parent and uncle are equal, and the children share a half as 1 to 3; four ticks of 4 ms in 400 ms are a twenty-fifth",
            );
    }
    lab.enforcement("CPU time of all beside the sleeping group")
        .covers([R173])
        .file(FILE)
        .unit(Unit::Nanoseconds)
        .observed(all)
        .between(
            TIME * MILLISECOND * 95 / 100,
            TIME * MILLISECOND + 4 * tick()?,
            "who sleeps leaves its part to the others: all of the CPU, less a twentieth for the kernel itself",
        );
    Ok(())
}
