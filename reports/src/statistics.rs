//! The few statistics that a verdict or a report rests on. It must not know what
//! is measured.
//!
//! Everything is repeatable: where chance is needed it comes from a generator
//! with a fixed seed, so that the same samples always get the same verdict.

/// The value in the middle; of an even number, the mean of the two there.
/// Nothing without a sample.
#[must_use]
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    middle(&sorted)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[half - 1], upper)) }
}

/// Jain's index of fairness: 1 where all get the same, 1/n where one gets all.
/// Nothing without a share, or where nobody gets anything.
///
/// R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984.
#[must_use]
pub fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|it| it * it).sum();
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 shares")]
    let count = shares.len() as f64;
    (squares > 0.0).then(|| sum * sum / (count * squares))
}

/// A range that a figure lies in, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How often samples are drawn anew: enough that the 20th and the 3980th of the
/// sorted ratios, the ends of the interval, are no single draw.
const DRAWS: usize = 4_000;
/// What is left out at either end: the interval is one of 99 %. A run has some
/// hundred figures, and a gate on all of them must not cry at each twentieth; the
/// threshold that the interval has to clear comes on top.
const TAIL: usize = DRAWS / 200;

/// The bootstrap interval, at 99 %, on the median of `new` over that of
/// `base`, by percentiles. Nothing where a side has no sample, or `base` has
/// some that are not above zero.
///
/// B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
#[must_use]
pub fn ratio_interval(base: &[f64], new: &[f64]) -> Option<Interval> {
    if base.is_empty() || new.is_empty() || !base.iter().all(|it| *it > 0.0) {
        return None;
    }
    let mut chance = Chance::new(0x5eed);
    let mut drawn = Vec::with_capacity(base.len().max(new.len()));
    let mut drawn_median = |of: &[f64], chance: &mut Chance| {
        drawn.clear();
        drawn.extend((0..of.len()).map(|_| of[chance.below(of.len())]));
        drawn.sort_by(f64::total_cmp);
        middle(&drawn)
    };
    let mut ratios = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let below = drawn_median(base, &mut chance)?;
        ratios.push(drawn_median(new, &mut chance)? / below);
    }
    ratios.sort_by(f64::total_cmp);
    Some(Interval { low: ratios[TAIL], high: ratios[DRAWS - 1 - TAIL] })
}

/// How far the median of samples like these strays from itself, as a share of
/// it: half the interval on their ratio to themselves. No effect that is smaller
/// can be told from noise.
#[must_use]
pub fn noise_floor(samples: &[f64]) -> Option<f64> {
    ratio_interval(samples, samples).map(|it| (it.high - it.low) / 2.0)
}

/// Repeatable chance: `SplitMix64`, of G. Steele, D. Lea, C. Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// A number from 0 to below `end`. The bias of a 64-bit remainder is below
    /// one in 2^40 for any number of samples that fits in memory.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let drawn = (u128::from(self.next()) * end as u128) >> 64;
        usize::try_from(drawn).unwrap_or_default()
    }

    /// A number from 0 to below 1.
    #[cfg(test)]
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a f64 holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn fairness_goes_from_one_to_one_of_n() {
        assert_eq!(jain(&[]), None);
        assert_eq!(jain(&[0.0, 0.0]), None);
        assert_eq!(jain(&[2.0, 2.0, 2.0]), Some(1.0));
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), Some(0.25));
    }

    #[test]
    fn samples_without_noise_leave_no_doubt() {
        let (base, new) = ([100.0; 8], [120.0; 8]);
        assert_eq!(ratio_interval(&base, &new), Some(Interval { low: 1.2, high: 1.2 }));
        assert_eq!(noise_floor(&base), Some(0.0));
        assert_eq!(ratio_interval(&[0.0], &[1.0]), None);
        assert_eq!(ratio_interval(&[], &[1.0]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_interval_holds_the_ratio_of_the_medians(
            base in prop::collection::vec(1.0_f64..1e6, 1..12),
            new in prop::collection::vec(1.0_f64..1e6, 1..12),
        ) {
            let ratio = median(&new).unwrap() / median(&base).unwrap();
            let it = ratio_interval(&base, &new).unwrap();
            prop_assert!(it.low <= ratio && ratio <= it.high, "{ratio} {it:?}");
        }
    }
}
