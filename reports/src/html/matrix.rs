//! The verdict matrix: cases by configurations, the cases of one test in one row,
//! those first that do not end alike everywhere.

use std::collections::BTreeMap;

use cgauge_record::Outcome;
use maud::{Markup, html};

use super::Section;
use super::parts::{chip, choices, mark, prose, rest, scrolling, search, within};
use crate::names;
use crate::run::{CaseReport, Run};

/// The most bytes for the rows.
const BUDGET: usize = 600 << 10;
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
    let mut rows: Vec<_> = rows.into_iter().collect();
    // It is stable: within either half they stay in order.
    rows.sort_by_key(|(_, row)| !row.differs(columns));
    let differing = rows.iter().filter(|(_, row)| row.differs(columns)).count();
    let (body, left_out) =
        within(BUDGET, rows, |((suite, base), row)| row_of(suite, base, &row, columns));
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
    let mut filter =
        vec![("all", "all"), ("wrong", "went wrong"), ("skip", "skipped"), ("pass", "passed")];
    if columns > 1 {
        filter.insert(1, ("differs", "do not end alike"));
    }
    let title = if columns > 1 { "Kernel by kernel" } else { "Every case" };
    let content = html! {
        @if columns > 1 {
            p { (differing) " of the tests below do not end alike everywhere; they come first." }
        }
        (choices("cases", "Show the cases that", &filter))
        (search("and have the words"))
        (scrolling("Outcome of each case in each configuration", &table))
        (rest(left_out, "tests are"))
        (rest(run.configurations.len() - columns, "configurations are"))
    };
    Some(Section { id: "matrix", title, content })
}

impl Row<'_> {
    /// Whether a case does not end alike in all columns, or is not in all of them.
    fn differs(&self, columns: usize) -> bool {
        let ends = |column: usize| -> BTreeMap<&str, Outcome> {
            let cases = self.cells.get(&column).into_iter().flatten();
            cases.map(|it| (it.case.as_str(), it.outcome)).collect()
        };
        let first = ends(0);
        (1..columns).any(|column| ends(column) != first)
    }
}

fn row_of(suite: &str, base: &str, row: &Row<'_>, columns: usize) -> Markup {
    let mut classes: Vec<&str> =
        row.cells.values().flatten().map(|it| mark(it.outcome).class).collect();
    if row.differs(columns) {
        classes.push("differs");
    }
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
