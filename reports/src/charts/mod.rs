//! Pictures of what cases measured, as SVG: a number over time against its
//! limit, a distribution on a logarithmic axis, and what several cases show
//! together.
//!
//! Each picture says in words, too, what it shows and what a good one looks like.
//! It must not know any page.

mod axis;
mod figure;
pub(crate) mod gathered;
mod histogram;
mod series;
mod svg;
pub(crate) mod sweep;

use cgauge_record::{Histogram, Series};

use crate::names;
use crate::run::{CaseReport, Configuration};
use svg::Drawing;

/// One picture with its description.
#[derive(Clone, Debug)]
pub struct Chart {
    metric: String,
    title: String,
    description: String,
    good: &'static str,
    drawing: Drawing,
}

/// The numbers beyond which an axis is of no use: a petabyte, eleven days in
/// nanoseconds. What lies beyond is left out and the description says so.
const LARGEST: f64 = 1e15;

impl Chart {
    /// Every picture of a case, in the order of its records. Records without a
    /// drawable point give none.
    #[must_use]
    pub fn of_case(case: &CaseReport) -> Vec<Self> {
        let distributions = case.histograms.iter().filter_map(|it| Self::of_histogram(case, it));
        let over_time = case.series.iter().filter_map(|it| Self::of_series(case, it));
        distributions.chain(over_time).collect()
    }

    /// Every picture that cases of a configuration make together.
    #[must_use]
    pub fn gathered(configuration: &Configuration) -> Vec<Self> {
        gathered::of(configuration).into_iter().map(|it| it.chart).collect()
    }

    fn of_series(case: &CaseReport, series: &Series) -> Option<Self> {
        let headings = Headings::of(case, &series.metric);
        let (drawing, description) = series::draw(series, &headings)?;
        let good = good_series(series);
        Some(Self::new(&headings, &series.metric, description, good, drawing))
    }

    fn of_histogram(case: &CaseReport, histogram: &Histogram) -> Option<Self> {
        let headings = Headings::of(case, &histogram.metric);
        let (drawing, description) = histogram::draw(histogram, &headings)?;
        let good = "one narrow peak far to the left, with p99 and max close to p50.";
        Some(Self::new(&headings, &histogram.metric, description, good, drawing))
    }

    fn new(
        headings: &Headings,
        metric: &str,
        description: String,
        good: &'static str,
        drawing: Drawing,
    ) -> Self {
        let title = format!("{}, {}", headings.first, headings.second);
        Self { metric: metric.to_owned(), title, description, good, drawing }
    }

    /// The metric that it shows.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// What it shows, in a sentence with the figures.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What a good picture of its kind looks like; empty where there is no better
    /// and no worse.
    #[must_use]
    pub fn good(&self) -> &'static str {
        self.good
    }

    /// A file of its own, with a light background.
    #[must_use]
    pub fn standalone(&self) -> String {
        self.drawing.standalone(&self.title, &self.description)
    }

    /// An element of a page, whose colours are the page's; `id` is unique there.
    pub(crate) fn inline(&self, id: &str) -> String {
        self.drawing.inline(id, &self.title, &self.description)
    }
}

/// What a good picture of a number over time looks like.
fn good_series(series: &Series) -> &'static str {
    let metric = series.metric.as_str();
    match series.limit {
        Some(_) if metric.starts_with("stalls of") => {
            "every stall lies at the dashed line, a period less the limit, and none a tick above it."
        }
        Some(_) if metric.starts_with("size with memory.high") => {
            "steep up to the dashed line, flatter and flatter above it, and never level."
        }
        Some(_) if metric.starts_with("bytes a second") => {
            "the line lies on the dashed one, give or take a request in a window."
        }
        Some(_) => "the line comes up to the dashed one and does not cross it.",
        None => "",
    }
}

/// The two lines above a picture.
struct Headings {
    first: String,
    second: String,
}

impl Headings {
    fn of(case: &CaseReport, metric: &str) -> Self {
        let name = names::split(&case.case);
        let second = match name.parameters.as_str() {
            "" => format!("{} {}", case.suite, name.base),
            parameters => format!("{} {}, {parameters}", case.suite, name.base),
        };
        Self { first: metric.to_owned(), second }
    }
}
