//! How many groups a node carries.
//!
//! It knows no other question.

use super::*;

/// What is timed of groups, in the order of a table.
const OPERATIONS: [&str; 6] = [
    "making a group",
    "removing a group",
    "moving a process",
    "reading memory.stat of a group",
    "reading memory.stat of the parent",
    "fork and exit",
];

/// What an operation does to a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Change,
    Read,
}

impl Kind {
    fn of(operation: &str) -> Self {
        if operation.starts_with("reading") { Self::Read } else { Self::Change }
    }
}

pub(super) fn groups(sweeps: &Sweeps<'_>) -> Answer {
    let number = |metric: &str| sweeps.curve("groups::node_carries_groups", &[], "groups", metric);
    let depth = |metric: &str| sweeps.curve("groups::node_carries_depth", &[], "depth", metric);
    let columns = |of: &dyn Fn(&str) -> Option<Curve>| -> Vec<(&'static str, Unit, Option<Curve>)> {
        OPERATIONS.iter().map(|it| (*it, Unit::Nanoseconds, of(it))).collect()
    };
    let (by_number, by_depth) = (columns(&number), columns(&depth));
    let memory = number("kernel memory of a group");
    let ended = sweeps
        .places("groups::node_carries_groups", &[])
        .find_map(|it| it.value("groups until memory is out"));
    let bends =
        by_number.iter().filter_map(|(name, _, curve)| Some((*name, curve.as_ref()?.bend(BEND)?)));
    let first = bends.min_by(|a, b| a.1.total_cmp(&b.1));
    let deepest = by_depth.iter().filter_map(|(name, _, curve)| {
        let curve = curve.as_ref()?;
        let (first, last) = (curve.points().first()?.1, curve.points().last()?.1);
        Some((*name, last / first, curve.ends().1))
    });
    let sentence = memory.as_ref().map_or_else(
        || NOT_MEASURED.to_owned(),
        |memory| {
            let most = memory.ends().1;
            let mut text = match ended {
                Some(ended) => format!("Memory ended at {} groups", significant(ended)),
                None => format!("{} groups were carried", significant(most)),
            };
            text += &format!(
                ", each with {} of kernel memory; ",
                readable(memory.at(most).value, Unit::Bytes)
            );
            text += &match first {
                Some((name, at)) => format!(
                    "the first curve to bend is {name}, which costs half more than at its cheapest from {} groups on.",
                    significant(at)
                ),
                None => "no operation costs half more than at its cheapest up to there.".to_owned(),
            };
            if let Some((name, times, depth)) = deepest.max_by(|a, b| a.1.total_cmp(&b.1)) {
                text += &format!(
                    " Depth costs most in {name}: {} times as much {} levels down.",
                    significant(times),
                    significant(depth)
                );
            }
            text
        },
    );
    // Each in two pictures: there are more lines than colours.
    let picture = |title, x, columns: &[(&str, Unit, Option<Curve>)], kind| {
        let of_kind = columns.iter().filter(|it| Kind::of(it.0) == kind);
        Sweep {
            title,
            subtitle: "one operation, all controllers enabled",
            says: String::new(),
            good: "flat lines: what one group costs does not depend on the others.",
            x,
            y: ("one operation", Unit::Nanoseconds, Spacing::Logarithmic),
            lines: of_kind.map(|(name, _, curve)| line(name, curve)).collect(),
            limit: None,
        }
        .draw()
    };
    let groups_axis = ("groups", Unit::Count, Spacing::Logarithmic);
    let depth_axis = ("depth", Unit::Count, Spacing::Linear);
    let charts = [
        Sweep {
            title: "Kernel memory of a group",
            subtitle: "by the number of groups",
            says: String::new(),
            good: "flat, and low: memory is what ends the number of groups.",
            x: ("groups", Unit::Count, Spacing::Logarithmic),
            y: ("of each group", Unit::Bytes, Spacing::Linear),
            lines: vec![line("", &memory)],
            limit: None,
        }
        .draw(),
        picture("Changes by the number of groups", groups_axis, &by_number, Kind::Change),
        picture("Reads by the number of groups", groups_axis, &by_number, Kind::Read),
        picture("Changes by depth", depth_axis, &by_depth, Kind::Change),
        picture("Reads by depth", depth_axis, &by_depth, Kind::Read),
    ];
    let mut with_memory = vec![("kernel memory", Unit::Bytes, memory)];
    with_memory.extend(by_number);
    Answer {
        question: "How many groups does a node carry?",
        sentence,
        tables: [
            table("By the number of groups", "groups", &with_memory),
            table("By depth", "depth", &by_depth),
        ]
        .into_iter()
        .flatten()
        .collect(),
        basis: "Empty groups beside each other with every controller; means of 40 operations, of all groups for making and removing. Kernel memory is the growth of Slab, Percpu and KernelStack.",
        charts: charts.into_iter().flatten().collect(),
    }
}
