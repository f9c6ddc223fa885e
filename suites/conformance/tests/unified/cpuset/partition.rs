//! `cpuset.cpus.partition` of groups whose parent is a partition root itself:
//! local partitions.

use cgauge_lab::prelude::*;
use cgauge_lab::time::now;
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use crate::cpus::{Offline, PATIENCE, affinity, needs_eight, says_why, settle};
use crate::{CPUS, EFFECTIVE, EXCLUSIVE, EXCLUSIVE_EFFECTIVE, PARTITION};

/// A partition has its CPUs to itself: every other group loses them, and has them back when it ends.
#[rstest]
fn partition_has_its_cpus_to_itself(
    lab: Lab,
    #[values("root", "isolated")] kind: &str,
    #[values("member", "removal")] end: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let root = whole.root();
    let part = root.make("part")?;
    let other = lab.group("other")?;
    let (inside, outside) = (part.sleeper()?, other.sleeper()?);
    part.set(CPUS, "2-3")?;
    let look = |when: &str, of_part: &str, of_rest: &str| -> Outcome {
        for (role, group, expected) in [
            ("the partition", &part, of_part),
            ("the root", root, of_rest),
            ("another", &other, of_rest),
        ] {
            lab.hierarchy(&format!("effective CPUs of {role} {when}"))
                .covers([R144])
                .file(EFFECTIVE)
                .observed(settle(group, EFFECTIVE, expected)?.0)
                .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: the CPUs of a partition are taken away from its parent's, and its siblings cannot have them");
        }
        for (role, process, expected) in
            [("the partition", &inside, of_part), ("another group", &outside, of_rest)]
        {
            lab.enforcement(&format!("CPUs that a process of {role} may use {when}"))
                .covers([R141, R144])
                .file(PARTITION)
                .observed(affinity(process.pid())?)
                .equals(expected, "tasks run on the effective CPUs of their group");
        }
        Ok(())
    };
    look("before it is a partition", "2-3", "0-7")?;
    part.set(PARTITION, kind)?;
    lab.hierarchy("the state of the partition")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals(
            kind,
            "cgroup-v2.rst, cpuset.cpus.partition: all the conditions of a valid partition are met",
        );
    look("while it is a partition", "2-3", "0-1,4-7")?;
    part.set(CPUS, "3-5")?;
    look("after the partition's set was changed", "3-5", "0-2,6-7")?;
    if end == "member" {
        part.set(PARTITION, "member")?;
        return look("after it became a member", "3-5", "0-7");
    }
    inside.end()?;
    part.kill()?;
    lab.hierarchy("the answer to removing the partition")
        .covers([R144])
        .answered(&part.try_remove())
        .equals("ok", "a partition is a group like any other");
    lab.hierarchy("effective CPUs of the root after it was removed")
        .covers([R144])
        .file(EFFECTIVE)
        .observed(settle(root, EFFECTIVE, "0-7")?.0)
        .equals("0-7", "nobody has the CPUs any more");
    Ok(())
}

/// A partition hands CPUs on to a partition below it, which has them to itself.
#[rstest]
fn partition_below_a_partition_takes_cpus_of_its_parent(
    lab: Lab,
    #[values("root", "isolated")] kind: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let top = whole.root().make("top")?;
    top.set(CPUS, "2-5")?;
    top.enable("cpuset")?;
    top.set(PARTITION, "root")?;
    let (inner, resident) = (top.make("inner")?, top.make("resident")?);
    let (inside, beside) = (inner.sleeper()?, resident.sleeper()?);
    inner.set(CPUS, "2-3")?;
    for (state, rest) in [(kind, "4-5"), ("member", "2-5"), (kind, "4-5")] {
        inner.set(PARTITION, state)?;
        lab.hierarchy(&format!("the state after {state} was written"))
            .covers([R144])
            .file(PARTITION)
            .observed(inner.line(PARTITION)?)
            .equals(state, "its parent is a valid partition, and all the other conditions are met");
        for (role, group, expected) in [
            ("the inner partition", &inner, "2-3"),
            ("its parent", &top, rest),
            ("its neighbour", &resident, rest),
            ("the root", whole.root(), "0-1,6-7"),
        ] {
            lab.hierarchy(&format!("effective CPUs of {role} after {state} was written"))
                .covers([R139, R144])
                .file(EFFECTIVE)
                .observed(group.line(EFFECTIVE)?)
                .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: the CPUs of a partition are taken away from its parent's, and the root has lost those of the outer one already");
        }
        for (role, process, expected) in
            [("the inner partition", &inside, "2-3"), ("its neighbour", &beside, rest)]
        {
            lab.enforcement(&format!(
                "CPUs that a process of {role} may use after {state} was written"
            ))
            .covers([R141, R144])
            .file(PARTITION)
            .observed(affinity(process.pid())?)
            .equals(expected, "tasks run on the effective CPUs of their group");
        }
    }
    Ok(())
}

