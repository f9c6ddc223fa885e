//! The figures of a case that a gate looks at, from its records. It must not
//! judge them.

use std::collections::BTreeMap;

use cgauge_record::{Histogram, Preference, Unit, Verdict};

use crate::run::CaseReport;

/// A measured number, once for each time that it was measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) unit: Unit,
    pub(super) better: Preference,
    pub(super) samples: Vec<f64>,
    /// The distribution that it is a part of, if it is of one.
    pub(super) distribution: Option<Distribution>,
}

/// A histogram in five numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Distribution {
    /// How many samples.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The median.
    pub p50: u64,
    /// The 90th percentile.
    pub p90: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

/// What one case measured and checked, over all of its repetitions.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) figures: BTreeMap<String, Figure>,
    pub(super) checks: BTreeMap<String, Verdict>,
}

impl Figures {
    pub(super) fn add(&mut self, case: &CaseReport) {
        for it in &case.values {
            // A word is compared, but cannot get worse.
            if let Some(number) = it.value.number() {
                self.sample(it.metric.clone(), it.unit, it.better, number, None);
            }
        }
        for it in &case.histograms {
            self.add_histogram(it);
        }
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for it in &case.checks {
            let time = seen.entry(&it.what).or_default();
            *time += 1;
            let name =
                if *time == 1 { it.what.to_string() } else { format!("{} ({time})", it.what) };
            // Of several repetitions the worst counts.
            let known = self.checks.entry(name).or_insert(it.verdict);
            if it.verdict == Verdict::Fail {
                *known = Verdict::Fail;
            }
        }
    }

    /// The median always, a percentile only where at least one sample lies
    /// beyond it, the maximum never: one outlier is no change of the kernel.
    fn add_histogram(&mut self, it: &Histogram) {
        let better = match it.unit {
            Unit::Nanoseconds | Unit::Microseconds => Preference::Lower,
            _ => Preference::Neither,
        };
        let distribution = Distribution {
            count: it.count,
            min: it.min,
            p50: it.p50,
            p90: it.p90,
            p99: it.p99,
            max: it.max,
        };
        for (name, value, least) in [("p50", it.p50, 1), ("p90", it.p90, 10), ("p99", it.p99, 100)]
        {
            if it.count >= least {
                #[expect(clippy::cast_precision_loss, reason = "a histogram keeps three digits")]
                let value = value as f64;
                let metric = format!("{} {name}", it.metric);
                self.sample(metric, it.unit, better, value, Some(distribution));
            }
        }
    }

    fn sample(
        &mut self,
        metric: String,
        unit: Unit,
        better: Preference,
        number: f64,
        distribution: Option<Distribution>,
    ) {
        let figure = self.figures.entry(metric).or_insert_with(|| Figure {
            unit,
            better,
            samples: Vec::new(),
            distribution,
        });
        figure.samples.push(number);
    }
}
