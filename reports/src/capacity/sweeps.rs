//! The sweeps of a run: the values and distributions of the suite `capacity`, by
//! the parameters of their cases. It must not know what they mean.

use cgauge_record::{Histogram, Outcome, RunStart, Unit};

use super::curve::Curve;
use crate::names;
use crate::run::Run;
use crate::units::readable;

const SUITE: &str = "capacity";

/// The cases of the first configuration that has any.
pub(super) struct Sweeps<'a> {
    start: Option<&'a RunStart>,
    cases: Vec<Place<'a>>,
}

/// A case: one place of a sweep.
pub(super) struct Place<'a> {
    test: &'a str,
    parameters: Vec<(String, String)>,
    case: &'a crate::run::CaseReport,
}

impl<'a> Sweeps<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        let has = |it: &&crate::run::Configuration| it.cases.iter().any(|it| it.suite == SUITE);
        let Some(configuration) = run.configurations.iter().find(has) else {
            return Self { start: None, cases: Vec::new() };
        };
        // What a failed or broken case measured is no basis for a plan; one that
        // was skipped had its reason, and may have measured before.
        let usable = |it: &&crate::run::CaseReport| {
            it.suite == SUITE && matches!(it.outcome, Outcome::Pass | Outcome::Skip)
        };
        let cases = configuration.cases.iter().filter(usable).map(|case| {
            let name = names::split(&case.case);
            let parameters = name.parameters.split(", ").filter_map(|it| it.split_once('='));
            Place {
                test: name.base,
                parameters: parameters
                    .map(|(name, value)| (name.to_owned(), plain(value)))
                    .collect(),
                case,
            }
        });
        Self { start: Some(&configuration.start), cases: cases.collect() }
    }

    /// Kernel and guest in a sentence.
    pub(super) fn measured_on(&self) -> String {
        let Some(it) = self.start else {
            return "This run has no sweep of the suite capacity.".to_owned();
        };
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let memory = readable(it.memory_bytes as f64, Unit::Bytes);
        let clock = match it.clock {
            cgauge_record::Clock::Virtual => {
                "on the virtual clock, where an instruction takes the same time whatever it does: ratios and bends hold, nanoseconds are not those of hardware"
            }
            cgauge_record::Clock::Wall => "on the wall clock",
        };
        let cpus = if it.cpus == 1 { "one CPU".to_owned() } else { format!("{} CPUs", it.cpus) };
        format!(
            "Measured on Linux {} in a guest of {cpus} and {memory}, {clock}.",
            it.kernel.release
        )
    }

    /// Cases of a test at these values of parameters.
    pub(super) fn places(
        &self,
        test: &str,
        at: &[(&str, &str)],
    ) -> impl Iterator<Item = &Place<'a>> {
        let wanted = move |it: &&Place<'_>| {
            it.test == test && at.iter().all(|(name, value)| it.parameter(name) == Some(value))
        };
        self.cases.iter().filter(wanted)
    }

    /// A value over a parameter.
    pub(super) fn curve(
        &self,
        test: &str,
        at: &[(&str, &str)],
        over: &str,
        metric: &str,
    ) -> Option<Curve> {
        Curve::new(
            self.places(test, at).filter_map(|it| Some((it.number(over)?, it.value(metric)?))),
        )
    }

    /// A percentile of a distribution over a parameter.
    pub(super) fn percentile(
        &self,
        test: &str,
        at: &[(&str, &str)],
        over: &str,
        (metric, of): (&str, fn(&Histogram) -> u64),
    ) -> Option<Curve> {
        #[expect(clippy::cast_precision_loss, reason = "a place on a curve")]
        let points = self
            .places(test, at)
            .filter_map(|it| Some((it.number(over)?, of(it.histogram(metric)?) as f64)));
        Curve::new(points)
    }
}

impl Place<'_> {
    pub(super) fn parameter(&self, wanted: &str) -> Option<&str> {
        self.parameters.iter().find(|it| it.0 == wanted).map(|it| it.1.as_str())
    }

    pub(super) fn number(&self, wanted: &str) -> Option<f64> {
        self.parameter(wanted)?.parse().ok()
    }

    pub(super) fn value(&self, metric: &str) -> Option<f64> {
        let found = self.case.values.iter().find(|it| it.metric == metric)?;
        found.value.number().filter(|it| it.is_finite())
    }

    pub(super) fn histogram(&self, metric: &str) -> Option<&Histogram> {
        self.case.histograms.iter().find(|it| it.metric == metric)
    }
}

/// `__max__` as `max`, `Of__Cache` as `Cache`: a text and a variant as rstest
/// spells them.
fn plain(value: &str) -> String {
    let value = value.trim_matches('_');
    value.rsplit("__").next().unwrap_or(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_from_their_spelling() {
        for (spelled, value) in [("__max__", "max"), ("Of__Cache", "Cache"), ("100", "100")] {
            assert_eq!(plain(spelled), value);
        }
    }
}
