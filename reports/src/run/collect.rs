//! Sorts events into configurations and cases, judges them again and makes their
//! texts harmless. It must not know where the events come from.

use std::collections::{HashMap, HashSet};

use cgauge_record::{
    CaseEnd, CaseStart, Check, Event, KernelId, Outcome, Planned, Quantity, RunEnd, RunStart,
};

use super::{CaseReport, Configuration, Run};
use crate::judge::{self, Judgement, Tally};
use crate::text::{EVIDENCE_LINES, NAME, SENTENCE, cut_value, tidy, tidy_line};

/// A run in the making.
#[derive(Debug, Default)]
pub(super) struct Collector {
    run: Run,
    configurations: HashMap<String, usize>,
    /// The latest case of each configuration, suite and name, and whether it ended.
    cases: HashMap<(usize, String, String), (usize, Progress)>,
    /// The plan of each configuration.
    planned: Vec<Vec<Planned>>,
    /// Events that name a configuration or case that never began.
    strays: u64,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Running,
    Over,
}

impl Collector {
    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::RunStart(it) => self.begin_configuration(it),
            Event::CaseStart(it) => self.begin_case(it),
            Event::Check(it) => {
                if let Some(case) = self.running(&it.config, &it.suite, &it.case) {
                    let verdict = it.implied();
                    case.checks.push(Check { verdict, ..it });
                }
            }
            Event::Value(it) => {
                if let Some(case) = self.running(&it.config, &it.suite, &it.case) {
                    case.values.push(it);
                }
            }
            Event::Histogram(it) => {
                if let Some(case) = self.running(&it.config, &it.suite, &it.case) {
                    case.histograms.push(it);
                }
            }
            Event::Series(it) => {
                if let Some(case) = self.running(&it.config, &it.suite, &it.case) {
                    case.series.push(it);
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
            evidence: Vec::new(),
            elapsed_ns: 0,
            host_elapsed_ns: 0,
        });
        self.cases.insert((configuration, it.suite, it.case), (place, Progress::Running));
    }

    fn end_case(&mut self, it: CaseEnd) {
        let Some(case) = self.running(&it.config, &it.suite, &it.case) else {
            return;
        };
        let first = it.evidence.len().saturating_sub(EVIDENCE_LINES);
        case.evidence = it.evidence[first..].iter().map(|it| tidy_line(it)).collect();
        case.elapsed_ns = it.elapsed_ns;
        case.host_elapsed_ns = it.host_elapsed_ns;
        case.outcome = it.outcome;
        case.reason = it.reason;
        let configuration = self.configuration(&it.config);
        if let Some(known) =
            configuration.and_then(|at| self.cases.get_mut(&(at, it.suite, it.case)))
        {
            known.1 = Progress::Over;
        }
    }

    fn configuration(&self, name: &str) -> Option<usize> {
        self.configurations.get(name).copied().or_else(|| {
            // A file of one configuration need not repeat its name in every event.
            (name.is_empty() && self.run.configurations.len() == 1).then_some(0)
        })
    }

    fn running(&mut self, configuration: &str, suite: &str, case: &str) -> Option<&mut CaseReport> {
        let found = self.configuration(configuration).and_then(|at| {
            let key = (at, suite.to_owned(), case.to_owned());
            self.cases
                .get(&key)
                .filter(|(_, it)| *it == Progress::Running)
                .map(|(place, _)| (at, *place))
        });
        let Some((configuration, place)) = found else {
            self.strays += 1;
            return None;
        };
        self.run.configurations[configuration].cases.get_mut(place)
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
        for case in self.run.configurations.iter_mut().flat_map(|it| &mut it.cases) {
            let stated = Judgement::new(case.outcome, std::mem::take(&mut case.reason));
            let judgement = judge::review(&case.checks, stated);
            case.outcome = judgement.outcome;
            case.reason = tidy(&judgement.reason, SENTENCE);
            make_harmless(case);
        }
        self.find_what_never_ran();
        if self.strays > 0 {
            self.note(format!(
                "{} events were left out: they belong to no case that was running",
                self.strays
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

/// The counts of all cases of all configurations.
pub(super) fn count(configurations: &[Configuration]) -> RunEnd {
    let mut tally = Tally::default();
    for case in configurations.iter().flat_map(|it| &it.cases) {
        tally.add(case.outcome, &case.checks);
    }
    tally.end()
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
        ..it
    }
}

/// Only once every verdict stands: a cut text may equal another that it did not.
fn make_harmless(case: &mut CaseReport) {
    for check in &mut case.checks {
        check.what = tidy(&check.what, NAME);
        check.file = tidy(&check.file, NAME);
        check.bound_reason = tidy(&check.bound_reason, SENTENCE);
        let bounds = [&mut check.at_least, &mut check.at_most, &mut check.equals];
        for quantity in bounds.into_iter().flatten().chain([&mut check.observed]) {
            harmless_quantity(quantity);
        }
        shed_names(&mut check.config, &mut check.suite, &mut check.case);
    }
    for value in &mut case.values {
        value.metric = tidy(&value.metric, NAME);
        harmless_quantity(&mut value.value);
        shed_names(&mut value.config, &mut value.suite, &mut value.case);
    }
    for histogram in &mut case.histograms {
        histogram.metric = tidy(&histogram.metric, NAME);
        shed_names(&mut histogram.config, &mut histogram.suite, &mut histogram.case);
    }
    for series in &mut case.series {
        series.metric = tidy(&series.metric, NAME);
        shed_names(&mut series.config, &mut series.suite, &mut series.case);
    }
}

fn harmless_quantity(quantity: &mut Quantity) {
    if let Quantity::Text(text) = quantity {
        *text = cut_value(std::mem::take(text));
    }
}

/// The report of the case holds these already; a million records need no copy each.
fn shed_names(config: &mut String, suite: &mut String, case: &mut String) {
    for it in [config, suite, case] {
        *it = String::new();
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
