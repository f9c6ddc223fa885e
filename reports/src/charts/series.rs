//! A number over time, with the limit that it must keep to drawn across.

use cgauge_record::{Series, Unit};
use plotters::prelude::*;

use super::svg::{self, Drawing, HEADINGS, LEFT, RIGHT, Role, SMALL, WIDTH, at, font, px, stroke};
use super::{Headings, LARGEST};
use crate::units::{self, Scale, readable, significant};

/// How many columns the points are thinned out to: about one a pixel.
const COLUMNS: usize = 380;
/// A limit that is further away than this many times the data's extent would
/// press the data flat: it is named instead of drawn.
const FARTHEST_LIMIT: f64 = 4.0;

pub(super) fn draw(series: &Series, headings: &Headings) -> Option<(Drawing, String)> {
    let drawable = |it: f64| it.is_finite() && it.abs() <= LARGEST;
    let usable = series.points.iter().filter(|(_, value)| drawable(*value));
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    let mut points: Vec<(f64, f64)> = usable.map(|(time, value)| (*time as f64, *value)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (&(begin, _), &(end, _)) = (points.first()?, points.last()?);
    let (least, most) = extent(&points);
    let limit = series.limit.filter(|it| drawable(*it));
    let reach = most.abs().max(least.abs());
    let limit_in_view = limit.filter(|it| reach == 0.0 || it.abs() <= reach * FARTHEST_LIMIT);

    let top = limit_in_view.map_or(most, |it| it.max(most));
    let bottom = limit_in_view.map_or(least, |it| it.min(least)).min(0.0);
    let axes = Axes {
        time: units::scale(Unit::Nanoseconds, end),
        value: units::scale(series.unit, top.max(-bottom)),
        whole: is_whole(series.unit),
        begin,
        end: if end > begin { end } else { begin + 1.0 },
        bottom: bottom * 1.1,
        top: if top > bottom { top + (top - bottom) * 0.12 } else { bottom + 1.0 },
    };
    let thinned = thin_out(&points, COLUMNS);
    let label = limit.map(|it| format!("limit {}", readable(it, series.unit)));
    let drawing = Drawing::new(headings, |canvas| {
        axes.paint(canvas, &thinned, limit_in_view, label.as_deref())
    })?;
    let left_out = series.points.len() - points.len();
    Some((drawing, describe(series, &points, (least, most), limit, left_out)))
}

struct Axes {
    time: Scale,
    value: Scale,
    whole: Whole,
    begin: f64,
    end: f64,
    bottom: f64,
    top: f64,
}

/// Whether there is anything between 1 and 2 of a unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Only,
    NotOnly,
}

fn is_whole(unit: Unit) -> Whole {
    match unit {
        Unit::Processes | Unit::Groups | Unit::Events | Unit::Pages => Whole::Only,
        _ => Whole::NotOnly,
    }
}

impl Axes {
    fn paint(
        &self,
        canvas: &svg::Canvas<'_>,
        points: &[(f64, f64)],
        limit: Option<f64>,
        label: Option<&str>,
    ) -> svg::DrawResult {
        let (time, value) = (self.time.factor, self.value.factor);
        let small = |role, anchor| font(role, SMALL, FontStyle::Normal, anchor);
        canvas.draw_text(self.value.symbol, &small(Role::Muted, LEFT), at(6, HEADINGS + 2))?;
        let area = canvas.margin(px(HEADINGS + 20), px(4), px(4), px(14));
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(px(40))
            .y_label_area_size(px(50))
            .build_cartesian_2d(
                self.begin / time..self.end / time,
                self.bottom / value..self.top / value,
            )?;
        let whole = self.whole;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(5)
            .x_desc(format!("time, {}", self.time.symbol))
            .x_label_formatter(&|it| significant(*it))
            .y_label_formatter(&|it| match whole {
                Whole::Only if it.fract().abs() > 1e-9 => String::new(),
                _ => significant(*it),
            })
            .label_style(font(Role::Muted, SMALL, FontStyle::Normal, LEFT))
            .axis_desc_style(font(Role::Muted, SMALL, FontStyle::Normal, LEFT))
            .bold_line_style(stroke(Role::Grid, 1))
            .light_line_style(TRANSPARENT)
            .axis_style(stroke(Role::Grid, 1))
            .set_all_tick_mark_size(px(3))
            .draw()?;
        let scaled = points.iter().map(|(x, y)| (x / time, y / value));
        chart.draw_series(LineSeries::new(scaled.clone(), stroke(Role::Data, 2)))?;
        if let [single] = points {
            let centre = (single.0 / time, single.1 / value);
            chart.draw_series([Circle::new(centre, px(3), Role::Data.colour().filled())])?;
        }
        if let Some(limit) = limit {
            let ends = [(self.begin / time, limit / value), (self.end / time, limit / value)];
            chart.draw_series(DashedLineSeries::new(ends, px(6), px(4), stroke(Role::Limit, 1)))?;
        }
        if let Some(label) = label {
            let wording = if limit.is_some() {
                label.to_owned()
            } else {
                format!("{label}, above the picture")
            };
            canvas.draw_text(&wording, &small(Role::Limit, RIGHT), at(WIDTH - 14, HEADINGS + 2))?;
        }
        Ok(())
    }
}

fn extent(points: &[(f64, f64)]) -> (f64, f64) {
    points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), (_, it)| {
        (least.min(*it), most.max(*it))
    })
}

/// Keeps the first, the least, the greatest and the last point of each column, so
/// that no spike is lost however many points there are.
fn thin_out(points: &[(f64, f64)], columns: usize) -> Vec<(f64, f64)> {
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
    points: &[(f64, f64)],
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
