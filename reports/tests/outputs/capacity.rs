//! The planning report from made-up sweeps whose answers are known beforehand.

use cgauge_record::{Event, Unit};
use cgauge_reports::Run;
use cgauge_reports::capacity::{Capacity, CapacityFormat, Model, Pressure};
use proptest::prelude::*;

use super::build::{CONFIG, Case, Lines, histogram, passing, value};

/// A name of a case lives as long as the tests.
fn case(name: String, records: Vec<Event>) -> Case {
    let mut case = passing("capacity", Box::leak(name.into_boxed_str()), "");
    case.records.extend(records);
    case
}

fn stalls(ns: u64) -> Event {
    let Event::Histogram(mut it) = histogram(&format!("{ns}:9"), ns, ns, ns, ns) else {
        unreachable!("a histogram is a histogram")
    };
    it.metric = "stall".into();
    Event::Histogram(it)
}

/// A kernel on which groups cost the same up to a thousand and ten times as much at
/// ten thousand, threads stall for the period less their part, and throughput
/// falls to a tenth once the working set exceeds the limit.
fn sweeps() -> Run {
    let mut cases = Vec::new();
    for (place, groups) in [10_u64, 100, 1000, 10_000].into_iter().enumerate() {
        let cost = if groups > 1000 { 500_000 } else { 50_000 };
        cases.push(case(
            format!("groups::node_carries_groups::groups_{}_{groups}", place + 1),
            vec![
                value("kernel memory of a group", Unit::Bytes, 65_536),
                value("making a group", Unit::Nanoseconds, cost),
                value("fork and exit", Unit::Nanoseconds, 1_000_000),
            ],
        ));
    }
    for threads in [1_u64, 2, 4, 8] {
        let stall = 100_000_000 - 100_000_000 / threads;
        let mut records = vec![value("longest stall", Unit::Nanoseconds, stall)];
        records.extend((stall > 0).then(|| stalls(stall)));
        let name = format!("cpu::busy_threads_under_a_limit::threads_1_{threads}::percent_2_100");
        cases.push(case(name, records));
    }
    for (percent, rate) in [(50, 1e9), (100, 1e9), (110, 2e8), (150, 1e8)] {
        let name = format!(
            "memory::working_set_around_a_limit::of_1_Of__Cache::limit_1___max__::percent_1_{percent}"
        );
        cases.push(case(
            name,
            vec![
                value("bytes a second gone through", Unit::BytesPerSecond, rate),
                value("refaults", Unit::Pages, if percent > 100 { 900 } else { 0 }),
            ],
        ));
    }
    cases.push(case(
        "memory::smallest_limit_for_exec".into(),
        vec![value("smallest memory.max in which exec works", Unit::Bytes, 262_144)],
    ));
    let lines = Lines::default().start(CONFIG);
    cases.into_iter().fold(lines, |lines, it| lines.case(CONFIG, it)).end().read()
}

fn model(text: &str) -> Model {
    text.parse().unwrap()
}

fn node(services: &str) -> Model {
    model(&format!(
        "[node]\ncpus = 16\nmemory = \"16G\"\ndisk_rate = \"100M\"\nstall_ms = 80\n\n{services}"
    ))
}

