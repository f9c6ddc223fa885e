//! An axis: from where to where, linear or logarithmic, and the ticks on it.
//! It must not know what is drawn along it.

use cgauge_record::Unit;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::Ranged;

use crate::units::{self, Scale, readable, significant};

/// How equal steps of a number stand on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Equal differences are equally far apart.
    Linear,
    /// Equal ratios are: for what spans several powers of ten. Zero has no place
    /// there, so it shares that of the least number.
    Logarithmic,
}

/// What an axis is for.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) unit: Unit,
    pub(super) spacing: Spacing,
}

impl Axis {
    pub(super) fn linear(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, spacing: Spacing::Linear }
    }

    pub(super) fn logarithmic(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, spacing: Spacing::Logarithmic }
    }

    /// The axis for numbers from `least` to `most`.
    pub(super) fn over(&self, least: f64, most: f64) -> Span {
        let scale = units::scale(self.unit, most.abs().max(least.abs()));
        let (begin, end) = match self.spacing {
            Spacing::Linear => (least, most),
            Spacing::Logarithmic => (logarithm(least), logarithm(most)),
        };
        Span { begin, end, scale, unit: self.unit, spacing: self.spacing }
    }

    /// The label with the unit of the numbers beside it.
    pub(super) fn title(&self, span: &Span) -> String {
        let symbol = match self.spacing {
            Spacing::Linear => span.scale.symbol,
            Spacing::Logarithmic => "logarithmic",
        };
        match (self.label.as_str(), symbol) {
            (label, "") => label.to_owned(),
            ("", symbol) => symbol.to_owned(),
            (label, symbol) if label == symbol => label.to_owned(),
            (label, symbol) => format!("{label}, {symbol}"),
        }
    }
}

/// From one number to another, in the record's unit; on a logarithmic axis begin
/// and end are logarithms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    begin: f64,
    end: f64,
    scale: Scale,
    unit: Unit,
    spacing: Spacing,
}

impl Span {
    /// Where nothing lies outside.
    pub(super) fn holds(&self, value: f64) -> bool {
        let place = self.place(value);
        value.is_finite() && (self.begin - 1e-9..=self.end + 1e-9).contains(&place)
    }

    /// The least and the greatest number.
    pub(super) fn ends(&self) -> (f64, f64) {
        match self.spacing {
            Spacing::Linear => (self.begin, self.end),
            Spacing::Logarithmic => (10_f64.powf(self.begin), 10_f64.powf(self.end)),
        }
    }

    /// A number at this share of the way from begin to end.
    pub(super) fn at(&self, share: f64) -> f64 {
        let place = self.begin + share * (self.end - self.begin);
        match self.spacing {
            Spacing::Linear => place,
            Spacing::Logarithmic => 10_f64.powf(place),
        }
    }

    /// The share of the way at which a number stands.
    pub(super) fn share(&self, value: f64) -> f64 {
        (self.place(value) - self.begin) / (self.end - self.begin)
    }

    fn place(&self, value: f64) -> f64 {
        match self.spacing {
            Spacing::Linear => value,
            Spacing::Logarithmic => logarithm(value),
        }
    }