/// A partition without processes may hand on all its CPUs, and then takes no process itself.
#[rstest]
fn partition_may_hand_on_all_its_cpus(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let top = whole.root().make("top")?;
    top.set(CPUS, "2-3")?;
    top.enable("cpuset")?;
    top.set(PARTITION, "root")?;
    let (inner, empty) = (top.make("inner")?, top.make("empty")?);
    inner.set(CPUS, "2-3")?;
    inner.set(PARTITION, "root")?;
    lab.hierarchy("the state of the one below")
        .covers([R144])
        .file(PARTITION)
        .observed(inner.line(PARTITION)?)
        .equals("root", "cgroup-v2.rst, cpuset.cpus.partition: a partition root \"can distribute out all its CPUs to its child partitions as long as there is no task associated with it\"");
    for (role, group, expected) in [
        ("the one below", &inner, "2-3"),
        ("the one above", &top, ""),
        ("another below it", &empty, ""),
    ] {
        lab.hierarchy(&format!("effective CPUs of {role}"))
            .covers([R139, R144])
            .file(EFFECTIVE)
            .observed(group.line(EFFECTIVE)?)
            .equals(expected, "the one below has taken them all");
    }
    let other = lab.group("other")?;
    let process = other.sleeper()?;
    lab.enforcement("the answer to a process's move to where no CPU is left")
        .covers([R141, R144])
        .file("cgroup.procs")
        .answered(&empty.try_set("cgroup.procs", process.pid()))
        .equals("ENOSPC", "cgroup-v2.rst, cpuset.cpus.partition: \"A task cannot be moved to a cgroup with empty cpuset.cpus.effective\"; kernel/cgroup/cpuset.c, cpuset_can_attach_check");
    inner.set(PARTITION, "member")?;
    empty.admit(process.pid())?;
    lab.enforcement("CPUs that the process may use there once they are back")
        .covers([R141, R144])
        .file(PARTITION)
        .observed(affinity(process.pid())?)
        .equals("2-3", "the inner one is a partition no longer");
    Ok(())
}

/// Every state leads to every other, and nothing but the three words is taken.
#[rstest]
fn every_state_leads_to_every_other(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "2-3")?;
    lab.interface("the state of a new group")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals(
            "member",
            "cgroup-v2.rst, cpuset.cpus.partition: a member is what a group begins as",
        );
    for state in ["root", "isolated", "root", "member", "isolated", "member", "member"] {
        lab.interface(&format!("the answer to {state}"))
            .covers([R144])
            .file(PARTITION)
            .answered(&part.try_set(PARTITION, state))
            .equals(
                "ok",
                "cgroup-v2.rst, cpuset.cpus.partition: the three values that can be written",
            );
        let shown = part.line(PARTITION)?;
        lab.hierarchy(&format!("the state after {state} was written"))
            .covers([R144])
            .file(PARTITION)
            .observed(shown)
            .equals(state, "all the conditions of a valid partition are met");
        let rest = if state == "member" { "0-7" } else { "0-1,4-7" };
        lab.hierarchy(&format!("CPUs left for the rest after {state} was written"))
            .covers([R144])
            .file(EFFECTIVE)
            .observed(whole.root().line(EFFECTIVE)?)
            .equals(rest, "a member takes nothing away, the others take CPUs 2 and 3");
    }
    part.set(PARTITION, "root")?;
    for refused in ["partition", "root invalid", "isolated invalid", "Root", "0", "1", ""] {
        lab.interface(&format!("the answer to {refused:?}"))
            .covers([R144])
            .file(PARTITION)
            .answered(&part.try_set(PARTITION, format!("{refused}\n")))
            .equals(
                "EINVAL",
                "cgroup-v2.rst, cpuset.cpus.partition: it is none of member, root and isolated",
            );
    }
    lab.interface("the state after what was refused")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals("root", "a refused write changes nothing");
    Ok(())
}

