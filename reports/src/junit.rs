//! JUnit XML as CI servers read it: a suite for each suite and configuration,
//! with failure, error and skip kept apart. It must not judge anything.
//!
//! Jenkins publishes the only schema of it that a reader of note checks:
//! `junit-10.xsd` of its xunit plugin. What that does not name is not written.

use std::fmt::Write as _;
use std::io::{self, Write};

use cgauge_record::Outcome;

use crate::describe;
use crate::names::rerun_command;
use crate::requirements::Catalogue;
use crate::run::{CaseReport, Configuration, Run};
use crate::text::is_utc_time;
use crate::units;

/// The most failed checks of a case that are written out.
const MOST_CHECKS: usize = 50;
/// The most values of a case that are written out.
const MOST_VALUES: usize = 200;

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let catalogue = Catalogue::load();
    let count = Count::of(run.cases().map(|(_, case)| case));
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites name="cgauge" tests="{}" failures="{}" errors="{}">"#,
        count.tests, count.failures, count.errors
    )?;
    for configuration in &run.configurations {
        for cases in configuration.cases.chunk_by(|a, b| a.suite == b.suite) {
            write_suite(configuration, cases, &catalogue, out)?;
        }
    }
    writeln!(out, "</testsuites>")
}

/// How many of each.
#[derive(Default)]
struct Count {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    elapsed_ns: u64,
}

impl Count {
    fn of<'a>(cases: impl IntoIterator<Item = &'a CaseReport>) -> Self {
        let mut count = Self::default();
        for case in cases {
            count.tests += 1;
            count.elapsed_ns = count.elapsed_ns.saturating_add(case.elapsed_ns);
            match case.outcome {
                Outcome::Pass => {}
                Outcome::Fail => count.failures += 1,
                Outcome::Error => count.errors += 1,
                Outcome::Skip | Outcome::Inconclusive => count.skipped += 1,
            }
        }
        count
    }
}

fn write_suite(
    configuration: &Configuration,
    cases: &[CaseReport],
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> io::Result<()> {
    let start = &configuration.start;
    let count = Count::of(cases);
    let name = escaped(&format!("{} {}", cases[0].suite, start.config));
    write!(
        out,
        r#"    <testsuite name="{name}" tests="{}" skipped="{}""#,
        count.tests, count.skipped
    )?;
    write!(out, r#" errors="{}" failures="{}""#, count.errors, count.failures)?;
    if is_utc_time(&start.started) {
        write!(out, r#" timestamp="{}""#, start.started)?;
    }
    writeln!(out, r#" time="{}">"#, seconds(count.elapsed_ns))?;
    writeln!(out, "        <properties>")?;
    for (key, value) in [
        ("kernel", &start.kernel.release),
        ("kernel_spec", &start.kernel_spec),
        ("configuration", &start.config),
        ("harness", &start.harness),
        ("qemu", &start.qemu),
    ] {
        if !value.is_empty() {
            writeln!(out, r#"            <property name="{key}" value="{}"/>"#, escaped(value))?;
        }
    }
    writeln!(out, "        </properties>")?;
    for case in cases {
        write_case(configuration, case, catalogue, out)?;
    }
    writeln!(out, "    </testsuite>")
}

fn write_case(
    configuration: &Configuration,
    case: &CaseReport,
    catalogue: &Catalogue,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = escaped(&case.case);
    let class = escaped(&class_name(&configuration.start.config, &case.suite));
    let time = seconds(case.elapsed_ns);
    write!(out, r#"        <testcase name="{name}" classname="{class}" time="{time}""#)?;
    if case.outcome == Outcome::Pass && case.values.is_empty() && case.evidence.is_empty() {
        return writeln!(out, "/>");
    }
    writeln!(out, ">")?;
    let reason = escaped(&case.reason);
    let wrong = |out: &mut dyn Write, element: &str, class: &str| {
        let text = escaped(&particulars(configuration, case, catalogue));
        writeln!(
            out,
            r#"            <{element} message="{reason}" type="{class}">{text}</{element}>"#
        )
    };
    match case.outcome {
        Outcome::Pass => {}
        Outcome::Fail => wrong(out, "failure", "fail")?,
        Outcome::Error => wrong(out, "error", "error")?,
        Outcome::Skip => writeln!(out, r#"            <skipped message="{reason}"/>"#)?,
        // JUnit has no word for it, and it is neither a pass nor a failure.
        Outcome::Inconclusive => {
            writeln!(out, r#"            <skipped message="inconclusive: {reason}"/>"#)?;
        }
    }
    if !case.values.is_empty() {
        let mut values = String::new();
        for it in case.values.iter().take(MOST_VALUES) {
            let _ = writeln!(values, "{} = {}", it.metric, units::exact(&it.value, it.unit));
        }
        if let Some(more @ 1..) = case.values.len().checked_sub(MOST_VALUES) {
            let _ = writeln!(values, "… and {more} more");
        }
        writeln!(out, "            <system-out>{}</system-out>", escaped(&values))?;
    }
    if !case.evidence.is_empty() {
        let evidence = escaped(&case.evidence.join("\n"));
        writeln!(out, "            <system-err>{evidence}</system-err>")?;
    }
    writeln!(out, "        </testcase>")
}

fn seconds(nanoseconds: u64) -> String {
    format!("{:.3}", std::time::Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Text that stands in XML, as an attribute too, for itself; what XML 1.0 cannot
/// hold at all is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push('\n'),
            it if it.is_control() || matches!(it, '\u{fffe}' | '\u{ffff}') => {}
            it => escaped.push(it),
        }
    }
    escaped
}

/// Servers split a class name at its dots into packages: those of a kernel's
/// version must not become some.
fn class_name(config: &str, suite: &str) -> String {
    let config = config.replace('.', "_");
    if config.is_empty() { suite.to_owned() } else { format!("{config}.{suite}") }
}

/// Everything that a reader of the CI server needs, without a link to follow.
fn particulars(configuration: &Configuration, case: &CaseReport, catalogue: &Catalogue) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if !case.promise.is_empty() {
        let _ = writeln!(text, "{}\n", case.promise);
    }
    for check in describe::failed(&case.checks).take(MOST_CHECKS) {
        let _ = writeln!(text, "{}", describe::subject(check));
        let _ = writeln!(text, "  expected: {}", describe::expected(check));
        let _ = writeln!(text, "  observed: {}", describe::observed(check));
        if let Some(unit) = describe::unit(check) {
            let _ = writeln!(text, "  unit:     {unit}");
        }
        let _ = writeln!(text, "  bound:    {}", check.bound_reason);
        for id in check.requirements.iter() {
            let _ = writeln!(text, "  promise:  {id} {}", catalogue.promise(*id));
        }
    }
    let _ = writeln!(text, "reason: {}", case.reason);
    let _ =
        write!(text, "again:  {}", rerun_command(&configuration.start, &case.suite, &case.case));
    text
}
