//! From a cause to the watcher's wake-up: distributions of several ways to watch
//! over one logarithmic axis.

use std::collections::BTreeMap;

use cgauge_record::{CheckKind, Histogram, Unit};

use super::cpu::words;
use super::{Gathered, Records, Words, a_few};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::charts::histogram::parse;
use crate::parts::{Controller, Part};
use crate::units::readable;

/// The most lines in one picture.
const MOST_LINES: usize = 8;
/// The most pictures.
const MOST: usize = 24;

/// Controller and part, suite, test and metric.
type Key<'a> = (Controller, Part, &'a str, &'a str, &'a str);

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    let mut groups: BTreeMap<Key<'_>, Vec<(String, &Histogram)>> = BTreeMap::new();
    for (name, case) in &records.cases {
        for histogram in case.histograms.iter().filter(|it| it.unit == Unit::Nanoseconds) {
            if is_of_another_family(&case.suite, &histogram.metric) {
                continue;
            }
            let file = case.checks.first().map_or("", |it| it.file.as_ref());
            let controller = Controller::of(&case.suite, file);
            let notifies = case.checks.iter().any(|it| it.kind == CheckKind::Notification);
            let part = if notifies { Part::Notification } else { Part::Enforcement };
            let key = (controller, part, case.suite.as_str(), name.base, histogram.metric.as_str());
            groups.entry(key).or_default().push((told(&name.parameters), histogram));
        }
    }
    let several = groups.into_iter().filter(|(_, found)| found.len() > 1).take(MOST);
    let drawn = several.filter_map(|((controller, part, _, base, metric), mut found)| {
        // A case may record one name more than once.
        for nth in (1..found.len()).rev() {
            let before = found[..nth].iter().filter(|it| it.0 == found[nth].0).count();
            if before > 0 || found[nth].0.is_empty() {
                found[nth].0 = format!("{} {}", found[nth].0, before + 1).trim().to_owned();
            }
        }
        let words = Words {
            title: metric.to_owned(),
            subtitle: base.to_owned(),
            says: String::new(),
            good: "steep lines far to the left: it comes soon, and never much later than usual.",
        };
        distributions(words, controller, part, &a_few(found, MOST_LINES))
    });
    drawn.collect()
}

/// The ways to learn that a group is empty, side by side: poll and inotify on the
/// unified hierarchy, the release agent on a legacy one. Of all configurations
/// together, for no single one has them all.
pub(super) fn ways(configurations: &[Records<'_>]) -> Option<Gathered> {
    let mut found: Vec<(String, &Histogram)> = Vec::new();
    for records in configurations {
        let told = [
            ("latency", "told::last_exit", "from cause to wake-up: last exit, depth 1"),
            ("core", "populated::last_exit_is_told", "from the last exit to populated 0"),
            ("legacy-core", "release::", "from the kill to "),
        ];
        for it in told
            .into_iter()
            .flat_map(|(suite, test, metric)| records.histograms(suite, test, metric))
        {
            let metric = it.record.metric.as_str();
            let way = match metric.strip_prefix("from the kill to ") {
                Some(way) => way.to_owned(),
                None if it.name.parameters.contains("Inotify") => "inotify".to_owned(),
                None => "poll".to_owned(),
            };
            let alone = !["watchers=10", "depth=4", "depth=16"]
                .iter()
                .any(|many| it.name.parameters.contains(many));
            if alone && !found.iter().any(|known| known.0 == way) {
                found.push((way, it.record));
            }
        }
    }
    if !found.iter().any(|it| it.0.contains("agent")) {
        return None;
    }
    let words = Words {
        title: "From the last exit to whoever is told".into(),
        subtitle: "poll, inotify and the release agent of a legacy hierarchy".into(),
        says: String::new(),
        good: "poll and inotify far to the left of the agent, which is a program that is started each time.",
    };
    distributions(words, Controller::Core, Part::Notification, &found)
}

/// What a benchmark measured is a price, and what a disk took is io's.
fn is_of_another_family(suite: &str, metric: &str) -> bool {
    matches!(suite, "groups" | "operations") || metric.starts_with("latency of the victim")
}

/// `watchers=10, mechanism=Mechanism__Poll` as `watchers=10, Poll`.
pub(super) fn told(parameters: &str) -> String {
    let parts = parameters.split(", ").map(|it| match it.split_once('=') {
        None => words(it),
        // `Mechanism::Poll` as rstest spells it.
        Some((_, value)) if value.trim_matches('_').contains("__") => {
            value.trim_matches('_').rsplit("__").next().unwrap_or(value).to_owned()
        }
        Some((name, value)) => format!("{name}={}", words(value)),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The share of samples at or below each time, a line for each histogram.
pub(super) fn distributions(
    words: Words,
    controller: Controller,
    part: Part,
    found: &[(String, &Histogram)],
) -> Option<Gathered> {
    let layers: Vec<Layer> = found
        .iter()
        .map(|(name, it)| Layer::new(name.clone(), Shape::Line(cumulated(&it.encoded))))
        .collect();
    let slowest = found.iter().max_by_key(|it| it.1.p99)?;
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let time = |it: u64| readable(it as f64, slowest.1.unit);
    let says = format!(
        "{} distributions; the slowest is \"{}\": half within {}, 99 of 100 within {}, all within {}.",
        found.len(),
        slowest.0,
        time(slowest.1.p50),
        time(slowest.1.p99),
        time(slowest.1.max)
    );
    Words { says, ..words }.figure(
        controller,
        part,
        Figure::new(
            Axis::logarithmic("time", slowest.1.unit),
            Axis::linear("share that came within", Unit::Ratio),
            layers,
        ),
    )
}

/// Steps from nothing to all, at the buckets of a histogram.
fn cumulated(encoded: &str) -> Vec<Point> {
    let mut buckets = parse(encoded);
    buckets.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "shares and places, drawn")]
    let numbers: Vec<Point> =
        buckets.into_iter().map(|(value, count)| (value.max(1) as f64, count as f64)).collect();
    let total: f64 = numbers.iter().map(|it| it.1).sum();
    let (mut points, mut sum) = (Vec::new(), 0.0);
    for (value, count) in numbers {
        points.push((value, sum / total));
        sum += count;
        points.push((value, sum / total));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_goes_from_none_to_all() {
        let points = cumulated("20:1 10:3");
        assert_eq!(points, [(10.0, 0.0), (10.0, 0.75), (20.0, 0.75), (20.0, 1.0)]);
        assert!(cumulated("").is_empty());
    }

    #[test]
    fn parameters_are_shortened_to_what_tells_them_apart() {
        assert_eq!(told("watchers=10, mechanism=Mechanism__Poll"), "watchers=10, Poll");
        assert_eq!(told("one_thread, nodes=__1__2__"), "one thread, 2");
        assert_eq!(told("flags=__1__"), "flags=1");
    }
}