/// What stands in the way of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// The group asks for no CPU.
    NoCpus,
    /// The parent is an invalid partition.
    InvalidParent,
    /// A sibling that is a partition has one of the CPUs.
    Sibling,
    /// The parent would have none left for its processes.
    NothingLeft,
}

impl Obstacle {
    /// The words for it; those for an empty set name the second file where there
    /// is one.
    fn words(self, two_files: bool) -> &'static str {
        match self {
            Self::NoCpus if two_files => "cpuset.cpus and cpuset.cpus.exclusive are empty",
            Self::NoCpus => "cpuset.cpus is empty",
            // Without CPUs handed down it is no remote partition either.
            Self::InvalidParent if two_files => "Invalid cpu list in cpuset.cpus.exclusive",
            Self::InvalidParent => "Parent is not a partition root",
            Self::Sibling => "Cpu list in cpuset.cpus not exclusive",
            Self::NothingLeft => "Parent unable to distribute cpu downstream",
        }
    }

    /// The CPUs that the partition asks for with the obstacle, and without it.
    fn sets(self) -> (&'static str, &'static str) {
        match self {
            Self::NoCpus => ("\n", "2-3"),
            Self::InvalidParent => ("2-3", "2-3"),
            Self::Sibling => ("2-3", "2"),
            Self::NothingLeft => ("2-5", "2-3"),
        }
    }
}

/// A partition below a partition, with something in its way.
struct Obstructed {
    top: Group,
    part: Group,
    sibling: Group,
    resident: Group,
    _inside: Process<()>,
}

impl Obstructed {
    fn new(whole: &Group, obstacle: Obstacle) -> Result<Self, Stop> {
        let top = whole.make("top")?;
        top.set(CPUS, "2-5")?;
        top.enable("cpuset")?;
        let resident = top.make("resident")?;
        let inside = resident.sleeper()?;
        let part = top.make("part")?;
        let sibling = top.make("sibling")?;
        if obstacle != Obstacle::InvalidParent {
            top.set(PARTITION, "root")?;
        }
        if obstacle == Obstacle::Sibling {
            sibling.set(CPUS, "3-4")?;
            sibling.set(PARTITION, "root")?;
        }
        part.set(CPUS, obstacle.sets().0)?;
        Ok(Self { top, part, sibling, resident, _inside: inside })
    }
}

/// A partition that cannot be is accepted, says that it is invalid and why, and takes nothing away.
#[rstest]
fn bug_21_invalid_partition_says_why(
    lab: Lab,
    #[values(Obstacle::NoCpus, Obstacle::InvalidParent, Obstacle::Sibling, Obstacle::NothingLeft)]
    obstacle: Obstacle,
    #[values("root", "isolated")] kind: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let Obstructed { top: _top, part, sibling, resident, _inside } =
        Obstructed::new(whole.root(), obstacle)?;
    let before = resident.line(EFFECTIVE)?;
    lab.interface("the answer to the write")
        .covers([R144])
        .file(PARTITION)
        .answered(&part.try_set(PARTITION, kind))
        .equals("ok", "cgroup-v2.rst, cpuset.cpus.partition: \"All possible state transitions among \"member\", \"root\" and \"isolated\" are allowed\"; whether the partition is valid, the state says");
    let why = obstacle.words(part.has(EXCLUSIVE)?);
    lab.interface("the state")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals(format!("{kind} invalid ({why})"), "cgroup-v2.rst, cpuset.cpus.partition: \"a descriptive string on why the partition is invalid is included within parentheses\"; the words are kernel/cgroup/cpuset.c, perr_strings");
    if obstacle != Obstacle::Sibling || sibling.line(PARTITION)? == "root" {
        lab.hierarchy("whether its parent's resident has the CPUs that it had")
            .covers([R144])
            .file(EFFECTIVE)
            .observed(resident.line(EFFECTIVE)?)
            .equals(
                before.as_str(),
                "cgroup-v2.rst, cpuset.cpus.partition: an invalid partition \"behaves more like a \"member\"\": it takes nothing away",
            );
    }
    Ok(())
}

