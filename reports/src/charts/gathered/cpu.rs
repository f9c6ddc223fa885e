//! Quota and weights: what the threads of all cases got, beside what they were
//! to get.

use cgauge_record::Unit;

use super::{Found, Gathered, Records, Words, between, parameter, sorted};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::charts::series::points;
use crate::parts::{Controller, Part};
use crate::run::CheckReport;
use crate::statistics::jain;
use crate::units::{readable, significant};

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    [
        periods(records),
        whole_limits(records),
        throttled(records),
        stalls(records),
        weights(records, "cpu", "cpu.weight", Controller::Cpu),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// CPU time in each period, as a share of the limit.
fn periods(records: &Records<'_>) -> Option<Gathered> {
    let mut all: Vec<_> = records.series("cpu", "quota::", "work done in a period").collect();
    // The longer a period is the less does it matter when in it a tick comes.
    all.sort_by_key(|it| std::cmp::Reverse(it.record.points.get(1).map(|it| it.0)));
    let lines: Vec<Layer> = all
        .into_iter()
        .take(4)
        .filter_map(|Found { name, record, .. }| {
            let limit = record.limit.filter(|it| *it > 0.0)?;
            let nth = (1_u32..).map(f64::from);
            let points = nth.zip(points(record)).map(|(nth, (_, work))| (nth, work / limit));
            Some(Layer::new(words(&name.parameters), Shape::Line(points.collect())))
        })
        .collect();
    let most = most(&lines)?;
    Words {
        title: "CPU time in a period over the limit".into(),
        subtitle: "cpu.max, the cases with the longest periods".into(),
        says: format!("The most that threads did in one period is {} of the limit.", significant(most)),
        good: "every line stays near 1 to the end, and what a tick takes too much in one period is missing in the next.",
    }
    .figure(
        Controller::Cpu,
        Part::Enforcement,
        Figure::new(
            Axis::linear("period", Unit::Count),
            Axis::linear("share of the limit", Unit::Ratio),
            lines.into_iter().chain([Layer::new("the limit", Shape::Limit(1.0))]).collect(),
        ),
    )
}

/// All periods together, from the shortest to the longest, with the bound.
fn whole_limits(records: &Records<'_>) -> Option<Gathered> {
    let test = "quota::group_burns";
    let (mut dots, mut spans) = (Vec::new(), Vec::new());
    for Found { case, record, .. } in records.values("cpu", test, "CPU time burnt over the limit") {
        let of_period = case.series.iter().find(|it| it.metric.starts_with("work done"));
        let period = of_period.and_then(|it| it.points.get(1));
        let check = case.checks.iter().find(|it| it.what.starts_with("CPU time that all threads"));
        let (Some((period, _)), Some(check), Some(ratio)) = (period, check, record.value.number())
        else {
            continue;
        };
        let Some((observed, least, most)) = between(check).filter(|_| ratio > 0.0) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
        let (period, whole) = (*period as f64, observed / ratio);
        dots.push((period, ratio));
        spans.push((period, least / whole, most / whole));
    }
    let count = dots.len();
    let most = dots
        .iter()
        .map(|it| it.1)
        .fold(None, |a: Option<f64>, it| Some(a.map_or(it, |a| a.max(it))))?;
    Words {
        title: "CPU time over the limit, by period".into(),
        subtitle: "cpu.max: all periods of a case together".into(),
        says: format!("{count} cases; the most is {} of what the limit gives.", significant(most)),
        good: "every dot lies between its bars and near 1, however short the period.",
    }
    .figure(
        Controller::Cpu,
        Part::Enforcement,
        Figure::new(
            Axis::logarithmic("period", Unit::Nanoseconds),
            Axis::linear("CPU time over the limit", Unit::Ratio),
            vec![
                Layer::new("measured", Shape::Dots(sorted(dots))),
                Layer::new("the bound", Shape::Spans(spans)),
                Layer::new("", Shape::Limit(1.0)),
            ],
        ),
    )
}

/// Throttling over time: the stalls that a thread saw, summed.
fn throttled(records: &Records<'_>) -> Option<Gathered> {
    let mut layers = Vec::new();
    for Found { name, record, .. } in records.series("cpu", "throttling::counters", "stalls of") {
        let stalls = points(record);
        let (Some(first), Some(second), Some(ideal)) =
            (stalls.first(), stalls.get(1), record.limit)
        else {
            continue;
        };
        let period = second.0 - first.0;
        let mut sum = 0.0;
        let line = stalls.iter().map(|(at, stall)| {
            sum += stall;
            (at + stall, sum)
        });
        let line: Vec<Point> = line.collect();
        let ends =
            (1_u32..).map(f64::from).zip(&line).map(|(nth, (_, _))| (nth * period, nth * ideal));
        let ends: Vec<Point> = ends.collect();
        layers.push(Layer::new(words(&name.parameters), Shape::Line(line)));
        layers.push(Layer::new("", Shape::Ideal(ends)));
        if layers.len() >= 8 {
            break;
        }
    }
    layers.first()?;
    layers.push(Layer::new("period less limit, each time", Shape::Ideal(Vec::new())));
    Words {
        title: "Time for which a thread was throttled".into(),
        subtitle: "cpu.max: stalls of one busy thread, summed over time".into(),
        says: "Each step is the end of one stall, as the thread itself saw it.".into(),
        good: "each line climbs along its dotted one: a stall in each period, none longer than period less limit.",
    }
    .figure(
        Controller::Cpu,
        Part::Enforcement,
        Figure::new(
            Axis::linear("time", Unit::Nanoseconds),
            Axis::linear("stalled until then", Unit::Nanoseconds),
            layers,
        ),
    )
}

/// The stall of a thread over the number of threads that share a limit.
fn stalls(records: &Records<'_>) -> Option<Gathered> {
    let find = |what: &'static str| {
        let found = records.checks("cpu", "throttling::all_threads", what);
        found.filter_map(|it| {
            let threads: f64 = it.record.what.rsplit(" of ").next()?.parse().ok()?;
            Some((threads, between(it.record)?))
        })
    };
    let dots = |what| sorted(find(what).map(|(threads, it)| (threads, it.0)).collect());
    let (mean, longest) = (dots("the mean stall of thread"), dots("the longest stall of thread"));
    let spans: Vec<_> =
        find("the mean stall of thread").map(|(threads, it)| (threads, it.1, it.2)).collect();
    let most = longest.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Words {
        title: "Stall of a thread over the number of threads".into(),
        subtitle: "cpu.max: 50 ms in each 100 ms, shared by all threads".into(),
        says: format!(
            "The longest stall of {} threads is {}.",
            most.0,
            readable(most.1, Unit::Nanoseconds)
        ),
        good: "the mean lies within its bars, and the longest no more than a few ticks above it; the more threads, the longer each stalls.",
    }
    .figure(
        Controller::Cpu,
        Part::Enforcement,
        Figure::new(
            Axis::linear("threads", Unit::Count),
            Axis::linear("stall", Unit::Nanoseconds),
            vec![
                Layer::new("mean of a thread", Shape::Dots(mean)),
                Layer::new("longest of a thread", Shape::Dots(longest)),
                Layer::new("bound of the mean", Shape::Spans(spans)),
            ],
        ),
    )
}

