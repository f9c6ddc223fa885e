//! One page for people: self-contained, without a script, readable on a phone and
//! on paper, in the order in which a reader asks.
//!
//! Everything from a run is escaped by `maud`, and each part has a budget of
//! bytes, so that no run makes a page that a browser chokes on.

mod failures;
mod matrix;
mod parts;
mod plots;
mod promises;

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::requirements::Catalogue;
use crate::run::Run;
use crate::verdict::{Standing, Verdict, coverage};

/// Nothing is loaded and nothing is run, whatever a run's texts may hold.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(page(run, &Catalogue::load()).into_string().as_bytes())
}

/// A part of the page: its anchor, its heading and what stands there.
struct Section {
    id: &'static str,
    title: &'static str,
    content: Markup,
}

fn page(run: &Run, catalogue: &Catalogue) -> Markup {
    let sections: Vec<Section> = [
        failures::failed(run, catalogue),
        failures::errors(run, catalogue),
        failures::inconclusive(run, catalogue),
        failures::skipped(run),
        matrix::section(run),
        plots::section(run),
        plots::values(run),
        promises::section(run, catalogue),
        parts::fingerprint(run),
    ]
    .into_iter()
    .flatten()
    .collect();
    let verdict = Verdict::of(run);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "cgauge: " (verdict.standing.word()) }
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (header(run, &verdict))
                nav aria-label="Parts of this report" {
                    @for it in &sections { a href={ "#" (it.id) } { (it.title) } " " }
                }
                main {
                    @for it in &sections {
                        section id=(it.id) aria-labelledby={ (it.id) "-title" } {
                            h2 id={ (it.id) "-title" } { (it.title) }
                            (it.content)
                        }
                    }
                }
            }
        }
    }
}

fn header(run: &Run, verdict: &Verdict) -> Markup {
    let end = &run.end;
    let class = match verdict.standing {
        Standing::Held => "pass",
        Standing::Broken => "fail",
        Standing::Undecided | Standing::Untested => "error",
    };
    let counts = [
        ("pass", end.passed, "passed"),
        ("fail", end.failed, "failed"),
        ("error", end.errors, if end.errors == 1 { "error" } else { "errors" }),
        ("noise", end.inconclusive, "inconclusive"),
        ("skip", end.skipped, "skipped"),
    ];
    html! {
        header class=(class) {
            p.standing { (verdict.standing.word()) }
            h1 { (verdict.sentence) }
            ul.counts {
                @for (class, count, word) in counts {
                    @if count > 0 || class != "noise" {
                        li class=(class) { strong { (count) } " " (word) }
                    }
                }
                li { (coverage(end)) }
            }
            @for note in &run.notes { p.note { "Note: " (note) "." } }
        }
    }
}
