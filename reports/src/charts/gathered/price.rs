//! What operations cost: over the depth of a group and over the number of
//! groups, with controllers absent, present and limiting.

use std::collections::BTreeMap;

use cgauge_record::Unit;

use super::cpu::{number, words};
use super::{Found, Gathered, Records, Words, parameter, sorted};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::parts::{Controller, Part};
use crate::units::{readable, significant};

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    let mut all = operations(records);
    all.extend(over(records, "depth", &["make_and_remove", "migrate_a_process"]));
    all.extend(over(
        records,
        "groups",
        &["make_and_remove_among", "enable_a_controller", "read_the_parents_stat"],
    ));
    all
}

/// Each operation over the depth, a line for each state of the controllers.
fn operations(records: &Records<'_>) -> Vec<Gathered> {
    let mut operations: BTreeMap<&str, BTreeMap<&str, Vec<Point>>> = BTreeMap::new();
    for Found { name, record, case } in records.values("operations", "", "one operation") {
        let (Some(depth), Some(state)) = (number(name, "depth"), parameter(name, "controllers"))
        else {
            // Benchmarks spell their parameters without a place in a list.
            if let Some((operation, state, depth)) = spelled(&case.case)
                && let Some(price) = record.value.number()
            {
                operations
                    .entry(operation)
                    .or_default()
                    .entry(state)
                    .or_default()
                    .push((depth, price));
            }
            continue;
        };
        if let Some(price) = record.value.number() {
            operations.entry(name.base).or_default().entry(state).or_default().push((depth, price));
        }
    }
    let pictures = operations.into_iter().filter_map(|(operation, states)| {
        let at = |state: &str, nth: fn(&[Point]) -> Option<&Point>| {
            states.get(state).map(|it| sorted(it.clone())).and_then(|it| nth(&it).copied())
        };
        let says = match (at("absent", <[_]>::last), at("present", <[_]>::last)) {
            (Some(absent), Some(present)) if absent.1 > 0.0 => format!(
                "At depth {} it takes {} with controllers present and {} without: {} times as long.",
                present.0,
                readable(present.1, Unit::Nanoseconds),
                readable(absent.1, Unit::Nanoseconds),
                significant(present.1 / absent.1)
            ),
            _ => String::new(),
        };
        let layers = ["absent", "present", "limiting"].into_iter().filter_map(|state| {
            Some(Layer::new(format!("controllers {state}"), Shape::Line(sorted(states.get(state)?.clone()))))
        });
        Words {
            title: format!("Price of {}", words(operation)),
            subtitle: "one operation, by the depth of its group".into(),
            says,
            good: "flat lines close together: neither the controllers nor the depth cost much.",
        }
        .figure(
            Controller::Core,
            Part::Price,
            Figure::new(
                Axis::linear("depth", Unit::Count),
                Axis::linear("one operation", Unit::Nanoseconds),
                layers.collect(),
            ),
        )
    });
    pictures.collect()
}

/// `fork_and_exit::controllers_absent::depth_01`.
fn spelled(case: &str) -> Option<(&str, &str, f64)> {
    let (operation, rest) = case.split_once("::controllers_")?;
    let (state, depth) = rest.split_once("::depth_")?;
    Some((operation, state, depth.parse().ok()?))
}

/// Operations on groups over a parameter.
fn over(records: &Records<'_>, wanted: &str, tests: &[&'static str]) -> Option<Gathered> {
    let mut layers = Vec::new();
    for test in tests {
        let price = |it: Found<'_, cgauge_record::Value>| {
            let (base, parameters) = it.case.case.split_once("::")?;
            let place: f64 = parameters.strip_prefix(wanted)?.strip_prefix('_')?.parse().ok()?;
            (base == *test).then_some((place, it.record.value.number()?))
        };
        let points: Vec<Point> =
            records.values("groups", test, "one operation").filter_map(price).collect();
        if !points.is_empty() {
            layers.push(Layer::new(words(test), Shape::Line(sorted(points))));
        }
    }
    layers.first()?;
    let axis = if wanted == "groups" {
        Axis::logarithmic("groups", Unit::Count)
    } else {
        Axis::linear("depth", Unit::Count)
    };
    Words {
        title: format!("Price of a group by {}", if wanted == "groups" { "their number" } else { "its depth" }),
        subtitle: "one operation, all controllers enabled".into(),
        says: String::new(),
        good: "flat lines: what one group costs depends on neither where it is nor how many there are.",
    }
    .figure(
        Controller::Core,
        Part::Price,
        Figure::new(axis, Axis::logarithmic("one operation", Unit::Nanoseconds), layers),
    )
}
