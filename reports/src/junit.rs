//! JUnit XML as CI servers read it: a suite for each suite and configuration,
//! with failure, error and skip kept apart. It must not judge anything.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use cgauge_record::Outcome;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use crate::describe;
use crate::names::rerun_command;
use crate::requirements::Catalogue;
use crate::run::{CaseReport, Configuration, Run};
use crate::units;

/// The most failed checks of a case that are written out.
const MOST_CHECKS: usize = 50;

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let catalogue = Catalogue::load();
    let mut report = Report::new("cgauge");
    for configuration in &run.configurations {
        for cases in configuration.cases.chunk_by(|a, b| a.suite == b.suite) {
            report.add_test_suite(suite(configuration, cases, &catalogue));
        }
    }
    report.serialize(out).map_err(io::Error::other)
}

fn suite(configuration: &Configuration, cases: &[CaseReport], catalogue: &Catalogue) -> TestSuite {
    let start = &configuration.start;
    let name = &cases[0].suite;
    let mut suite = TestSuite::new(format!("{name} {}", start.config));
    suite.timestamp = start.started.parse().ok();
    suite.set_time(Duration::from_nanos(
        cases.iter().fold(0, |sum, it| sum.saturating_add(it.elapsed_ns)),
    ));
    for (key, value) in [
        ("kernel", &start.kernel.release),
        ("kernel_spec", &start.kernel_spec),
        ("configuration", &start.config),
        ("harness", &start.harness),
        ("qemu", &start.qemu),
    ] {
        if !value.is_empty() {
            suite.add_property(Property::new(key, value));
        }
    }
    suite.add_test_cases(cases.iter().map(|it| case(configuration, it, catalogue)));
    suite
}

fn case(configuration: &Configuration, case: &CaseReport, catalogue: &Catalogue) -> TestCase {
    let non_success = |kind, class: &str, text: String| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_type(class).set_message(&case.reason).set_description(text);
        status
    };
    let status = match case.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::Fail => non_success(
            NonSuccessKind::Failure,
            "fail",
            particulars(configuration, case, catalogue),
        ),
        Outcome::Error => {
            non_success(NonSuccessKind::Error, "error", particulars(configuration, case, catalogue))
        }
        Outcome::Skip => skipped(&case.reason),
        // JUnit has no word for it, and it is neither a pass nor a failure.
        Outcome::Inconclusive => skipped(&format!("inconclusive: {}", case.reason)),
    };
    let mut it = TestCase::new(case.case.as_str(), status);
    it.set_classname(class_name(&configuration.start.config, &case.suite));
    it.set_time(Duration::from_nanos(case.elapsed_ns));
    it.set_assertions(case.checks.len());
    if !case.values.is_empty() {
        let mut values = String::new();
        for value in case.values.iter().take(200) {
            let _ =
                writeln!(values, "{} = {}", value.metric, units::exact(&value.value, value.unit));
        }
        it.set_system_out(values);
    }
    if !case.evidence.is_empty() {
        it.set_system_err(case.evidence.join("\n"));
    }
    it
}

fn skipped(reason: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(reason);
    status
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
        for id in &check.requirements {
            let _ = writeln!(text, "  promise:  {id} {}", catalogue.promise(*id));
        }
    }
    let _ = writeln!(text, "reason: {}", case.reason);
    let _ =
        write!(text, "again:  {}", rerun_command(&configuration.start, &case.suite, &case.case));
    text
}
