//! Lines, points and bounds over one pair of axes, with a legend: what every
//! picture but a single distribution is made of. It must not know what is
//! measured.

use plotters::coord::CoordTranslate;
use plotters::prelude::*;

use super::axis::{Axis, Spacing, Span};
use super::svg::{
    self, Canvas, DrawResult, Drawing, HEADINGS, LEFT, RIGHT, Role, SMALL, WIDTH, at, font, px,
    stroke,
};
use super::{Headings, LARGEST};

/// A point of a picture.
pub(crate) type Point = (f64, f64);

/// How many colours there are; a picture with more lines uses them again.
const TONES: [Role; 4] = [Role::Data, Role::Second, Role::Third, Role::Fourth];
/// The height of the part under headings and legend, in CSS pixels.
pub(super) const BODY: u32 = 244;
/// The height of a row of the legend.
const ROW: u32 = 18;
/// How many points have a mark each; more would make a band of them.
const MOST_MARKED: usize = 40;

/// A picture before it is drawn.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) layers: Vec<Layer>,
    /// Said at the right above the picture: what is too far away to be drawn.
    pub(super) aside: String,
}

/// A name in the legend, and how it looks.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) shape: Shape,
}

/// What a layer is.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// Measured: joined by a line.
    Line(Vec<Point>),
    /// Measured: each for itself.
    Dots(Vec<Point>),
    /// What the promise allows at each place: from and to.
    Spans(Vec<(f64, f64, f64)>),
    /// A limit over all places.
    Limit(f64),
    /// What would be ideal.
    Ideal(Vec<Point>),
    /// Moments at which something happened.
    Events(Vec<f64>),
}

impl Layer {
    pub(super) fn new(name: impl Into<String>, shape: Shape) -> Self {
        Self { name: name.into(), shape }
    }
}

impl Shape {
    fn points(&self) -> Vec<Point> {
        match self {
            Self::Line(it) | Self::Dots(it) | Self::Ideal(it) => it.clone(),
            Self::Spans(it) => {
                it.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]).collect()
            }
            Self::Limit(_) | Self::Events(_) => Vec::new(),
        }
    }

    fn is_measured(&self) -> bool {
        matches!(self, Self::Line(_) | Self::Dots(_))
    }
}

impl Figure {
    pub(super) fn new(x: Axis, y: Axis, layers: Vec<Layer>) -> Self {
        Self { x, y, layers, aside: String::new() }
    }

    /// Draws it; nothing where no measured point can be drawn.
    pub(super) fn draw(mut self, headings: &Headings) -> Option<Drawing> {
        let drawable =
            |it: &Point| [it.0, it.1].iter().all(|it| it.is_finite() && it.abs() <= LARGEST);
        for layer in &mut self.layers {
            match &mut layer.shape {
                Shape::Line(it) | Shape::Dots(it) | Shape::Ideal(it) => it.retain(drawable),
                Shape::Spans(it) => {
                    it.retain(|it| drawable(&(it.0, it.1)) && drawable(&(it.0, it.2)))
                }
                Shape::Limit(_) | Shape::Events(_) => {}
            }
        }
        let measured = self.layers.iter().filter(|it| it.shape.is_measured());
        let within = extent(measured.flat_map(|it| it.shape.points()))?;
        let all = self.layers.iter().flat_map(|it| it.shape.points());
        let limits = self.layers.iter().filter_map(|it| match it.shape {
            Shape::Limit(limit) if drawable(&(0.0, limit)) => Some((within.0.0, limit)),
            _ => None,
        });
        let (x, y) = extent(all.chain(limits))?;
        let (x, y) = (self.x_span(x), self.y_span(y));
        let rows = self.legend();
        #[expect(clippy::cast_possible_truncation, reason = "a few rows")]
        let head = HEADINGS + ROW * rows.len() as u32;
        Drawing::new(headings, head + BODY, |canvas| {
            draw_legend(canvas, &rows)?;
            self.paint(canvas, head, x, y)
        })
    }

    fn x_span(&self, (least, most): Point) -> Span {
        match self.x.spacing {
            Spacing::Linear => {
                let room = if self.layers.iter().any(|it| matches!(it.shape, Shape::Dots(_))) {
                    0.04
                } else {
                    0.0
                };
                let width = most - least;
                let lacking = if width > 0.0 { room * width } else { least.abs().max(1.0) / 2.0 };
                let begin = if least >= 0.0 { (least - lacking).max(0.0) } else { least - lacking };
                self.x.over(begin, most + lacking)
            }
            Spacing::Logarithmic => logarithmic(&self.x, least, most),
        }
    }

