//! What a case's records and its ending mean: pass, fail, skip or error.
//!
//! Pure, so that an old run can be judged again and every rule has a test. It
//! must not know who asks: neither how a case was run nor what an exit code is.

use std::collections::BTreeSet;

use cgauge_record::{Check, Ending, Outcome, Quantity, Requirement, RunEnd, Verdict};

use crate::describe;
use crate::run::CheckReport;

/// How a case ended, as the host saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    /// The agent says how the case's process ended.
    Ended(Ending),
    /// The guest's kernel panicked.
    GuestPanicked,
    /// The process of the VM is gone, and nobody asked it to go: how it went.
    GuestVanished(String),
    /// No word from the guest for so many seconds of the host.
    HostDeadline(u64),
    /// The guest sent what is no message: what it sent.
    Babble(String),
    /// The guest never reached its agent: why not.
    BootFailed(String),
    /// The agent could not do what the job says, and says why.
    Broken(String),
    /// The user stopped the run.
    Interrupted,
}

/// An outcome and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How the case ended.
    pub outcome: Outcome,
    /// One sentence; empty for a pass.
    pub reason: String,
}

impl Judgement {
    pub(crate) fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into() }
    }
}

/// What one check says, whatever verdict it states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Held,
    Broken,
    /// No kernel could have passed or failed it: the case is at fault.
    Nonsense(&'static str),
}

/// Judges a case by what it recorded and how it ended.
///
/// A failed check outweighs everything: the kernel was seen to be wrong, however
/// the case went on. A complaint of the kernel is as good as a failed check.
/// Anything else that went wrong is an error and no failure; a skip counts only
/// where nothing went wrong before it.
#[must_use]
pub fn judge(checks: &[Check], skip: Option<&str>, finish: &Finish) -> Judgement {
    if let Some(reason) = failure(checks) {
        return Judgement::new(Outcome::Fail, reason);
    }
    let ending = match finish {
        Finish::Ended(ending) => ending,
        other => return Judgement::new(Outcome::Error, breakdown(other)),
    };
    if let Some(first) = ending.kernel_complaints.first() {
        let more = and_more(ending.kernel_complaints.len() - 1, "complaint");
        return Judgement::new(Outcome::Fail, format!("the kernel complained: {first}{more}"));
    }
    let stops = skip.is_some() && ending.exit_code == Some(STOPPED);
    let ending =
        &Ending { exit_code: if stops { Some(0) } else { ending.exit_code }, ..ending.clone() };
    if let Some(reason) = nonsense(checks).or_else(|| disorder(ending)) {
        return Judgement::new(Outcome::Error, reason);
    }
    match skip {
        Some(reason) => Judgement::new(Outcome::Skip, reason),
        None if checks.is_empty() => Judgement::new(Outcome::Error, NO_CHECK),
        None => Judgement::new(Outcome::Pass, ""),
    }
}

/// Judges again what a results file states, by the checks that stand beside it.
///
/// How the process ended is not in the file, so the statement holds unless the
/// checks contradict it.
#[must_use]
pub fn review(checks: &[Check], stated: Judgement) -> Judgement {
    let mut findings = Findings::default();
    checks.iter().for_each(|it| findings.add(it));
    findings.review(stated)
}

/// What the checks of a case say, gathered one by one, so that [`review`] needs no
/// more of them than this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    checks: usize,
    failed: usize,
    first_failed: Option<String>,
    first_nonsense: Option<String>,
}

impl Findings {
    /// Takes in the next check.
    pub(crate) fn add(&mut self, check: &Check) {
        self.checks += 1;
        match says(check) {
            Says::Held => {}
            Says::Broken => {
                self.failed += 1;
                self.first_failed.get_or_insert_with(|| sentence(check));
            }
            Says::Nonsense(why) => {
                self.first_nonsense.get_or_insert_with(|| no_sense(check, why));
            }
        }
    }

    /// Judges again what a file states, as [`review`] does.
    pub(crate) fn review(self, stated: Judgement) -> Judgement {
        if stated.outcome != Outcome::Fail
            && let Some(first) = self.first_failed
        {
            let more = and_more(self.failed - 1, "failed check");
            return Judgement::new(Outcome::Fail, format!("{first}{more}"));
        }
        if stated.outcome == Outcome::Pass {
            if self.checks == 0 {
                return Judgement::new(Outcome::Error, NO_CHECK);
            }
            if let Some(reason) = self.first_nonsense {
                return Judgement::new(Outcome::Error, reason);
            }
        }
        stated
    }
}

