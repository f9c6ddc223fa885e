//! Sorts events into configurations and cases, judges them again and makes their
//! texts harmless. It must not know where the events come from.

use std::collections::{BTreeSet, HashMap, HashSet};

use cgauge_record::{
    CaseEnd, CaseStart, Check, Event, GuestBinary, Histogram, KernelId, Outcome, Planned, Quantity,
    Requirement, RunEnd, RunStart, Series, Value,
};

use super::check::Words;
use super::thin::thin;
use super::{CaseReport, CheckReport, Configuration, Run};
use crate::judge::{Findings, Judgement, Tally};
use crate::text::{EVIDENCE_LINES, NAME, SENTENCE, cut_value, tidy, tidy_line};

/// A run in the making.
#[derive(Debug, Default)]
pub(super) struct Collector {
    run: Run,
    configurations: HashMap<String, usize>,
    /// The latest case of each configuration, suite and name, and whether it ended.
    cases: HashMap<(usize, String, String), Known>,
    /// The texts of checks, each once.
    words: Words,
    /// The plan of each configuration.
    planned: Vec<Vec<Planned>>,
    /// Events that name a configuration or case that never began.
    strays: u64,
    ended: bool,
}

/// A case that began.
#[derive(Debug)]
struct Known {
    /// Its place among its configuration's.
    place: usize,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// What its checks said so far, of which the texts may be cut since.
    Running(Findings),
    Over,
}

