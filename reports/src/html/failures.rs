//! What went wrong, each case with all that a reader needs to believe it and to
//! see it again; and what was skipped, by reason.

use std::collections::BTreeMap;

use cgauge_record::Outcome;
use maud::{Markup, PreEscaped, html};

use super::Section;
use super::parts::{chip, prose, rest, within};
use crate::charts::Chart;
use crate::describe;
use crate::names::rerun_command;
use crate::requirements::Catalogue;
use crate::run::{CaseReport, CheckReport, Configuration, Run};

/// The most bytes for the skips.
const SKIP_BUDGET: usize = 150 << 10;
/// The most failed checks of a case that are shown in full.
const MOST_CHECKS: usize = 10;
/// The most pictures of a case.
const MOST_CHARTS: usize = 4;

pub(super) fn failed(run: &Run, catalogue: &Catalogue) -> Option<Section> {
    cases(run, catalogue, Outcome::Fail, "failed", "What failed")
}

pub(super) fn errors(run: &Run, catalogue: &Catalogue) -> Option<Section> {
    cases(run, catalogue, Outcome::Error, "errors", "What ended in an error")
}

pub(super) fn inconclusive(run: &Run, catalogue: &Catalogue) -> Option<Section> {
    cases(run, catalogue, Outcome::Inconclusive, "inconclusive", "What noise left undecided")
}

fn cases(
    run: &Run,
    catalogue: &Catalogue,
    outcome: Outcome,
    id: &'static str,
    title: &'static str,
) -> Option<Section> {
    let wanted = run.cases().filter(|(_, case)| case.outcome == outcome);
    let (articles, left_out) =
        within(budget(outcome), wanted.enumerate(), |(index, (configuration, case))| {
            article(configuration, case, catalogue, &format!("{id}{index}"))
        });
    let content = html! {
        @if outcome == Outcome::Error {
            p { "An error says nothing about the kernel: the harness, the guest or the case itself broke." }
        }
        (articles)
        (rest(left_out, "cases are"))
    };
    (!articles.0.is_empty() || left_out > 0).then_some(Section { id, title, content })
}

/// The most bytes for the cases of one outcome.
fn budget(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Fail => 900 << 10,
        Outcome::Error => 400 << 10,
        _ => 200 << 10,
    }
}

fn article(
    configuration: &Configuration,
    case: &CaseReport,
    catalogue: &Catalogue,
    id: &str,
) -> Markup {
    let failed: Vec<&CheckReport> = describe::failed(&case.checks).collect();
    let charts = Chart::of_case(case);
    html! {
        article {
            h3 { (chip(case.outcome, "")) " " code { (case.suite) " " (case.case) } }
            @if !case.promise.is_empty() { p.promise { (prose(&case.promise)) } }
            p.where { "on " (configuration.start.config) }
            @for check in failed.iter().take(MOST_CHECKS) { (facts(check, catalogue)) }
            (rest(failed.len().saturating_sub(MOST_CHECKS), "failed checks are"))
            @if failed.is_empty() || case.outcome != Outcome::Fail { p { (case.reason) } }
            @if !case.evidence.is_empty() {
                p.where { "The last lines of console and output:" }
                pre tabindex="0" { @for line in &case.evidence { (line) "\n" } }
            }
            @if !charts.is_empty() {
                div.charts {
                    @for (index, chart) in charts.iter().take(MOST_CHARTS).enumerate() {
                        (figure(chart, &format!("{id}-{index}")))
                    }
                }
            }
            p.again { "Run it again: " code { (rerun_command(&configuration.start, &case.suite, &case.case)) } }
        }
    }
}

/// A picture with its description in words.
pub(crate) fn figure(chart: &Chart, id: &str) -> Markup {
    html! {
        figure {
            (PreEscaped(chart.inline(id)))
            figcaption {
                (chart.description())
                @if !chart.good().is_empty() { " Good: " (chart.good()) }
            }
        }
    }
}

fn facts(check: &CheckReport, catalogue: &Catalogue) -> Markup {
    html! {
        dl.check {
            dt { "Checked" } dd { (describe::subject(check)) }
            dt { "Expected" } dd { (describe::expected(check)) }
            dt { "Observed" } dd.observed { (describe::observed(check)) }
            @if let Some(unit) = describe::unit(check) { dt { "Unit" } dd { (unit) } }
            dt { "Bound" } dd { (check.bound_reason) }
            @if !check.requirements.is_empty() {
                dt { "Promise" }
                dd {
                    @for id in check.requirements.iter().take(12) {
                        div {
                            a href={ "#" (id) } { (id) } " " (catalogue.promise(*id))
                            span.muted { " (" (catalogue.source(*id)) ")" }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn skipped(run: &Run) -> Option<Section> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let several = run.configurations.len() > 1;
    for (configuration, case) in run.cases().filter(|(_, case)| case.outcome == Outcome::Skip) {
        let place =
            if several { format!(" on {}", configuration.start.config) } else { String::new() };
        by_reason
            .entry(&case.reason)
            .or_default()
            .push(format!("{} {}{place}", case.suite, case.case));
    }
    if by_reason.is_empty() {
        return None;
    }
    let (list, left_out) = within(SKIP_BUDGET, &by_reason, |(reason, cases)| {
        html! {
            dt { (chip(Outcome::Skip, "")) " " (reason) }
            dd { @for case in cases.iter().take(200) { code { (case) } " " } (rest(cases.len().saturating_sub(200), "cases are")) }
        }
    });
    let content = html! {
        p { "A skip is no pass: the kernel or the machine lacks what the case needs." }
        dl.skips { (list) }
        (rest(left_out, "reasons are"))
    };
    Some(Section { id: "skipped", title: "What was skipped, and why", content })
}
