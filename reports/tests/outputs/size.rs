//! However much a run records, a report stays of a size that a browser opens.

use cgauge_record::{Event, Outcome, Unit, ids};
use cgauge_reports::{Format, Run};

use super::build::{CONFIG, Case, Lines, check, histogram, passing, series, value};
use super::written;

/// What a page may weigh, in bytes.
const LARGEST: usize = 5_000_000;

/// A run of one case with these records.
fn with_records(records: Vec<Event>, outcome: Outcome) -> Run {
    let end = Some((outcome, "", &["one line", "another"][..]));
    let promise = "A promise that is as long as promises are, more or less.";
    let case = Case { records, end, ..passing("pids", "one", promise) };
    Lines::default().start(CONFIG).case(CONFIG, case).end().read()
}

#[test]
fn two_hundred_thousand_records_of_many_failing_cases() {
    let mut records: Vec<Event> = (0..18).map(|it| check(ids::R132, 9 + it, 8)).collect();
    records.push(value("time", Unit::Nanoseconds, 7));
    records.push(series((0..40).map(|it| (it, 1.0)).collect(), Some(2.0)));
    let mut run = with_records(records, Outcome::Fail);
    let cases = &mut run.configurations[0].cases;
    let one = cases.remove(0);
    cases.extend((0..10_000).map(|it| {
        let mut another = one.clone();
        another.case = format!("case_number_x{it}");
        another
    }));
    let page = written(&run, Format::Html);
    assert!(page.len() < LARGEST, "{} bytes", page.len());
    assert!(page.contains("more cases are left out here"));
    assert!(written(&run, Format::Markdown).len() < 1_000_000);
}

#[test]
fn two_hundred_thousand_records_of_one_case() {
    let points = (0..100_000_u32).map(|it| (u64::from(it), f64::from(it % 977))).collect();
    let records = vec![
        check(ids::R132, 9, 8),
        histogram("10:1 100:7 1000:3", 10, 100, 1000, 1000),
        series(points, Some(900.0)),
    ];
    let mut run = with_records(records, Outcome::Fail);
    let case = &mut run.configurations[0].cases[0];
    case.checks = vec![case.checks[0].clone(); 199_000];
    case.histograms = vec![case.histograms[0].clone(); 1000];
    for format in [Format::Html, Format::Junit, Format::Ktap, Format::Markdown] {
        let output = written(&run, format);
        assert!(output.len() < LARGEST, "{format}: {} bytes", output.len());
    }
}