impl Collector {
    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::RunStart(it) => self.begin_configuration(it),
            Event::CaseStart(it) => self.begin_case(it),
            Event::Check(it) => self.add_check(it),
            Event::Value(it) => {
                if let Some((case, _)) = self.running(&it.config, &it.suite, &it.case) {
                    case.values.push(harmless_value(it));
                }
            }
            Event::Histogram(it) => {
                if let Some((case, _)) = self.running(&it.config, &it.suite, &it.case) {
                    case.histograms.push(harmless_histogram(it));
                }
            }
            Event::Series(it) => {
                if let Some((case, _)) = self.running(&it.config, &it.suite, &it.case) {
                    let mut series = harmless_series(it);
                    case.thinned.extend(thin(&mut series));
                    case.series.push(series);
                }
            }
            Event::CaseEnd(it) => self.end_case(it),
            Event::RunEnd(it) => {
                self.ended = true;
                self.run.end.interrupted |= it.interrupted;
            }
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.run.notes.push(note);
    }

    fn begin_configuration(&mut self, mut start: RunStart) {
        let place = self.run.configurations.len();
        self.configurations.insert(start.config.clone(), place);
        self.planned.push(std::mem::take(&mut start.planned));
        self.run.configurations.push(Configuration {
            start: harmless_start(start),
            never_ran: Vec::new(),
            cases: Vec::new(),
        });
    }

    fn begin_case(&mut self, it: CaseStart) {
        let Some(configuration) = self.configuration(&it.config) else {
            self.strays += 1;
            return;
        };
        let cases = &mut self.run.configurations[configuration].cases;
        let place = cases.len();
        cases.push(CaseReport {
            suite: tidy(&it.suite, NAME),
            case: tidy(&it.case, NAME),
            promise: tidy(&it.promise, SENTENCE),
            outcome: Outcome::Error,
            reason: "the run was cut off here".to_owned(),
            checks: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            series: Vec::new(),
            thinned: Vec::new(),
            evidence: Vec::new(),
            elapsed_ns: 0,
            host_elapsed_ns: 0,
        });
        let known = Known { place, progress: Progress::Running(Findings::default()) };
        let replaced = self.cases.insert((configuration, it.suite, it.case), known);
        // It began again and never ended before: what it said until then still counts.
        if let Some(Known { place, progress: Progress::Running(findings) }) = replaced {
            conclude(&mut self.run.configurations[configuration].cases[place], findings);
        }
    }

    fn add_check(&mut self, it: Check) {
        // Taken out while the case is at hand, for both are of the collector.
        let mut words = std::mem::take(&mut self.words);
        if let Some((case, findings)) = self.running(&it.config, &it.suite, &it.case) {
            // Only a whole text tells whether it equals another: judged before it is cut.
            findings.add(&it);
            let verdict = it.implied();
            let check = CheckReport::new(harmless_check(it), &mut words);
            case.checks.push(CheckReport { verdict, ..check });
        }
        self.words = words;
    }

    fn end_case(&mut self, it: CaseEnd) {
        let Some((case, findings)) = self.running(&it.config, &it.suite, &it.case) else {
            return;
        };
        let first = it.evidence.len().saturating_sub(EVIDENCE_LINES);
        case.evidence = it.evidence[first..].iter().map(|it| tidy_line(it)).collect();
        case.elapsed_ns = it.elapsed_ns;
        case.host_elapsed_ns = it.host_elapsed_ns;
        case.outcome = it.outcome;
        case.reason = it.reason;
        conclude(case, std::mem::take(findings));
        let configuration = self.configuration(&it.config);
        if let Some(known) =
            configuration.and_then(|at| self.cases.get_mut(&(at, it.suite, it.case)))
        {
            known.progress = Progress::Over;
        }
    }

    fn configuration(&self, name: &str) -> Option<usize> {
        self.configurations.get(name).copied().or_else(|| {
            // A file of one configuration need not repeat its name in every event.
            (name.is_empty() && self.run.configurations.len() == 1).then_some(0)
        })
    }

    fn running(
        &mut self,
        configuration: &str,
        suite: &str,
        case: &str,
    ) -> Option<(&mut CaseReport, &mut Findings)> {
        let at = self.configuration(configuration);
        let key = at.map(|at| (at, suite.to_owned(), case.to_owned()));
        match key.and_then(|key| Some((key.0, self.cases.get_mut(&key)?))) {
            Some((at, Known { place, progress: Progress::Running(findings) })) => {
                let case = self.run.configurations[at].cases.get_mut(*place)?;
                Some((case, findings))
            }
            _ => {
                self.strays += 1;
                None
            }
        }
    }

    fn find_what_never_ran(&mut self) {
        let begun: HashSet<(usize, &str, &str)> = self
            .cases
            .keys()
            .map(|(at, suite, case)| (*at, suite.as_str(), case.as_str()))
            .collect();
        let plans = std::mem::take(&mut self.planned);
        for (place, (plan, configuration)) in
            plans.into_iter().zip(&mut self.run.configurations).enumerate()
        {
            let owed = plan.into_iter().filter(|it| !begun.contains(&(place, &it.suite, &it.case)));
            configuration.never_ran = owed
                .map(|it| Planned { suite: tidy(&it.suite, NAME), case: tidy(&it.case, NAME) })
                .collect();
        }
    }

    /// The run: cut-off cases judged, texts harmless, cases in order, counted.
    pub(super) fn finish(mut self) -> Run {
        for ((at, ..), known) in &mut self.cases {
            if let Progress::Running(findings) = &mut known.progress {
                let case = &mut self.run.configurations[*at].cases[known.place];
                conclude(case, std::mem::take(findings));
            }
        }
        self.find_what_never_ran();
        if self.strays > 0 {
            self.note(format!(
                "{} events were left out: they belong to no case that was running",
                self.strays
            ));
        }
        let thinned: usize = self.run.cases().map(|(_, it)| it.thinned.len()).sum();
        if thinned > 0 {
            self.note(format!(
                "{thinned} series have too many points and were thinned out, their extremes kept"
            ));
        }
        if !self.ended {
            self.note(
                "the file has no end: the run was cut off, and cases may be missing".to_owned(),
            );
        }
        let mut run = self.run;
        for it in &mut run.configurations {
            it.cases.sort_by(|a, b| natural(&a.suite, &a.case).cmp(&natural(&b.suite, &b.case)));
        }
        let interrupted = run.end.interrupted || !self.ended;
        run.end = RunEnd { interrupted, ..count(&run.configurations) };
        run
    }
}

