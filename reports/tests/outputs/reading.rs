//! Reading `events.jsonl`: what is refused and why, what is tolerated and noted.

use cgauge_record::{Outcome, Planned, RunStart, ids};
use cgauge_reports::{ReadError, Run};

use super::build::{CONFIG, Case, Lines, check, every_outcome, passing, start};

fn refusal(text: &str) -> String {
    Run::read_from(text.as_bytes(), "events.jsonl").unwrap_err().to_string()
}

#[test]
fn what_is_no_run_is_refused_with_the_reason() {
    let head = Lines::default().start(CONFIG).0;
    for (text, reason) in [
        (String::new(), "events.jsonl is empty: the run wrote nothing"),
        (
            "hello\n".into(),
            "events.jsonl is no results file of cgauge: its first line is no run_start event",
        ),
        (
            "{\"event\":\"run_end\"}\n".into(),
            "events.jsonl is no results file of cgauge: its first line is no run_start event",
        ),
        (
            "{\"event\":\"run_start\"}\n".into(),
            "events.jsonl is no results file of cgauge: its first line is no run_start event",
        ),
        (
            "{\"event\":\"run_start\",\"schema\":2,\"shape\":[]}\n".into(),
            "events.jsonl has schema 2, and this cgauge reads 1: use the version that wrote it, or a newer one",
        ),
        (
            "{\"event\":\"run_start\",\"schema\":1}\n".into(),
            "events.jsonl:1 is no event: missing field `run` at line 1 column 32",
        ),
        (
            head.clone() + "{\"event\":\"value\",\"value\":NaN}\n",
            "events.jsonl:2 is no event: expected value at line 1 column 26",
        ),
        (
            head.clone() + "\0\0\0\n",
            "events.jsonl:2 is no event: expected value at line 1 column 1",
        ),
        (
            head + &"x".repeat(5 << 20),
            "events.jsonl:2 is no event: it is longer than 4194304 bytes",
        ),
    ] {
        assert_eq!(refusal(&text), reason);
    }
}

#[test]
fn a_run_is_read_from_its_directory_or_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.jsonl");
    assert!(matches!(Run::read(directory.path()), Err(ReadError::Io { path, .. }) if path == file));
    std::fs::write(&file, every_outcome(CONFIG).0).unwrap();
    assert_eq!(Run::read(directory.path()).unwrap(), Run::read(&file).unwrap());
}

#[test]
fn counts_come_from_the_cases_and_not_from_the_file() {
    let run = every_outcome(CONFIG).read();
    let end = &run.end;
    assert_eq!(
        (end.passed, end.failed, end.skipped, end.errors, end.inconclusive),
        (4, 1, 1, 1, 1)
    );
    assert_eq!(end.requirements, [ids::R031, ids::R059, ids::R132, ids::S13]);
    assert!(run.notes.is_empty(), "{:?}", run.notes);
}

#[test]
fn a_file_cut_at_any_byte_still_reads() {
    let whole = every_outcome(CONFIG).0;
    let first = whole.find('\n').unwrap();
    for end in (first + 1..whole.len() - 1).step_by(97) {
        let run = Run::read_from(&whole.as_bytes()[..end], "events.jsonl").unwrap();
        assert!(run.end.interrupted, "cut at {end}");
        assert!(run.notes.iter().any(|it| it.contains("cut off")), "cut at {end}");
        let half = |it: &&cgauge_reports::CaseReport| it.reason == "the run was cut off here";
        assert!(
            run.configurations[0].cases.iter().filter(half).all(|it| it.outcome == Outcome::Error)
        );
    }
}

#[test]
fn a_case_without_an_end_is_an_error_unless_the_kernel_was_seen_to_fail() {
    let open = |name, observed| Case {
        records: vec![check(ids::R132, observed, 8)],
        end: None,
        ..passing("pids", name, "")
    };
    let run =
        Lines::default().start(CONFIG).case(CONFIG, open("a", 8)).case(CONFIG, open("b", 9)).read();
    let cases = &run.configurations[0].cases;
    assert_eq!(
        (cases[0].outcome, cases[0].reason.as_str()),
        (Outcome::Error, "the run was cut off here")
    );
    assert_eq!(cases[1].outcome, Outcome::Fail);
}

