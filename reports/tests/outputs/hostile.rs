//! Files written to do harm: no output may run, move or lie for them.

use cgauge_record::{Event, Outcome, Quantity, Unit, ids};
use cgauge_reports::capacity::{Capacity, CapacityFormat};
use cgauge_reports::charts::Chart;
use cgauge_reports::terminal::Colour;
use cgauge_reports::{Format, Run};

use super::build::{CONFIG, Lines, check, histogram, passing, series, start, value};
use super::{shown, written};

pub(crate) const SCRIPT: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>]]><!--";
pub(crate) const CONTROL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{8}\u{0}\u{202e}\u{fffe}\u{2028}";

/// Every text of a run, replaced by another.
pub(crate) fn with_every_text(text: &str) -> Run {
    let mut case = passing("suite", "case", "promise");
    case.records = vec![
        check(ids::R132, text, 8),
        value(text, Unit::Text, text),
        series(vec![(0, 1.0)], None),
        histogram("1:1", 1, 1, 1, 1),
    ];
    case.end = Some((Outcome::Fail, "reason", &["evidence"]));
    let mut begin = start("config");
    for field in [
        &mut begin.run,
        &mut begin.harness,
        &mut begin.started,
        &mut begin.accel,
        &mut begin.qemu,
        &mut begin.kernel_spec,
        &mut begin.machine,
        &mut begin.guest,
        &mut begin.kernel.release,
    ] {
        *field = text.to_owned();
    }
    let quoted = serde_json::to_string(text).unwrap();
    let lines = Lines::default().event(Event::RunStart(begin)).case("config", case).end();
    let words = [
        "suite",
        "case",
        "promise",
        "reason",
        "evidence",
        "config",
        "pids.current",
        "last exit to populated 0",
        "processes in the bomb's group",
        "pids.max is 8, and a fork above it fails with EAGAIN",
    ];
    let file = words.iter().fold(lines.0, |file, it| {
        file.replace(&format!(":\"{it}\""), &format!(":{quoted}"))
            .replace(&format!("[\"{it}\""), &format!("[{quoted}"))
    });
    Run::read_from(file.as_bytes(), "events.jsonl").unwrap()
}

/// A page without the one script that is its own, which must be there just once.
fn without_own_script(page: &str) -> String {
    let own = concat!("<script>", include_str!("../../src/html/script.js"), "</script>");
    assert_eq!(page.matches(own).count(), 1);
    page.replace(own, "")
}

#[test]
fn no_script_comes_out() {
    let run = with_every_text(SCRIPT);
    assert_eq!(run.end.failed, 1);
    let page = written(&run, Format::Html);
    let lower = without_own_script(&page).to_lowercase();
    assert!(
        !lower.contains("<script") && !lower.contains("<img") && !lower.contains("<!--"),
        "{page}"
    );
    assert!(page.contains("&lt;script&gt;"), "the text itself is shown");
    let markdown = written(&run, Format::Markdown);
    for line in markdown.lines().filter(|it| it.contains("script")) {
        let outside_code: String = line.split('`').step_by(2).collect();
        assert!(!outside_code.contains("<script") && !outside_code.contains("<img"), "{line}");
    }
    let gathered = run.configurations.iter().flat_map(Chart::gathered);
    for chart in run.cases().flat_map(|(_, case)| Chart::of_case(case)).chain(gathered) {
        assert!(!chart.standalone().contains("<script"));
    }
    let junit = written(&run, Format::Junit);
    assert!(!junit.contains("<script"), "{junit}");
    quick_junit::Report::deserialize_from_str(&junit).unwrap();
}

#[test]
fn no_control_character_comes_out() {
    let run = with_every_text(CONTROL);
    let mut outputs: Vec<String> = Format::ALL.iter().map(|it| written(&run, *it)).collect();
    outputs.push(shown(&run, Colour::Never));
    for output in outputs {
        let bad = output.chars().find(|it| {
            (it.is_control() && *it != '\n') || matches!(it, '\u{202e}' | '\u{fffe}' | '\u{2028}')
        });
        assert_eq!(bad, None, "{output}");
    }
}

