//! The planning report as a page, as Markdown and as JSON. It must not judge
//! anything.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use maud::{Markup, html};

use super::{Answer, Capacity, Fit, Table};
use crate::html::{Section, document, figure, scrolling};
use crate::markdown::escape;
use crate::output::{WriteError, replace};
use crate::units::significant;

/// A form of the planning report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacityFormat {
    /// One self-contained page for people.
    Html,
    /// Markdown.
    Markdown,
    /// For scripts.
    Json,
}

impl CapacityFormat {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Html, Self::Markdown, Self::Json];

    /// Its file in a run directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Html => "capacity.html",
            Self::Markdown => "capacity.md",
            Self::Json => "capacity.json",
        }
    }
}

impl Capacity {
    /// Writes it in a form.
    pub fn render(&self, format: CapacityFormat, out: &mut dyn Write) -> io::Result<()> {
        match format {
            CapacityFormat::Html => out.write_all(page(self).into_string().as_bytes()),
            CapacityFormat::Markdown => markdown(self, out),
            CapacityFormat::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                writeln!(out)
            }
        }
    }
}

/// Writes every form into a directory and returns their paths.
pub fn write_capacity(capacity: &Capacity, directory: &Path) -> Result<Vec<PathBuf>, WriteError> {
    let each = CapacityFormat::ALL.iter().map(|format| {
        let path = directory.join(format.file_name());
        match replace(directory, &path, |out| capacity.render(*format, out)) {
            Ok(()) => Ok(path),
            Err(source) => Err(WriteError { path, source }),
        }
    });
    each.collect()
}

/// The anchors of the sections; a page has no names of its own.
const IDS: [&str; 6] = ["groups", "cpu", "memory", "disk", "notice", "price"];

fn page(capacity: &Capacity) -> Markup {
    let mut sections: Vec<Section> = capacity
        .fit
        .iter()
        .map(|it| Section { id: "fit", title: "Does it fit?", content: fit(it) })
        .collect();
    sections.extend(IDS.iter().zip(&capacity.answers).map(|(id, it)| Section {
        id,
        title: it.question,
        content: answer(id, it),
    }));
    let head = match &capacity.fit {
        Some(fit) => html! {
            header class=(if fit.fits { "pass" } else { "fail" }) {
                p.standing { (if fit.fits { "FITS" } else { "DOES NOT FIT" }) }
                h1 { (fit.sentence) }
                p.note { (capacity.measured_on) }
            }
        },
        None => html! {
            header.pass {
                p.standing { "CAPACITY" }
                h1 { "What this kernel carries" }
                p.note { (capacity.measured_on) }
            }
        },
    };
    document("cgauge: capacity", &head, &sections)
}

fn fit(fit: &Fit) -> Markup {
    let table = html! {
        table {
            thead { tr { th scope="col" { "Limit" } th scope="col" { "Full" } th scope="col" { "Figures" } } }
            tbody {
                @for it in &fit.loads {
                    tr {
                        th scope="row" { (it.limit) }
                        td.number {
                            span class={ "chip " (if it.load > 1.0 { "fail" } else { "pass" }) } {
                                (percent(it.load))
                            }
                        }
                        td { (it.figures) }
                    }
                }
            }
        }
    };
    html! {
        p { (fit.sentence) }
        (scrolling("How full each limit is", &table))
        @if !fit.extrapolations.is_empty() {
            p { "Not measured, but reckoned with or left out:" }
            ul { @for it in &fit.extrapolations { li { (it) } } }
        }
    }
}

fn percent(load: f64) -> String {
    format!("{} %", significant(load * 100.0))
}

fn answer(id: &str, answer: &Answer) -> Markup {
    html! {
        p { strong { (answer.sentence) } }
        div.charts {
            @for (nth, chart) in answer.charts.iter().enumerate() { (figure(chart, &format!("{id}-{nth}"))) }
        }
        @for it in &answer.tables {
            h3 { (it.title) }
            (scrolling(&it.title, &table(it)))
        }
        p.note { (answer.basis) }
    }
}

fn table(it: &Table) -> Markup {
    html! {
        table {
            thead { tr { @for name in &it.head { th scope="col" { (name) } } } }
            tbody {
                @for row in &it.rows {
                    tr {
                        @for (nth, cell) in row.iter().enumerate() {
                            @if nth == 0 { th scope="row" { (cell) } } @else { td.number { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

fn markdown(capacity: &Capacity, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# Capacity\n\n{}\n", escape(&capacity.measured_on))?;
    if let Some(fit) = &capacity.fit {
        writeln!(
            out,
            "## Does it fit?\n\n{}\n\n| Limit | Full | Figures |\n| --- | --- | --- |",
            escape(&fit.sentence)
        )?;
        for it in &fit.loads {
            writeln!(
                out,
                "| {} | {} | {} |",
                escape(&it.limit),
                percent(it.load),
                escape(&it.figures)
            )?;
        }
        for (nth, it) in fit.extrapolations.iter().enumerate() {
            let head =
                if nth == 0 { "\nNot measured, but reckoned with or left out:\n\n" } else { "" };
            writeln!(out, "{head}- {}", escape(it))?;
        }
        writeln!(out)?;
    }
    for it in &capacity.answers {
        writeln!(out, "## {}\n\n{}\n", escape(it.question), escape(&it.sentence))?;
        for table in &it.tables {
            writeln!(out, "{}:\n", escape(&table.title))?;
            row(&table.head, out)?;
            writeln!(out, "|{}", " --- |".repeat(table.head.len()))?;
            for cells in &table.rows {
                row(cells, out)?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}\n", escape(it.basis))?;
    }
    Ok(())
}

fn row(cells: &[String], out: &mut dyn Write) -> io::Result<()> {
    for cell in cells {
        write!(out, "| {} ", escape(cell))?;
    }
    writeln!(out, "|")
}