fn written(capacity: &Capacity, format: CapacityFormat) -> String {
    let mut out = Vec::new();
    capacity.render(format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn six_answers_and_a_model() {
    let model = node(
        "[[service]]\nname = \"web\"\ncount = 20\nthreads = 4\ncpu = 0.25\ncpu_limit = 1\n\
         memory = \"256M\"\nmemory_limit = \"320M\"\ndisk_rate = \"2M\"\n\n\
         [[service]]\nname = \"batch | <b>\"\ncount = 2\ncpu = 1\nmemory = \"1G\"\n",
    );
    let capacity = Capacity::of(&sweeps(), Some(&model));
    insta::assert_snapshot!(written(&capacity, CapacityFormat::Markdown));
    let page = written(&capacity, CapacityFormat::Html);
    assert!(page.contains("DOES NOT FIT") || page.contains("FITS"));
    assert!(!page.contains("<b>"), "names are escaped");
    let json: serde_json::Value =
        serde_json::from_str(&written(&capacity, CapacityFormat::Json)).unwrap();
    assert_eq!(json["answers"].as_array().unwrap().len(), 6);
}

#[test]
fn the_example_is_a_model() {
    assert_eq!(model(include_str!("../../../docs/model.toml")).services.len(), 2);
}

#[test]
fn a_run_without_sweeps_says_so() {
    let run = Lines::default().start(CONFIG).case(CONFIG, passing("pids", "a", "")).end().read();
    let capacity = Capacity::of(&run, None);
    assert_eq!(capacity.measured_on, "This run has no sweep of the suite capacity.");
    assert!(capacity.answers.iter().all(|it| it.sentence == "This was not measured in this run."));
    for format in CapacityFormat::ALL {
        assert!(!written(&capacity, format).is_empty());
    }
}

#[test]
fn the_limit_that_binds_is_named() {
    let sweeps = sweeps();
    let fit = |services: &str| Capacity::of(&sweeps, Some(&node(services))).fit.unwrap();
    for (services, fits, said) in [
        ("count = 8\ncpu = 1\nmemory = \"1M\"", true, "CPU of the node binds first"),
        ("count = 8\ncpu = 3\nmemory = \"1M\"", false, "CPU of the node binds first"),
        ("count = 10\ncpu = 0.01\nmemory = \"1G\"", true, "memory of the node binds first"),
        (
            "count = 5000\ncpu = 0\nmemory = \"1\"",
            false,
            "groups until operations cost half more binds",
        ),
        (
            "count = 1\ncpu = 0.1\nmemory = \"1M\"\nthreads = 8\ncpu_limit = 1",
            false,
            "however few they are: stall of x",
        ),
        (
            "count = 1\ncpu = 0.1\nmemory = \"128M\"\nmemory_limit = \"100M\"",
            false,
            "however few they are: memory.max of x",
        ),
        (
            "count = 1\ncpu = 0.1\nmemory = \"100K\"\nmemory_limit = \"128K\"",
            false,
            "however few they are: exec in memory.max of x",
        ),
        (
            "count = 1\ncpu = 2\ncpu_limit = 1\nmemory = \"1M\"",
            false,
            "however few they are: cpu.max of x",
        ),
        (
            "count = 1\ncpu = 0\nmemory = \"1M\"\ndisk_rate = \"99M\"",
            true,
            "rate of the disk binds first",
        ),
    ] {
        let fit = fit(&format!("[[service]]\nname = \"x\"\n{services}\n"));
        assert_eq!(fit.fits, fits, "{services}: {}", fit.sentence);
        assert!(fit.sentence.contains(said), "{services}: {}", fit.sentence);
    }
}

#[test]
fn what_was_not_measured_is_named() {
    let services = "[[service]]\nname = \"x\"\ncount = 20\nthreads = 64\ncpu = 0.1\ncpu_limit = 1\n\
        memory = \"1M\"\ndisk_rate = \"1M\"\n";
    let fit = Capacity::of(&sweeps(), Some(&node(services))).fit.unwrap();
    let said = |text: &str| fit.extrapolations.iter().any(|it| it.contains(text));
    assert!(said("the stall of 64 threads on 1 CPUs of limit"), "{:?}", fit.extrapolations);
    assert!(said("what isolation on a disk costs was not measured"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn more_services_never_fit_better(
        count in 1_u32..3000, cpu in 0.0_f64..2.0, megabytes in 1_u32..2000, more in 1_u32..2000,
    ) {
        let sweeps = sweeps();
        let of = |count: u32| {
            let service = format!(
                "[[service]]\nname = \"x\"\ncount = {count}\ncpu = {cpu:.6}\nmemory = \"{megabytes}M\"\n"
            );
            Capacity::of(&sweeps, Some(&node(&service))).fit.unwrap()
        };
        let (few, many) = (of(count), of(count + more));
        prop_assert!(few.fits || !many.fits);
        prop_assert!(many.times <= few.times * (1.0 + 1e-9));
        prop_assert_eq!(few.fits, few.loads.iter().all(|it| it.load <= 1.0));
        prop_assert_eq!(few.fits, few.times >= 1.0 - 1e-9);
        prop_assert!(few.loads.iter().all(|it| it.pressure == Pressure::OfNumbers));
    }
}
