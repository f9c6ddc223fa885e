//! `compare` and `repeat`: what differs between two runs, and whether a run that
//! is repeated differs at all.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use cgauge_reports::{
    Absent, Class, Comparison, Finding, GateFormat, GateSettings, Mismatched, Run, compare,
};

use crate::exit::{Exit, usage};
use crate::flags::{Compare, Repeat};

/// Differences that are shown; a kernel that changed everything has thousands.
const MOST_SHOWN: usize = 100;

/// Shows what changed from one run to another.
pub fn compare_runs(flags: &Compare) -> Result<Exit> {
    let base = Run::read(&flags.base).map_err(usage)?;
    let new = Run::read(&flags.new).map_err(usage)?;
    print!("{}", table(&compare(&base, &new)));
    Ok(Exit::Fine)
}

fn table(found: &Comparison) -> String {
    let mut text = String::new();
    for it in found.differences.iter().take(MOST_SHOWN) {
        text += &format!("{it}\n");
    }
    if found.differences.len() > MOST_SHOWN {
        text += &format!("… and {} more\n", found.differences.len() - MOST_SHOWN);
    }
    for (cases, which) in [(&found.only_in_base, "first"), (&found.only_in_new, "second")] {
        if !cases.is_empty() {
            text += &format!("{} cases are in the {which} run only\n", cases.len());
        }
    }
    text + &format!(
        "{} of {} records of {} cases differ\n",
        found.differences.len(),
        found.records,
        found.cases
    )
}

/// Repeats a run, each time with another number of guests side by side, and
/// runs some of its cases alone; every record has to come out the same.
pub fn repeat(workspace: &Path, flags: &Repeat) -> Result<Exit> {
    let folder = tempfile::tempdir().context("make a folder for the runs")?;
    let place = |name: String| folder.path().join(name);
    let suites: Vec<&str> = flags.suites.iter().map(String::as_str).collect();
    let mut asked = flags.case.iter().flat_map(|it| ["--case", it.as_str()]).collect::<Vec<_>>();
    if flags.quick {
        asked.push("--quick");
    }
    let with = |more: &[&str]| -> Vec<String> {
        asked.iter().chain(more).map(|it| (*it).to_owned()).collect()
    };
    let first = run(workspace, &place("first".to_owned()), &suites, &with(&[]))?;
    let mut exit = Exit::Fine;
    let mut hold_against = |what: String, other: &Run| {
        let found = compare(other, &first);
        print!("{what}: {}", table(&Comparison { only_in_new: Vec::new(), ..found.clone() }));
        if !found.differences.is_empty() || found.cases == 0 {
            exit = Exit::Failure;
        }
    };
    for time in 2..=flags.times {
        // One guest, two, four: what runs beside a case must not matter.
        let jobs = (1 << (time % 3)).to_string();
        let other =
            run(workspace, &place(format!("run-{time}")), &suites, &with(&["--jobs", &jobs]))?;
        hold_against(format!("run {time} with --jobs {jobs}"), &other);
    }
    let cases: Vec<_> = first.cases().map(|(_, it)| (it.suite.clone(), it.case.clone())).collect();
    for index in 0..flags.alone.min(cases.len()) {
        // A stride that shares no factor with the number of cases visits each
        // once, and not in the order in which they ran.
        let (suite, case) = &cases[(index * 7919 + 13) % cases.len()];
        let other =
            run(workspace, &place(format!("alone-{index}")), &[suite], &with(&["--case", case]))?;
        hold_against(format!("{suite} {case} alone"), &other);
    }
    for index in 0..flags.slowed.min(cases.len()) {
        let (suite, case) = &cases[(index * 7919 + 13) % cases.len()];
        let slow = format!("{case}={}%", flags.slow.share * 100.0);
        let more = with(&["--jobs", "1", "--slow", &slow]);
        let other = run(workspace, &place(format!("slowed-{index}")), &suites, &more)?;
        let judged = cgauge_reports::gate(&first, &other, &SETTINGS).map_err(usage)?;
        let name = format!("{suite} {case}");
        let is_it = |it: &&Finding| it.case == name && it.class == Class::Regression;
        let found = judged.findings.iter().filter(is_it).count();
        let others = judged.findings.iter().filter(|it| it.case != name).count();
        println!("{suite} {slow}: {found} regressions of it, {others} findings elsewhere");
        if found == 0 || others > 0 {
            print!("{}", judged.render(GateFormat::Text));
            exit = Exit::Failure;
        }
    }
    Ok(exit)
}

/// The gate as it is where nothing is said.
const SETTINGS: GateSettings =
    GateSettings { threshold: None, mismatched: Mismatched::Refuse, absent: Absent::Regression };

/// Runs `cargo xtask run` as a process of its own, as a user would.
fn run(workspace: &Path, out: &Path, suites: &[&str], flags: &[String]) -> Result<Run> {
    let program = std::env::current_exe().context("find this program")?;
    Command::new(program)
        .arg("run")
        .args(suites)
        .args(flags)
        .arg("--out")
        .arg(out)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("start a run")?;
    Run::read(out).context("a run left no events: start it by hand to see why")
}

#[cfg(test)]
mod tests {
    use cgauge_reports::Difference;

    use super::*;

    #[test]
    fn the_table_ends_with_the_count() {
        let difference = Difference {
            case: "pids limit::fork".into(),
            record: "value time to EAGAIN".into(),
            base: "100 ns".into(),
            new: "108 ns".into(),
        };
        let found = Comparison {
            cases: 3,
            records: 12,
            differences: vec![difference],
            only_in_base: vec!["pids a".into()],
            only_in_new: Vec::new(),
        };
        insta::assert_snapshot!(table(&found), @r"
        pids limit::fork: value time to EAGAIN: 100 ns -> 108 ns
        1 cases are in the first run only
        1 of 12 records of 3 cases differ
        ");
    }
}