/// An invalid partition becomes valid, with the CPUs that it asks for, once nothing is in its way.
#[rstest]
fn invalid_partition_becomes_valid(
    lab: Lab,
    #[values(Obstacle::NoCpus, Obstacle::InvalidParent, Obstacle::Sibling, Obstacle::NothingLeft)]
    obstacle: Obstacle,
    #[values("root", "isolated")] kind: &str,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let Obstructed { top, part, sibling: _sibling, resident: _resident, _inside } =
        Obstructed::new(whole.root(), obstacle)?;
    part.set(PARTITION, kind)?;
    let set = obstacle.sets().1;
    match obstacle {
        Obstacle::InvalidParent => top.set(PARTITION, "root")?,
        _ => part.set(CPUS, set)?,
    }
    lab.interface("the state once the obstacle is gone")
        .covers([R144])
        .file(PARTITION)
        .observed(settle(&part, PARTITION, kind)?.0)
        .equals(kind, "cgroup-v2.rst, cpuset.cpus.partition: \"changes to \"cpuset.cpus\" can cause a valid partition root to become invalid and vice versa\"; all the conditions of a valid one are met");
    lab.hierarchy("effective CPUs once the obstacle is gone")
        .covers([R139, R144])
        .file(EFFECTIVE)
        .observed(part.line(EFFECTIVE)?)
        .equals(
            set,
            "cgroup-v2.rst, cpuset.cpus.effective: what it asks for, which its parent has",
        );
    Ok(())
}

/// What makes a valid partition invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Its last CPU goes offline.
    Hotplug,
    /// Its set comes to overlap a sibling partition's.
    Overlap,
    /// Its set leaves its parent's processes none.
    NothingLeft,
    /// Its parent is a partition no longer.
    Parent,
}

/// A partition that becomes invalid says why.
#[rstest]
fn partition_that_becomes_invalid_says_why(
    lab: Lab,
    #[values(Blow::Hotplug, Blow::Overlap, Blow::NothingLeft, Blow::Parent)] blow: Blow,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let top = whole.root().make("top")?;
    top.set(CPUS, "2-5")?;
    top.enable("cpuset")?;
    top.set(PARTITION, "root")?;
    let (part, sibling) = (top.make("part")?, top.make("sibling")?);
    let resident = top.make("resident")?;
    let _inside = (part.sleeper()?, resident.sleeper()?);
    part.set(CPUS, "3")?;
    part.set(PARTITION, "root")?;
    lab.hierarchy("the state before")
        .covers([R144])
        .file(PARTITION)
        .observed(part.line(PARTITION)?)
        .equals("root", "all the conditions of a valid partition are met");
    let mut offline = None;
    match blow {
        Blow::Hotplug => offline = Some(Offline::take(3)?),
        Blow::Overlap => {
            sibling.set(CPUS, "4")?;
            sibling.set(PARTITION, "root")?;
            part.set(CPUS, "3-4")?;
        }
        Blow::NothingLeft => part.set(CPUS, "2-5")?,
        Blow::Parent => top.set(PARTITION, "member")?,
    }
    let state = part.line(PARTITION)?;
    lab.hierarchy("the state without its reason")
        .covers([R144])
        .file(PARTITION)
        .observed(state.split(" (").next().unwrap_or_default())
        .equals("root invalid", "cgroup-v2.rst, cpuset.cpus.partition: one of the conditions of a valid partition is met no longer");
    says_why(&lab, &state);
    drop(offline);
    Ok(())
}

