//! io: rates against io.max, shares against weights, and what a neighbour does.

use std::collections::BTreeMap;

use cgauge_record::Unit;

use super::cpu::{shares, words};
use super::notification::distributions;
use super::{Found, Gathered, Records, Words, a_few, between, sorted};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::charts::series::{points, thinned};
use crate::parts::{Controller, Part};
use crate::run::CaseReport;
use crate::units::significant;

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    let mut all: Vec<Gathered> =
        [rates(records), over_limits(records), bfq(records), iocost(records), neighbours(records)]
            .into_iter()
            .flatten()
            .collect();
    all.extend(beside_writes(records));
    all
}

/// Rates over time, each as a share of its limit.
fn rates(records: &Records<'_>) -> Option<Gathered> {
    let all: Vec<_> = records.series("io", "limits::each_limit", "").collect();
    let lines: Vec<Layer> = a_few(all, 4)
        .into_iter()
        .filter_map(|Found { name, record, .. }| {
            let limit = record.limit.filter(|it| *it > 0.0)?;
            let points: Vec<Point> =
                points(record).iter().map(|(at, it)| (*at, it / limit)).collect();
            Some(Layer::new(words(&name.parameters), Shape::Line(thinned(&points))))
        })
        .collect();
    lines.first()?;
    Words {
        title: "Rate over time against io.max".into(),
        subtitle: "bytes a second over the limit, a few of the cases".into(),
        says: "Each point is a window of a quarter of a second, which is two slices of the kernel or three.".into(),
        good: "the lines lie on 1, give or take a request in a window, from the first window to the last.",
    }
    .figure(
        Controller::Io,
        Part::Enforcement,
        Figure::new(
            Axis::linear("time", Unit::Nanoseconds),
            Axis::linear("rate over the limit", Unit::Ratio),
            lines.into_iter().chain([Layer::new("io.max", Shape::Limit(1.0))]).collect(),
        ),
    )
}

/// The mean rate of every case, over its limit.
fn over_limits(records: &Records<'_>) -> Option<Gathered> {
    let dots = records.series("io", "limits::", "").filter_map(|it| {
        let limit = it.record.limit.filter(|it| *it > 0.0)?;
        // The first windows have what a group has in store.
        let rates = points(it.record);
        let rest = rates.get(1..).filter(|it| !it.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "few windows")]
        let mean = rest.iter().map(|it| it.1).sum::<f64>() / rest.len() as f64;
        Some((limit, mean / limit))
    });
    let dots = sorted(dots.collect());
    let most = dots
        .iter()
        .map(|it| it.1)
        .fold(None, |a: Option<f64>, it| Some(a.map_or(it, |a| a.max(it))))?;
    Words {
        title: "Mean rate over io.max, by the limit".into(),
        subtitle: "every case with a limit, without its first window".into(),
        says: format!("{} rates; the most is {} of its limit.", dots.len(), significant(most)),
        good: "no dot lies above 1 by more than a slice of 100 ms gives; below lie the loads that want less and the limits of a few requests a second.",
    }
    .figure(
        Controller::Io,
        Part::Enforcement,
        Figure::new(
            Axis::logarithmic("io.max", Unit::BytesPerSecond),
            Axis::linear("rate over the limit", Unit::Ratio),
            vec![
                Layer::new("measured", Shape::Dots(dots)),
                Layer::new("io.max", Shape::Limit(1.0)),
            ],
        ),
    )
}

/// Shares of requests against BFQ's weights.
fn bfq(records: &Records<'_>) -> Option<Gathered> {
    let found = records.checks("io", "weights::", "requests of the second, ").filter_map(|it| {
        let (observed, least, most) = between(it.record)?;
        let whole = it.record.what.replacen("the second", "both", 1);
        let both = it.case.checks.iter().find(|it| it.what.as_ref() == whole)?;
        let both = both.observed.number().filter(|it| *it > 0.0)?;
        Some((observed / both, least / both, most / both))
    });
    shares(found.collect(), "io.bfq.weight", Controller::Io)
}

/// Shares of bytes against io.weight under iocost.
fn iocost(records: &Records<'_>) -> Option<Gathered> {
    let share = |ratio: f64| ratio / (1.0 + ratio);
    let found = records
        .checks("io", "cost::", "the heavy one's bytes over the light one's")
        .filter_map(|it| between(it.record))
        .map(|(observed, least, most)| (share(observed), share(least), share(most)));
    shares(found.collect(), "io.weight", Controller::Io)
}

/// The victim's latency with and without a neighbour, under each way to isolate.
fn neighbours(records: &Records<'_>) -> Option<Gathered> {
    let suites = ["io", "capacity"].into_iter();
    let found = suites.flat_map(|suite| records.histograms(suite, "", "latency of the victim"));
    let all: Vec<_> = found
        .map(|it| {
            let how = it
                .record
                .metric
                .trim_start_matches("latency of the victim")
                .trim_start_matches([',', ' ']);
            let name = [words(&it.name.parameters), how.to_owned()];
            (name.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(": "), it.record)
        })
        .collect();
    distributions(
        Words {
            title: "A victim's latency, with a neighbour and without".into(),
            subtitle: "share of its requests that were done within".into(),
            says: String::new(),
            good: "the lines with the neighbour lie on the one without: isolation works; the farther right, the more the neighbour is felt.",
        },
        Controller::Io,
        Part::Enforcement,
        &a_few(all, 8),
    )
}

/// Readers and buffered writers side by side over time, case by case.
fn beside_writes(records: &Records<'_>) -> Vec<Gathered> {
    let mut cases: BTreeMap<(&str, &str), (&CaseReport, Vec<Layer>)> = BTreeMap::new();
    for suite in ["io", "capacity"] {
        for Found { case, record, .. } in records.series(suite, "", "bytes a second of the ") {
            let of_writes = case.series.iter().any(|it| it.metric.contains("buffered"));
            if !of_writes {
                continue;
            }
            let who = record.metric.trim_start_matches("bytes a second of the ").to_owned();
            let line = Layer::new(who, Shape::Line(thinned(&points(record))));
            cases.entry((&case.suite, &case.case)).or_insert((case, Vec::new())).1.push(line);
        }
    }
    let figures = cases.into_values().take(4).filter_map(|(case, layers)| {
        let name = crate::names::split(&case.case);
        Words {
            title: "Reads next to buffered writes".into(),
            subtitle: format!("{} {}", name.base, name.parameters),
            says: "Bytes a second of each, over time.".into(),
            good: "the reader's line does not fall when the kernel's threads begin to write back.",
        }
        .figure(
            Controller::Io,
            Part::Enforcement,
            Figure::new(
                Axis::linear("time", Unit::Nanoseconds),
                Axis::linear("rate", Unit::BytesPerSecond),
                layers,
            ),
        )
    });
    figures.collect()
}