/// The judgement of a case of which no more will come.
fn conclude(case: &mut CaseReport, findings: Findings) {
    let stated = Judgement::new(case.outcome, std::mem::take(&mut case.reason));
    let judgement = findings.review(stated);
    case.outcome = judgement.outcome;
    case.reason = tidy(&judgement.reason, SENTENCE);
    case.checks.shrink_to_fit();
    case.values.shrink_to_fit();
}

/// The counts of all cases of all configurations.
pub(super) fn count(configurations: &[Configuration]) -> RunEnd {
    let mut tally = Tally::default();
    let mut requirements: BTreeSet<Requirement> = BTreeSet::new();
    for case in configurations.iter().flat_map(|it| &it.cases) {
        tally.add(case.outcome, &[]);
        requirements.extend(case.checks.iter().flat_map(|it| it.requirements.iter()));
    }
    RunEnd {
        requirements_covered: requirements.len() as u64,
        requirements: requirements.into_iter().collect(),
        ..tally.end()
    }
}

fn harmless_start(it: RunStart) -> RunStart {
    let name = |it: &str| tidy(it, NAME);
    RunStart {
        run: name(&it.run),
        harness: name(&it.harness),
        started: name(&it.started),
        accel: name(&it.accel),
        kernel: KernelId {
            release: name(&it.kernel.release),
            version: name(&it.kernel.version),
            config_sha256: name(&it.kernel.config_sha256),
        },
        qemu: name(&it.qemu),
        config: name(&it.config),
        kernel_spec: name(&it.kernel_spec),
        machine: name(&it.machine),
        guest: tidy(&it.guest, SENTENCE),
        host: name(&it.host),
        binaries: it.binaries.iter().map(harmless_binary).collect(),
        ..it
    }
}

fn harmless_binary(it: &GuestBinary) -> GuestBinary {
    GuestBinary { name: tidy(&it.name, NAME), sha256: tidy(&it.sha256, NAME) }
}

/// Only once its verdict stands: a cut text may equal another that it did not.
fn harmless_check(mut it: Check) -> Check {
    for quantity in [&mut it.at_least, &mut it.at_most, &mut it.equals].into_iter().flatten() {
        harmless_quantity(quantity);
    }
    harmless_quantity(&mut it.observed);
    it.what = tidy(&it.what, NAME);
    it.file = tidy(&it.file, NAME);
    it.bound_reason = tidy(&it.bound_reason, SENTENCE);
    it.beyond_lies = tidy(&it.beyond_lies, SENTENCE);
    it
}

// The report of the case holds the names already; a million records need no copy each.

fn harmless_value(mut it: Value) -> Value {
    harmless_quantity(&mut it.value);
    let metric = tidy(&it.metric, NAME);
    Value { config: String::new(), suite: String::new(), case: String::new(), metric, ..it }
}

fn harmless_histogram(mut it: Histogram) -> Histogram {
    it.encoded.shrink_to_fit();
    let metric = tidy(&it.metric, NAME);
    Histogram { config: String::new(), suite: String::new(), case: String::new(), metric, ..it }
}

fn harmless_series(mut it: Series) -> Series {
    it.points.shrink_to_fit();
    let metric = tidy(&it.metric, NAME);
    Series { config: String::new(), suite: String::new(), case: String::new(), metric, ..it }
}

fn harmless_quantity(quantity: &mut Quantity) {
    if let Quantity::Text(text) = quantity {
        *text = cut_value(std::mem::take(text));
        text.shrink_to_fit();
    }
}

/// Sorts `limit_2_8` before `limit_10_1024`.
fn natural<'a>(suite: &'a str, case: &'a str) -> (&'a str, Vec<(&'a str, u64)>) {
    let mut parts = Vec::new();
    let mut rest = case;
    while !rest.is_empty() {
        let word = rest.find(|it: char| it.is_ascii_digit()).unwrap_or(rest.len());
        let tail = &rest[word..];
        let digits = tail.find(|it: char| !it.is_ascii_digit()).unwrap_or(tail.len());
        parts.push((&rest[..word], tail[..digits].parse().unwrap_or(u64::MAX)));
        rest = &tail[digits..];
    }
    (suite, parts)
}