    /// What stands beside a tick.
    pub(super) fn label(&self, value: f64) -> String {
        match self.spacing {
            Spacing::Linear => significant(value / self.scale.factor),
            Spacing::Logarithmic => readable(value, self.unit),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.spacing {
            Spacing::Linear => self.even_ticks(),
            Spacing::Logarithmic => self.decades(),
        }
    }

    /// Some five at round numbers of the unit shown.
    fn even_ticks(&self) -> Vec<f64> {
        let factor = self.scale.factor;
        let (begin, end) = (self.begin / factor, self.end / factor);
        let rough = (end - begin) / 5.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let rounds = [1.0, 2.0, 5.0, 10.0].map(|it| it * decade);
        let mut step = rounds.into_iter().find(|it| *it >= rough * 0.999).unwrap_or(rough);
        if is_whole(self.unit) {
            step = step.max(1.0);
        }
        let first = (begin / step - 1e-9).ceil();
        let ticks = (0..12_u32).map(|nth| (first + f64::from(nth)) * step);
        ticks.take_while(|it| *it <= end + step * 1e-9).map(|it| it * factor).collect()
    }

    /// Powers of ten, of two for bytes, and more between them where there are few.
    fn decades(&self) -> Vec<f64> {
        let within = |steps: &[f64], base: f64| -> Vec<f64> {
            let width = base.log10();
            #[expect(clippy::cast_possible_truncation, reason = "below 100")]
            let powers = (self.begin / width).floor() as i32..=(self.end / width).ceil() as i32;
            let all = powers
                .flat_map(|it| steps.iter().map(move |step| f64::from(it) * width + step.log10()));
            let within = all.filter(|it| (self.begin..=self.end).contains(it));
            within.map(|it| 10_f64.powf(it)).collect()
        };
        let ladders: &[(&[f64], f64)] = match self.unit {
            Unit::Bytes | Unit::BytesPerSecond => {
                &[(&[1.0], 1024.0), (&[1.0], 32.0), (&[1.0], 4.0), (&[1.0], 2.0)]
            }
            _ => &[
                (&[1.0], 1e3),
                (&[1.0], 10.0),
                (&[1.0, 3.0], 10.0),
                (&[1.0, 2.0, 5.0], 10.0),
                (&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0], 10.0),
            ],
        };
        let ticks = ladders.iter().map(|(steps, base)| within(steps, *base));
        // The last that is not too many, for each is finer than the one before.
        let ticks = ticks.take_while(|it| it.len() <= 7).last().unwrap_or_default();
        if ticks.len() > 1 { ticks } else { self.even_ticks_between() }
    }

    /// Round numbers where even a fine ladder has but one.
    fn even_ticks_between(&self) -> Vec<f64> {
        let (begin, end) = self.ends();
        Self { begin, end, spacing: Spacing::Linear, ..*self }.even_ticks()
    }
}

impl Ranged for Span {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "a pixel")]
        let offset = (self.share(*value) * f64::from(right - left)).round() as i32;
        left.saturating_add(offset)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> std::ops::Range<f64> {
        let (begin, end) = self.ends();
        begin..end
    }
}

/// The place on a logarithmic axis.
fn logarithm(value: f64) -> f64 {
    value.max(1e-9).log10()
}

/// Whether there is nothing between 1 and 2 of a unit.
fn is_whole(unit: Unit) -> bool {
    matches!(unit, Unit::Processes | Unit::Groups | Unit::Events | Unit::Pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, least: f64, most: f64) -> Vec<String> {
        let span = axis.over(least, most);
        span.ticks().into_iter().map(|it| span.label(it)).collect()
    }

    #[test]
    fn ticks_are_round_in_the_unit_that_is_shown() {
        let bytes = Axis::linear("", Unit::Bytes);
        assert_eq!(labels(&bytes, 0.0, 5_000_000.0), ["0", "1", "2", "3", "4"]);
        let processes = Axis::linear("", Unit::Processes);
        assert_eq!(labels(&processes, 0.0, 2.2), ["0", "1", "2"]);
        let shares = Axis::linear("", Unit::Ratio);
        assert_eq!(labels(&shares, -0.1, 0.5), ["0", "0.2", "0.4"]);
        let time = Axis::logarithmic("", Unit::Nanoseconds);
        assert_eq!(
            labels(&time, 900.0, 2e8),
            ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"]
        );
    }

    #[test]
    fn a_logarithmic_axis_of_bytes_has_powers_of_two() {
        let sizes = Axis::logarithmic("", Unit::Bytes);
        assert_eq!(labels(&sizes, 3e3, 2e6), ["4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB"]);
    }

    #[test]
    fn an_axis_has_a_tick_at_least_and_never_many() {
        for axis in [Axis::linear("", Unit::Count), Axis::logarithmic("", Unit::Count)] {
            for (least, most) in [(0.5, 1.7), (1.0, 1e19), (1.0, 30.0), (5.1, 7e9), (1e14, 1e15)] {
                let ticks = axis.over(least, most).ticks();
                assert!((1..=12).contains(&ticks.len()), "{axis:?} {least}..{most}: {ticks:?}");
            }
        }
    }
}
