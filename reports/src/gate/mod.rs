//! Whether a run is worse than another: a verdict out of two runs. It must not
//! know where the runs come from, nor what exit code the verdict gets.
//!
//! Judged are numbers and percentiles that have a better side (`judge`), checks,
//! and cases: one that held and now fails, skips, breaks or is not there is a
//! regression, for otherwise a panic would get past the gate. Series, words and
//! numbers without a better side are never a regression.

mod comparable;
mod figures;
mod judge;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use cgauge_record::{Clock, Outcome, Unit, Verdict};
use serde::Serialize;
use thiserror::Error;

use crate::run::{CaseReport, Configuration, Run};
use crate::statistics::Interval;
use figures::Figures;

pub use comparable::Mismatch;
pub use figures::Distribution;
pub use write::{GateFormat, UnknownGateFormat};

/// What to judge by.
#[derive(Clone, Copy, Debug)]
pub struct GateSettings {
    /// The least worsening that is a regression, as a share: 0.02 is 2 %. Without
    /// it 0.5 % on the virtual clock, 10 % on the wall clock.
    pub threshold: Option<f64>,
    /// What becomes of runs that cannot be compared.
    pub mismatched: Mismatched,
    /// What becomes of cases that the new run never meant to run.
    pub absent: Absent,
}

/// What becomes of runs that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatched {
    /// Refused, with the reason.
    Refuse,
    /// Compared all the same, and the report says so.
    Mark,
}

/// What becomes of cases of the base that the new run never meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// A regression.
    Regression,
    /// Left out: the new run is of a few cases alone.
    Ignore,
}

/// Why there is no verdict.
#[derive(Debug, Error)]
pub enum GateError {
    /// The figures hang on something that the runs do not share.
    #[error("{config} cannot be compared: {}", .mismatches.join("; "))]
    Mismatch {
        /// The configuration in the base.
        config: String,
        /// What they do not share, one sentence each.
        mismatches: Vec<String>,
    },
    /// A configuration of the base is not in the new run.
    #[error("the new run has no configuration {0}, which the base has")]
    NoConfiguration(String),
    /// The two have no case in common.
    #[error("the runs have no case in common")]
    NothingInCommon,
    /// The threshold is no share.
    #[error("a threshold of {0} makes no sense: it is a share from 0 % up")]
    Threshold(f64),
    /// Every figure is noisier than that.
    #[error(
        "a threshold of {} is below the noise floor of every figure: the least is {}",
        write::percent(*.threshold), write::percent(*.floor)
    )]
    BelowNoise {
        /// As given.
        threshold: f64,
        /// The least noise floor of any figure.
        floor: f64,
    },
}

/// What a finding amounts to, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Worse, and not by chance.
    Regression,
    /// Noise leaves it undecided.
    Inconclusive,
    /// Better, and not by chance.
    Improvement,
    /// Other, and neither better nor worse.
    Change,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it amounts to.
    pub class: Class,
    /// Suite and case, behind the configuration where there are several.
    pub case: String,
    /// The figure or the check; empty where it is the case itself.
    pub what: String,
    /// What happened.
    pub reason: String,
    /// The numbers, if it is about a figure.
    pub measured: Option<Measured>,
}

/// A figure in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The unit of all.
    pub unit: Unit,
    /// In the base.
    pub base: Side,
    /// Now.
    pub new: Side,
    /// From the base's median to the new one, as a share of the base's; nothing
    /// where that is zero.
    pub change: Option<f64>,
    /// Where the change lies with all noise considered; wall clock only.
    pub interval: Option<Interval>,
}

/// A figure in one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// The median of the samples.
    pub median: f64,
    /// Every time that it was measured.
    pub samples: Vec<f64>,
    /// The distribution that it is a part of, if it is of one.
    pub distribution: Option<Distribution>,
}

/// The verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// The least worsening that counted, as a share; of the first configuration.
    pub threshold: f64,
    /// The clock; of the first configuration.
    pub clock: Clock,
    /// Why the comparison does not hold, where it was allowed all the same.
    pub marks: Vec<String>,
    /// What is to be known of it besides: that the guest's programs are others.
    pub notes: Vec<String>,
    /// Cases that both runs have.
    pub cases: usize,
    /// Figures that were judged.
    pub figures: usize,
    /// Checks that were compared.
    pub checks: usize,
    /// All that is not as it was, the worst first.
    pub findings: Vec<Finding>,
}

impl Gate {
    /// How many findings are of a class.
    #[must_use]
    pub fn count(&self, class: Class) -> usize {
        self.findings.iter().filter(|it| it.class == class).count()
    }
}

