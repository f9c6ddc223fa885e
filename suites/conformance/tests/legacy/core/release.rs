//! `notify_on_release` and the agent that is run (cgroups.rst, 1.4).

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};

use crate::agent::{Agent, FILE};
use crate::{ANY, whole};

const FLAG: &str = "notify_on_release";

const RULE: &str = "cgroups.rst, 1.4: \"whenever the last task in the cgroup leaves (exits or attaches to some other cgroup) and the last child cgroup of that cgroup is removed, then the kernel runs the command specified by the contents of the \\\"release_agent\\\" file\", with the path relative to the mount point";

/// A group begins with its parent's flag as it is then, and the root with 0.
#[rstest]
fn flag_is_inherited(lab: Lab) -> Outcome {
    let root = lab.legacy(ANY)?;
    lab.interface("the flag of the hierarchy's root")
        .covers([R182])
        .file(FLAG)
        .observed(whole(root)?.read(FLAG).map_err(Stop::Refused)?)
        .equals("0\n", "cgroups.rst, 1.4: \"The default value of notify_on_release in the root cgroup at system boot is disabled (0)\"");
    let parent = root.make("parent")?;
    let early = parent.make("early")?;
    parent.set(FLAG, 1)?;
    let late = parent.make("late")?;
    let below = late.make("below")?;
    late.set(FLAG, 0)?;
    let again = late.make("again")?;
    let inherited = "cgroups.rst, 1.4: \"The default value of other cgroups at creation is the current value of their parents' notify_on_release settings\"";
    for (who, group, expected) in [
        ("one made while the parent's was 0", &early, "0"),
        ("the parent", &parent, "1"),
        ("one made while the parent's was 1, and then set to 0", &late, "0"),
        ("one made below it before that", &below, "1"),
        ("one made below it after that", &again, "0"),
    ] {
        lab.interface(&format!("the flag of {who}"))
            .covers([R182])
            .file(FLAG)
            .observed(group.line(FLAG)?)
            .equals(expected, inherited);
    }
    for (written, answer, shown) in
        [("7", "ok", "1"), ("-1", "EINVAL", "1"), ("yes", "EINVAL", "1"), ("0", "ok", "0")]
    {
        lab.interface(&format!("the answer to {written:?}"))
            .covers([R182])
            .file(FLAG)
            .answered(&parent.try_set(FLAG, written))
            .equals(
                answer,
                "a whole number, of which all but 0 set the flag (cgroup_write_notify_on_release)",
            );
        lab.interface(&format!("the flag after {written:?}"))
            .covers([R182])
            .file(FLAG)
            .observed(parent.line(FLAG)?)
            .equals(shown, "what was refused changes nothing");
    }
    Ok(())
}

/// What leaves a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaver {
    /// Tasks that end.
    Ends,
    /// Tasks that are moved away.
    Moves,
    /// Child groups that are removed.
    Child,
}

