//! `memory.min` and `memory.low`: what reclaim leaves alone, what it takes last, and
//! how a protection that is promised too often is divided.

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;

use crate::support::*;

/// A group with a limit of 24 MiB, and below it one that is filled with file cache
/// first and one that presses on it.
struct Press {
    bounded: Group,
    shelter: Group,
    rival: Group,
}

/// File cache of the group that is pressed on, in pages.
const FILLED: u64 = 8 * MIB / PAGE;

impl Press {
    fn new(lab: &Lab) -> Result<Self, Stop> {
        no_khugepaged()?;
        let bounded = lab.group("bounded")?;
        bounded.enable("memory")?;
        bounded.set("memory.max", 24 * MIB)?;
        let (shelter, rival) = (bounded.make("shelter")?, bounded.make("rival")?);
        Ok(Self { bounded, shelter, rival })
    }

    /// Reads the first so many pages of the device in `group`, and holds still.
    fn fill(group: &Group, first: u64) -> Result<Stepper, Stop> {
        let holder = Stepper::start(group, |turns| {
            let Ok(file) = device() else { return };
            turns.step(|| read_pages(&file, first..first + FILLED));
            turns.step(|| 0);
        })?;
        holder.next()?;
        Ok(holder)
    }
}

fn file_pages(group: &Group) -> Result<u64, Stop> {
    Ok(Stat::settled(group)?.get("file")? / PAGE)
}

