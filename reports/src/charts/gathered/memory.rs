//! Memory: usage against its limit with the events on the way, the curve of
//! memory.high, and how far the counters are from the truth.

use cgauge_record::{CheckKind, Unit};

use super::{Found, Gathered, Records, Words, between, sorted};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::charts::series::{points, thinned};
use crate::parts::{Controller, Part};
use crate::units::{readable, significant};

/// The farthest error that is drawn in its place: farther is drawn at the edge.
const FARTHEST: f64 = 200.0;
/// Charges that a CPU takes at a time: 64 pages.
const BATCH: f64 = 64.0 * 4096.0;

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    [usage(records), high_curve(records), accuracy(records)].into_iter().flatten().collect()
}

/// memory.current over time, with the moments at which the limit was hit.
fn usage(records: &Records<'_>) -> Option<Gathered> {
    let suites = ["memory", "capacity"].into_iter();
    let found = suites.flat_map(|suite| records.series(suite, "", "memory.current"));
    // With a limit, and with events beside it.
    let mut found = found.filter(|it| it.record.limit.is_some());
    let with_events = found.find_map(|it| {
        let events = it.case.series.iter().find(|it| it.metric.starts_with("hits of the limit"))?;
        Some((it, events))
    })?;
    let (Found { record, name, .. }, events) = with_events;
    let current = points(record);
    let counted = points(events);
    let moments: Vec<f64> =
        counted.windows(2).filter(|it| it[1].1 > it[0].1).map(|it| it[1].0).collect();
    let limit = record.limit?;
    let most = current.iter().map(|it| it.1).fold(0.0, f64::max);
    let hits = counted.last().map_or(0.0, |it| it.1);
    Words {
        title: "Memory against its limit".into(),
        subtitle: format!("{}, {}", name.base, super::cpu::words(&name.parameters)),
        says: format!(
            "{} at the most under a limit of {}, which was hit {} times.",
            readable(most, Unit::Bytes),
            readable(limit, Unit::Bytes),
            significant(hits)
        ),
        good: "the line climbs to the limit and never crosses it; events come only once it is there.",
    }
    .figure(
        Controller::Memory,
        Part::Enforcement,
        Figure::new(
            Axis::linear("time", Unit::Nanoseconds),
            Axis::linear("memory.current", Unit::Bytes),
            vec![
                Layer::new("memory.current", Shape::Line(thinned(&current))),
                Layer::new("memory.max", Shape::Limit(limit)),
                Layer::new("hits of the limit", Shape::Events(moments)),
            ],
        ),
    )
}

/// How long 64 pages take, over how far the group is above memory.high.
fn high_curve(records: &Records<'_>) -> Option<Gathered> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut farthest: f64 = 0.0;
    for Found { record, .. } in records.series("memory", "high::", "size with memory.high") {
        let Some(high) = record.limit.filter(|it| *it > 0.0) else { continue };
        let steps = points(record);
        let slowed = steps.windows(2).filter_map(|it| {
            let (grown, took) = (it[1].1 - it[0].1, it[1].0 - it[0].0);
            let over = it[1].1 / high - 1.0;
            (grown > 0.0 && over > 0.0).then_some((over, took * BATCH / grown))
        });
        let slowed: Vec<Point> = sorted(slowed.collect());
        farthest = slowed.last().map_or(farthest, |it| it.0.max(farthest));
        layers.push(Layer::new(record.metric.clone(), Shape::Line(thinned(&slowed))));
    }
    layers.first()?;
    // mm/memcontrol.c, calculate_high_delay: 64 s times the square, two at most.
    let places = (1..=100_u32).map(|it| farthest * f64::from(it) / 100.0);
    let curve = places.map(|over| (over, (64e9 * over * over).min(2e9)));
    layers.push(Layer::new("the kernel's curve", Shape::Ideal(curve.collect())));
    Words {
        title: "What memory.high costs".into(),
        subtitle: "time to grow by 64 pages, over how far above the group is".into(),
        says: format!("Up to {} above memory.high.", percent(farthest)),
        good: "the steps follow the dotted curve, 64 s times the square of the overage and two seconds at the most (twice that before 6.1), and never stand still.",
    }
    .figure(
        Controller::Memory,
        Part::Enforcement,
        Figure::new(
            Axis::linear("size over memory.high, less 1", Unit::Ratio),
            Axis::linear("time for 64 pages", Unit::Nanoseconds),
            layers,
        ),
    )
}

fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0))
}

/// How far counters in pages and bytes are from the truth, with each one's bound.
fn accuracy(records: &Records<'_>) -> Option<Gathered> {
    let pages = |unit: Unit| match unit {
        Unit::Pages => Some(1.0),
        Unit::Bytes => Some(1.0 / 4096.0),
        _ => None,
    };
    let (mut dots, mut spans, mut worst) = (Vec::new(), Vec::new(), 0.0_f64);
    for Found { record, .. } in records.checks("memory", "", "") {
        let of_memory = record.kind == CheckKind::Accounting && record.file.starts_with("memory.");
        let Some(factor) = pages(record.unit).filter(|_| of_memory) else { continue };
        let Some((observed, least, most)) = between(record) else { continue };
        // What was touched lies within; the least is the truth where only more is allowed.
        let truth = f64::midpoint(least, most);
        // Wider bounds are about more than the counter's own accuracy.
        if truth <= 0.0 || (most - least) * factor > 400.0 {
            continue;
        }
        let place = truth * factor;
        let error = (observed - truth) * factor;
        dots.push((place, error.clamp(-FARTHEST, FARTHEST)));
        worst = worst.max(error.abs());
        spans.push((place, (least - truth) * factor, (most - truth) * factor));
    }
    let exact = dots.iter().filter(|it| it.1 == 0.0).count();
    Words {
        title: "How exact the counters are".into(),
        subtitle: "memory.* in pages: counted less touched, every check".into(),
        says: format!(
            "{} checks, {exact} of them right in the middle; the farthest is {} pages off (what is farther than {FARTHEST} is drawn there).",
            dots.len(),
            significant(worst)
        ),
        good: "every dot lies within its bars, most at 0; bars of 64 pages to either side are the charges that a CPU takes in a batch.",
    }
    .figure(
        Controller::Memory,
        Part::Accounting,
        Figure::new(
            Axis::logarithmic("pages touched", Unit::Pages),
            Axis::linear("error, in pages", Unit::Count),
            vec![
                Layer::new("measured", Shape::Dots(sorted(dots))),
                Layer::new("the bound", Shape::Spans(spans)),
                Layer::new("", Shape::Ideal(vec![])),
            ],
        ),
    )
}
