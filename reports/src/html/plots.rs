//! The pictures and the numbers of all cases: those of one test side by side.

use std::collections::BTreeMap;

use cgauge_record::Value;
use maud::{Markup, html};

use super::Section;
use super::failures::figure;
use super::parts::{prose, rest, scrolling, within};
use crate::charts::Chart;
use crate::names;
use crate::run::{CaseReport, Run};
use crate::units::rounded;

/// The most bytes for the pictures.
const BUDGET: usize = 1 << 20;
/// The most bytes for the table of numbers.
const VALUE_BUDGET: usize = 400 << 10;
/// The most columns of the table.
const MOST_COLUMNS: usize = 32;
/// The most pictures of one test.
const MOST_OF_A_TEST: usize = 16;

pub(super) fn section(run: &Run) -> Option<Section> {
    let mut families: BTreeMap<(&str, &str), Vec<(&str, &CaseReport)>> = BTreeMap::new();
    for (configuration, case) in run.cases() {
        if !case.series.is_empty() || !case.histograms.is_empty() {
            let family = families.entry((&case.suite, names::split(&case.case).base)).or_default();
            family.push((place(run, &configuration.start.config), case));
        }
    }
    let (list, left_out) =
        within(BUDGET, families.iter().enumerate(), |(index, ((suite, base), cases))| {
            family(suite, base, cases, &format!("plot{index}"))
        });
    let content = html! {
        (list)
        (rest(left_out, "tests with pictures are"))
    };
    (!families.is_empty()).then_some(Section { id: "plots", title: "Plots", content })
}

/// The configuration's name, where there is more than one to tell apart.
fn place<'a>(run: &Run, config: &'a str) -> &'a str {
    if run.configurations.len() > 1 { config } else { "" }
}

fn family(suite: &str, base: &str, cases: &[(&str, &CaseReport)], id: &str) -> Markup {
    let charts = cases
        .iter()
        .flat_map(|(place, case)| Chart::of_case(case).into_iter().map(move |it| (place, it)));
    let charts: Vec<_> = charts.take(MOST_OF_A_TEST).collect();
    html! {
        h3 { code { (suite) " " (base) } }
        @if let Some((_, case)) = cases.first() { p.promise { (prose(&case.promise)) } }
        div.charts {
            @for (index, (place, chart)) in charts.iter().enumerate() {
                div {
                    @if !place.is_empty() { p.where { "on " (place) } }
                    (figure(chart, &format!("{id}-{index}")))
                }
            }
        }
    }
}

/// A number in its place in the table.
struct Cell<'a> {
    /// Suite, case and metric.
    row: (&'a str, &'a str, &'a str),
    column: usize,
    value: &'a Value,
}

/// The numbers, one row a metric, one column a configuration.
pub(super) fn values(run: &Run) -> Option<Section> {
    // Flat and sorted: a map of maps of a million numbers takes half a gigabyte.
    let columns = run.configurations.len().min(MOST_COLUMNS);
    let mut cells: Vec<Cell<'_>> = Vec::new();
    for (column, configuration) in run.configurations.iter().enumerate().take(columns) {
        for case in &configuration.cases {
            cells.extend(case.values.iter().map(|value| Cell {
                row: (&case.suite, &case.case, &value.metric),
                column,
                value,
            }));
        }
    }
    if cells.is_empty() {
        return None;
    }
    cells.sort_by_key(|it| (it.row, it.column));
    let rows = cells.chunk_by(|a, b| a.row == b.row);
    let (body, left_out) = within(VALUE_BUDGET, rows, |row| {
        let (suite, case, metric) = row[0].row;
        // Of a number that comes twice the later one counts.
        let shown = |column| {
            row.iter()
                .rfind(|it| it.column == column)
                .map_or(String::new(), |it| rounded(&it.value.value, it.value.unit))
        };
        html! {
            tr {
                th scope="row" { code { (suite) " " (case) } }
                td { (metric) }
                @for column in 0..columns { td.number { (shown(column)) } }
            }
        }
    });
    let table = html! {
        table {
            thead {
                tr {
                    th scope="col" { "Case" }
                    th scope="col" { "Measured" }
                    @for it in run.configurations.iter().take(columns) { th scope="col" { (it.start.config) } }
                }
            }
            tbody { (body) }
        }
    };
    let content = html! {
        (scrolling("Measured values", &table))
        (rest(left_out, "values are"))
    };
    Some(Section { id: "values", title: "Measured values", content })
}
