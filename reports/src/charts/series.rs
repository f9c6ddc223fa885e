//! A number over time, with the limit that it must keep to drawn across.

use cgauge_record::{Series, Unit};

use super::axis::Axis;
use super::figure::{Figure, Layer, Point, Shape};
use super::svg::Drawing;
use super::{Headings, LARGEST};
use crate::units::readable;

/// How many columns the points are thinned out to: about one a pixel.
const COLUMNS: usize = 380;
/// A limit that is further away than this many times the data's extent would
/// press the data flat: it is named instead of drawn.
const FARTHEST_LIMIT: f64 = 4.0;

pub(super) fn draw(series: &Series, headings: &Headings) -> Option<(Drawing, String)> {
    let points = points(series);
    let (least, most) = extent(&points);
    let limit = series.limit.filter(|it| drawable(*it));
    let reach = most.abs().max(least.abs());
    let figure = Figure::new(
        Axis::linear("time", Unit::Nanoseconds),
        Axis::linear("", series.unit),
        vec![Layer::new("", Shape::Line(thinned(&points)))],
    );
    let figure = match limit {
        None => figure,
        Some(limit) => {
            let label = format!("limit {}", readable(limit, series.unit));
            if reach == 0.0 || limit.abs() <= reach * FARTHEST_LIMIT {
                let layers = figure
                    .layers
                    .into_iter()
                    .chain([Layer::new("", Shape::Limit(limit))])
                    .collect();
                Figure { layers, aside: label, ..figure }
            } else {
                Figure { aside: format!("{label}, above the picture"), ..figure }
            }
        }
    };
    let drawing = figure.draw(headings)?;
    let left_out = series.points.len() - points.len();
    Some((drawing, describe(series, &points, (least, most), limit, left_out)))
}

fn drawable(it: f64) -> bool {
    it.is_finite() && it.abs() <= LARGEST
}

/// The points that can be drawn, in order.
pub(super) fn points(series: &Series) -> Vec<Point> {
    let usable = series.points.iter().filter(|(_, value)| drawable(*value));
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    let mut points: Vec<Point> = usable.map(|(time, value)| (*time as f64, *value)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// As many as a picture can show, extremes among them.
pub(super) fn thinned(points: &[Point]) -> Vec<Point> {
    thin_out(points, COLUMNS)
}

fn extent(points: &[Point]) -> (f64, f64) {
    points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), (_, it)| {
        (least.min(*it), most.max(*it))
    })
}

/// Keeps the first, the least, the greatest and the last point of each column, so
/// that no spike is lost however many points there are.
fn thin_out(points: &[Point], columns: usize) -> Vec<Point> {
    if points.len() <= columns * 4 {
        return points.to_vec();
    }
    let (begin, end) = (points[0].0, points[points.len() - 1].0);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred columns")]
    let width = ((end - begin) / columns as f64).max(f64::MIN_POSITIVE);
    let column = |it: &(f64, f64)| ((it.0 - begin) / width).floor();
    let mut kept = Vec::with_capacity(columns * 4);
    for group in points.chunk_by(|a, b| column(a) == column(b)) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let least = group.iter().min_by(by_value).into_iter();
        let most = group.iter().max_by(by_value).into_iter();
        let mut few: Vec<(f64, f64)> = group
            .first()
            .into_iter()
            .chain(least)
            .chain(most)
            .chain(group.last())
            .copied()
            .collect();
        few.sort_by(|a, b| a.0.total_cmp(&b.0));
        few.dedup();
        kept.extend(few);
    }
    kept
}

fn describe(
    series: &Series,
    points: &[Point],
    (least, most): (f64, f64),
    limit: Option<f64>,
    left_out: usize,
) -> String {
    let span = points[points.len() - 1].0 - points[0].0;
    let mut text = format!(
        "{} over {}: {} samples from {} to {}",
        series.metric,
        readable(span, Unit::Nanoseconds),
        points.len(),
        readable(least, series.unit),
        readable(most, series.unit),
    );
    if let Some(limit) = limit {
        text += &format!(", against a limit of {}", readable(limit, series.unit));
    }
    if left_out > 0 {
        text += &format!("; {left_out} samples are no number that can be drawn");
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn thinning_keeps_extremes_ends_and_order(values in prop::collection::vec(-1e6_f64..1e6, 1..5000)) {
            let points: Vec<(f64, f64)> = (0_u32..).map(f64::from).zip(values).collect();
            let thinned = thin_out(&points, 50);
            prop_assert!(thinned.len() <= points.len().clamp(1, 51 * 4));
            prop_assert_eq!(extent(&thinned), extent(&points));
            prop_assert_eq!(thinned.first(), points.first());
            prop_assert_eq!(thinned.last(), points.last());
            prop_assert!(thinned.is_sorted_by(|a, b| a.0 <= b.0));
        }
    }

    #[test]
    fn points_of_one_moment_are_thinned_too() {
        let points = vec![(5.0, 1.0); 10_000];
        assert_eq!(thin_out(&points, 50), [(5.0, 1.0)]);
    }
}
