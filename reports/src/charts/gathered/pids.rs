//! pids: a group that fills, against its limit, and the forks that are refused.

use cgauge_record::Unit;

use super::notification::told;
use super::{Found, Gathered, Records, Words};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Shape};
use crate::charts::series::{points, thinned};
use crate::parts::{Controller, Part};
use crate::units::significant;

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    bomb(records).into_iter().collect()
}

/// The bomb whose limit is the largest below a thousand: high enough for a climb,
/// low enough that the refusals do not dwarf it.
fn bomb(records: &Records<'_>) -> Option<Gathered> {
    let bombs = records.series("pids", "bomb::", "pids.current");
    let climbs = bombs.filter(|it| it.record.limit.is_some_and(|it| it < 1000.0));
    let Found { name, case, record } = climbs
        .max_by(|a, b| a.record.limit.unwrap_or(0.0).total_cmp(&b.record.limit.unwrap_or(0.0)))?;
    let limit = record.limit?;
    let current = points(record);
    let most = current.iter().map(|it| it.1).fold(0.0, f64::max);
    let refused =
        case.series.iter().find(|it| it.metric == "refused forks").map(points).unwrap_or_default();
    let end = current.last().map_or(0.0, |it| it.0);
    // It is hit more often than there is room: what lies within the picture.
    let refused: Vec<_> =
        refused.into_iter().filter(|it| it.0 <= end && it.1 <= limit * 1.5).collect();
    Words {
        title: "Processes of a fork bomb against pids.max".into(),
        subtitle: format!("{}, {}", name.base, told(&name.parameters)),
        says: format!("At most {} processes under a limit of {}.", significant(most), significant(limit)),
        good: "the line climbs to the limit, stays there and never crosses it; forks are refused from that moment on, and not before.",
    }
    .figure(
        Controller::Pids,
        Part::Enforcement,
        Figure::new(
            Axis::linear("time", Unit::Nanoseconds),
            Axis::linear("", Unit::Processes),
            vec![
                Layer::new("pids.current", Shape::Line(thinned(&current))),
                Layer::new("forks refused", Shape::Line(thinned(&refused))),
                Layer::new("pids.max", Shape::Limit(limit)),
            ],
        ),
    )
}