/// Judges `new` by `base`.
///
/// # Errors
/// If the two cannot be compared, or not with this threshold.
pub fn gate(base: &Run, new: &Run, settings: &GateSettings) -> Result<Gate, GateError> {
    if let Some(it) = settings.threshold.filter(|it| !it.is_finite() || *it < 0.0) {
        return Err(GateError::Threshold(it));
    }
    let several = base.configurations.len() > 1;
    let clock = base.configurations.first().map_or(Clock::Virtual, |it| it.start.clock);
    let mut found = Gate {
        threshold: settings.threshold.unwrap_or(default_threshold(clock)),
        clock,
        marks: Vec::new(),
        notes: Vec::new(),
        cases: 0,
        figures: 0,
        checks: 0,
        findings: Vec::new(),
    };
    let mut floors = Vec::new();
    for (base, new) in pairs(base, new)? {
        let config = base.start.config.clone();
        let mismatches: Vec<String> = comparable::mismatches(&base.start, &new.start)
            .iter()
            .map(Mismatch::to_string)
            .collect();
        if !mismatches.is_empty() && settings.mismatched == Mismatched::Refuse {
            return Err(GateError::Mismatch { config, mismatches });
        }
        found.marks.extend(mismatches);
        let clock = base.start.clock;
        let others = match clock {
            Clock::Virtual => comparable::other_binaries(&base.start, &new.start),
            Clock::Wall => Vec::new(),
        };
        let mut default = default_threshold(clock);
        if !others.is_empty() {
            default = default.max(LAYOUT);
            found.notes.push(format!(
                "the guest's programs are others ({}): where their instructions lie moves a figure by up to {}, so that this is the threshold unless one is given",
                others.join(", "),
                write::percent(LAYOUT)
            ));
        }
        let threshold = settings.threshold.unwrap_or(default);
        if found.cases == 0 {
            found.threshold = threshold;
        }
        let prefix = if several { format!("{config} ") } else { String::new() };
        let mut judging = Judging {
            clock,
            threshold,
            absent: settings.absent,
            prefix,
            floors: &mut floors,
            found: &mut found,
        };
        judging.configuration(base, new);
    }
    if found.cases == 0 && settings.absent == Absent::Ignore {
        return Err(GateError::NothingInCommon);
    }
    let floor = floors.iter().copied().fold(f64::INFINITY, f64::min);
    if floor.is_finite() && floor > found.threshold {
        return Err(GateError::BelowNoise { threshold: found.threshold, floor });
    }
    found.findings.sort_by(|a, b| (a.class, &a.case, &a.what).cmp(&(b.class, &b.case, &b.what)));
    Ok(found)
}

/// By how much a figure of the virtual clock moves when the same operation is
/// built into another program.
const LAYOUT: f64 = 0.03;

/// The virtual clock repeats to the nanosecond, but a histogram keeps three
/// digits: anything above their grain is real. On the wall clock a translated
/// guest on a busy machine strays by several per cent.
fn default_threshold(clock: Clock) -> f64 {
    match clock {
        Clock::Virtual => 0.005,
        Clock::Wall => 0.10,
    }
}

/// Which configuration is held against which: of single ones each other, for
/// there the kernels may differ; of several those of one name.
fn pairs<'a>(
    base: &'a Run,
    new: &'a Run,
) -> Result<Vec<(&'a Configuration, &'a Configuration)>, GateError> {
    if let ([base], [new]) = (base.configurations.as_slice(), new.configurations.as_slice()) {
        return Ok(vec![(base, new)]);
    }
    let partner = |it: &'a Configuration| {
        let name = &it.start.config;
        let found = new.configurations.iter().find(|other| other.start.config == *name);
        found.map(|other| (it, other)).ok_or_else(|| GateError::NoConfiguration(name.clone()))
    };
    base.configurations.iter().map(partner).collect()
}

/// One case of a run, all repetitions taken together.
#[derive(Default)]
struct Seen<'a> {
    reports: Vec<&'a CaseReport>,
}

impl Seen<'_> {
    /// The worst outcome, with its reason.
    fn worst(&self) -> (Outcome, &str) {
        let rank = |it: Outcome| match it {
            Outcome::Fail => 0,
            Outcome::Error => 1,
            Outcome::Skip => 2,
            Outcome::Inconclusive => 3,
            Outcome::Pass => 4,
        };
        let worst = self.reports.iter().min_by_key(|it| rank(it.outcome));
        worst.map_or((Outcome::Pass, ""), |it| (it.outcome, it.reason.as_str()))
    }

    fn figures(&self) -> Figures {
        let mut all = Figures::default();
        self.reports.iter().for_each(|it| all.add(it));
        all
    }
}

