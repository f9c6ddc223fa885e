//! Two runs in, a verdict out.

use super::*;

const START: &str = r#"{"event":"run_start","schema":1,"run":"r","harness":"h","started":"2026-01-02T03:04:05Z","stage":"vm","accel":"tcg","clock":"virtual","hierarchy":"unified","driver":"cgroupfs","kernel":{"release":"6","version":"","config_sha256":""},"qemu":"7.2","cpus":1,"memory_bytes":536870912,"config":"c"}"#;

/// A case of a run, in few words: its latency, whether its check holds, its outcome.
struct Case(&'static str, u64, bool, &'static str);

fn run(start: &str, cases: &[Case]) -> Run {
    let mut lines = vec![start.to_owned()];
    for Case(case, latency, holds, outcome) in cases {
        let of = format!(r#""suite":"pids","case":"{case}""#);
        let observed = i32::from(!holds);
        lines.extend([
            format!(r#"{{"event":"case_start",{of}}}"#),
            format!(
                r#"{{"event":"check",{of},"requirements":[],"kind":"enforcement","what":"forks beyond","file":"","unit":"count","observed":{observed},"at_least":null,"at_most":null,"equals":0,"bound_reason":"","verdict":"pass"}}"#
            ),
            format!(
                r#"{{"event":"value",{of},"metric":"latency","unit":"ns","value":{latency},"better":"lower"}}"#
            ),
            format!(
                r#"{{"event":"case_end",{of},"outcome":"{outcome}","reason":"","elapsed_ns":1}}"#
            ),
        ]);
    }
    lines.push(r#"{"event":"run_end","passed":0,"failed":0,"skipped":0,"errors":0,"inconclusive":0,"requirements_covered":0}"#.into());
    Run::read_from((lines.join("\n") + "\n").as_bytes(), "events.jsonl").expect("a run")
}

const SETTINGS: GateSettings =
    GateSettings { threshold: None, mismatched: Mismatched::Refuse, absent: Absent::Regression };

fn base() -> Run {
    let names = ["a", "b", "c", "d", "e"];
    run(START, &names.map(|it| Case(it, 1000, true, "pass")))
}

#[test]
fn what_got_worse_is_said_with_both_sides() {
    let new = run(
        START,
        &[
            Case("a", 1010, true, "pass"),
            Case("b", 1000, false, "fail"),
            Case("c", 900, true, "pass"),
            Case("d", 1000, true, "skip"),
        ],
    );
    let found = gate(&base(), &new, &SETTINGS).unwrap();
    insta::assert_snapshot!(found.render(GateFormat::Text), @"
    regression: pids a: latency
        +1.0 % (1 µs -> 1.01 µs)
        base 1 sample: 1000
        new  1 sample: 1010
    regression: pids b
        held, and now fails
    regression: pids b: forks beyond
        held, and now fails
    regression: pids d
        held, and is skipped now
    regression: pids e
        held, and did not run
    improvement: pids c: latency
        -10.0 % (1 µs -> 900 ns)
        base 1 sample: 1000
        new  1 sample: 900
    5 regressions, 0 inconclusive, 1 improvement, 0 changes; 3 figures and 3 checks of 4 cases, threshold 0.50 %, virtual clock
    ");
}

#[test]
fn a_run_is_as_good_as_itself_and_as_its_baseline() {
    let mut compact = Vec::new();
    crate::write_baseline(&base(), &mut compact).unwrap();
    let baseline = Run::read_from(compact.as_slice(), "baseline").unwrap();
    let strictest = GateSettings { threshold: Some(0.0), ..SETTINGS };
    for it in [&base(), &baseline] {
        let found = gate(it, &base(), &strictest).unwrap();
        assert_eq!((found.findings.len(), found.cases, found.figures, found.checks), (0, 5, 5, 5));
    }
}

#[test]
fn one_per_cent_in_one_figure_is_all_that_is_found() {
    let mut names = ["a", "b", "c", "d", "e"].map(|it| Case(it, 1000, true, "pass"));
    names[3].1 = 1010;
    let found = gate(&base(), &run(START, &names), &SETTINGS).unwrap();
    let [only] = found.findings.as_slice() else { panic!("{found:?}") };
    assert_eq!((only.class, only.case.as_str()), (Class::Regression, "pids d"));
}

#[test]
fn what_cannot_be_compared_is_refused_or_marked() {
    let new = |from: &str, to: &str| run(&START.replace(from, to), &[Case("a", 1, true, "pass")]);
    for (from, to, what) in [
        (r#""qemu":"7.2""#, r#""qemu":"9""#, "another QEMU: 7.2 against 9"),
        (r#""clock":"virtual""#, r#""clock":"wall""#, "another clock: virtual against wall"),
        (r#""stage":"vm""#, r#""stage":"host""#, "another stage: vm against host"),
        (r#""cpus":1"#, r#""cpus":4"#, "another machine profile"),
    ] {
        let refused = gate(&base(), &new(from, to), &SETTINGS).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
        let marked = GateSettings { mismatched: Mismatched::Mark, ..SETTINGS };
        assert!(gate(&base(), &new(from, to), &marked).unwrap().marks[0].contains(what));
    }
    // Another host is no reason on the virtual clock, and one on the wall clock.
    let elsewhere = |clock: &str, host: &str| {
        let clock = START.replace("virtual", clock);
        run(&clock.replace(r#""qemu""#, &format!(r#""host":"{host}","qemu""#)), &[])
    };
    assert!(gate(&elsewhere("virtual", "x"), &elsewhere("virtual", "y"), &SETTINGS).is_ok());
    assert!(gate(&elsewhere("wall", "x"), &elsewhere("wall", "x"), &SETTINGS).is_ok());
    assert!(gate(&elsewhere("wall", "x"), &elsewhere("wall", "y"), &SETTINGS).is_err());
    assert!(gate(&elsewhere("wall", ""), &elsewhere("wall", ""), &SETTINGS).is_err());
}

#[test]
fn other_programs_in_the_guest_are_said_and_widen_the_default_alone() {
    let with = |sha: &str, latency| {
        let binaries = format!(r#""binaries":[{{"name":"pids","sha256":"{sha}"}}],"qemu""#);
        run(&START.replace(r#""qemu""#, &binaries), &[Case("a", latency, true, "pass")])
    };
    let (base, new) = (with("11", 1000), with("22", 1020));
    let found = gate(&base, &new, &SETTINGS).unwrap();
    assert_eq!((found.threshold, found.findings.len()), (0.03, 0));
    assert!(
        found.render(GateFormat::Text).starts_with("note: the guest's programs are others (pids)")
    );
    let strict = GateSettings { threshold: Some(0.005), ..SETTINGS };
    let found = gate(&base, &new, &strict).unwrap();
    assert_eq!((found.notes.len(), found.count(Class::Regression)), (1, 1));
    let found = gate(&base, &with("11", 1020), &SETTINGS).unwrap();
    assert_eq!((found.notes.len(), found.count(Class::Regression)), (0, 1));
}

#[test]
fn of_a_few_cases_alone_the_others_are_not_missed() {
    let few = run(START, &[Case("a", 1000, true, "pass")]);
    assert_eq!(gate(&base(), &few, &SETTINGS).unwrap().count(Class::Regression), 4);
    let subset = GateSettings { absent: Absent::Ignore, ..SETTINGS };
    assert_eq!(gate(&base(), &few, &subset).unwrap().findings, []);
    assert!(gate(&base(), &run(START, &[]), &subset).is_err());
}
