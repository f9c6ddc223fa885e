//! A distribution: the share of samples over a logarithmic axis, with median,
//! 99th percentile and maximum marked.

use cgauge_record::Histogram;
use plotters::prelude::*;

use super::Headings;
use super::axis::{Axis, Span};
use super::figure::{BODY, logarithmic};
use super::svg::{self, Drawing, HEADINGS, LEFT, RIGHT, Role, SMALL, WIDTH, at, font, px, stroke};
use crate::units::{readable, significant};

/// How many bars there are across the picture.
const BARS: usize = 56;

pub(super) fn draw(histogram: &Histogram, headings: &Headings) -> Option<(Drawing, String)> {
    let buckets = parse(&histogram.encoded);
    let least = buckets.iter().map(|it| it.0).min()?;
    let most = buckets.iter().map(|it| it.0).max()?;
    let axis = Axis::logarithmic(&histogram.metric, histogram.unit);
    let span = logarithmic(&axis, place(least), place(most));
    let bars = bars(&span, &buckets);
    let drawing = Drawing::new(headings, HEADINGS + BODY, |canvas| {
        paint(canvas, histogram, &axis, span, &bars)
    })?;
    let figures = |it: u64| shown(it, histogram);
    let description = format!(
        "{}: {} samples from {} to {}; half are within {}, 99 of 100 within {}.",
        histogram.metric,
        histogram.count,
        figures(histogram.min),
        figures(histogram.max),
        figures(histogram.p50),
        figures(histogram.p99),
    );
    Some((drawing, description))
}

fn shown(value: u64, histogram: &Histogram) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    readable(value as f64, histogram.unit)
}

/// The buckets that can be read; a stranger's file may hold anything here.
pub(super) fn parse(encoded: &str) -> Vec<(u64, u64)> {
    let pairs = encoded.split_ascii_whitespace().filter_map(|it| it.split_once(':'));
    pairs.filter_map(|(value, count)| Some((value.parse().ok()?, count.parse().ok()?))).collect()
}

/// The share of samples in each bar, in per cent.
fn bars(axis: &Span, buckets: &[(u64, u64)]) -> Vec<f64> {
    let mut bars = vec![0.0; BARS];
    #[expect(clippy::cast_precision_loss, reason = "shares, shown as heights")]
    let total = buckets.iter().map(|it| it.1 as f64).sum::<f64>().max(1.0);
    for (value, count) in buckets {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among a few bars, and it is within them"
        )]
        let bar = (axis.share(place(*value)) * BARS as f64) as usize;
        #[expect(clippy::cast_precision_loss, reason = "shares, shown as heights")]
        let share = *count as f64 / total * 100.0;
        bars[bar.min(BARS - 1)] += share;
    }
    bars
}

/// Zero has no place on a logarithmic axis, so it shares that of one.
fn place(value: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    let place = value.max(1) as f64;
    place
}

fn paint(
    canvas: &svg::Canvas<'_>,
    histogram: &Histogram,
    axis: &Axis,
    span: Span,
    bars: &[f64],
) -> svg::DrawResult {
    let small = |role, anchor| font(role, SMALL, FontStyle::Normal, anchor);
    canvas.draw_text("% of samples", &small(Role::Muted, LEFT), at(6, HEADINGS + 2))?;
    let most = bars.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let area = canvas.margin(px(HEADINGS + 20), px(4), px(4), px(28));
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(px(40))
        .y_label_area_size(px(50))
        .build_cartesian_2d(span, 0.0..most * 1.12)?;
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(5)
        .x_desc(svg::fitting(&axis.title(&span), 60))
        .x_label_formatter(&|it| span.label(*it))
        .y_label_formatter(&|it| significant(*it))
        .label_style(small(Role::Muted, LEFT))
        .axis_desc_style(small(Role::Muted, LEFT))
        .bold_line_style(stroke(Role::Grid, 1))
        .light_line_style(TRANSPARENT)
        .axis_style(stroke(Role::Grid, 1))
        .set_all_tick_mark_size(px(3))
        .draw()?;
    let filled = Role::Data.colour().filled();
    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    let edge = |bar: f64| span.at(bar / BARS as f64);
    let filled_bars = (0_u32..).map(f64::from).zip(bars).filter(|(_, share)| **share > 0.0);
    chart.draw_series(filled_bars.map(|(bar, share)| {
        Rectangle::new([(edge(bar), 0.0), (edge(bar + 0.92), *share)], filled)
    }))?;
    let marks = [("p50", histogram.p50), ("p99", histogram.p99), ("max", histogram.max)];
    for (_, value) in marks {
        let place = place(value);
        if span.holds(place) {
            let ends = [(place, 0.0), (place, most * 1.12)];
            chart.draw_series(DashedLineSeries::new(ends, px(3), px(3), stroke(Role::Mark, 1)))?;
        }
    }
    let figures: Vec<String> =
        marks.iter().map(|(name, value)| format!("{name} {}", shown(*value, histogram))).collect();
    canvas.draw_text(&figures.join(" · "), &small(Role::Mark, RIGHT), at(WIDTH - 14, HEADINGS + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_a_bar() {
        for buckets in
            [vec![(0, 3), (1, 1), (u64::MAX, 2)], vec![(5, 7)], vec![(1000, 1), (1001, 1)]]
        {
            let places = buckets.iter().map(|it| place(it.0));
            let (least, most) =
                places.fold((f64::MAX, f64::MIN), |(a, b), it| (a.min(it), b.max(it)));
            let axis = Axis::logarithmic("", cgauge_record::Unit::Nanoseconds);
            let bars = bars(&logarithmic(&axis, least, most), &buckets);
            assert!((bars.iter().sum::<f64>() - 100.0).abs() < 1e-9, "{buckets:?}");
        }
    }

    #[test]
    fn what_is_no_bucket_is_left_out() {
        assert_eq!(parse("10:2 x 7 -1:3 20:y 30:4"), [(10, 2), (30, 4)]);
    }
}
