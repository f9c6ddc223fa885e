//! Lines over a parameter that was swept, for whoever has measured them.

use super::axis::Axis;
use super::figure::{Figure, Layer, Point, Shape};
use super::{Chart, Headings};

pub(crate) use super::axis::Spacing;

/// What a picture of a sweep is made of.
pub(crate) struct Sweep<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) says: String,
    pub(crate) good: &'static str,
    pub(crate) x: (&'static str, cgauge_record::Unit, Spacing),
    pub(crate) y: (&'static str, cgauge_record::Unit, Spacing),
    pub(crate) lines: Vec<(String, Vec<Point>)>,
    /// A target or a limit, with its name.
    pub(crate) limit: Option<(String, f64)>,
}

impl Sweep<'_> {
    /// Draws it; nothing where nothing was measured.
    pub(crate) fn draw(self) -> Option<Chart> {
        let headings = Headings { first: self.title.to_owned(), second: self.subtitle.to_owned() };
        let axis =
            |(label, unit, spacing): (&str, _, _)| Axis { label: label.to_owned(), unit, spacing };
        let drawn = self.lines.into_iter().filter(|(_, points)| !points.is_empty());
        let lines = drawn.map(|(name, points)| Layer::new(name, Shape::Line(points)));
        let limit = self.limit.map(|(name, limit)| Layer::new(name, Shape::Limit(limit)));
        let figure = Figure::new(axis(self.x), axis(self.y), lines.chain(limit).collect());
        let drawing = figure.draw(&headings)?;
        Some(Chart::new(&headings, self.title, self.says, self.good, drawing))
    }
}
