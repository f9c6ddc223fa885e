//! A number over time, of bounded length however many samples there were.
//!
//! It knows neither what is counted nor which clock gave the times.

use serde::{Deserialize, Serialize};

/// Pairs of nanoseconds since the load began and the value from then on.
///
/// The first and the last sample are always kept; of those between, every
/// n-th, n being the power of two that makes them few enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Series {
    /// The samples in the order of their times.
    pub points: Vec<(u64, u64)>,
}

/// Takes samples one by one and thins them out as they come.
#[derive(Debug)]
pub(crate) struct Thinning {
    most: usize,
    stride: u64,
    seen: u64,
    kept: Vec<(u64, u64)>,
    last: Option<(u64, u64)>,
}

impl Thinning {
    /// Keeps `most` samples and the last one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(2), stride: 1, seen: 0, kept: Vec::new(), last: None }
    }

    pub(crate) fn push(&mut self, at_ns: u64, value: u64) {
        let sample = (at_ns, value);
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == self.most {
                self.halve();
            }
            // What was due at the old stride may not be at the new one.
            if self.seen.is_multiple_of(self.stride) {
                self.kept.push(sample);
            }
        }
        self.seen += 1;
        self.last = Some(sample);
    }

    fn halve(&mut self) {
        let mut place = 0;
        self.kept.retain(|_| {
            place += 1;
            place % 2 == 1
        });
        self.stride *= 2;
    }

    pub(crate) fn finish(self) -> Series {
        let mut points = self.kept;
        let last_is_missing = self.seen > 0 && !(self.seen - 1).is_multiple_of(self.stride);
        points.extend(self.last.filter(|_| last_is_missing));
        Series { points }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_stay_times_rise_and_length_is_bounded(
            steps in prop::collection::vec((0..1000u64, 0..50u64), 0..600),
            most in 2..40usize,
        ) {
            let mut thinning = Thinning::new(most);
            let mut samples = Vec::new();
            let mut now = 0;
            for (step, value) in steps {
                now += step;
                samples.push((now, value));
                thinning.push(now, value);
            }
            let points = thinning.finish().points;
            prop_assert!(points.len() <= most + 1);
            prop_assert!(points.len() >= samples.len().min(most / 2));
            prop_assert_eq!(points.first(), samples.first());
            prop_assert_eq!(points.last(), samples.last());
            prop_assert!(points.is_sorted_by_key(|point| point.0));
            // Nothing is invented or taken twice: the points are a subsequence.
            let mut rest = samples.iter();
            prop_assert!(points.iter().all(|point| rest.any(|sample| sample == point)));
        }
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let mut thinning = Thinning::new(4);
        for at in 0..4 {
            thinning.push(at, at * 10);
        }
        assert_eq!(thinning.finish().points, [(0, 0), (1, 10), (2, 20), (3, 30)]);
    }

    #[test]
    fn what_does_not_fit_is_kept_at_an_even_stride() {
        let mut thinning = Thinning::new(4);
        for at in 0..10 {
            thinning.push(at, 0);
        }
        let times: Vec<u64> = thinning.finish().points.iter().map(|point| point.0).collect();
        assert_eq!(times, [0, 4, 8, 9]);
    }
}
