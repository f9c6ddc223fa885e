//! The numbers of all cases, those of several configurations side by side.

use cgauge_record::Value;
use maud::html;

use super::Section;
use super::parts::{rest, scrolling, search, within};
use crate::run::Run;
use crate::units::rounded;

/// The most bytes for the table of numbers.
const VALUE_BUDGET: usize = 350 << 10;
/// The most columns of the table.
const MOST_COLUMNS: usize = 32;
/// A number in its place in the table.
struct Cell<'a> {
    /// Suite, case and metric.
    row: (&'a str, &'a str, &'a str),
    column: usize,
    value: &'a Value,
}

/// The numbers, one row a metric, one column a configuration.
pub(super) fn section(run: &Run) -> Option<Section> {
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
        (search("Show what is about"))
        (scrolling("Measured values", &table))
        (rest(left_out, "values are"))
    };
    Some(Section { id: "values", title: "Measured values", content })
}
