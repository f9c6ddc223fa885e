//! How near the checks of a controller are to their bounds: the margin before a
//! promise is broken, in one picture for enforcement and one for accounting.

use std::collections::BTreeMap;

use cgauge_record::Unit;

use super::{Gathered, Records, Words, between};
use crate::charts::axis::Axis;
use crate::charts::figure::{Figure, Layer, Point, Shape};
use crate::parts::{Controller, Part};

/// Fewer tell nothing.
const FEWEST: usize = 8;
/// The most dots of a picture: then the farthest ones are shown.
const MOST: usize = 200;
/// Farther out is drawn at the edge.
const FARTHEST: f64 = 2.0;

pub(super) fn all(records: &Records<'_>) -> Vec<Gathered> {
    let mut places: BTreeMap<(Controller, Part), Vec<f64>> = BTreeMap::new();
    for (_, case) in &records.cases {
        for check in &case.checks {
            let part = Part::of(check);
            if !matches!(part, Part::Enforcement | Part::Accounting) {
                continue;
            }
            // A bound of a single value has no middle and no edge.
            let Some((observed, least, most)) = between(check).filter(|it| it.2 > it.1) else {
                continue;
            };
            let half = (most - least) / 2.0;
            let place = (observed - f64::midpoint(least, most)) / half;
            let controller = Controller::of(&case.suite, &check.file);
            places.entry((controller, part)).or_default().push(place);
        }
    }
    places
        .into_iter()
        .filter_map(|((controller, part), places)| picture(controller, part, places))
        .collect()
}

fn picture(controller: Controller, part: Part, mut places: Vec<f64>) -> Option<Gathered> {
    places.retain(|it| it.is_finite());
    if places.len() < FEWEST {
        return None;
    }
    places.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
    let count = places.len();
    let outside = places.iter().filter(|it| it.abs() > 1.0).count();
    let near = places.iter().filter(|it| it.abs() > 0.9 && it.abs() <= 1.0).count();
    places.truncate(MOST);
    let dots: Vec<Point> = (1_u32..)
        .map(f64::from)
        .zip(places.iter().map(|it| it.clamp(-FARTHEST, FARTHEST)))
        .collect();
    Words {
        title: format!("How near to the bound: {} of {}", part.title().to_lowercase(), controller.name()),
        subtitle: "every check with two ends: the middle is 0, the ends are 1 and -1".into(),
        says: format!("{count} checks; {outside} outside, {near} in the outer tenth."),
        good: "no dot outside the dashed lines. Many at an edge mean that the bound is where the kernel really ends, many at 0 that it is wide.",
    }
    .figure(
        controller,
        part,
        Figure::new(
            Axis::linear("checks, the nearest to a bound first", Unit::Count),
            Axis::linear("place within the bound", Unit::Ratio),
            vec![
                Layer::new("measured", Shape::Dots(dots)),
                Layer::new("the bound", Shape::Limit(1.0)),
                Layer::new("", Shape::Limit(-1.0)),
            ],
        ),
    )
}
