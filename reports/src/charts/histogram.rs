//! A distribution: the share of samples over a logarithmic axis, with median,
//! 99th percentile and maximum marked.

use cgauge_record::Histogram;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use super::Headings;
use super::svg::{self, Drawing, HEADINGS, LEFT, RIGHT, Role, SMALL, WIDTH, at, font, px, stroke};
use crate::units::{readable, significant};

/// How many bars there are across the picture.
const BARS: usize = 56;

pub(super) fn draw(histogram: &Histogram, headings: &Headings) -> Option<(Drawing, String)> {
    let buckets = parse(&histogram.encoded);
    let least = buckets.iter().map(|it| it.0).min()?;
    let most = buckets.iter().map(|it| it.0).max()?;
    let axis = Axis::around(logarithm(least), logarithm(most));
    let bars = axis.bars(&buckets);
    let drawing = Drawing::new(headings, |canvas| paint(canvas, histogram, axis, &bars))?;
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
fn parse(encoded: &str) -> Vec<(u64, u64)> {
    let pairs = encoded.split_ascii_whitespace().filter_map(|it| it.split_once(':'));
    pairs.filter_map(|(value, count)| Some((value.parse().ok()?, count.parse().ok()?))).collect()
}

/// The place on the axis. Zero has none, so it shares that of one.
fn logarithm(value: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a place on an axis")]
    (value.max(1) as f64).log10()
}

/// From one power of ten to another.
#[derive(Clone, Copy)]
struct Axis {
    begin: f64,
    end: f64,
}

impl Axis {
    /// Half a decade at the least, lest one narrow peak look like a broad one.
    fn around(least: f64, most: f64) -> Self {
        let room = (most - least).max(0.5) * 0.06;
        let lacking = (0.5 - (most - least)).max(0.0) / 2.0;
        Self { begin: least - lacking - room, end: most + lacking + room }
    }

    /// The share of samples in each bar, in per cent.
    fn bars(self, buckets: &[(u64, u64)]) -> Vec<f64> {
        let mut bars = vec![0.0; BARS];
        #[expect(clippy::cast_precision_loss, reason = "shares, shown as heights")]
        let total = buckets.iter().map(|it| it.1 as f64).sum::<f64>().max(1.0);
        for (value, count) in buckets {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place among a few bars, and it is within them"
            )]
            let bar = ((logarithm(*value) - self.begin) / self.width()) as usize;
            #[expect(clippy::cast_precision_loss, reason = "shares, shown as heights")]
            let share = *count as f64 / total * 100.0;
            bars[bar.min(BARS - 1)] += share;
        }
        bars
    }

    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    fn width(self) -> f64 {
        (self.end - self.begin) / BARS as f64
    }

    /// Powers of ten; 1, 2, 5 of each where there are but few.
    fn ticks(self) -> Vec<f64> {
        let steps: &[f64] = if self.end - self.begin < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        #[expect(clippy::cast_possible_truncation, reason = "below 20")]
        let decades = self.begin.floor() as i32..=self.end.ceil() as i32;
        let all = decades.flat_map(|it| steps.iter().map(move |step| f64::from(it) + step.log10()));
        all.filter(|it| (self.begin..=self.end).contains(it)).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let share = (value - self.begin) / (self.end - self.begin);
        #[expect(clippy::cast_possible_truncation, reason = "a pixel")]
        let offset = (share * f64::from(right - left)).round() as i32;
        left + offset
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.begin..self.end
    }
}

fn paint(
    canvas: &svg::Canvas<'_>,
    histogram: &Histogram,
    axis: Axis,
    bars: &[f64],
) -> svg::DrawResult {
    let small = |role, anchor| font(role, SMALL, FontStyle::Normal, anchor);
    canvas.draw_text("% of samples", &small(Role::Muted, LEFT), at(6, HEADINGS + 2))?;
    let most = bars.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let area = canvas.margin(px(HEADINGS + 20), px(4), px(4), px(14));
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(px(40))
        .y_label_area_size(px(50))
        .build_cartesian_2d(axis, 0.0..most * 1.12)?;
    chart
        .configure_mesh()
        .x_labels(8)
        .y_labels(5)
        .x_desc(format!("{}, logarithmic", histogram.metric))
        .x_label_formatter(&|it| readable(10_f64.powf(*it), histogram.unit))
        .y_label_formatter(&|it| significant(*it))
        .label_style(small(Role::Muted, LEFT))
        .axis_desc_style(small(Role::Muted, LEFT))
        .bold_line_style(stroke(Role::Grid, 1))
        .light_line_style(TRANSPARENT)
        .axis_style(stroke(Role::Grid, 1))
        .set_all_tick_mark_size(px(3))
        .draw()?;
    let filled = Role::Data.colour().filled();
    let places = (0_u32..).map(|it| axis.begin + f64::from(it) * axis.width());
    chart.draw_series(places.zip(bars).filter(|(_, share)| **share > 0.0).map(
        |(left, share)| Rectangle::new([(left, 0.0), (left + axis.width() * 0.92, *share)], filled),
    ))?;
    let marks = [("p50", histogram.p50), ("p99", histogram.p99), ("max", histogram.max)];
    for (_, value) in marks {
        let place = logarithm(value);
        if (axis.begin..=axis.end).contains(&place) {
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
            let places = buckets.iter().map(|it| logarithm(it.0));
            let (least, most) =
                places.fold((f64::MAX, f64::MIN), |(a, b), it| (a.min(it), b.max(it)));
            let bars = Axis::around(least, most).bars(&buckets);
            assert!((bars.iter().sum::<f64>() - 100.0).abs() < 1e-9, "{buckets:?}");
        }
    }

    #[test]
    fn what_is_no_bucket_is_left_out() {
        assert_eq!(parse("10:2 x 7 -1:3 20:y 30:4"), [(10, 2), (30, 4)]);
    }

    #[test]
    fn an_axis_has_a_tick_at_least() {
        for (least, most) in [(0.0, 0.0), (3.2, 3.3), (0.0, 19.3), (5.1, 7.9)] {
            assert!(!Axis::around(least, most).ticks().is_empty(), "{least}..{most}");
        }
    }
}
