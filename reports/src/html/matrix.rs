//! The verdict matrix: cases by configurations, the cases of one test in one row.

use std::collections::BTreeMap;

use cgauge_record::Outcome;
use maud::{Markup, html};

use super::Section;
use super::parts::{chip, choices, mark, prose, rest, scrolling, within};
use crate::names;
use crate::run::{CaseReport, Run};

/// The most bytes for the rows.
const BUDGET: usize = 900 << 10;
/// The most cases of one test that a cell names one by one.
const MOST_CHIPS: usize = 40;
/// The most columns.
const MOST_COLUMNS: usize = 32;

/// The cases of one test, for each configuration.
#[derive(Default)]
struct Row<'a> {
    promise: &'a str,
    cells: BTreeMap<usize, Vec<&'a CaseReport>>,
}

pub(super) fn section(run: &Run) -> Option<Section> {
    let mut rows: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    for (column, configuration) in run.configurations.iter().enumerate().take(MOST_COLUMNS) {
        for case in &configuration.cases {
            let row = rows.entry((&case.suite, names::split(&case.case).base)).or_default();
            if row.promise.is_empty() {
                row.promise = &case.promise;
            }
            row.cells.entry(column).or_default().push(case);
        }
    }
    if rows.is_empty() {
        return None;
    }
    let columns = run.configurations.len().min(MOST_COLUMNS);
    let (body, left_out) =
        within(BUDGET, &rows, |((suite, base), row)| row_of(suite, base, row, columns));
    let table = html! {
        table.matrix {
            thead {
                tr {
                    th scope="col" { "Case" }
                    @for it in run.configurations.iter().take(MOST_COLUMNS) { th scope="col" { (it.start.config) } }
                }
            }
            tbody { (body) }
        }
    };
    let filter = [("all", "all"), ("wrong", "went wrong"), ("skip", "skipped"), ("pass", "passed")];
    let content = html! {
        (choices("cases", "Show the cases that", &filter))
        (scrolling("Outcome of each case in each configuration", &table))
        (rest(left_out, "tests are"))
        (rest(run.configurations.len() - columns, "configurations are"))
    };
    Some(Section { id: "matrix", title: "Every case", content })
}

fn row_of(suite: &str, base: &str, row: &Row<'_>, columns: usize) -> Markup {
    let mut classes: Vec<&str> =
        row.cells.values().flatten().map(|it| mark(it.outcome).class).collect();
    classes.sort_unstable();
    classes.dedup();
    html! {
        tr class=(classes.join(" ")) {
            th scope="row" {
                code { (suite) " " (base) }
                @if !row.promise.is_empty() { div.promise { (prose(row.promise)) } }
            }
            @for column in 0..columns {
                td { @match row.cells.get(&column) {
                    Some(cases) => (cell(cases)),
                    None => { span.muted { "did not run" } }
                } }
            }
        }
    }
}

fn cell(cases: &[&CaseReport]) -> Markup {
    if cases.len() <= MOST_CHIPS {
        return html! { @for it in cases { (chip(it.outcome, &names::split(&it.case).parameters)) " " } };
    }
    let outcomes =
        [Outcome::Fail, Outcome::Error, Outcome::Inconclusive, Outcome::Skip, Outcome::Pass];
    html! {
        @for outcome in outcomes {
            @let count = cases.iter().filter(|it| it.outcome == outcome).count();
            @if count > 0 { (chip(outcome, &format!("{count} cases"))) " " }
        }
    }
}
