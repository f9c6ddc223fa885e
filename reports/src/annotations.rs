//! GitHub's annotations: workflow commands, one a line, that its runner reads from
//! a job's standard output. It must not know whether it runs there.
//!
//! The runner shows ten errors and ten warnings of a step and drops the rest
//! without a word, so the tenth says how many more there are.

use std::io::{self, Write};

use cgauge_record::Outcome;

use crate::describe;
use crate::names::rerun_command;
use crate::run::{CaseReport, Configuration, Run};
use crate::verdict::Verdict;

/// The most annotations of one level.
const MOST: usize = 10;
/// The most failed checks that a message tells of.
const MOST_CHECKS: usize = 3;

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let of = |outcome| run.cases().filter(move |(_, case)| case.outcome == outcome);
    // Failures first: if something is to be left out, then not what the kernel did.
    let wrong: Vec<_> = of(Outcome::Fail).chain(of(Outcome::Error)).collect();
    let noise: Vec<_> = of(Outcome::Inconclusive).collect();
    write_level("error", &wrong, out)?;
    write_level("warning", &noise, out)?;
    let verdict = Verdict::of(run);
    let message: Vec<&str> = std::iter::once(verdict.sentence.as_str())
        .chain(run.notes.iter().map(String::as_str))
        .collect();
    command("notice", &format!("cgauge: {}", verdict.standing.word()), &message.join("\n"), out)
}

fn write_level(
    level: &str,
    cases: &[(&Configuration, &CaseReport)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let shown = if cases.len() > MOST { MOST - 1 } else { cases.len() };
    for (configuration, case) in &cases[..shown] {
        let word = match case.outcome {
            Outcome::Fail => "failed",
            Outcome::Error => "error",
            _ => "inconclusive",
        };
        let title = format!("{word}: {} {}", case.suite, case.case);
        command(level, &title, &message(configuration, case), out)?;
    }
    match cases.len() - shown {
        0 => Ok(()),
        more => command(level, &format!("{more} more cases"), "See the report of the run.", out),
    }
}

fn message(configuration: &Configuration, case: &CaseReport) -> String {
    let mut lines = Vec::new();
    if !case.promise.is_empty() {
        lines.push(case.promise.clone());
    }
    let first = lines.len();
    if case.outcome == Outcome::Fail {
        lines.extend(describe::failed(&case.checks).take(MOST_CHECKS).map(describe::sentence));
    }
    if lines.len() == first {
        lines.push(case.reason.clone());
    }
    lines.push(format!("on {}", configuration.start.config));
    lines.push(rerun_command(&configuration.start, &case.suite, &case.case));
    lines.join("\n")
}

/// A workflow command. Its text can neither end it nor begin another.
fn command(level: &str, title: &str, message: &str, out: &mut dyn Write) -> io::Result<()> {
    let message = message.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = title.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = title.replace(':', "%3A").replace(',', "%2C");
    writeln!(out, "::{level} title={title}::{message}")
}
