//! Comparing runs: the same is the same, and one changed figure is found alone.

use cgauge_reports::{Run, compare};

const RUN: &str = r#"{"event":"run_start","schema":1,"run":"r","harness":"h","started":"","stage":"vm","accel":"tcg","clock":"virtual","hierarchy":"unified","driver":"cgroupfs","kernel":{"release":"","version":"","config_sha256":""},"qemu":"","cpus":1,"memory_bytes":1,"config":"A"}
{"event":"case_start","config":"A","suite":"s","case":"c"}
{"event":"value","config":"A","suite":"s","case":"c","metric":"latency","unit":"ns","value":100,"better":"lower"}
{"event":"series","config":"A","suite":"s","case":"c","metric":"use","unit":"count","points":[[0,1.0],[5,2.0]]}
{"event":"case_end","config":"A","suite":"s","case":"c","outcome":"error","reason":"x","elapsed_ns":1}
{"event":"run_end","passed":0,"failed":0,"skipped":0,"errors":1,"inconclusive":0,"requirements_covered":0}
"#;

fn read(text: &str) -> Run {
    Run::read_from(text.as_bytes(), "events.jsonl").unwrap()
}

#[test]
fn the_same_figures_on_another_configuration_are_no_difference() {
    let found = compare(&read(RUN), &read(&RUN.replace("\"config\":\"A\"", "\"config\":\"B\"")));
    assert_eq!((found.cases, found.records), (1, 2));
    assert!(
        found.differences.is_empty()
            && found.only_in_base.is_empty()
            && found.only_in_new.is_empty()
    );
}

#[test]
fn one_changed_figure_is_found_alone() {
    let found = compare(&read(RUN), &read(&RUN.replace(":100,", ":101,")));
    let said: Vec<_> = found.differences.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["s c: value latency: 100 ns -> 101 ns"]);
    let found = compare(&read(RUN), &read(&RUN.replace("[5,2.0]", "[6,2.0]")));
    assert_eq!(found.differences.len(), 1);
}

#[test]
fn a_case_that_one_run_lacks_is_named() {
    let found = compare(&read(RUN), &read(&RUN.replace("\"case\":\"c\"", "\"case\":\"d\"")));
    assert_eq!(
        (found.only_in_base, found.only_in_new),
        (vec!["s c".to_owned()], vec!["s d".to_owned()])
    );
}