fn by_name(of: &Configuration) -> BTreeMap<(&str, &str), Seen<'_>> {
    let mut all: BTreeMap<_, Seen<'_>> = BTreeMap::new();
    for it in &of.cases {
        all.entry((it.suite.as_str(), it.case.as_str())).or_default().reports.push(it);
    }
    all
}

/// The judging of one configuration.
struct Judging<'a> {
    clock: Clock,
    threshold: f64,
    absent: Absent,
    prefix: String,
    floors: &'a mut Vec<f64>,
    found: &'a mut Gate,
}

impl Judging<'_> {
    fn configuration(&mut self, base: &Configuration, new: &Configuration) {
        let mut now = by_name(new);
        let owed = |suite: &str, case: &str| {
            new.never_ran.iter().any(|it| it.suite == suite && it.case == case)
        };
        for ((suite, case), was) in by_name(base) {
            let name = format!("{}{suite} {case}", self.prefix);
            match now.remove(&(suite, case)) {
                Some(is) => self.case(&name, &was, &is),
                None if was.worst().0 != Outcome::Pass => {}
                None if owed(suite, case) || self.absent == Absent::Regression => {
                    self.say(Class::Regression, &name, "", "held, and did not run".into());
                }
                None => {}
            }
        }
        for ((suite, case), is) in now {
            let (outcome, reason) = is.worst();
            if outcome == Outcome::Fail {
                let name = format!("{}{suite} {case}", self.prefix);
                self.say(Class::Change, &name, "", format!("new, and fails: {reason}"));
            }
        }
    }

    fn case(&mut self, name: &str, was: &Seen<'_>, is: &Seen<'_>) {
        self.found.cases += 1;
        let ((before, _), (after, reason)) = (was.worst(), is.worst());
        let colon = if reason.is_empty() { "" } else { ": " };
        let ended = |word: &str| format!("held, and {word}{colon}{reason}");
        match (before, after) {
            (Outcome::Pass, Outcome::Fail) => {
                self.say(Class::Regression, name, "", ended("now fails"));
            }
            (Outcome::Pass, Outcome::Skip) => {
                self.say(Class::Regression, name, "", ended("is skipped now"));
            }
            (Outcome::Pass, Outcome::Error) => {
                self.say(Class::Regression, name, "", ended("now breaks"));
            }
            (Outcome::Pass, Outcome::Inconclusive) => {
                self.say(Class::Inconclusive, name, "", ended("is undecided now"));
            }
            (Outcome::Fail, Outcome::Pass) => {
                self.say(Class::Improvement, name, "", "failed, and holds now".into());
            }
            _ => {}
        }
        // A case that broke off or never began has no figures to judge.
        let whole = |it| matches!(it, Outcome::Pass | Outcome::Fail);
        if whole(before) && whole(after) {
            let (was, is) = (was.figures(), is.figures());
            self.checks(name, &was, &is, after);
            self.figures(name, &was, &is, after);
        }
    }

    fn checks(&mut self, name: &str, was: &Figures, is: &Figures, after: Outcome) {
        for (what, before) in &was.checks {
            self.found.checks += 1;
            match (before, is.checks.get(what)) {
                (Verdict::Pass, Some(Verdict::Fail)) => {
                    self.say(Class::Regression, name, what, "held, and now fails".into());
                }
                // A case that fails stops at the check that did: what comes
                // behind it is not lost by itself.
                (Verdict::Pass, None) if after == Outcome::Pass => {
                    self.say(Class::Regression, name, what, "is no longer checked".into());
                }
                (Verdict::Fail, Some(Verdict::Pass)) => {
                    self.say(Class::Improvement, name, what, "failed, and holds now".into());
                }
                _ => {}
            }
        }
    }

    fn figures(&mut self, name: &str, was: &Figures, is: &Figures, after: Outcome) {
        for (what, base) in &was.figures {
            let Some(new) = is.figures.get(what) else {
                if let (Some(class), Outcome::Pass) = (judge::vanished(base, self.clock), after) {
                    self.say(class, name, what, "is no longer measured".into());
                }
                continue;
            };
            self.found.figures += 1;
            let judged = judge::figure(base, new, self.clock, self.threshold);
            self.floors.extend(judged.floor);
            if let Some((class, reason)) = judged.finding {
                self.say(class, name, what, reason);
                if let Some(last) = self.found.findings.last_mut() {
                    last.measured = Some(judged.measured);
                }
            }
        }
    }

    fn say(&mut self, class: Class, case: &str, what: &str, reason: String) {
        let (case, what) = (case.to_owned(), what.to_owned());
        self.found.findings.push(Finding { class, case, what, reason, measured: None });
    }
}