/// Who is not a partition makes one invalid by asking for its CPU, and it takes nothing away any more.
#[rstest]
fn overlap_gives_the_cpus_back(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let Obstructed { top: _top, part, sibling, resident, _inside } =
        Obstructed::new(whole.root(), Obstacle::Sibling)?;
    let expected = if sibling.line(PARTITION)? == "root" { "2,5" } else { "2-5" };
    for (role, group, expected) in [
        ("the resident", &resident, expected),
        ("the one that asked", &part, if expected == "2,5" { "2" } else { "2-3" }),
    ] {
        lab.hierarchy(&format!("effective CPUs of {role}"))
            .covers([R139, R144])
            .file(EFFECTIVE)
            .observed(settle(group, EFFECTIVE, expected)?.0)
            .equals(expected, "cgroup-v2.rst, cpuset.cpus.partition: a valid partition has its CPUs to itself; an invalid one \"behaves more like a \"member\"\" and takes nothing away");
    }
    Ok(())
}

/// A change of the partition's state wakes whoever watches the file, whatever brought it about.
#[rstest]
fn change_of_state_wakes_watchers(
    lab: Lab,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    needs_eight(&lab)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "3")?;
    let _inside = part.sleeper()?;
    let mut watch = Watch::new(&part, PARTITION, mechanism)?;
    let mut took = Vec::new();
    let mut told = |what: &str, state: &str, began: Duration| -> Outcome {
        let deadline = now() + PATIENCE;
        let mut seen = "none".to_owned();
        while let Some(wake) = watch.next(deadline.saturating_sub(now()))? {
            wake.text.trim_end().clone_into(&mut seen);
            if seen.split(" (").next() == Some(state) {
                took.push(wake.at - began);
                break;
            }
        }
        lab.notification(&format!("the state that a watcher is woken for by {what}"))
            .covers([R145])
            .file(PARTITION)
            .observed(seen.split(" (").next().unwrap_or_default())
            .equals(state, "cgroup-v2.rst, cpuset.cpus.partition: \"Poll and inotify events are triggered whenever the state of cpuset.cpus.partition changes. That includes changes caused by write to cpuset.cpus.partition, cpu hotplug or other changes that modify the validity status\"");
        Ok(())
    };
    let began = now();
    part.set(PARTITION, "root")?;
    told("a write", "root", began)?;
    let began = now();
    let offline = Offline::take(3)?;
    told("the loss of its last CPU", "root invalid", began)?;
    let began = now();
    offline.give_back()?;
    told("the CPU's return", "root", began)?;
    let began = now();
    part.set(CPUS, "0-7")?;
    told("a set that leaves none to its parent", "root invalid", began)?;
    let began = now();
    part.set(PARTITION, "member")?;
    told("its end", "member", began)?;
    lab.latencies("from the change of state to the watcher", &took);
    // One change may wake more than once.
    while watch.next(Duration::from_millis(50))?.is_some() {}
    lab.notification("whether a watcher is woken with no change")
        .covers([R145])
        .file(PARTITION)
        .happened(watch.next(Duration::from_millis(200))?.map(|it| it.at))
        .equals("no", "nothing changes");
    Ok(())
}