/// A failed check in one sentence.
fn sentence(check: &Check) -> String {
    describe::sentence(&CheckReport::of(check))
}

fn no_sense(check: &Check, why: &str) -> String {
    format!("the check of {} makes no sense: {why}", check.what)
}

/// How libtest exits when a case returns early, as it does to skip.
const STOPPED: i32 = 101;
const NO_CHECK: &str = "made no check: a case that checks nothing cannot fail";

fn failure(checks: &[Check]) -> Option<String> {
    let mut failed = checks.iter().filter(|it| says(it) == Says::Broken);
    let first = failed.next()?;
    let more = and_more(failed.count(), "failed check");
    Some(format!("{}{more}", sentence(first)))
}

fn nonsense(checks: &[Check]) -> Option<String> {
    checks.iter().find_map(|it| match says(it) {
        Says::Nonsense(why) => Some(no_sense(it, why)),
        Says::Held | Says::Broken => None,
    })
}

fn says(check: &Check) -> Says {
    let limits = [&check.at_least, &check.at_most];
    if limits.iter().all(|it| it.is_none()) && check.equals.is_none() {
        return Says::Nonsense("it has no bound");
    }
    if limits.into_iter().flatten().any(|it| finite(it).is_none()) {
        return Says::Nonsense("a bound is no finite number");
    }
    if let (Some(least), Some(most)) = (&check.at_least, &check.at_most)
        && !most.reaches(least)
    {
        return Says::Nonsense("nothing lies between its bounds");
    }
    if let Some(only) = &check.equals {
        let possible = check.at_least.as_ref().is_none_or(|it| only.reaches(it))
            && check.at_most.as_ref().is_none_or(|it| it.reaches(only));
        if !possible {
            return Says::Nonsense("the value that it demands lies outside its bounds");
        }
    }
    let demands_number =
        limits.into_iter().chain([&check.equals]).flatten().any(|it| it.number().is_some());
    if demands_number && not_finite(&check.observed) {
        return Says::Nonsense("what it observed is no finite number");
    }
    match check.implied() {
        Verdict::Pass => Says::Held,
        Verdict::Fail => Says::Broken,
    }
}

fn finite(it: &Quantity) -> Option<f64> {
    it.number().filter(|it| it.is_finite())
}

/// A record spells NaN and the infinities as words, for JSON has no other way.
fn not_finite(it: &Quantity) -> bool {
    match it {
        Quantity::Integer(_) => false,
        Quantity::Real(it) => !it.is_finite(),
        Quantity::Text(it) => matches!(it.as_str(), "NaN" | "inf" | "-inf"),
    }
}

fn breakdown(finish: &Finish) -> String {
    match finish {
        Finish::Ended(ending) => disorder(ending).unwrap_or_default(),
        Finish::GuestPanicked => "the guest's kernel panicked".to_owned(),
        Finish::GuestVanished(how) => format!("the process of the VM died: {how}"),
        Finish::HostDeadline(seconds) => format!("no word from the guest for {seconds} s"),
        Finish::Babble(what) => format!("the guest sent {what}"),
        Finish::BootFailed(why) => format!("the guest did not boot: {why}"),
        Finish::Broken(why) => format!("the case could not be run: {why}"),
        Finish::Interrupted => "the run was interrupted".to_owned(),
    }
}

/// What went wrong with the case's process, if anything did.
fn disorder(ending: &Ending) -> Option<String> {
    let last_words = || match describe::last_words(&ending.output) {
        Some(line) => format!(": {line}"),
        None => String::new(),
    };
    if ending.timed_out {
        return Some(format!("the case was killed when its deadline was over{}", last_words()));
    }
    if let Some(signal) = ending.signal {
        return Some(format!("the case was killed by signal {signal}{}", last_words()));
    }
    match ending.exit_code {
        Some(0) => {}
        Some(code) => {
            return Some(format!(
                "the case exited with code {code} though no check had failed{}",
                last_words()
            ));
        }
        None => return Some("the agent does not say how the case's process ended".to_owned()),
    }
    if let Some(first) = ending.leftovers.first() {
        let more = and_more(ending.leftovers.len() - 1, "thing");
        return Some(format!("the case left something behind: {first}{more}"));
    }
    if ending.records_dropped > 0 {
        return Some(format!(
            "{} records were thrown away: there were too many",
            ending.records_dropped
        ));
    }
    None
}

/// `, and 2 more failed checks`; nothing for none.
fn and_more(count: usize, noun: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(", and one more {noun}"),
        _ => format!(", and {count} more {noun}s"),
    }
}

