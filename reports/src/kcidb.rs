//! KCIDB, schema 5.3: what KernelCI's database takes in. A case is a test, and so
//! is each of its numbers, as `number` with its unit. It must not judge anything.
//!
//! The schema: <https://github.com/kernelci/kcidb-io>. It has what JUnit lacks: an
//! `ERROR` that is no `FAIL`, a `MISS` for what never ran, and a `DONE` for what
//! ran and is neither good nor bad.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use cgauge_record::{Outcome, Quantity, Requirement, RunStart, Unit};
use serde::Serialize;

use crate::describe;
use crate::names::rerun_command;
use crate::run::{CaseReport, Configuration, Run};
use crate::text::is_utc_time;

/// Who sends it; every id begins with this.
const ORIGIN: &str = "cgauge";
/// The longest `log_excerpt`, in characters, as the schema has it.
const LONGEST_EXCERPT: usize = 16_384;
/// The most failed checks of a case that are written out.
const MOST_CHECKS: usize = 20;

#[derive(Serialize)]
struct Checkout<'a> {
    id: String,
    origin: &'a str,
    comment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<&'a str>,
    misc: Kernel<'a>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    release: &'a str,
    version: &'a str,
    config_sha256: &'a str,
}

#[derive(Serialize)]
struct Build<'a> {
    id: String,
    checkout_id: &'a str,
    origin: &'a str,
    comment: &'a str,
}

#[derive(Serialize)]
struct Test<'a> {
    id: String,
    build_id: &'a str,
    origin: &'a str,
    path: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    comment: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    log_excerpt: String,
    environment: Environment<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misc: Option<Misc<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Environment<'a> {
    /// The configuration.
    comment: &'a str,
}

#[derive(Serialize)]
struct Misc<'a> {
    case: &'a str,
    checks: usize,
    requirements: Vec<Requirement>,
    rerun: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Fail,
    Error,
    Miss,
    Pass,
    Done,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Number {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'static str>,
}

/// Written object by object: a million numbers need not stand in memory twice.
pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let ids = Ids::of(run);
    write!(out, "{{\"version\":{{\"major\":5,\"minor\":3}},\n\"checkouts\":[")?;
    let mut list = List { out, empty: true };
    for (id, configuration) in ids.0.iter().zip(&run.configurations) {
        list.push(&checkout(id, &configuration.start))?;
    }
    write!(list.out, "\n],\n\"builds\":[")?;
    list.empty = true;
    for (id, configuration) in ids.0.iter().zip(&run.configurations) {
        let comment = configuration.start.kernel.version.as_str();
        list.push(&Build { id: id.clone(), checkout_id: id, origin: ORIGIN, comment })?;
    }
    write!(list.out, "\n],\n\"tests\":[")?;
    list.empty = true;
    for (id, configuration) in ids.0.iter().zip(&run.configurations) {
        write_tests(id, configuration, &mut list)?;
    }
    writeln!(out, "\n]}}")
}

/// The objects of an array, one a line.
struct List<'a> {
    out: &'a mut dyn Write,
    empty: bool,
}

impl List<'_> {
    fn push(&mut self, object: &impl Serialize) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.empty) { "\n" } else { ",\n" };
        self.out.write_all(separator.as_bytes())?;
        Ok(serde_json::to_writer(&mut *self.out, object)?)
    }
}

/// The id of each configuration: as checkout, as build, and before each test's own.
struct Ids(Vec<String>);

impl Ids {
    fn of(run: &Run) -> Self {
        let mut seen = Seen::default();
        let starts = run.configurations.iter().map(|it| &it.start);
        Self(starts.map(|it| seen.unique(format!("{ORIGIN}:{}:{}", it.run, it.config))).collect())
    }
}

/// Names that came already, for ids must differ.
#[derive(Default)]
struct Seen(HashMap<String, usize>);

impl Seen {
    fn unique(&mut self, name: String) -> String {
        let times = self.0.entry(name.clone()).or_default();
        *times += 1;
        if *times == 1 { name } else { format!("{name}~{times}") }
    }
}

fn checkout<'a>(id: &str, start: &'a RunStart) -> Checkout<'a> {
    Checkout {
        id: id.to_owned(),
        origin: ORIGIN,
        comment: &start.kernel_spec,
        start_time: Some(start.started.as_str()).filter(|it| is_utc_time(it)),
        misc: Kernel {
            release: &start.kernel.release,
            version: &start.kernel.version,
            config_sha256: &start.kernel.config_sha256,
        },
    }
}

