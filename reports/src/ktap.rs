//! KTAP, version 1, as the kernel's own parser reads it: one subtest for each
//! suite and configuration. It must not judge anything.

use std::io::{self, Write};

use cgauge_record::Outcome;

use crate::describe;
use crate::names::rerun_command;
use crate::run::{CaseReport, Configuration, Run};
use crate::text::tidy_line;

/// The most failed checks of a case that are written out.
const MOST_CHECKS: usize = 20;

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let suites: Vec<(&Configuration, &[CaseReport])> = run
        .configurations
        .iter()
        .flat_map(|it| it.cases.chunk_by(|a, b| a.suite == b.suite).map(move |cases| (it, cases)))
        .collect();
    writeln!(out, "KTAP version 1")?;
    writeln!(out, "1..{}", suites.len())?;
    for (number, (configuration, cases)) in (1..).zip(&suites) {
        let name = match run.configurations.len() {
            1 => name(&cases[0].suite),
            _ => name(&format!("{} {}", cases[0].suite, configuration.start.config)),
        };
        writeln!(out, "  KTAP version 1")?;
        writeln!(out, "  # Subtest: {name}")?;
        writeln!(out, "  1..{}", cases.len())?;
        for (number, case) in (1..).zip(*cases) {
            write_case(number, &name, configuration, case, out)?;
        }
        writeln!(out, "{}", suite_result(number, &name, cases))?;
    }
    Ok(())
}

fn suite_result(number: usize, name: &str, cases: &[CaseReport]) -> String {
    let any = |outcome| cases.iter().any(|it| it.outcome == outcome);
    if any(Outcome::Fail) || any(Outcome::Error) {
        format!("not ok {number} {name}")
    } else if any(Outcome::Pass) {
        format!("ok {number} {name}")
    } else {
        format!("ok {number} {name} # SKIP no case of it ran")
    }
}

fn write_case(
    number: usize,
    suite: &str,
    configuration: &Configuration,
    case: &CaseReport,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = match name(&case.case) {
        // The parser would take it for the suite's own result.
        it if it == suite => format!("{suite}::{it}"),
        it => it,
    };
    let reason = plain(&case.reason);
    match case.outcome {
        Outcome::Pass => writeln!(out, "  ok {number} {name}"),
        Outcome::Skip => writeln!(out, "  ok {number} {name} # SKIP {reason}"),
        // KTAP has no word for it; a skip is the one result that is neither good nor bad.
        Outcome::Inconclusive => {
            writeln!(out, "  ok {number} {name} # SKIP inconclusive: {reason}")
        }
        Outcome::Fail => {
            diagnose(out, "fail", &case.reason)?;
            for check in describe::failed(&case.checks).take(MOST_CHECKS) {
                diagnose(out, "check", &describe::subject(check))?;
                diagnose(out, "  expected", &describe::expected(check))?;
                diagnose(out, "  observed", &describe::observed(check))?;
                diagnose(out, "  bound", &check.bound_reason)?;
            }
            diagnose(out, "again", &rerun_command(&configuration.start, &case.suite, &case.case))?;
            writeln!(out, "  not ok {number} {name}")
        }
        Outcome::Error => {
            diagnose(out, "error", &case.reason)?;
            for line in &case.evidence {
                diagnose(out, "  output", line)?;
            }
            diagnose(out, "again", &rerun_command(&configuration.start, &case.suite, &case.case))?;
            writeln!(out, "  not ok {number} {name} # ERROR {reason}")
        }
    }
}

/// A diagnostic line. Its label keeps it from looking like any other KTAP line.
fn diagnose(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  # {label}: {}", defused(&tidy_line(text)))
}

/// A name holds no `#`, which begins a directive, and is never empty.
fn name(text: &str) -> String {
    match plain(text).as_str() {
        "" => "unnamed".to_owned(),
        it => it.to_owned(),
    }
}

fn plain(text: &str) -> String {
    defused(tidy_line(text).trim()).replace('#', "_")
}

/// The parser stops for good at these words of a kernel log, wherever they stand.
fn defused(text: &str) -> String {
    ["List of all partitions:", "Kernel panic - not syncing: VFS:", "reboot: System halted"]
        .iter()
        .fold(text.to_owned(), |text, it| text.replace(it, &it.replace(' ', "_")))
}
