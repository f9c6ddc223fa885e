//! A run on a terminal or in a CI log: one line for each finished case, then what
//! went wrong, then one last line. It must not know whether it is a terminal.

use std::fmt;
use std::io::{self, Write};

use cgauge_record::{CaseEnd, Outcome};

use crate::describe;
use crate::names::rerun_command;
use crate::requirements::Catalogue;
use crate::run::{CaseReport, Configuration, Run};
use crate::text::{NAME, SENTENCE, tidy};
use crate::units;
use crate::verdict::{Standing, Verdict, counts, coverage};

/// Whether to write ANSI colours. The words are the same either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// ANSI colours.
    Always,
}

/// The most failures that are shown in full; the report has them all.
const MOST_FAILURES: usize = 20;
/// The most failed checks of a case that are shown.
const MOST_CHECKS: usize = 3;
/// The most lines of evidence of a case that are shown.
const MOST_EVIDENCE: usize = 8;

/// One finished case on one line: `FAIL pids bomb_stops 1.2 s: why`.
///
/// The event's texts may come straight from a guest: they are made harmless here.
#[must_use]
pub fn case_line(end: &CaseEnd, colour: Colour) -> String {
    let reason = match end.reason.as_str() {
        "" => String::new(),
        reason => format!(": {}", tidy(reason, SENTENCE)),
    };
    format!(
        "{} {} {} {}{reason}",
        Painted(outcome_word(end.outcome), paint_of(end.outcome), colour),
        tidy(&end.suite, NAME),
        tidy(&end.case, NAME),
        Painted(&format!("({})", units::duration(end.elapsed_ns)), Paint::Dim, colour),
    )
}

/// Writes what went wrong and the last line with the counts.
pub fn write(run: &Run, colour: Colour, out: &mut dyn Write) -> io::Result<()> {
    let catalogue = Catalogue::load();
    let wrong = |it: &Outcome| matches!(it, Outcome::Fail | Outcome::Error | Outcome::Inconclusive);
    let count = run.cases().filter(|(_, case)| wrong(&case.outcome)).count();
    let shown = run.cases().filter(|(_, case)| wrong(&case.outcome)).take(MOST_FAILURES);
    for (configuration, case) in shown {
        write_case(configuration, case, &catalogue, colour, out)?;
    }
    if count > MOST_FAILURES {
        writeln!(
            out,
            "… and {} more that went wrong; the report has them all\n",
            count - MOST_FAILURES
        )?;
    }
    for note in &run.notes {
        writeln!(out, "note: {note}")?;
    }
    let verdict = Verdict::of(run);
    let paint = match verdict.standing {
        Standing::Held => Paint::Good,
        Standing::Broken => Paint::Bad,
        Standing::Undecided | Standing::Untested => Paint::Odd,
    };
    writeln!(
        out,
        "{} {}; {}",
        Painted(verdict.standing.word(), paint, colour),
        counts(&run.end),
        coverage(&run.end)
    )
}

fn write_case(
    configuration: &Configuration,
    case: &CaseReport,
    catalogue: &Catalogue,
    colour: Colour,
    out: &mut dyn Write,
) -> io::Result<()> {
    let line = |out: &mut dyn Write, label: &str, text: &str| {
        writeln!(out, "  {} {text}", Painted(&format!("{label:<9}"), Paint::Dim, colour))
    };
    writeln!(
        out,
        "{} {} {}",
        Painted(outcome_word(case.outcome), paint_of(case.outcome), colour),
        case.suite,
        Painted(&case.case, Paint::Strong, colour),
    )?;
    if !case.promise.is_empty() {
        line(out, "promise", &case.promise)?;
    }
    line(out, "on", &configuration.start.config)?;
    let failed = describe::failed(&case.checks).count();
    for check in describe::failed(&case.checks).take(MOST_CHECKS) {
        line(out, "check", &describe::subject(check))?;
        line(out, "expected", &describe::expected(check))?;
        line(out, "observed", &describe::observed(check))?;
        line(out, "bound", &check.bound_reason)?;
        for id in check.requirements.iter() {
            line(out, &id.to_string(), catalogue.promise(*id))?;
        }
    }
    if failed > MOST_CHECKS {
        line(out, "", &format!("… and {} more failed checks", failed - MOST_CHECKS))?;
    }
    if failed == 0 || case.outcome != Outcome::Fail {
        line(out, "reason", &case.reason)?;
    }
    let first = case.evidence.len().saturating_sub(MOST_EVIDENCE);
    for text in &case.evidence[first..] {
        line(out, "output", text)?;
    }
    line(out, "again", &rerun_command(&configuration.start, &case.suite, &case.case))?;
    writeln!(out)
}

/// An outcome in a word of five letters or so, for it must not hang on colour.
pub(crate) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "PASS ",
        Outcome::Fail => "FAIL ",
        Outcome::Skip => "SKIP ",
        Outcome::Error => "ERROR",
        Outcome::Inconclusive => "NOISE",
    }
}

#[derive(Clone, Copy, Debug)]
enum Paint {
    Good,
    Bad,
    Odd,
    Dim,
    Strong,
}

fn paint_of(outcome: Outcome) -> Paint {
    match outcome {
        Outcome::Pass => Paint::Good,
        Outcome::Fail => Paint::Bad,
        Outcome::Skip => Paint::Dim,
        Outcome::Error | Outcome::Inconclusive => Paint::Odd,
    }
}

/// Text that is painted where colours are wanted.
struct Painted<'a>(&'a str, Paint, Colour);

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, paint, colour) = self;
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "1;31",
            Paint::Odd => "1;35",
            Paint::Dim => "2",
            Paint::Strong => "1",
        };
        match colour {
            Colour::Never => f.write_str(text),
            Colour::Always => write!(f, "\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
