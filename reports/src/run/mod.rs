//! A run as it stands in `events.jsonl`: configurations, their cases, what each
//! case checked and measured.
//!
//! Every name and text in here is bounded and free of control characters, and
//! every verdict is worked out again, so that a writer has only its own format's
//! escaping to think of.

mod check;
mod collect;
mod read;
mod thin;

use cgauge_record::{Histogram, Outcome, Planned, RunEnd, RunStart, Series, Value};

pub use check::CheckReport;
pub use read::{EVENTS_FILE, ReadError};
pub use thin::Thinned;

/// One run, or several side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// What was tested, in the order in which it began.
    pub configurations: Vec<Configuration>,
    /// The counts, made from the cases and never taken from the file.
    pub end: RunEnd,
    /// What a reader of the report has to know about the file itself, one
    /// sentence each.
    pub notes: Vec<String>,
}

/// A kernel, a hierarchy, a driver, a stage, a clock, and the cases that ran there.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// What it is. Its plan is not kept here: see `never_ran`.
    pub start: RunStart,
    /// The cases that were planned and of which the file holds nothing.
    pub never_ran: Vec<Planned>,
    /// Its cases: suite by suite, by name within a suite.
    pub cases: Vec<CaseReport>,
}

/// All that is known of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    /// The suite: the test binary's name.
    pub suite: String,
    /// The case's full name with its parameters.
    pub case: String,
    /// The promise that it checks.
    pub promise: String,
    /// How it ended, judged again.
    pub outcome: Outcome,
    /// Why it ended so; empty for a pass.
    pub reason: String,
    /// Its checks in order, each with the verdict that its numbers imply.
    pub checks: Vec<CheckReport>,
    /// Its numbers.
    pub values: Vec<Value>,
    /// Its distributions.
    pub histograms: Vec<Histogram>,
    /// Its numbers over time; those that were too long are thinned out.
    pub series: Vec<Series>,
    /// What the thinned ones were.
    pub thinned: Vec<Thinned>,
    /// The last lines of console and output, where they say why it ended so.
    pub evidence: Vec<String>,
    /// How long on the run's clock.
    pub elapsed_ns: u64,
    /// How long on the host.
    pub host_elapsed_ns: u64,
}

impl Run {
    /// Every case with the configuration in which it ran.
    pub fn cases(&self) -> impl Iterator<Item = (&Configuration, &CaseReport)> {
        self.configurations.iter().flat_map(|it| it.cases.iter().map(move |case| (it, case)))
    }

    /// Puts several runs side by side, for a matrix over their configurations.
    ///
    /// Configurations of the same name are told apart by their run's name.
    #[must_use]
    pub fn join(runs: impl IntoIterator<Item = Run>) -> Run {
        let mut all = Run::default();
        let mut interrupted = false;
        for run in runs {
            interrupted |= run.end.interrupted;
            all.notes.extend(run.notes);
            all.configurations.extend(run.configurations);
        }
        let names: Vec<String> =
            all.configurations.iter().map(|it| it.start.config.clone()).collect();
        for it in &mut all.configurations {
            if names.iter().filter(|name| **name == it.start.config).count() > 1 {
                it.start.config = format!("{} {}", it.start.run, it.start.config);
            }
        }
        all.end = RunEnd { interrupted, ..collect::count(&all.configurations) };
        all
    }
}
