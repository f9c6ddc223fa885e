//! Pictures of what a case measured, as SVG: a number over time against its
//! limit, and a distribution on a logarithmic axis.
//!
//! Each picture says in words, too, what it shows. It must not know any page.

mod histogram;
mod series;
mod svg;

use cgauge_record::{Histogram, Series};

use crate::names;
use crate::run::CaseReport;
use svg::Drawing;

/// One picture with its description.
#[derive(Clone, Debug)]
pub struct Chart {
    metric: String,
    title: String,
    description: String,
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

    fn of_series(case: &CaseReport, series: &Series) -> Option<Self> {
        let (drawing, description) = series::draw(series, &Headings::of(case, &series.metric))?;
        Some(Self::new(case, &series.metric, description, drawing))
    }

    fn of_histogram(case: &CaseReport, histogram: &Histogram) -> Option<Self> {
        let (drawing, description) =
            histogram::draw(histogram, &Headings::of(case, &histogram.metric))?;
        Some(Self::new(case, &histogram.metric, description, drawing))
    }

    fn new(case: &CaseReport, metric: &str, description: String, drawing: Drawing) -> Self {
        let headings = Headings::of(case, metric);
        let title = format!("{}, {}", headings.first, headings.second);
        Self { metric: metric.to_owned(), title, description, drawing }
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
