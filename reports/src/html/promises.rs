//! The requirement table: which promise which cases checked, and whether it held.

use std::collections::{BTreeMap, BTreeSet};

use cgauge_record::{Outcome, Requirement, Verdict};
use maud::{Markup, html};

use super::Section;
use super::parts::{choices, scrolling, search};
use crate::names;
use crate::requirements::{Catalogue, Text};
use crate::run::Run;
use crate::verdict::coverage;

/// The most tests that are named for one promise.
const MOST_TESTS: usize = 6;

/// What the run says of one promise.
#[derive(Default)]
struct Finding<'a> {
    checks: usize,
    held: usize,
    broken: usize,
    tests: BTreeSet<(&'a str, &'a str)>,
}

pub(super) fn section(run: &Run, catalogue: &Catalogue) -> Option<Section> {
    let findings = findings(run);
    let texts: Vec<&Text> = catalogue.iter().collect();
    let table = html! {
        table.promises {
            thead {
                tr {
                    th scope="col" { "Id" } th scope="col" { "Promise" }
                    th scope="col" { "State" } th scope="col" { "Checked by" }
                }
            }
            @for section in texts.chunk_by(|a, b| a.section == b.section) {
                tbody {
                    (section_head(section, &findings))
                    @for text in section { (row(text, findings.get(&text.id))) }
                }
            }
        }
    };
    let filter = [
        ("all", "all"),
        ("broken", "broken"),
        ("covered", "covered"),
        ("uncovered", "not covered"),
    ];
    let content = html! {
        p { "This run " (coverage(&run.end)) ": a promise is covered when a check that names it was executed." }
        (choices("promises", "Show the promises that are", &filter))
        (search("and have the words"))
        (scrolling("Every requirement, and what the run says of it", &table))
    };
    Some(Section { id: "requirements", title: "Requirements", content })
}

fn findings(run: &Run) -> BTreeMap<Requirement, Finding<'_>> {
    let mut findings: BTreeMap<Requirement, Finding<'_>> = BTreeMap::new();
    for (_, case) in run.cases() {
        for check in &case.checks {
            for id in check.requirements.iter() {
                let finding = findings.entry(*id).or_default();
                finding.checks += 1;
                match check.verdict {
                    Verdict::Pass => finding.held += 1,
                    Verdict::Fail if case.outcome == Outcome::Fail => finding.broken += 1,
                    // A check that makes no sense says nothing about the kernel.
                    Verdict::Fail => {}
                }
                finding.tests.insert((&case.suite, names::split(&case.case).base));
            }
        }
    }
    findings
}

fn section_head(section: &[&Text], findings: &BTreeMap<Requirement, Finding<'_>>) -> Markup {
    let covered = section.iter().filter(|it| findings.contains_key(&it.id)).count();
    html! {
        tr.head {
            th colspan="4" scope="rowgroup" {
                (section[0].section) " "
                span.muted { (covered) " of " (section.len()) " covered · " (section[0].document()) }
            }
        }
    }
}

fn row(text: &Text, finding: Option<&Finding<'_>>) -> Markup {
    let (class, chip, shape, state) = match finding {
        None => ("uncovered", "skip", "–", "not covered"),
        Some(it) if it.broken > 0 => ("covered broken", "fail", "✗", "broken"),
        Some(it) if it.held > 0 => ("covered", "pass", "✓", "held"),
        Some(_) => ("covered", "error", "!", "undecided"),
    };
    html! {
        tr id=(text.id) class=(class) {
            th scope="row" { (text.id) }
            td { (text.promise) }
            td { span class={ "chip " (chip) } { span aria-hidden="true" { (shape) " " } (state) } }
            td {
                @if let Some(it) = finding {
                    span.muted { (it.checks) " checks: " }
                    @for (suite, base) in it.tests.iter().take(MOST_TESTS) { code { (suite) " " (base) } " " }
                    @if it.tests.len() > MOST_TESTS { "and " (it.tests.len() - MOST_TESTS) " more" }
                }
            }
        }
    }
}
