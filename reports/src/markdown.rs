//! Markdown for the summary of a CI job: the verdict, the counts, a table of what
//! went wrong. It must not judge anything.

use std::io::{self, Write};

use cgauge_record::Outcome;

use crate::describe;
use crate::names::rerun_command;
use crate::run::{CaseReport, CheckReport, Configuration, Run};
use crate::verdict::{Standing, Verdict, counts, coverage};

/// The most rows of a table: a job summary is cut at one megabyte.
const MOST_ROWS: usize = 200;
/// The most skips: those are folded away, and alike.
const MOST_SKIPS: usize = 500;

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let verdict = Verdict::of(run);
    let mark = match verdict.standing {
        Standing::Held => "✅",
        Standing::Broken => "❌",
        Standing::Undecided | Standing::Untested => "⚠️",
    };
    writeln!(out, "## {mark} cgauge: {}\n", verdict.standing.word())?;
    writeln!(out, "{}\n", escape(&verdict.sentence))?;
    writeln!(out, "{}; {}.\n", counts(&run.end), coverage(&run.end))?;
    for note in &run.notes {
        writeln!(out, "> {}\n", escape(note))?;
    }
    write_wrong(run, Outcome::Fail, "Failed", out)?;
    write_wrong(run, Outcome::Error, "Errors", out)?;
    write_folded(run, Outcome::Inconclusive, "Inconclusive", out)?;
    write_folded(run, Outcome::Skip, "Skipped", out)?;
    write_configurations(run, out)
}

fn of(run: &Run, outcome: Outcome) -> Vec<(&Configuration, &CaseReport)> {
    run.cases().filter(|(_, case)| case.outcome == outcome).collect()
}

fn write_wrong(run: &Run, outcome: Outcome, title: &str, out: &mut dyn Write) -> io::Result<()> {
    let cases = of(run, outcome);
    if cases.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "### {title}\n\n| Case | Expected | Observed | Why | Run it again |\n| --- | --- | --- | --- | --- |"
    )?;
    for (configuration, case) in cases.iter().take(MOST_ROWS) {
        let place = format!("{} {}", case.suite, case.case);
        let (expected, observed, why) = match describe::failed(&case.checks).next() {
            Some(check) => (describe::expected(check), describe::observed(check), reason_of(check)),
            None => (String::new(), String::new(), case.reason.clone()),
        };
        writeln!(
            out,
            "| {}<br>{} | {} | {} | {} | {} |",
            code(&place),
            escape(&configuration.start.config),
            escape(&expected),
            escape(&observed),
            escape(&why),
            code(&rerun_command(&configuration.start, &case.suite, &case.case)),
        )?;
    }
    write_rest(cases.len(), MOST_ROWS, out)?;
    writeln!(out)
}

fn reason_of(check: &CheckReport) -> String {
    format!("{}: {}", describe::subject(check), check.bound_reason)
}

fn write_folded(run: &Run, outcome: Outcome, title: &str, out: &mut dyn Write) -> io::Result<()> {
    let cases = of(run, outcome);
    if cases.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<details><summary>{title}: {}</summary>\n\n| Case | Why |\n| --- | --- |",
        cases.len()
    )?;
    for (_, case) in cases.iter().take(MOST_SKIPS) {
        writeln!(
            out,
            "| {} | {} |",
            code(&format!("{} {}", case.suite, case.case)),
            escape(&case.reason)
        )?;
    }
    write_rest(cases.len(), MOST_SKIPS, out)?;
    writeln!(out, "\n</details>\n")
}

fn write_rest(count: usize, shown: usize, out: &mut dyn Write) -> io::Result<()> {
    match count.checked_sub(shown) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "\n… and {more} more: see report.html."),
    }
}

fn write_configurations(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "| Configuration | Kernel | Clock | Machine |\n| --- | --- | --- | --- |")?;
    for Configuration { start, .. } in run.configurations.iter().take(MOST_ROWS) {
        let clock = format!("{:?}", start.clock).to_lowercase();
        let machine = format!("{} {} {}", start.qemu, start.machine, start.accel);
        writeln!(
            out,
            "| {} | {} | {clock} | {} |",
            code(&start.config),
            escape(&start.kernel.release),
            escape(machine.trim())
        )?;
    }
    Ok(())
}

/// Text that Markdown shows as it stands: no markup, no end of a cell, no mention
/// that would call somebody, no address that would become a link.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        if "&<>@\\`*_[]|#~".contains(it) {
            escaped.push_str(&format!("&#{};", u32::from(it)));
        } else {
            escaped.push(it);
        }
    }
    escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
}

/// Text as code, within a table's cell.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}