/// Counts outcomes and covered requirements, case by case.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    end: RunEnd,
    requirements: BTreeSet<Requirement>,
}

impl Tally {
    /// Counts one case, with the checks that it executed.
    pub fn add(&mut self, outcome: Outcome, checks: &[Check]) {
        let counter = match outcome {
            Outcome::Pass => &mut self.end.passed,
            Outcome::Fail => &mut self.end.failed,
            Outcome::Skip => &mut self.end.skipped,
            Outcome::Error => &mut self.end.errors,
            Outcome::Inconclusive => &mut self.end.inconclusive,
        };
        *counter += 1;
        self.requirements.extend(checks.iter().flat_map(|it| &it.requirements));
    }

    /// The counts so far. A requirement is covered when an executed check named it.
    #[must_use]
    pub fn end(&self) -> RunEnd {
        RunEnd {
            requirements_covered: self.requirements.len() as u64,
            requirements: self.requirements.iter().copied().collect(),
            ..self.end.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use cgauge_record::{CheckKind, Unit, ids};

    use super::*;

    fn check(observed: impl Into<Quantity>, at_most: impl Into<Quantity>) -> Check {
        Check {
            config: String::new(),
            suite: "pids".into(),
            case: "holds".into(),
            requirements: vec![ids::R132],
            kind: CheckKind::Enforcement,
            what: "processes in the group".into(),
            file: "pids.current".into(),
            unit: Unit::Processes,
            observed: observed.into(),
            at_least: None,
            at_most: Some(at_most.into()),
            equals: None,
            bound_reason: "pids.max is 8".into(),
            beyond_lies: String::new(),
            verdict: Verdict::Pass,
        }
    }

    fn held() -> Check {
        check(8, 8)
    }

    fn broken() -> Check {
        check(9, 8)
    }

    fn exit(code: i32) -> Ending {
        Ending { exit_code: Some(code), ..Ending::default() }
    }

    fn outcome(checks: &[Check], skip: Option<&str>, ending: Ending) -> Outcome {
        judge(checks, skip, &Finish::Ended(ending)).outcome
    }

    #[test]
    fn the_stated_verdict_counts_for_nothing() {
        let lies_pass = broken();
        let lies_fail = Check { verdict: Verdict::Fail, ..held() };
        assert_eq!(outcome(&[lies_pass], None, exit(0)), Outcome::Fail);
        assert_eq!(outcome(&[lies_fail], None, exit(0)), Outcome::Pass);
    }

    #[test]
    fn a_failed_check_outweighs_every_ending() {
        let checks = [held(), broken(), broken(), broken()];
        for finish in [
            Finish::Ended(exit(0)),
            Finish::Ended(exit(101)),
            Finish::Ended(Ending { timed_out: true, ..Ending::default() }),
            Finish::GuestPanicked,
            Finish::GuestVanished("signal 9".into()),
            Finish::HostDeadline(60),
            Finish::Babble("noise".into()),
            Finish::Broken("no cgroup".into()),
            Finish::Interrupted,
        ] {
            let it = judge(&checks, Some("no such file"), &finish);
            assert_eq!(it.outcome, Outcome::Fail, "{finish:?}");
            assert!(it.reason.ends_with("and 2 more failed checks"), "{}", it.reason);
            assert!(it.reason.contains("pids.max is 8"), "{}", it.reason);
        }
    }

    #[test]
    fn what_breaks_the_guest_is_an_error() {
        let complaint = vec!["WARNING: CPU: 0 PID: 1 at kernel/cgroup".to_owned()];
        for finish in [
            Finish::GuestPanicked,
            Finish::GuestVanished("signal 9".into()),
            Finish::HostDeadline(60),
            Finish::Babble("noise".into()),
            Finish::BootFailed("silence".into()),
            Finish::Broken("mount: EPERM".into()),
            Finish::Interrupted,
        ] {
            let it = judge(&[held()], None, &finish);
            assert_eq!(it.outcome, Outcome::Error, "{finish:?}");
            assert!(!it.reason.is_empty());
        }
        let warned = Ending { kernel_complaints: complaint, ..exit(101) };
        assert_eq!(outcome(&[held()], Some("x"), warned), Outcome::Fail);
    }

    #[test]
    fn a_disorderly_end_is_an_error_even_with_a_skip() {
        for ending in [
            exit(127),
            Ending::default(),
            Ending { signal: Some(9), ..Ending::default() },
            Ending { timed_out: true, signal: Some(9), ..Ending::default() },
            Ending { leftovers: vec!["group /t/a".into()], ..exit(0) },
            Ending { records_dropped: 3, ..exit(0) },
        ] {
            for skip in [None, Some("no pids controller")] {
                assert_eq!(outcome(&[held()], skip, ending.clone()), Outcome::Error, "{ending:?}");
            }
        }
    }

    #[test]
    fn an_error_repeats_what_the_case_said_last() {
        let output = [
            "thread 'holds' panicked at lab.rs:3:1:",
            "mkdir a: EPERM",
            "note: run",
            "test result: FAILED",
            "",
        ];
        let ending = Ending { output: output.map(str::to_owned).to_vec(), ..exit(101) };
        let it = judge(&[], None, &Finish::Ended(ending));
        assert_eq!(
            it.reason,
            "the case exited with code 101 though no check had failed: mkdir a: EPERM"
        );
    }

    #[test]
    fn an_error_repeats_what_the_case_returned() {
        let output =
            ["test limit::holds ... Error: mkdir a: EPERM", "FAILED", "test result: FAILED"];
        let ending = Ending { output: output.map(str::to_owned).to_vec(), ..exit(101) };
        let it = judge(&[], None, &Finish::Ended(ending));
        assert!(it.reason.ends_with(": mkdir a: EPERM"), "{}", it.reason);
    }

    #[test]
    fn a_skip_needs_only_that_nothing_went_wrong() {
        assert_eq!(outcome(&[], Some("no file"), exit(0)), Outcome::Skip);
        assert_eq!(outcome(&[held()], Some("no file"), exit(0)), Outcome::Skip);
        assert_eq!(outcome(&[], Some("no file"), exit(STOPPED)), Outcome::Skip);
        assert_eq!(outcome(&[held()], None, exit(STOPPED)), Outcome::Error);
        assert_eq!(outcome(&[broken()], Some("no file"), exit(0)), Outcome::Fail);
    }

    #[test]
    fn a_case_without_a_check_is_no_pass() {
        assert_eq!(outcome(&[], None, exit(0)), Outcome::Error);
        assert_eq!(outcome(&[held()], None, exit(0)), Outcome::Pass);
    }

    #[test]
    fn a_check_that_no_kernel_could_decide_is_an_error() {
        let unbound = Check { at_most: None, ..held() };
        let empty = Check { at_least: Some(9.into()), ..held() };
        let outside = Check { equals: Some(9.into()), ..held() };
        let word = check(8, "max");
        let infinite = Check { at_most: Some(Quantity::Real(f64::INFINITY)), ..held() };
        let nan = check(f64::NAN, 8);
        for it in [unbound, empty, outside, word, infinite, nan] {
            assert_eq!(outcome(&[held(), it.clone()], None, exit(0)), Outcome::Error, "{it:?}");
            assert_eq!(outcome(&[broken(), it], None, exit(0)), Outcome::Fail);
        }
        assert_eq!(outcome(&[check("max", 8)], None, exit(0)), Outcome::Fail);
    }

    #[test]
    fn a_results_file_cannot_talk_its_checks_away() {
        let stated = |outcome| Judgement::new(outcome, "because");
        for claim in [Outcome::Pass, Outcome::Skip, Outcome::Error, Outcome::Inconclusive] {
            assert_eq!(review(&[broken()], stated(claim)).outcome, Outcome::Fail);
        }
        assert_eq!(review(&[], stated(Outcome::Pass)).outcome, Outcome::Error);
        assert_eq!(review(&[check(f64::NAN, 8)], stated(Outcome::Pass)).outcome, Outcome::Error);
        for claim in [Outcome::Pass, Outcome::Fail, Outcome::Skip, Outcome::Error] {
            assert_eq!(review(&[held()], stated(claim)).outcome, claim);
        }
    }

    #[test]
    fn only_executed_checks_cover_a_requirement() {
        let mut tally = Tally::default();
        tally.add(
            Outcome::Pass,
            &[held(), Check { requirements: vec![ids::S13, ids::R132], ..held() }],
        );
        tally.add(Outcome::Skip, &[]);
        tally.add(Outcome::Error, &[Check { requirements: vec![ids::R001], ..held() }]);
        tally.add(Outcome::Fail, &[broken()]);
        let end = tally.end();
        assert_eq!((end.passed, end.failed, end.skipped, end.errors), (1, 1, 1, 1));
        assert_eq!(end.requirements, [ids::R001, ids::R132, ids::S13]);
        assert_eq!(end.requirements_covered, 3);
    }
}