/// Shares against what the weights give, with the ideal line.
pub(super) fn weights(
    records: &Records<'_>,
    suite: &str,
    file: &'static str,
    controller: Controller,
) -> Option<Gathered> {
    let of_file = |it: &CheckReport| it.file.as_ref() == file && it.unit == Unit::Ratio;
    let found: Vec<(f64, f64, f64)> = records
        .checks(suite, "", "")
        .filter(|it| of_file(it.record) && it.record.what.contains("share"))
        .filter_map(|it| between(it.record))
        .collect();
    shares(found, file, controller)
}

/// The picture of shares, each with the two ends of what is allowed.
pub(super) fn shares(
    found: Vec<(f64, f64, f64)>,
    file: &'static str,
    controller: Controller,
) -> Option<Gathered> {
    let middle = |it: &(f64, f64, f64)| f64::midpoint(it.1, it.2);
    let dots = sorted(found.iter().map(|it| (middle(it), it.0)).collect());
    let fairness = found.iter().filter_map(|it| fairness(it.0, middle(it)));
    let least = fairness.fold(None, |a: Option<f64>, it| Some(a.map_or(it, |a| a.min(it))))?;
    Words {
        title: format!("Share against {file}"),
        subtitle: "what each group got beside what its weight gives".into(),
        says: format!(
            "{} shares; Jain's index of the group and its rivals, each against its due, is at least {}.",
            dots.len(),
            significant(least)
        ),
        good: "every dot lies on the dotted line, where the share is the weight over the sum of weights, and Jain's index is near 1.",
    }
    .figure(
        controller,
        Part::Enforcement,
        Figure::new(
            Axis::linear("share that the weights give", Unit::Ratio),
            Axis::linear("share that it got", Unit::Ratio),
            vec![
                Layer::new("measured", Shape::Dots(dots)),
                Layer::new("the bound", Shape::Spans(found.iter().map(|it| (middle(it), it.1, it.2)).collect())),
                Layer::new("ideal", Shape::Ideal(vec![(0.0, 0.0), (1.0, 1.0)])),
            ],
        ),
    )
}

/// Jain's index of one group and the rest, each divided by what it is due.
fn fairness(share: f64, due: f64) -> Option<f64> {
    if due <= 0.0 || due >= 1.0 {
        return None;
    }
    jain(&[share / due, (1.0 - share) / (1.0 - due)])
}

fn most(lines: &[Layer]) -> Option<f64> {
    let points = lines.iter().flat_map(|it| match &it.shape {
        Shape::Line(points) => points.as_slice(),
        _ => &[],
    });
    points
        .map(|it| it.1)
        .fold(None, |most: Option<f64>, it| Some(most.map_or(it, |most| most.max(it))))
}

/// `two_fifths_of_50_ms` as words.
pub(super) fn words(parameters: &str) -> String {
    parameters.replace('_', " ").trim().to_owned()
}

/// The number that a parameter is.
pub(super) fn number(name: &crate::names::SplitName<'_>, wanted: &str) -> Option<f64> {
    parameter(name, wanted)?.parse().ok()
}