/// The partition's file is the parent's to write: it is not among the files to hand over, and neither a new owner nor a namespace's root may write it.
#[rstest]
fn partition_cannot_be_delegated(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    let listed = std::fs::read_to_string("/sys/kernel/cgroup/delegate")?;
    for file in [CPUS, PARTITION, EXCLUSIVE] {
        lab.delegation("whether the kernel lists the file as one to hand over")
            .covers([R147])
            .file(file)
            .observed(listed.lines().any(|it| it == file).to_string())
            .equals("false", "cgroup-v2.rst, cpuset.cpus.partition: \"owned by the parent cgroup and is not delegatable\"; the other sets are the parent's to give out, too");
    }
    let group = lab.group("group")?;
    group.set(CPUS, "2-3")?;
    group.enable("cpuset")?;
    let owner = (Uid::from_raw(1000), Gid::from_raw(1000));
    let hand_over = |name: &str| -> Outcome {
        let path = group.dir().path().join(name);
        std::os::unix::fs::chown(path, Some(1000), Some(1000)).map_err(Stop::from)
    };
    hand_over("")?;
    for file in listed.lines().filter(|it| it.starts_with("cgroup.")) {
        if group.has(file)? {
            hand_over(file)?;
        }
    }
    // With a controller given to its children the group takes no process itself.
    let worker = lab.group("worker")?;
    let process = worker.spawn(|| {
        let dropped = setresgid(owner.1, owner.1, owner.1)
            .and_then(|()| setresuid(owner.0, owner.0, owner.0));
        let say = |answer: Result<(), cgauge_lab::kernel::Refusal>| match answer {
            Ok(()) => "ok".to_owned(),
            Err(refusal) => format!("{:?}", refusal.errno),
        };
        // Its own child, which it made, is its own to set.
        let child = group.try_make("child");
        let of_child = match &child {
            Ok(child) => say(child.try_set(PARTITION, "member")),
            Err(refusal) => format!("{:?}", refusal.errno),
        };
        let answers = (dropped.is_ok(), say(group.try_set(PARTITION, "root")), of_child);
        // It is the case's to remove.
        std::mem::forget(child);
        answers
    })?;
    let (dropped, own, of_child) = process.finish()?;
    if !dropped {
        return Err(Stop::Broken("a process could not become another user".to_owned()));
    }
    lab.delegation("the answer to the new owner's write to the group's own file")
        .covers([R147])
        .file(PARTITION)
        .unit(Unit::Errno)
        .observed(own)
        .equals("EACCES", "the file was not handed over");
    lab.delegation("the answer to the new owner's write in a child that it made")
        .covers([R147])
        .file(PARTITION)
        .unit(Unit::Errno)
        .observed(of_child)
        .equals("ok", "there it is the parent");
    Ok(())
}

/// Looks at what a valid partition shows in the files of exclusive sets.
#[rstest]
fn partition_shows_its_exclusive_cpus(lab: Lab) -> Outcome {
    needs_eight(&lab)?;
    lab.needs_file(EXCLUSIVE, crate::SINCE_REMOTE)?;
    let whole = lab.whole_hierarchy()?;
    let part = whole.root().make("part")?;
    part.set(CPUS, "2-3")?;
    for (state, exclusive, isolated) in
        [("member", "", ""), ("root", "2-3", ""), ("isolated", "2-3", "2-3"), ("member", "", "")]
    {
        part.set(PARTITION, state)?;
        lab.hierarchy(&format!("exclusive CPUs of a {state}"))
            .covers([R144])
            .file(EXCLUSIVE_EFFECTIVE)
            .observed(part.line(EXCLUSIVE_EFFECTIVE)?)
            .equals(
                exclusive,
                "cgroup-v2.rst, cpuset.cpus.exclusive.effective: the CPUs that a partition uses",
            );
        lab.hierarchy(&format!("isolated CPUs of the machine with a {state}"))
            .covers([R144, R146])
            .file("cpuset.cpus.isolated")
            .observed(whole.root().line("cpuset.cpus.isolated")?)
            .equals(isolated, "cgroup-v2.rst, cpuset.cpus.isolated: \"all isolated CPUs used in existing isolated partitions\"");
    }
    lab.interface("whether a group below the root shows the isolated CPUs")
        .covers([R144])
        .file("cpuset.cpus.isolated")
        .observed(part.has("cpuset.cpus.isolated")?.to_string())
        .equals("false", "cgroup-v2.rst, cpuset.cpus.isolated: \"exists only on root cgroup\"");
    Ok(())
}
