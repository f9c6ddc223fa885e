//! Checks and measured values: how a case says what it expects, what it saw,
//! and why the bound is where it is.
//!
//! A check is recorded the moment it is complete and never stops the case: one
//! broken promise shall not hide the next.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use cgauge_record::{
    Check, CheckKind, Event, Histogram, Message, Preference, Quantity, Requirement, Series, Unit,
    Value, Verdict,
};
use nix::errno::Errno;

use crate::kernel::Refusal;
use crate::time::nanoseconds;

/// Where a case's records go.
#[derive(Debug)]
pub struct Recorder {
    suite: String,
    case: String,
    out: RefCell<File>,
}

impl Recorder {
    /// A recorder that writes lines to `out`.
    pub fn new(suite: String, case: String, out: File) -> Self {
        Self { suite, case, out: RefCell::new(out) }
    }

    /// Writes one message as one line.
    pub fn say(&self, message: &Message) {
        // The types of a message hold nothing that JSON cannot.
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        // The other end is the agent. If it is gone the machine is going down,
        // and the harness says so.
        let _ = self.out.borrow_mut().write_all(&line);
    }

    fn record(&self, event: Event) {
        self.say(&Message::Record(Box::new(event)));
    }

    /// Records a number.
    pub fn value(&self, metric: &str, unit: Unit, value: impl Into<Quantity>, better: Preference) {
        self.record(Event::Value(Value {
            config: String::new(),
            suite: self.suite.clone(),
            case: self.case.clone(),
            metric: metric.to_owned(),
            unit,
            value: value.into(),
            better,
        }));
    }

    /// Records durations as a histogram in nanoseconds.
    pub fn latencies(&self, metric: &str, samples: &[Duration]) {
        // Three significant digits up to an hour. These bounds are valid.
        let Ok(mut histogram) =
            hdrhistogram::Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3)
        else {
            return;
        };
        for sample in samples {
            histogram.saturating_record(nanoseconds(*sample).max(1));
        }
        let buckets: Vec<_> = histogram
            .iter_recorded()
            .map(|it| format!("{}:{}", it.value_iterated_to(), it.count_at_value()))
            .collect();
        self.record(Event::Histogram(Histogram {
            config: String::new(),
            suite: self.suite.clone(),
            case: self.case.clone(),
            metric: metric.to_owned(),
            unit: Unit::Nanoseconds,
            count: histogram.len(),
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            encoded: buckets.join(" "),
        }));
    }

    /// Records a number over time, with the limit that it is to be seen against.
    pub fn series(&self, metric: &str, unit: Unit, points: &[(Duration, f64)], limit: Option<f64>) {
        self.record(Event::Series(Series {
            config: String::new(),
            suite: self.suite.clone(),
            case: self.case.clone(),
            metric: metric.to_owned(),
            unit,
            points: points.iter().map(|(time, value)| (nanoseconds(*time), *value)).collect(),
            limit,
        }));
    }
}

/// A check that is being said: what it is about. [`Question::observed`] turns
/// it into an [`Observation`], which a bound completes.
#[derive(Debug)]
#[must_use = "a check is recorded only once it has an observation and a bound"]
pub struct Question {
    recorder: Rc<Recorder>,
    check: Check,
}

impl Question {
    /// Asks about `what`, a noun phrase.
    pub fn new(recorder: Rc<Recorder>, kind: CheckKind, what: &str) -> Self {
        let check = Check {
            config: String::new(),
            suite: recorder.suite.clone(),
            case: recorder.case.clone(),
            requirements: Vec::new(),
            kind,
            what: what.to_owned(),
            file: String::new(),
            unit: Unit::Text,
            observed: Quantity::from(""),
            at_least: None,
            at_most: None,
            equals: None,
            bound_reason: String::new(),
            beyond_lies: String::new(),
            verdict: Verdict::Fail,
        };
        Self { recorder, check }
    }

    /// The promises that the check tests.
    pub fn covers(mut self, requirements: impl IntoIterator<Item = Requirement>) -> Self {
        self.check.requirements.extend(requirements);
        self
    }

    /// The interface file that it is about.
    pub fn file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.check.file);
        self
    }

    /// The unit of what is observed and of its bound; [`Unit::Text`] unless said.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.check.unit = unit;
        self
    }

    /// Why no lie about the cgroup files can make the check fail, where that is
    /// so: what it observes comes another way.
    pub fn beyond_lies(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.check.beyond_lies);
        self
    }

    /// What the kernel did.
    pub fn observed(mut self, observed: impl Into<Quantity>) -> Observation {
        self.check.observed = observed.into();
        Observation(self)
    }

    /// What the kernel answered: `ok`, or the errno's name.
    pub fn answered<T>(self, answer: &Result<T, Refusal>) -> Observation {
        let answer = answer.as_ref().map(|_| ()).map_err(|it| it.errno);
        self.returned(&answer)
    }

    /// What a system call returned: `ok`, or the errno's name.
    pub fn returned<T>(self, answer: &Result<T, Errno>) -> Observation {
        let text = match answer {
            Ok(_) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        };
        self.unit(Unit::Errno).observed(text)
    }

    /// A time, in nanoseconds.
    pub fn took(self, time: Duration) -> Observation {
        self.unit(Unit::Nanoseconds).observed(nanoseconds(time))
    }

    /// Whether something happened: `yes` or `no`.
    pub fn happened(self, answer: Option<Duration>) -> Observation {
        self.observed(if answer.is_some() { "yes" } else { "no" })
    }
}

/// What was observed, still without a bound.
#[derive(Debug)]
#[must_use = "a check is recorded only once it has a bound"]
pub struct Observation(Question);

impl Observation {
    /// The promise allows this alone.
    pub fn equals(mut self, expected: impl Into<Quantity>, reason: &str) {
        self.0.check.equals = Some(expected.into());
        self.complete(reason);
    }

    /// The promise allows this or less.
    pub fn at_most(mut self, most: impl Into<Quantity>, reason: &str) {
        self.0.check.at_most = Some(most.into());
        self.complete(reason);
    }

    /// The promise allows this or more.
    pub fn at_least(mut self, least: impl Into<Quantity>, reason: &str) {
        self.0.check.at_least = Some(least.into());
        self.complete(reason);
    }

    /// The promise allows nothing outside these two.
    pub fn between(mut self, least: impl Into<Quantity>, most: impl Into<Quantity>, reason: &str) {
        self.0.check.at_least = Some(least.into());
        self.0.check.at_most = Some(most.into());
        self.complete(reason);
    }

    fn complete(mut self, reason: &str) {
        reason.clone_into(&mut self.0.check.bound_reason);
        self.0.check.verdict = self.0.check.implied();
        self.0.recorder.record(Event::Check(self.0.check));
    }
}