/// The agent is run with the group's path when the last task or child goes, once, and again when the group was used again; not for one that is left, and not without the flag.
#[rstest]
fn agent_runs_when_the_last_one_goes(
    lab: Lab,
    #[values(Leaver::Ends, Leaver::Moves, Leaver::Child)] leaver: Leaver,
) -> Outcome {
    let root = lab.legacy(ANY)?;
    let agent = Agent::of_the_hierarchy(root)?;
    let elsewhere = root.make("elsewhere")?;
    let (group, silent) = (root.make("group")?, root.make("silent")?);
    group.set(FLAG, 1)?;
    let path = agent.path_of(&group);
    let mut expected = Vec::new();
    for round in ["first", "second"] {
        for (who, place) in [("with the flag", &group), ("without it", &silent)] {
            let leave: [Box<dyn FnOnce() -> Outcome>; 2] = match leaver {
                Leaver::Ends => {
                    let [one, other] = [place.sleeper()?, place.sleeper()?];
                    [Box::new(|| one.end()), Box::new(|| other.end())]
                }
                Leaver::Moves => {
                    let [one, other] = [place.sleeper()?, place.sleeper()?];
                    let elsewhere = &elsewhere;
                    [
                        Box::new(move || elsewhere.admit(one.pid())),
                        Box::new(move || elsewhere.admit(other.pid())),
                    ]
                }
                Leaver::Child => {
                    let [one, other] = [place.make("one")?, place.make("other")?];
                    // These have no word in it themselves.
                    one.set(FLAG, 0)?;
                    other.set(FLAG, 0)?;
                    let remove = |it: Group| it.try_remove().map_err(Stop::Refused);
                    [Box::new(move || remove(one)), Box::new(move || remove(other))]
                }
            };
            for (leave, which) in leave.into_iter().zip(["first", "last"]) {
                leave()?;
                if place.line(FLAG)? == "1" && which == "last" {
                    expected.push(path.clone());
                }
                lab.notification(&format!(
                    "what the agent was run for once the {which} has left a group {who} for the {round} time"
                ))
                .covers([R183])
                .file(FLAG)
                .observed(agent.told(expected.len()))
                .equals(expected.join(" "), RULE);
            }
        }
    }
    Ok(())
}

/// A group with children is told of when it has neither tasks nor children, whichever goes last; each group on the way up for itself.
#[rstest]
fn group_with_children_is_told_of_when_all_are_gone(lab: Lab) -> Outcome {
    let root = lab.legacy(ANY)?;
    let agent = Agent::of_the_hierarchy(root)?;
    let top = root.make("top")?;
    top.set(FLAG, 1)?;
    let middle = top.make("middle")?;
    let leaf = middle.make("leaf")?;
    let [of_top, of_middle, of_leaf] = [&top, &middle, &leaf].map(|it| agent.path_of(it));
    let in_middle = middle.sleeper()?;
    let in_leaf = leaf.sleeper()?;
    let check = |what: &str, expected: &[&str]| {
        lab.notification(&format!("what the agent was run for {what}"))
            .covers([R183])
            .file(FLAG)
            .observed(agent.told(expected.len()))
            .equals(expected.join(" "), RULE);
    };
    in_leaf.end()?;
    check("once the leaf is empty", &[&of_leaf]);
    in_middle.end()?;
    check("once the middle has a child and no task", &[&of_leaf]);
    leaf.try_remove().map_err(Stop::Refused)?;
    check("once the leaf is removed", &[&of_leaf, &of_middle]);
    middle.try_remove().map_err(Stop::Refused)?;
    check("once the middle is removed", &[&of_leaf, &of_middle, &of_top]);
    top.try_remove().map_err(Stop::Refused)?;
    check("once the top is removed itself", &[&of_leaf, &of_middle, &of_top]);
    Ok(())
}

/// An agent can be named in the root alone; without one, and with one that is not there, a group is released all the same.
#[rstest]
fn agent_is_named_in_the_root(lab: Lab) -> Outcome {
    let root = lab.legacy(ANY)?;
    let whole = whole(root)?;
    lab.interface("the agent of a hierarchy at first")
        .covers([R184])
        .file(FILE)
        .observed(whole.read(FILE).map_err(Stop::Refused)?)
        .equals("\n", "cgroups.rst, 1.4: \"The default value of a cgroup hierarchy's release_agent path is empty\"");
    let group = root.make("group")?;
    lab.interface("whether a group below the root shows the file")
        .covers([R184])
        .file(FILE)
        .beyond_lies("no lie adds a file to a list")
        .observed(group.has(FILE)?.to_string())
        .equals("false", "cgroups.rst, 1.3: \"this file exists in the top cgroup only\"");
    group.set(FLAG, 1)?;
    for (what, path) in [("no agent", "\n"), ("one that is not there", "/nowhere/agent")] {
        whole.write(FILE, path).map_err(Stop::Refused)?;
        group.sleeper()?.end()?;
        lab.hierarchy(&format!("the answer to removing a group with {what}"))
            .covers([R183])
            .file(FLAG)
            .answered(&group.make("child")?.try_remove())
            .equals("ok", "nobody is told, and nothing is held up");
        // The kernel looks for the agent a moment later.
        pause(Duration::from_millis(50));
    }
    let agent = Agent::of_the_hierarchy(root)?;
    lab.interface("the agent once it is named")
        .covers([R184])
        .file(FILE)
        .observed(whole.read(FILE).map_err(Stop::Refused)?)
        .equals(
            format!("{}\n", std::env::temp_dir().join("agent").display()),
            "what was written holds",
        );
    group.sleeper()?.end()?;
    lab.notification("what the agent was run for once it is named")
        .covers([R183])
        .file(FILE)
        .observed(agent.told(1))
        .equals(agent.path_of(&group), RULE);
    Ok(())
}

