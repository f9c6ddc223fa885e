//! A check in words, the same ones in every output: what was expected, what was
//! observed, where the bound comes from. It must not know any output format.

use cgauge_record::{Quantity, Unit, Verdict};

use crate::run::CheckReport;
use crate::units;

/// The checks of a case that failed, in the order in which they ran: by the verdict
/// that reading gave them, for their texts may be cut since.
pub(crate) fn failed(checks: &[CheckReport]) -> impl Iterator<Item = &CheckReport> {
    checks.iter().filter(|it| it.verdict == Verdict::Fail)
}

/// What was observed and in which file: `processes in the group (pids.current)`.
pub(crate) fn subject(check: &CheckReport) -> String {
    match (check.what.as_ref(), check.file.as_ref()) {
        ("", "") => "something without a name".to_owned(),
        ("", file) => file.to_owned(),
        (what, "") => what.to_owned(),
        (what, file) => format!("{what} ({file})"),
    }
}

/// What the promise allows: `at most 8 processes`.
pub(crate) fn expected(check: &CheckReport) -> String {
    let with_unit = |it: &Quantity| units::exact(it, check.unit);
    match (&check.equals, &check.at_least, &check.at_most) {
        (Some(only), _, _) => format!("exactly {}", with_unit(only)),
        (None, Some(least), Some(most)) => format!("from {least} to {}", with_unit(most)),
        (None, Some(least), None) => format!("at least {}", with_unit(least)),
        (None, None, Some(most)) => format!("at most {}", with_unit(most)),
        (None, None, None) => "nothing in particular".to_owned(),
    }
}

/// What the kernel did, with its unit.
pub(crate) fn observed(check: &CheckReport) -> String {
    units::exact(&check.observed, check.unit)
}

/// The unit, where the quantities have one.
pub(crate) fn unit(check: &CheckReport) -> Option<&'static str> {
    match check.unit {
        Unit::Text | Unit::Errno | Unit::Other => None,
        other => Some(other.symbol()),
    }
}

/// A failed check in one sentence.
pub(crate) fn sentence(check: &CheckReport) -> String {
    let because = match check.bound_reason.as_ref() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    format!(
        "{}: expected {}, observed {}{because}",
        subject(check),
        expected(check),
        observed(check)
    )
}

/// The line of a case's output that says most: a panic's message, the error that
/// the case returned, else the last.
pub(crate) fn last_words(output: &[String]) -> Option<&str> {
    let spoken = |it: &&String| !it.trim().is_empty();
    let panic = output.iter().rposition(|it| it.contains("panicked at"));
    let message = panic.and_then(|at| output.get(at + 1)).filter(spoken);
    // libtest prints it behind the case's name, on the same line.
    let returned = || output.iter().rev().find_map(|it| Some(it.split_once("Error: ")?.1));
    message
        .map(String::as_str)
        .or_else(returned)
        .or_else(|| output.iter().rfind(spoken).map(String::as_str))
        .map(str::trim)
}