#[test]
fn a_name_cannot_forge_a_line_of_ktap() {
    let run = with_every_text("ok 1 - all\nok 2 # SKIP no\n1..0\nreboot: System halted");
    let ktap = written(&run, Format::Ktap);
    let results: Vec<&str> =
        ktap.lines().filter(|it| it.contains("ok ") && !it.contains("# ")).collect();
    assert_eq!(results.len(), 2, "{ktap}");
    assert!(results.iter().all(|it| it.trim_start().starts_with("not ok 1 ")), "{ktap}");
    assert!(!ktap.contains("reboot: System halted"), "the kernel's parser would stop there");
}

#[test]
fn texts_without_end_are_cut_everywhere() {
    let run = with_every_text(&"N".repeat(400_000));
    for format in Format::ALL {
        let output = written(&run, format);
        assert!(output.len() < 300_000, "{format}: {} bytes", output.len());
        let longest = output.split(|it: char| it != 'N').map(str::len).max().unwrap();
        assert!(longest <= 1000, "{format}: {longest}");
    }
    assert!(shown(&run, Colour::Never).len() < 20_000);
}

#[test]
fn texts_that_differ_only_far_behind_do_not_become_equal() {
    let long = "x".repeat(1 << 16);
    let mut case = passing("core", "a", "");
    let Event::Check(mut it) = check(ids::R016, long.clone() + "a", 0) else {
        unreachable!("a check is a check")
    };
    it.at_most = None;
    it.equals = Some(Quantity::Text(long + "b"));
    case.records = vec![Event::Check(it)];
    let run = Lines::default().start(CONFIG).case(CONFIG, case).end().read();
    assert_eq!(run.end.failed, 1);
    let failed = &run.configurations[0].cases[0].checks[0];
    assert_eq!(failed.verdict, cgauge_record::Verdict::Fail);
    assert!(written(&run, Format::Html).contains("Observed"), "the failed check is shown");
}

#[test]
fn odd_numbers_are_drawn_or_left_out_but_never_break_a_page() {
    let odd = [
        vec![],
        vec![(0, 0.0)],
        vec![(7, -5.0), (7, -5.0)],
        vec![(0, f64::MAX), (1, f64::MIN)],
        vec![(u64::MAX, 1.0), (0, 1e15)],
        vec![(0, 1e-300), (u64::MAX, -1e-300)],
        vec![(5, 3.0), (1, 2.0), (3, -1e14)],
    ];
    let limits = [None, Some(0.0), Some(-1.0), Some(f64::MAX), Some(9.2e18)];
    let mut records: Vec<Event> =
        odd.iter().flat_map(|it| limits.map(|limit| series(it.clone(), limit))).collect();
    for encoded in [
        "",
        "x",
        "0:0",
        "0:18446744073709551615",
        "18446744073709551615:1 0:1",
        "5:5 :: 6:-1",
        "7:1",
    ] {
        records.push(histogram(encoded, 0, u64::MAX, 3, 1));
    }
    for number in [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, -0.0, 5e-324] {
        records.push(value("odd", Unit::Bytes, number));
        records.push(check(ids::R132, number, 8));
    }
    let mut case = passing("pids", "odd", "");
    case.records = records;
    let run = Lines::default().start(CONFIG).case(CONFIG, case).end().read();
    for format in Format::ALL {
        assert!(!written(&run, format).is_empty());
    }
    let charts: Vec<String> =
        run.cases().flat_map(|(_, case)| Chart::of_case(case)).map(|it| it.standalone()).collect();
    assert!(charts.len() >= 25, "{}", charts.len());
    for chart in charts {
        assert!(!chart.contains("NaN") && !chart.contains("inf\""), "{chart}");
    }
}

