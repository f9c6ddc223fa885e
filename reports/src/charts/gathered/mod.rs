//! Pictures that several cases make together: a share against its weight over
//! all weights, a price over all depths. Each is built from whatever records of
//! its family a run has, and is not there where there is none.

mod cpu;
mod io;
mod margin;
mod memory;
mod notification;
mod pids;
mod price;

use cgauge_record::{Histogram, Quantity, Series, Value};

use super::Headings;
use super::figure::{Figure, Point};
use super::svg::Drawing;
use crate::charts::Chart;
use crate::names::{self, SplitName};
use crate::parts::{Controller, Part};
use crate::run::{CaseReport, CheckReport, Configuration};

/// A picture, and where in a report it belongs.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    pub(crate) controller: Controller,
    pub(crate) part: Part,
    pub(crate) chart: Chart,
}

/// Every picture that the cases of a configuration make together.
pub(crate) fn of(configuration: &Configuration) -> Vec<Gathered> {
    let records = Records::of(configuration);
    [cpu::all, memory::all, io::all, pids::all, notification::all, price::all, margin::all]
        .into_iter()
        .flat_map(|family| family(&records))
        .collect()
}

/// Every picture that takes more than one configuration.
pub(crate) fn across(configurations: &[Configuration]) -> Vec<Gathered> {
    let records: Vec<Records<'_>> = configurations.iter().map(Records::of).collect();
    notification::ways(&records).into_iter().collect()
}

/// What a picture says besides what it shows.
struct Words {
    /// Its first line.
    title: String,
    /// Its second line.
    subtitle: String,
    /// The figures, in a sentence.
    says: String,
    /// What a good picture looks like.
    good: &'static str,
}

impl Words {
    fn draw(
        self,
        controller: Controller,
        part: Part,
        figure: impl FnOnce(&Headings) -> Option<Drawing>,
    ) -> Option<Gathered> {
        let headings = Headings { first: self.title.clone(), second: self.subtitle };
        let drawing = figure(&headings)?;
        let chart = Chart::new(&headings, &self.title, self.says, self.good, drawing);
        Some(Gathered { controller, part, chart })
    }

    fn figure(self, controller: Controller, part: Part, figure: Figure) -> Option<Gathered> {
        self.draw(controller, part, |headings| figure.draw(headings))
    }
}

/// The cases of a configuration with their names split, to be asked for records.
struct Records<'a> {
    cases: Vec<(SplitName<'a>, &'a CaseReport)>,
}

/// A case's name with one of its records.
struct Found<'a, T> {
    name: &'a SplitName<'a>,
    case: &'a CaseReport,
    record: &'a T,
}

impl<'a> Records<'a> {
    fn of(configuration: &'a Configuration) -> Self {
        let cases = configuration.cases.iter().map(|it| (names::split(&it.case), it));
        Self { cases: cases.collect() }
    }

    /// The cases of a suite whose test begins so.
    fn cases<'b>(
        &'b self,
        suite: &'b str,
        test: &'b str,
    ) -> impl Iterator<Item = (&'b SplitName<'a>, &'a CaseReport)> {
        let wanted = move |(name, case): &&(SplitName<'_>, &CaseReport)| {
            case.suite == suite && name.base.starts_with(test)
        };
        self.cases.iter().filter(wanted).map(|(name, case)| (name, *case))
    }

    fn checks<'b>(
        &'b self,
        suite: &'b str,
        test: &'b str,
        what: &'b str,
    ) -> impl Iterator<Item = Found<'b, CheckReport>> {
        self.cases(suite, test).flat_map(move |(name, case)| {
            let found = case.checks.iter().filter(move |it| it.what.starts_with(what));
            found.map(move |record| Found { name, case, record })
        })
    }

    fn series<'b>(
        &'b self,
        suite: &'b str,
        test: &'b str,
        metric: &'b str,
    ) -> impl Iterator<Item = Found<'b, Series>> {
        self.cases(suite, test).flat_map(move |(name, case)| {
            let found = case.series.iter().filter(move |it| it.metric.starts_with(metric));
            found.map(move |record| Found { name, case, record })
        })
    }

    fn values<'b>(
        &'b self,
        suite: &'b str,
        test: &'b str,
        metric: &'b str,
    ) -> impl Iterator<Item = Found<'b, Value>> {
        self.cases(suite, test).flat_map(move |(name, case)| {
            let found = case.values.iter().filter(move |it| it.metric.starts_with(metric));
            found.map(move |record| Found { name, case, record })
        })
    }

    fn histograms<'b>(
        &'b self,
        suite: &'b str,
        test: &'b str,
        metric: &'b str,
    ) -> impl Iterator<Item = Found<'b, Histogram>> {
        self.cases(suite, test).flat_map(move |(name, case)| {
            let found = case.histograms.iter().filter(move |it| it.metric.starts_with(metric));
            found.map(move |record| Found { name, case, record })
        })
    }
}

/// What was observed and the two ends of what is allowed, where all are numbers.
fn between(check: &CheckReport) -> Option<(f64, f64, f64)> {
    let observed = check.observed.number()?;
    if let Some(only) = &check.equals {
        let only = only.number()?;
        return Some((observed, only, only));
    }
    let end = |it: &Option<Quantity>| it.as_ref().and_then(Quantity::number);
    Some((observed, end(&check.at_least)?, end(&check.at_most)?))
}

/// The value of a parameter: of `depth=10, mode=Fork` and `depth`, `10`.
fn parameter<'a>(name: &'a SplitName<'_>, wanted: &str) -> Option<&'a str> {
    let parameters = name.parameters.split(", ").filter_map(|it| it.split_once('='));
    parameters.into_iter().find(|(name, _)| *name == wanted).map(|it| it.1)
}

/// A few of many, evenly spread, the first and the last among them.
fn a_few<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let count = all.len();
    if count <= most {
        return all;
    }
    let places: Vec<usize> = (0..most).map(|nth| nth * (count - 1) / (most - 1).max(1)).collect();
    all.into_iter().enumerate().filter(|(at, _)| places.contains(at)).map(|it| it.1).collect()
}

/// Points from left to right.
fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let name = names::split("price::controllers_absent::depth_2_10");
        assert_eq!(parameter(&name, "depth"), Some("10"));
        assert_eq!(parameter(&name, "width"), None);
    }

    #[test]
    fn a_few_of_many_keep_the_ends() {
        assert_eq!(a_few((0..10).collect(), 4), [0, 3, 6, 9]);
        assert_eq!(a_few(vec![1, 2], 4), [1, 2]);
    }
}
