//! A summary for scripts that want the verdict and not a million records. Its
//! fields are added, never renamed.

use std::io::{self, Write};

use cgauge_record::{ALL, Outcome, Requirement, RunEnd, RunStart};
use serde::Serialize;

use crate::describe;
use crate::names::rerun_command;
use crate::run::{CaseReport, Configuration, Run};
use crate::verdict::Verdict;

#[derive(Serialize)]
struct Summary<'a> {
    schema: u32,
    verdict: &'static str,
    sentence: String,
    counts: &'a RunEnd,
    requirements_total: usize,
    configurations: Vec<&'a RunStart>,
    cases: Vec<Case<'a>>,
    never_ran: Vec<NeverRan<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct NeverRan<'a> {
    config: &'a str,
    suite: &'a str,
    case: &'a str,
}

#[derive(Serialize)]
struct Case<'a> {
    config: &'a str,
    suite: &'a str,
    case: &'a str,
    outcome: Outcome,
    reason: &'a str,
    elapsed_ns: u64,
    checks: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_checks: Vec<String>,
    requirements: Vec<Requirement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun: Option<String>,
}

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let verdict = Verdict::of(run);
    let summary = Summary {
        schema: cgauge_record::SCHEMA,
        verdict: verdict.standing.word(),
        sentence: verdict.sentence,
        counts: &run.end,
        requirements_total: ALL,
        configurations: run.configurations.iter().map(|it| &it.start).collect(),
        cases: run.cases().map(|(configuration, it)| case(configuration, it)).collect(),
        never_ran: never_ran(run),
        notes: &run.notes,
    };
    serde_json::to_writer_pretty(&mut *out, &summary)?;
    writeln!(out)
}

fn never_ran(run: &Run) -> Vec<NeverRan<'_>> {
    let all = run.configurations.iter().flat_map(|configuration| {
        let config = configuration.start.config.as_str();
        configuration.never_ran.iter().map(move |it| NeverRan {
            config,
            suite: &it.suite,
            case: &it.case,
        })
    });
    all.collect()
}

fn case<'a>(configuration: &'a Configuration, case: &'a CaseReport) -> Case<'a> {
    let mut requirements: Vec<Requirement> =
        case.checks.iter().flat_map(|it| it.requirements.iter().copied()).collect();
    requirements.sort_unstable();
    requirements.dedup();
    let went_wrong = matches!(case.outcome, Outcome::Fail | Outcome::Error);
    Case {
        config: &configuration.start.config,
        suite: &case.suite,
        case: &case.case,
        outcome: case.outcome,
        reason: &case.reason,
        elapsed_ns: case.elapsed_ns,
        checks: case.checks.len(),
        failed_checks: describe::failed(&case.checks).map(describe::sentence).collect(),
        requirements,
        rerun: went_wrong.then(|| rerun_command(&configuration.start, &case.suite, &case.case)),
    }
}