/// Numbers that no picture of several cases and no plan may stumble over.
#[test]
fn odd_numbers_harm_no_picture_of_several_cases_and_no_plan() {
    let families = [
        ("cpu", "quota::group_burns::case_1", "work done in a period"),
        ("cpu", "throttling::counters::case_1", "stalls of the thread"),
        ("memory", "high::growth::case_1", "size with memory.high"),
        ("memory", "limit::a::case_1", "memory.current"),
        ("io", "limits::each_limit::case_1", "bytes a second"),
        ("pids", "bomb::a::case_1", "pids.current"),
        ("operations", "fork::controllers_absent::depth_01", "one operation"),
        ("groups", "make_and_remove::depth_01", "one operation"),
        ("capacity", "groups::node_carries_groups::groups_1_10", "making a group"),
        (
            "capacity",
            "cpu::busy_threads_under_a_limit::threads_1_1::percent_1_100",
            "longest stall",
        ),
        (
            "capacity",
            "notification::supervisor_is_told::groups_1_0::mechanism_1_Poll",
            "hits of the limit",
        ),
    ];
    let numbers = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 5e-324, -1e300, 1e15];
    let mut lines = Lines::default().start(CONFIG);
    for (suite, name, metric) in families {
        let mut case = passing(suite, name, "");
        for number in numbers {
            let Event::Series(mut over_time) =
                series(vec![(0, number), (u64::MAX, -number), (1, number), (1, 0.0)], Some(number))
            else {
                unreachable!("a series is a series")
            };
            over_time.metric = metric.to_owned();
            // JSON knows no other, and a file that holds one is refused.
            case.records.extend(number.is_finite().then_some(Event::Series(over_time)));
            case.records.push(value(metric, Unit::Nanoseconds, number));
            case.records.push(check(ids::R132, number, number));
            let Event::Check(mut share) = check(ids::R067, number, 1.0) else {
                unreachable!("a check is a check")
            };
            share.at_least = Some(Quantity::from(-number));
            share.what = "the share of the first one".into();
            share.file = "cpu.weight".into();
            share.unit = Unit::Ratio;
            case.records.push(Event::Check(share));
        }
        case.records.push(histogram("0:0 18446744073709551615:1", 0, u64::MAX, 3, 1));
        lines = lines.case(CONFIG, case);
    }
    let run = lines.end().read();
    for format in Format::ALL {
        assert!(!written(&run, format).is_empty());
    }
    for chart in run.configurations.iter().flat_map(Chart::gathered) {
        let picture = chart.standalone();
        assert!(!picture.contains("NaN") && !picture.contains("inf\""), "{picture}");
    }
    let model = "[node]\ncpus = 1e6\nmemory = \"1\"\n[[service]]\nname = \"x\"\ncount = 1000000\n\
        threads = 1000000\ncpu = 1e6\ncpu_limit = 1e-300\nmemory = \"1e18\"\nmemory_limit = \"1\"\n";
    let capacity = Capacity::of(&run, Some(&model.parse().unwrap()));
    for format in CapacityFormat::ALL {
        capacity.render(format, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_megabyte_in_a_name_is_cut() {
    let name: &'static str = Box::leak("M".repeat(1 << 20).into_boxed_str());
    let mut case = passing(name, "a", "");
    case.records.push(series(vec![(0, 1.0), (1, 2.0)], None));
    let run = Lines::default().start(CONFIG).case(CONFIG, case).end().read();
    for format in Format::ALL {
        assert!(written(&run, format).len() < 200_000, "{format}");
    }
}

#[test]
fn nothing_is_loaded_from_outside() {
    let page = written(&with_every_text("https://example.org/x"), Format::Html);
    assert!(page.contains("default-src 'none'"));
    for attribute in ["src=", "@import", "url("] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    let links = page.split("href=\"").skip(1).map(|it| it.split('"').next().unwrap());
    for link in links {
        assert!(link.starts_with('#') || link == "data:,", "{link}");
    }
}