/// What is protected stays while an unprotected neighbour is reclaimed; without the protection it goes.
#[rstest]
fn protected_memory_stays_while_others_are_reclaimed(
    lab: Lab,
    #[values("memory.min", "memory.low")] file: &str,
) -> Outcome {
    needs_exact_stat(&lab)?;
    let press = Press::new(&lab)?;
    let exposed = press.bounded.make("exposed")?;
    // 1 MiB beyond the file cache, for what the process and the kernel have in the group.
    for group in [&press.bounded, &press.shelter] {
        group.set(file, 9 * MIB)?;
    }
    let _holders = [Press::fill(&press.shelter, 0)?, Press::fill(&exposed, FILLED)?];
    // It cannot be reclaimed, so that of the two others' 16 MiB 4 have to go, and then 4 more.
    let presser = Stepper::start(&press.rival, |turns| {
        let Ok(memory) = Memory::anonymous(16 * MIB) else { return };
        turns.step(|| memory.write(0..12 * MIB / PAGE, 1));
        turns.step(|| memory.write(12 * MIB / PAGE..16 * MIB / PAGE, 1));
        turns.step(|| memory.pages());
    })?;
    presser.next()?;
    let stat = Stat::settled(&press.shelter)?;
    lab.enforcement("pages of the 8 MiB that are protected after 4 MiB had to be reclaimed")
        .covers([R085, R086])
        .file(file)
        .unit(Unit::Pages)
        .observed(stat.get("file")? / PAGE)
        .equals(FILLED, "cgroup-v2.rst: below its effective boundary the group's memory \"won't be reclaimed\" under min, and under low not \"unless there is no reclaimable memory available in unprotected cgroups\"");
    lab.accounting("pages of it that were taken by reclaim")
        .covers([R085, R086, R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(stat.get("pgsteal")?)
        .equals(0, "all of them are there");
    let exposed_stat = Stat::now(&exposed)?;
    lab.enforcement("pages of the neighbour's 8 MiB, which are not protected")
        .covers([R085, R086])
        .file(file)
        .unit(Unit::Pages)
        .observed(exposed_stat.get("file")? / PAGE)
        .between(4 * MIB / PAGE - 1024, 4 * MIB / PAGE, "4 MiB had to go, some 300 pages more for what the processes are, and reclaim may take a little more than it must");
    lab.accounting("pages of the neighbour's that were taken by reclaim")
        .covers([R107])
        .file("memory.stat")
        .unit(Unit::Pages)
        .observed(exposed_stat.get("pgsteal")?)
        .equals(
            FILLED - exposed_stat.get("file")? / PAGE,
            "each page that went was taken by reclaim",
        );
    lab.accounting("times that reclaim went below the low boundary")
        .covers([R086])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(press.shelter.key("memory.events", "low")?)
        .equals(0, "it never had to");

    press.shelter.set(file, 0)?;
    exposed.set(file, 9 * MIB)?;
    presser.next()?;
    lab.enforcement("pages of the 8 MiB once the neighbour is protected in its place, and 4 MiB more had to be reclaimed")
        .covers([R085, R086])
        .file(file)
        .unit(Unit::Pages)
        .observed(file_pages(&press.shelter)?)
        .between(FILLED - 4 * MIB / PAGE - 512, FILLED - 4 * MIB / PAGE + 512, "they are the only ones that are not protected; the groups may have been up to 2 MiB below their limit, or reclaim may take a little more");
    lab.enforcement("pages of the neighbour's then")
        .covers([R085, R086])
        .file(file)
        .unit(Unit::Pages)
        .observed(file_pages(&exposed)?)
        .equals(exposed_stat.get("file")? / PAGE, "what is protected stays");
    Ok(())
}

/// Under `memory.low` what is protected is taken when nothing else is left, and each time is counted; under `memory.min` the killer comes instead.
#[rstest]
#[case::low("memory.low", "Code(0)")]
#[case::min("memory.min", "Signal(SIGKILL)")]
fn low_gives_way_and_min_does_not(lab: Lab, #[case] file: &str, #[case] end: &str) -> Outcome {
    let press = Press::new(&lab)?;
    for group in [&press.bounded, &press.shelter] {
        group.set(file, 9 * MIB)?;
    }
    let _holder = Press::fill(&press.shelter, 0)?;
    let before = file_pages(&press.shelter)?;
    // 20 MiB that cannot be reclaimed, where 15 are left.
    let mut presser =
        press.rival.spawn(|| Memory::anonymous(20 * MIB).map_or(0, |it| it.touch()))?;
    lab.enforcement("the end of a neighbour that wants 20 MiB of anonymous memory, with 16 MiB unprotected")
        .covers([R085, R086])
        .file(file)
        .observed(format!("{:?}", presser.wait()?))
        .equals(end, "cgroup-v2.rst: low is \"best-effort\" protection, min is \"hard\": \"If there is no unprotected reclaimable memory available, OOM killer is invoked\"");
    let after = file_pages(&press.shelter)?;
    let left = lab
        .enforcement("pages of the 8 MiB that are left")
        .covers([R085, R086])
        .file(file)
        .unit(Unit::Pages)
        .observed(after);
    let low = lab
        .accounting("times that reclaim went below the low boundary")
        .covers([R086])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(press.shelter.key("memory.events", "low")?);
    if file == "memory.min" {
        left.equals(before, "cgroup-v2.rst, memory.min: \"the cgroup's memory won't be reclaimed under any conditions\"");
        low.equals(0, "min is no low boundary");
    } else {
        left.between(before - 5 * MIB / PAGE - 256, before - 4 * MIB / PAGE, "20 MiB and 8 MiB are 4 MiB more than the limit, and a little is for the processes; no more than needed is taken, and reclaim may take 1 MiB too much");
        low.at_least(1, "cgroup-v2.rst, memory.events, low: \"reclaimed due to high memory pressure even though its usage is under the low boundary\"");
    }
    Ok(())
}

/// A protection that the parent does not have is worth nothing: the leaf's memory goes as if it had none.
#[rstest]
fn protection_is_bounded_by_the_parents(
    lab: Lab,
    #[values("memory.min", "memory.low")] file: &str,
) -> Outcome {
    let press = Press::new(&lab)?;
    press.bounded.set(file, 9 * MIB)?;
    press.shelter.enable("memory")?;
    let leaf = press.shelter.make("leaf")?;
    leaf.set(file, 9 * MIB)?;
    let _holder = Press::fill(&leaf, 0)?;
    let mut presser =
        press.rival.spawn(|| Memory::anonymous(20 * MIB).map_or(0, |it| it.touch()))?;
    lab.enforcement("the end of a neighbour that wants 20 MiB of anonymous memory, with 8 MiB in the leaf")
        .covers([R087])
        .file(file)
        .observed(format!("{:?}", presser.wait()?))
        .equals("Code(0)", "cgroup-v2.rst: the effective boundary is limited by \"values of all ancestor cgroups\", and the parent's is 0");
    lab.enforcement("pages of the 8 MiB that are left in the leaf")
        .covers([R087])
        .file(file)
        .unit(Unit::Pages)
        .observed(file_pages(&leaf)?)
        .between(FILLED - 5 * MIB / PAGE - 256, FILLED - 4 * MIB / PAGE, "20 MiB and 8 MiB are 4 MiB more than the limit, and a little is for the processes; reclaim may take 1 MiB too much");
    lab.accounting("times that reclaim went below the low boundary")
        .covers([R086, R087])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(leaf.key("memory.events", "low")?)
        .equals(0, "the boundary in force is 0");
    drop(leaf);
    Ok(())
}

/// Known bug 28: with `memory_recursiveprot` the parent's protection reaches a leaf that sets nothing, and so do low events; without it neither does.
#[rstest]
#[case::with_the_option("memory_recursiveprot", "some")]
#[case::without("", "none")]
fn bug_28_leaf_without_protection_has_its_parents_low_events(
    lab: Lab,
    #[case] option: &str,
    #[case] expected: &str,
) -> Outcome {
    let _mounted = lab.remount(option)?;
    let press = Press::new(&lab)?;
    for group in [&press.bounded, &press.shelter] {
        group.set("memory.low", 9 * MIB)?;
    }
    press.shelter.enable("memory")?;
    let leaf = press.shelter.make("leaf")?;
    let _holder = Press::fill(&leaf, 0)?;
    let mut presser =
        press.rival.spawn(|| Memory::anonymous(20 * MIB).map_or(0, |it| it.touch()))?;
    lab.enforcement(
        "the end of a neighbour that wants 20 MiB of anonymous memory, with 8 MiB in the leaf",
    )
    .covers([R086])
    .file("memory.low")
    .observed(format!("{:?}", presser.wait()?))
    .equals("Code(0)", "cgroup-v2.rst, memory.low: protection is \"best-effort\"");
    for file in ["memory.events", "memory.events.local"] {
        let low = leaf.key(file, "low")?;
        lab.accounting("low events of the leaf, which sets no boundary")
            .covers([R086, R087])
            .file(file)
            .observed(if low > 0 { "some" } else { "none" })
            .equals(expected, "cgroup-v2.rst, Mounting, memory_recursiveprot: \"Recursively apply memory.min and memory.low protection to entire subtrees, without requiring explicit downward propagation into leaf cgroups\"; 4 MiB of the leaf had to go");
    }
    drop(leaf);
    Ok(())
}

/// Where children claim more protection than their parent has, each gets the part of it that its own protected usage is of all.
#[rstest]
#[case::more_than_there_is(8, 0)]
#[case::a_third_too_much(4, 2)]
#[case::just_enough(2, 4)]
fn overcommitted_protection_is_divided_by_usage(
    lab: Lab,
    #[values("memory.min", "memory.low")] file: &str,
    #[case] other_claim: u64,
    #[case] share: u64,
) -> Outcome {
    const STEP: u64 = 64;
    let press = Press::new(&lab)?;
    for group in [&press.bounded, &press.shelter] {
        group.set(file, 6 * MIB)?;
    }
    press.shelter.enable("memory")?;
    let (one, other) = (press.shelter.make("one")?, press.shelter.make("other")?);
    one.set(file, 4 * MIB)?;
    other.set(file, other_claim * MIB)?;
    let _one = Press::fill(&one, 0)?;
    // Without swap its usage stays, and with it what it claims.
    let _other = Stepper::start(&other, |turns| {
        let Ok(memory) = Memory::anonymous(8 * MIB) else { return };
        turns.step(|| memory.touch());
        turns.step(|| memory.pages());
    })
    .and_then(|it| it.next().map(|_| it))?;
    let presser = Stepper::start(&press.rival, |turns| {
        let Ok(memory) = Memory::anonymous(16 * MIB) else { return };
        for step in 0..16 * MIB / PAGE / STEP {
            turns.step(|| memory.write(step * STEP..(step + 1) * STEP, 1));
        }
        turns.step(|| memory.pages());
    })?;
    // Until nothing is left that is not protected: then min has the killer come, and
    // low gives way and says so.
    let mut left = one.number("memory.current")?;
    let mut points = Vec::new();
    let began = cgauge_lab::time::now();
    for _ in 0..16 * MIB / PAGE / STEP {
        let grown = presser.turns().next_if_alive(500)?;
        if grown.is_none() || press.shelter.key("memory.events", "low")? > 0 {
            break;
        }
        left = one.number("memory.current")?;
        points.push((cgauge_lab::time::now() - began, left as f64));
    }
    // Where it stops falling: of what it uses, u, its part of 6 MiB is 6u / (u + claim),
    // which is all of u once u and the other's claim are 6 MiB.
    let bound = share * MIB;
    lab.enforcement("memory.current of a child that claims 4 MiB when nothing else is left to reclaim")
        .covers([R087])
        .file(file)
        .unit(Unit::Bytes)
        .observed(left)
        .between(bound.saturating_sub(2 * BATCH), bound + 2 * BATCH, "cgroup-v2.rst: \"each child cgroup will get the part of parent's protection proportional to its actual memory usage below\" its own boundary: as its usage falls so does its part, until with the other's claim it is the parent's 6 MiB; a step of 64 pages more or less, and as much for a lot of reclaim");
    lab.series(
        "memory.current of a child under pressure",
        Unit::Bytes,
        &points,
        Some(bound as f64),
    );
    drop((one, other));
    Ok(())
}

/// `memory.min` of a group without processes is ignored, as long as the document says so; since 6.19 it says no such thing, and the group is protected like any other.
#[rstest]
fn min_of_a_group_without_processes_is_ignored(lab: Lab) -> Outcome {
    let press = Press::new(&lab)?;
    for group in [&press.bounded, &press.shelter] {
        group.set("memory.min", 9 * MIB)?;
    }
    // The last to close a block device takes its cache along.
    let _open = device()?;
    drop(Press::fill(&press.shelter, 0)?);
    let before = file_pages(&press.shelter)?;
    let ignored = release()? < (6, 19);
    let why = if ignored { IGNORED } else { PROTECTED };
    lab.hierarchy("processes in the group that is protected")
        .covers([R088])
        .file("cgroup.procs")
        .unit(Unit::Processes)
        .observed(press.shelter.ids("cgroup.procs")?.len())
        .equals(0, "the one that filled it has ended; its file cache stays");
    let mut presser =
        press.rival.spawn(|| Memory::anonymous(20 * MIB).map_or(0, |it| it.touch()))?;
    lab.enforcement(
        "the end of a neighbour that wants 20 MiB of anonymous memory, with 16 MiB besides",
    )
    .covers([R088])
    .file("memory.min")
    .observed(format!("{:?}", presser.wait()?))
    .equals(if ignored { "Code(0)" } else { "Signal(SIGKILL)" }, why);
    lab.enforcement("pages of the 8 MiB that are left after it")
        .covers([R088])
        .file("memory.min")
        .unit(Unit::Pages)
        .observed(file_pages(&press.shelter)?)
        .between(
            if ignored { 0 } else { before },
            if ignored { before - 4 * MIB / PAGE } else { before },
            why,
        );
    Ok(())
}

const IGNORED: &str = "cgroup-v2.rst up to 6.18, memory.min: \"If a memory cgroup is not populated with processes, its memory.min is ignored\"; no kernel ever did so, and a0131c39270d (6.19) dropped the sentence";
const PROTECTED: &str = "a0131c39270d (6.19) dropped the exception from cgroup-v2.rst: unpopulated groups are handled like any other, and 8 MiB that may not be reclaimed leave no room";