    fn y_span(&self, (least, most): Point) -> Span {
        match self.y.spacing {
            Spacing::Linear => {
                let (bottom, top) = (least.min(0.0), most.max(0.0));
                let height = if top > bottom { top - bottom } else { 1.0 };
                self.y.over(
                    bottom - if bottom < 0.0 { height * 0.08 } else { 0.0 },
                    top + height * 0.08,
                )
            }
            Spacing::Logarithmic => logarithmic(&self.y, least, most),
        }
    }

    fn paint(&self, canvas: &Canvas<'_>, head: u32, x: Span, y: Span) -> DrawResult {
        let small = |role, anchor| font(role, SMALL, FontStyle::Normal, anchor);
        canvas.draw_text(&self.y.title(&y), &small(Role::Muted, LEFT), at(6, head + 2))?;
        if !self.aside.is_empty() {
            canvas.draw_text(&self.aside, &small(Role::Limit, RIGHT), at(WIDTH - 14, head + 2))?;
        }
        let area = canvas.margin(px(head + 20), px(4), px(4), px(28));
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(px(40))
            .y_label_area_size(px(54))
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_labels(8)
            .y_labels(8)
            .x_desc(self.x.title(&x))
            .x_label_formatter(&|it| x.label(*it))
            .y_label_formatter(&|it| y.label(*it))
            .label_style(small(Role::Muted, LEFT))
            .axis_desc_style(small(Role::Muted, LEFT))
            .bold_line_style(stroke(Role::Grid, 1))
            .light_line_style(TRANSPARENT)
            .axis_style(stroke(Role::Grid, 1))
            .set_all_tick_mark_size(px(3))
            .draw()?;
        let (left, right) = x.ends();
        let (bottom, top) = y.ends();
        let mut tones = Tones::default();
        for layer in &self.layers {
            match &layer.shape {
                Shape::Line(points) => {
                    let tone = tones.next();
                    chart.draw_series(LineSeries::new(
                        points.iter().copied(),
                        stroke(tone.role(), 2),
                    ))?;
                    if points.len() <= MOST_MARKED {
                        for point in points {
                            tone.mark(chart.plotting_area(), *point)?;
                        }
                    }
                }
                Shape::Dots(points) => {
                    let tone = tones.next();
                    for point in points {
                        tone.mark(chart.plotting_area(), *point)?;
                    }
                }
                Shape::Spans(spans) => {
                    let half = (right - left) * 0.008;
                    for (at, low, high) in spans {
                        let sides = match self.x.spacing {
                            Spacing::Linear => (at - half, at + half),
                            Spacing::Logarithmic => (at * 0.97, at * 1.03),
                        };
                        for line in [
                            [(*at, *low), (*at, *high)],
                            [(sides.0, *low), (sides.1, *low)],
                            [(sides.0, *high), (sides.1, *high)],
                        ] {
                            chart.draw_series(LineSeries::new(line, stroke(Role::Limit, 1)))?;
                        }
                    }
                }
                Shape::Limit(limit) if y.holds(*limit) => {
                    let ends = [(left, *limit), (right, *limit)];
                    chart.draw_series(DashedLineSeries::new(
                        ends,
                        px(6),
                        px(4),
                        stroke(Role::Limit, 1),
                    ))?;
                }
                Shape::Limit(_) => {}
                Shape::Ideal(points) => {
                    let points = points.iter().copied();
                    chart.draw_series(DashedLineSeries::new(
                        points,
                        px(2),
                        px(3),
                        stroke(Role::Muted, 1),
                    ))?;
                }
                Shape::Events(moments) => {
                    for moment in moments.iter().filter(|it| x.holds(**it)) {
                        let ends = [(*moment, bottom), (*moment, y.at(0.06)), (*moment, top)];
                        chart.draw_series(LineSeries::new(
                            ends[..2].iter().copied(),
                            stroke(Role::Mark, 2),
                        ))?;
                        chart.draw_series(DashedLineSeries::new(
                            ends[1..].iter().copied(),
                            px(1),
                            px(5),
                            stroke(Role::Mark, 1),
                        ))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The legend in rows: name, shape and where it begins.
    fn legend(&self) -> Vec<Vec<Entry>> {
        let mut tones = Tones::default();
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        let mut left = WIDTH;
        for layer in &self.layers {
            let look = match layer.shape {
                Shape::Line(_) => Look::Line(tones.next()),
                Shape::Dots(_) => Look::Dots(tones.next()),
                Shape::Spans(_) | Shape::Limit(_) => Look::Dashes(Role::Limit),
                Shape::Ideal(_) => Look::Dashes(Role::Muted),
                Shape::Events(_) => Look::Dashes(Role::Mark),
            };
            if layer.name.is_empty() {
                continue;
            }
            let name = svg::fitting(&layer.name, 56);
            #[expect(clippy::cast_possible_truncation, reason = "a few dozen characters")]
            let width = 26 + 14 + name.chars().count() as u32 * 68 / 10;
            if left + width > WIDTH || rows.is_empty() {
                rows.push(Vec::new());
                left = 6;
            }
            rows.last_mut().expect("a row was just made").push(Entry { name, look, left });
            left += width;
        }
        rows
    }
}

/// Where the numbers end, with some room and half a decade at the least, lest one
/// narrow peak look like a broad one.
pub(super) fn logarithmic(axis: &Axis, least: f64, most: f64) -> Span {
    let (least, most) = (least.max(1e-9).log10(), most.max(1e-9).log10());
    let room = (most - least).max(0.5) * 0.05;
    let lacking = (0.5 - (most - least)).max(0.0) / 2.0;
    axis.over(10_f64.powf(least - lacking - room), 10_f64.powf(most + lacking + room))
}

/// The least and greatest of both coordinates.
fn extent(points: impl Iterator<Item = Point>) -> Option<(Point, Point)> {
    points.fold(None, |extent: Option<(Point, Point)>, (x, y)| {
        let ((left, right), (low, high)) = extent.unwrap_or(((x, x), (y, y)));
        Some(((left.min(x), right.max(x)), (low.min(y), high.max(y))))
    })
}

/// The place of a colour among them, and of the mark that goes with it.
#[derive(Clone, Copy, Debug, Default)]
struct Tone(usize);

/// Deals out tones one after the other.
#[derive(Default)]
struct Tones(usize);

impl Tones {
    fn next(&mut self) -> Tone {
        self.0 += 1;
        Tone((self.0 - 1) % TONES.len())
    }
}

impl Tone {
    fn role(self) -> Role {
        TONES[self.0]
    }

    /// A mark of the tone's own shape, for colour alone tells nothing to many.
    fn mark<C>(self, area: &DrawingArea<SVGBackend<'_>, C>, place: C::From) -> DrawResult
    where
        C: CoordTranslate,
        C::From: Clone + 'static,
    {
        let filled = self.role().colour().filled();
        match self.0 {
            0 => area.draw(&Circle::new(place, px(3), filled)),
            1 => area.draw(&TriangleMarker::new(place, px(4), filled)),
            2 => area.draw(&Cross::new(place, px(3), stroke(self.role(), 2))),
            _ => area.draw(&Circle::new(place, px(3), stroke(self.role(), 1))),
        }
    }
}

struct Entry {
    name: String,
    look: Look,
    left: u32,
}

enum Look {
    Line(Tone),
    Dots(Tone),
    Dashes(Role),
}

fn draw_legend(canvas: &Canvas<'_>, rows: &[Vec<Entry>]) -> DrawResult {
    for (row, top) in rows.iter().zip((0..).map(|it| HEADINGS + it * ROW)) {
        for Entry { name, look, left } in row {
            let (begin, end) = (at(*left, top + 8), at(left + 20, top + 8));
            let middle = at(left + 10, top + 8);
            match look {
                Look::Line(tone) => {
                    canvas.draw(&PathElement::new(vec![begin, end], stroke(tone.role(), 2)))?;
                    tone.mark(canvas, middle)?;
                }
                Look::Dots(tone) => tone.mark(canvas, middle)?,
                Look::Dashes(role) => {
                    for part in [(0, 8), (12, 20)] {
                        let ends = vec![at(left + part.0, top + 8), at(left + part.1, top + 8)];
                        canvas.draw(&PathElement::new(ends, stroke(*role, 2)))?;
                    }
                }
            }
            let ink = font(Role::Muted, SMALL, FontStyle::Normal, LEFT);
            canvas.draw_text(name, &ink, at(left + 25, top + 1))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cgauge_record::Unit;

    use super::*;

    fn headings() -> Headings {
        Headings { first: "a".into(), second: "b".into() }
    }

    #[test]
    fn nothing_measured_gives_no_picture() {
        let axes = || (Axis::linear("x", Unit::Count), Axis::linear("y", Unit::Count));
        let with = |shape| {
            let (x, y) = axes();
            Figure::new(x, y, vec![Layer::new("", shape)]).draw(&headings())
        };
        assert!(with(Shape::Limit(3.0)).is_none());
        assert!(with(Shape::Line(vec![])).is_none());
        assert!(with(Shape::Line(vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)])).is_none());
        assert!(with(Shape::Dots(vec![(1.0, 1.0)])).is_some());
    }

    #[test]
    fn a_long_legend_takes_rows() {
        let (x, y) = (Axis::linear("x", Unit::Count), Axis::linear("y", Unit::Count));
        let layer = |name: &str| Layer::new(name, Shape::Line(vec![(0.0, 1.0), (1.0, 2.0)]));
        let long = "a name that is as long as names of what is measured are";
        let figure = Figure::new(x, y, vec![layer(long), layer("b"), layer("c"), layer("")]);
        let rows: Vec<usize> = figure.legend().iter().map(Vec::len).collect();
        assert_eq!(rows, [1, 2]);
    }
}
