//! Two runs, record by record: what one has that the other has not, and what
//! both have and say differently.
//!
//! Pure, and without any tolerance: on the virtual clock any difference is one
//! of the kernels. What a difference is worth is for its reader to say.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::run::{CaseReport, Run};

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Cases that both runs have.
    pub cases: usize,
    /// Records of those cases, in the first run.
    pub records: usize,
    /// Where they differ.
    pub differences: Vec<Difference>,
    /// Cases of the first run that the second lacks.
    pub only_in_base: Vec<String>,
    /// Cases of the second run that the first lacks.
    pub only_in_new: Vec<String>,
}

/// A record that is not the same in both runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Suite and case.
    pub case: String,
    /// The kind of record and what it is about.
    pub record: String,
    /// What the first run says; nothing if it has no such record.
    pub base: String,
    /// What the second run says; nothing if it has no such record.
    pub new: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |it: &str| {
            if it.is_empty() { "nothing".to_owned() } else { it.to_owned() }
        };
        write!(f, "{}: {}: {} -> {}", self.case, self.record, shown(&self.base), shown(&self.new))
    }
}

/// Compares the cases of two runs by suite and name; where a run has several
/// configurations, within each.
#[must_use]
pub fn compare(base: &Run, new: &Run) -> Comparison {
    let several = [base, new].iter().any(|it| it.configurations.len() > 1);
    let scope = if several { Scope::Configuration } else { Scope::Run };
    let (base, new) = (by_name(base, scope), by_name(new, scope));
    let mut found = Comparison::default();
    for (name, case) in &base {
        let Some(other) = new.get(name) else {
            found.only_in_base.push(name.clone());
            continue;
        };
        let (said, answer) = (statements(case), statements(other));
        found.cases += 1;
        found.records += said.len();
        for record in said.keys().chain(answer.keys().filter(|it| !said.contains_key(*it))) {
            let (base, new) = (said.get(record), answer.get(record));
            if base.map(|it| &it.exactly) != new.map(|it| &it.exactly) {
                let shown =
                    |it: Option<&Statement>| it.map(|it| it.shown.clone()).unwrap_or_default();
                found.differences.push(Difference {
                    case: name.clone(),
                    record: record.clone(),
                    base: shown(base),
                    new: shown(new),
                });
            }
        }
    }
    found.only_in_new = new.into_keys().filter(|it| !base.contains_key(it)).collect();
    found
}

/// Within what a case's name is its own.
#[derive(Clone, Copy)]
enum Scope {
    Run,
    Configuration,
}

fn by_name(run: &Run, scope: Scope) -> BTreeMap<String, &CaseReport> {
    let name = |config: &str, it: &CaseReport| match scope {
        Scope::Configuration => format!("{config} {} {}", it.suite, it.case),
        Scope::Run => format!("{} {}", it.suite, it.case),
    };
    run.cases().map(|(of, case)| (name(&of.start.config, case), case)).collect()
}

/// A record, for a reader and to the letter.
struct Statement {
    shown: String,
    exactly: String,
}

/// What a case says, record by record. A record that comes twice is numbered.
fn statements(case: &CaseReport) -> BTreeMap<String, Statement> {
    let mut all = Statements(BTreeMap::new());
    for it in &case.checks {
        let it = &it.record();
        all.add("check", &it.what, format!("{} {}", it.observed, it.unit), it);
    }
    for it in &case.values {
        let it = &cgauge_record::Value { config: String::new(), ..it.clone() };
        all.add("value", &it.metric, format!("{} {}", it.value, it.unit), it);
    }
    for it in &case.histograms {
        let it = &cgauge_record::Histogram { config: String::new(), ..it.clone() };
        all.add(
            "histogram",
            &it.metric,
            format!("p50 {} p99 {} max {} {}", it.p50, it.p99, it.max, it.unit),
            it,
        );
    }
    for it in &case.series {
        let it = &cgauge_record::Series { config: String::new(), ..it.clone() };
        all.add("series", &it.metric, format!("{} points in {}", it.points.len(), it.unit), it);
    }
    for it in &case.thinned {
        let (points, digest) = (it.points, it.digest);
        all.add("all of series", &it.metric, format!("{points} points"), &(points, digest));
    }
    all.0
}

struct Statements(BTreeMap<String, Statement>);

impl Statements {
    fn add(&mut self, kind: &str, about: &str, shown: String, record: &impl Serialize) {
        let first = format!("{kind} {about}");
        let numbered = (2..).map(|again| format!("{first} ({again})"));
        let free =
            std::iter::once(first.clone()).chain(numbered).find(|it| !self.0.contains_key(it));
        // The types of a record hold nothing that JSON cannot.
        let exactly = serde_json::to_string(record).unwrap_or_default();
        self.0.insert(free.unwrap_or(first), Statement { shown, exactly });
    }
}