fn write_tests(
    build_id: &str,
    configuration: &Configuration,
    list: &mut List<'_>,
) -> io::Result<()> {
    let environment = Environment { comment: &configuration.start.config };
    let mut seen = Seen::default();
    for case in &configuration.cases {
        let id = seen.unique(format!("{build_id}:{}:{}", case.suite, case.case));
        let path = path(&[&case.suite, &case.case]);
        let bare = |id: String, path: String| Test {
            id,
            build_id,
            origin: ORIGIN,
            path,
            comment: "",
            status: Status::Done,
            number: None,
            duration: None,
            log_excerpt: String::new(),
            environment,
            misc: None,
        };
        list.push(&Test {
            comment: &case.promise,
            status: status(case.outcome),
            duration: Some(seconds(case.elapsed_ns)),
            log_excerpt: excerpt(case),
            misc: Some(misc(configuration, case)),
            ..bare(id.clone(), path.clone())
        })?;
        let mut seen = Seen::default();
        for (metric, number) in numbers(case) {
            list.push(&Test {
                number: Some(number),
                ..bare(
                    seen.unique(format!("{id}:{metric}")),
                    format!("{path}.{}", segment(&metric)),
                )
            })?;
        }
    }
    for it in &configuration.never_ran {
        list.push(&Test {
            id: seen.unique(format!("{build_id}:{}:{}", it.suite, it.case)),
            build_id,
            origin: ORIGIN,
            path: path(&[&it.suite, &it.case]),
            comment: "",
            status: Status::Miss,
            number: None,
            duration: None,
            log_excerpt: String::new(),
            environment,
            misc: None,
        })?;
    }
    Ok(())
}

fn status(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Pass => Status::Pass,
        Outcome::Fail => Status::Fail,
        Outcome::Skip => Status::Skip,
        Outcome::Error => Status::Error,
        // It ran to its end, and that is all that can be said.
        Outcome::Inconclusive => Status::Done,
    }
}

fn misc<'a>(configuration: &Configuration, case: &'a CaseReport) -> Misc<'a> {
    let mut requirements: Vec<Requirement> =
        case.checks.iter().flat_map(|it| it.requirements.iter().copied()).collect();
    requirements.sort_unstable();
    requirements.dedup();
    Misc {
        case: &case.case,
        checks: case.checks.len(),
        requirements,
        rerun: rerun_command(&configuration.start, &case.suite, &case.case),
    }
}

/// Why it went wrong, and the last lines of console and output.
fn excerpt(case: &CaseReport) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if !case.reason.is_empty() {
        let _ = writeln!(text, "{}", case.reason);
    }
    for check in describe::failed(&case.checks).take(MOST_CHECKS) {
        let _ = writeln!(text, "{}", describe::sentence(check));
    }
    for line in &case.evidence {
        let _ = writeln!(text, "{line}");
    }
    match text.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

/// The numbers of a case by name: its values, and of each distribution what one
/// asks for first. A value that is a word is no number.
fn numbers(case: &CaseReport) -> impl Iterator<Item = (String, Number)> {
    let values =
        case.values.iter().filter_map(|it| Some((it.metric.clone(), number(&it.value, it.unit)?)));
    let distributions = case.histograms.iter().flat_map(|it| {
        let parts = [("p50", it.p50), ("p99", it.p99), ("max", it.max)];
        parts.into_iter().filter_map(|(name, value)| {
            Some((format!("{} {name}", it.metric), number(&Quantity::from(value), it.unit)?))
        })
    });
    values.chain(distributions)
}

/// A number in a unit without prefix, so that every reader scales it alike.
fn number(value: &Quantity, unit: Unit) -> Option<Number> {
    let value = value.number().filter(|it| it.is_finite())?;
    let (divisor, symbol, prefix) = match unit {
        Unit::Nanoseconds => (1e9, "s", Some("metric")),
        Unit::Microseconds => (1e6, "s", Some("metric")),
        Unit::Bytes => (1.0, "B", Some("binary")),
        Unit::BytesPerSecond => (1.0, "B/s", Some("binary")),
        Unit::Ratio | Unit::Count | Unit::Errno | Unit::Text | Unit::Other => (1.0, "", None),
        other => (1.0, other.symbol(), None),
    };
    Some(Number { value: value / divisor, unit: Some(symbol).filter(|it| !it.is_empty()), prefix })
}

fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// `cgauge.pids.fork_bomb_stops.limit_2_8`: a database groups tests by the dots.
fn path(names: &[&str]) -> String {
    let segments = names.iter().flat_map(|it| it.split("::")).map(segment);
    std::iter::once(ORIGIN.to_owned()).chain(segments).collect::<Vec<_>>().join(".")
}

fn segment(name: &str) -> String {
    let allowed = |it: char| it.is_ascii_alphanumeric() || it == '-';
    let text: String = name.chars().map(|it| if allowed(it) { it } else { '_' }).collect();
    if text.is_empty() { "_".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_unit_without_prefix() {
        for (value, unit, expected) in [
            (1_500_000, Unit::Nanoseconds, (0.0015, Some("s"), Some("metric"))),
            (2500, Unit::Microseconds, (0.0025, Some("s"), Some("metric"))),
            (4096, Unit::Bytes, (4096.0, Some("B"), Some("binary"))),
            (-3, Unit::Count, (-3.0, None, None)),
            (8, Unit::Processes, (8.0, Some("processes"), None)),
        ] {
            let it = number(&Quantity::from(value), unit).unwrap();
            assert_eq!((it.value, it.unit, it.prefix), expected);
        }
        assert_eq!(number(&Quantity::from("max"), Unit::Bytes), None);
        assert_eq!(number(&Quantity::Real(f64::INFINITY), Unit::Bytes), None);
    }

    #[test]
    fn a_path_holds_what_the_schema_allows() {
        assert_eq!(path(&["pids", "bomb::limit_2_8"]), "cgauge.pids.bomb.limit_2_8");
        assert_eq!(path(&["a.b", "ü::"]), "cgauge.a_b._._");
    }
}