#[test]
fn planned_cases_that_never_began_are_known() {
    let planned = |case: &str| Planned { suite: "pids".into(), case: case.into() };
    let begin = RunStart { planned: vec![planned("a"), planned("b")], ..start(CONFIG) };
    let lines = Lines::default().event(cgauge_record::Event::RunStart(begin));
    let run = lines.case(CONFIG, passing("pids", "a", "")).end().read();
    assert_eq!(run.configurations[0].never_ran, [planned("b")]);
    let verdict = cgauge_reports::Verdict::of(&run);
    assert_eq!(verdict.standing, cgauge_reports::Standing::Undecided);
    assert!(
        verdict.sentence.ends_with("; one case of the plan never ran."),
        "{}",
        verdict.sentence
    );
}

#[test]
fn what_a_newer_harness_adds_is_counted_and_ignored() {
    let known = Lines::default().start(CONFIG).case(CONFIG, passing("pids", "a", "")).end();
    let newer = known.0.replace("\"elapsed_ns\"", "\"joules\":3,\"elapsed_ns\"")
        + "{\"event\":\"weather\",\"sky\":\"blue\"}\n{\"event\":\"weather\"}\n";
    let mut run = Run::read_from(newer.as_bytes(), "events.jsonl").unwrap();
    insta::assert_snapshot!(run.notes.join("\n"), @"
    2 events of unknown kinds were ignored, a newer cgauge may know them: weather
    1 unknown fields were ignored, a newer cgauge may know them: joules
    ");
    run.notes.clear();
    assert_eq!(run, known.read());
}

#[test]
fn an_older_file_reads_though_it_lacks_the_newer_fields() {
    let text = concat!(
        r#"{"event":"run_start","schema":1,"run":"r","harness":"h","started":"s","stage":"vm","accel":"tcg","#,
        r#""clock":"virtual","hierarchy":"unified","driver":"cgroupfs","kernel":{"release":"6.1","version":"","#,
        r#""config_sha256":""},"qemu":"7.2","cpus":1,"memory_bytes":1}"#,
        "\n",
        r#"{"event":"case_start","suite":"pids","case":"a"}"#,
        "\n",
        r#"{"event":"case_end","suite":"pids","case":"a","outcome":"skip","reason":"no pids","elapsed_ns":1}"#,
        "\n",
    );
    let run = Run::read_from(text.as_bytes(), "events.jsonl").unwrap();
    assert_eq!(run.configurations[0].cases[0].outcome, Outcome::Skip);
}

#[test]
fn events_of_no_running_case_are_counted_and_left_out() {
    let strays = Lines::default()
        .start(CONFIG)
        .case("no such configuration", passing("pids", "a", ""))
        .case(CONFIG, passing("pids", "b", ""))
        .end();
    let run = strays.read();
    assert_eq!(run.configurations[0].cases.len(), 1);
    assert_eq!(run.notes, ["3 events were left out: they belong to no case that was running"]);
}

#[test]
fn cases_of_several_workers_may_be_mixed() {
    let apart = Lines::default()
        .start(CONFIG)
        .case(CONFIG, passing("pids", "a", ""))
        .case(CONFIG, passing("core", "b", ""))
        .end();
    let lines: Vec<&str> = apart.0.lines().collect();
    let mixed: Vec<&str> = [0, 1, 4, 2, 5, 3, 6, 7].map(|it| lines[it]).to_vec();
    let mixed = mixed.join("\n") + "\n";
    assert_ne!(mixed, apart.0);
    assert_eq!(Run::read_from(mixed.as_bytes(), "events.jsonl").unwrap(), apart.read());
}

#[test]
fn parameters_are_sorted_as_numbers() {
    let names = ["bomb::limit_10_1024", "bomb::limit_2_8", "bomb::limit_1_1", "after"];
    let lines = names.iter().fold(Lines::default().start(CONFIG), |lines, it| {
        lines.case(CONFIG, passing("pids", it, ""))
    });
    let run = lines.end().read();
    let sorted: Vec<&str> = run.configurations[0].cases.iter().map(|it| it.case.as_str()).collect();
    assert_eq!(sorted, ["after", "bomb::limit_1_1", "bomb::limit_2_8", "bomb::limit_10_1024"]);
}

#[test]
fn runs_side_by_side_keep_their_configurations_apart() {
    let run = || every_outcome(CONFIG).read();
    let both = Run::join([run(), Run { configurations: vec![], ..run() }, run()]);
    assert_eq!(both.configurations.len(), 2);
    assert_eq!(both.configurations[0].start.config, format!("20260102-030405 {CONFIG}"));
    assert_eq!(both.end.passed, 2 * run().end.passed);
}
