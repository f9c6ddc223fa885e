//! Every output as it stands, for a run in which each outcome occurs.

use cgauge_record::{CaseEnd, Outcome, ids};
use cgauge_reports::terminal::{Colour, case_line};
use cgauge_reports::{Format, Run, Standing, Verdict, rerun_command, write_into};

use super::build::{CONFIG, Lines, check, every_outcome, passing, start};
use super::{shown, written};

#[test]
fn terminal() {
    insta::assert_snapshot!(shown(&every_outcome(CONFIG).read(), Colour::Never));
}

#[test]
fn markdown() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Markdown));
}

#[test]
fn ktap() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Ktap));
}

#[test]
fn junit() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Junit));
}

#[test]
fn json() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Json));
}

#[test]
fn kcidb() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Kcidb));
}

#[test]
fn csv() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Csv));
}

#[test]
fn annotations() {
    insta::assert_snapshot!(written(&every_outcome(CONFIG).read(), Format::Annotations));
}

#[test]
fn a_matrix_of_kernels_in_ktap() {
    let lines =
        ["debian:5.10/unified/cgroupfs/vm", "debian:6.12/unified/cgroupfs/vm"].map(|config| {
            Lines::default().start(config).case(config, passing("pids", "holds", "")).end().read()
        });
    insta::assert_snapshot!(written(&Run::join(lines), Format::Ktap), @"
    KTAP version 1
    1..2
      KTAP version 1
      # Subtest: pids debian:5.10/unified/cgroupfs/vm
      1..1
      ok 1 holds
    ok 1 pids debian:5.10/unified/cgroupfs/vm
      KTAP version 1
      # Subtest: pids debian:6.12/unified/cgroupfs/vm
      1..1
      ok 1 holds
    ok 2 pids debian:6.12/unified/cgroupfs/vm
    ");
}

#[test]
fn colours_change_no_word() {
    let run = every_outcome(CONFIG).read();
    let coloured = shown(&run, Colour::Always);
    assert!(coloured.contains("\x1b[1;31mFAIL"));
    let mut plain = String::new();
    for (index, part) in coloured.split('\x1b').enumerate() {
        plain += if index == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, shown(&run, Colour::Never));
}

#[test]
fn a_finished_case_is_one_line() {
    let end = CaseEnd {
        config: CONFIG.into(),
        suite: "pids".into(),
        case: "bomb::limit_2_8".into(),
        outcome: Outcome::Error,
        reason: "the guest\x1b[2J\nvanished".into(),
        elapsed_ns: 1_234_000_000,
        host_elapsed_ns: 0,
        host_ns: 0,
        evidence: Vec::new(),
    };
    insta::assert_snapshot!(case_line(&end, Colour::Never), @"ERROR pids bomb::limit_2_8 (1.23 s): the guest[2J vanished");
}

#[test]
fn the_verdict_is_one_sentence() {
    let of = |outcomes: &[Outcome], end: fn(Lines) -> Lines| {
        let lines = outcomes.iter().zip(["a", "b", "c"]).fold(
            Lines::default().start(CONFIG),
            |lines, (outcome, name)| {
                let mut case = passing("pids", name, "");
                if *outcome == Outcome::Fail {
                    case.records = vec![check(ids::R132, 9, 8)];
                }
                case.end = Some((*outcome, "because", &[]));
                lines.case(CONFIG, case)
            },
        );
        let verdict = Verdict::of(&end(lines).read());
        (verdict.standing, verdict.sentence)
    };
    use Outcome::{Error, Fail, Pass, Skip};
    let kernel = "Linux 6.12.9-cloud-amd64";
    for (outcomes, standing, sentence) in [
        (
            &[Pass, Pass][..],
            Standing::Held,
            format!("{kernel} kept every promise that was checked in 2 cases."),
        ),
        (
            &[Pass, Skip],
            Standing::Held,
            format!("{kernel} kept every promise that was checked in one case."),
        ),
        (
            &[Pass, Fail, Error],
            Standing::Broken,
            format!("{kernel} broke promises in 1 of 2 cases."),
        ),
        (
            &[Pass, Error],
            Standing::Undecided,
            format!("{kernel} kept every promise in one case, but one more could not be decided."),
        ),
        (
            &[Error],
            Standing::Undecided,
            format!("Nothing can be said of {kernel}: no case ran to its end."),
        ),
        (&[Skip], Standing::Untested, format!("No promise of {kernel} was checked.")),
    ] {
        assert_eq!(of(outcomes, Lines::end), (standing, sentence), "{outcomes:?}");
    }
    let cut_off = of(&[Pass], |it| it);
    assert_eq!(cut_off.0, Standing::Undecided);
    assert!(
        cut_off
            .1
            .ends_with("but the rest could not be decided; the run was stopped before its end."),
        "{}",
        cut_off.1
    );
}

#[test]
fn the_command_that_runs_it_again_names_what_is_not_the_default() {
    let mut it = start(CONFIG);
    assert_eq!(
        rerun_command(&it, "pids", "bomb::limit_2_8"),
        "cargo xtask run pids --case bomb::limit_2_8 --kernel debian:6.12"
    );
    it.clock = cgauge_record::Clock::Wall;
    it.stage = cgauge_record::StageKind::Container;
    it.hierarchy = cgauge_record::Hierarchy::Hybrid;
    it.driver = cgauge_record::Driver::Systemd;
    it.kernel_spec = "/boot/my kernel".into();
    assert_eq!(
        rerun_command(&it, "pids", "a"),
        "cargo xtask run pids --case a --kernel '/boot/my kernel' --hierarchy hybrid --driver systemd --stage container --clock wall"
    );
}

#[test]
fn outputs_replace_older_ones_and_leave_nothing_beside() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("junit.xml"), "old").unwrap();
    let paths =
        write_into(&every_outcome(CONFIG).read(), directory.path(), &Format::OF_EVERY_RUN).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "results.ktap", "summary.md"]);
    assert_eq!(paths.len(), 4);
    assert!(std::fs::read_to_string(&paths[1]).unwrap().starts_with("<?xml"));
    let nowhere = directory.path().join("nowhere");
    let error = write_into(&Run::default(), &nowhere, &[Format::Ktap]).unwrap_err();
    assert_eq!(error.path, nowhere.join("results.ktap"));
}