/// Both ways to learn that a group is empty, side by side: `populated` of a unified group, and the release agent of a legacy one.
#[rstest]
fn agent_beside_populated(lab: Lab) -> Outcome {
    const ROUNDS: usize = 10;
    const USAGE: &str = "cpuacct.usage";
    let root = lab.legacy(ANY)?;
    let cpu = whole(lab.legacy("cpuacct")?)?;
    if !lab.root().dir().path().join("cgroup.events").exists() {
        return Err(lab.skip("there is no unified tree beside the legacy hierarchies"));
    }
    let used = || -> Result<u64, Stop> {
        let text = cpu.read(USAGE).map_err(Stop::Refused)?;
        text.trim().parse().map_err(|_| Stop::Broken(format!("{USAGE}: {text:?}")))
    };
    let agent = Agent::of_the_hierarchy(root)?;
    let (legacy, unified) = (root.make("group")?, lab.group("group")?);
    legacy.set(FLAG, 1)?;
    let (mut told, mut heard, mut cost) = (Vec::new(), Vec::new(), [0, 0]);
    for round in 0..2 * ROUNDS {
        let by_agent = round % 2 == 0;
        let process = if by_agent { legacy.sleeper()? } else { unified.sleeper()? };
        let mut watch = Watch::new(&unified, "cgroup.events", Mechanism::Poll)?;
        let (before, began) = (used()?, now());
        process.end()?;
        if by_agent {
            agent.told(told.len() + 1);
            told.extend(agent.runs().get(told.len()).map(|it| it.0.saturating_sub(began)));
        } else {
            heard.extend(watch.next(Duration::from_secs(5))?.map(|it| it.at.saturating_sub(began)));
        }
        cost[usize::from(!by_agent)] += used()? - before;
    }
    lab.notification("times that the agent was run")
        .covers([S14, R183])
        .file(FLAG)
        .unit(Unit::Events)
        .observed(told.len())
        .equals(ROUNDS, RULE);
    lab.notification("times that a watcher of populated was woken")
        .covers([S14, R030])
        .file("cgroup.events")
        .unit(Unit::Events)
        .observed(heard.len())
        .equals(
            ROUNDS,
            "cgroup-v2.rst, [Un]populated Notification: a file modified event when it changes",
        );
    lab.latencies("from the kill to the agent's first line", &told);
    lab.latencies("from the kill to the watcher's wake-up", &heard);
    for (way, cost) in ["the agent", "a watcher"].into_iter().zip(cost) {
        let each = cost / ROUNDS as u64;
        lab.value(
            &format!("CPU time of the machine a round, by {way}"),
            Unit::Nanoseconds,
            each,
            Lower,
        );
    }
    let slowest = |times: &[Duration]| nanoseconds(times.iter().max().copied().unwrap_or_default());
    lab.notification("the slowest run of the agent")
        .covers([S14])
        .file(FLAG)
        .unit(Unit::Nanoseconds)
        .observed(slowest(&told))
        .at_most(100_000_000_u64, "the kernel does it by a work item and an exec at once, with nothing that it waits for; a program of some MB starts in some 10 ms where an instruction takes 8 ns");
    Ok(())
}
