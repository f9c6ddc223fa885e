//! One figure, before and after: worse, better, the same, or not to be told. It
//! must not know what is measured.
//!
//! On the virtual clock the size of the effect alone decides. On the wall clock
//! the whole interval on the effect has to clear the threshold.

use cgauge_record::{Clock, Preference};

use super::figures::Figure;
use super::write::percent;
use super::{Class, Measured, Side};
use crate::statistics::{Interval, median, noise_floor, ratio_interval};

/// The least samples of a side on the wall clock: if both are of one kind, one in
/// 12870 draws of 8 and 8 has all of one side above all of the other; of 4 and 4
/// it is one in 70.
pub(super) const LEAST_SAMPLES: usize = 8;

/// A figure's judgement.
pub(super) struct Judged {
    /// What there is to say; nothing if it is as it was.
    pub(super) finding: Option<(Class, String)>,
    pub(super) measured: Measured,
    /// The least effect that these samples could show; wall clock only.
    pub(super) floor: Option<f64>,
}

/// What it means that a figure is gone from a case that held.
pub(super) fn vanished(it: &Figure, clock: Clock) -> Option<Class> {
    match (it.better, clock) {
        (Preference::Neither, _) => None,
        (_, Clock::Virtual) => Some(Class::Regression),
        // A percentile goes when there are too few samples, and that is noise.
        (_, Clock::Wall) => Some(Class::Inconclusive),
    }
}

pub(super) fn figure(base: &Figure, new: &Figure, clock: Clock, threshold: f64) -> Judged {
    let (was, is) = (side(base), side(new));
    let change = (was.median != 0.0).then(|| (is.median - was.median) / was.median.abs());
    let mut judged = Judged {
        finding: None,
        measured: Measured { unit: base.unit, base: was, new: is, change, interval: None },
        floor: None,
    };
    if base.unit != new.unit || base.better != new.better {
        let reason = "its unit or its better side is another now".to_owned();
        judged.finding = Some((Class::Inconclusive, reason));
        return judged;
    }
    judged.finding = match clock {
        Clock::Virtual => by_size(&judged.measured, base.better, threshold),
        Clock::Wall if base.better == Preference::Neither => None,
        Clock::Wall => by_interval(base, new, threshold, &mut judged),
    };
    judged
}

fn side(it: &Figure) -> Side {
    Side {
        median: median(&it.samples).unwrap_or_default(),
        samples: it.samples.clone(),
        distribution: it.distribution,
    }
}

fn by_size(it: &Measured, better: Preference, threshold: f64) -> Option<(Class, String)> {
    // From nothing to something is beyond any share.
    let change = it.change.unwrap_or_else(|| {
        let rise = it.new.median - it.base.median;
        if rise == 0.0 { 0.0 } else { rise.signum() * f64::INFINITY }
    });
    (change.abs() > threshold).then(|| (class(change, better), signed(change)))
}

fn class(change: f64, better: Preference) -> Class {
    match better {
        Preference::Neither => Class::Change,
        Preference::Lower if change > 0.0 => Class::Regression,
        Preference::Higher if change < 0.0 => Class::Regression,
        _ => Class::Improvement,
    }
}

fn by_interval(
    base: &Figure,
    new: &Figure,
    threshold: f64,
    judged: &mut Judged,
) -> Option<(Class, String)> {
    let undecided = |reason| Some((Class::Inconclusive, reason));
    let (few, many) = (base.samples.len(), new.samples.len());
    if few.min(many) < LEAST_SAMPLES {
        return undecided(format!(
            "{few} and {many} samples: it takes {LEAST_SAMPLES} of each to tell"
        ));
    }
    let floor = noise_floor(&base.samples).zip(noise_floor(&new.samples));
    let ratio = ratio_interval(&base.samples, &new.samples);
    let (Some(floor), Some(ratio)) = (floor.map(|it| it.0.max(it.1)), ratio) else {
        let same = judged.measured.base.median == judged.measured.new.median;
        let reason = "a share of zero is none".to_owned();
        return if same { None } else { undecided(reason) };
    };
    let change = Interval { low: ratio.low - 1.0, high: ratio.high - 1.0 };
    judged.floor = Some(floor);
    judged.measured.interval = Some(change);
    if floor > threshold {
        return undecided(format!(
            "the threshold of {} is below its noise floor of {}",
            percent(threshold),
            percent(floor)
        ));
    }
    let shown = || format!("{} to {}", signed(change.low), signed(change.high));
    if change.low > threshold {
        Some((class(1.0, base.better), shown()))
    } else if change.high < -threshold {
        Some((class(-1.0, base.better), shown()))
    } else {
        let worst = match base.better {
            Preference::Higher => -change.low,
            _ => change.high,
        };
        if worst > threshold { undecided(shown()) } else { None }
    }
}

fn signed(change: f64) -> String {
    if change.is_infinite() {
        return "from nothing to something".to_owned();
    }
    let sign = if change >= 0.0 { "+" } else { "" };
    format!("{sign}{}", percent(change))
}

#[cfg(test)]
mod tests {
    use cgauge_record::Unit;
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::Chance;

    fn figure_of(better: Preference, samples: Vec<f64>) -> Figure {
        Figure { unit: Unit::Nanoseconds, better, samples, distribution: None }
    }

    fn class_of(base: &Figure, new: &Figure, clock: Clock, threshold: f64) -> Option<Class> {
        figure(base, new, clock, threshold).finding.map(|it| it.0)
    }

    /// Latencies as a busy machine gives them: some noise around 1000, and now and
    /// then one that was held up.
    fn noisy(chance: &mut Chance, slower: f64, spread: f64) -> Figure {
        let mut sample = || {
            let bell: f64 = (0..12).map(|_| chance.unit()).sum::<f64>() - 6.0;
            let held_up = if chance.unit() < 0.05 { 1.5 } else { 1.0 };
            1000.0 * slower * (1.0 + spread * bell) * held_up
        };
        figure_of(Preference::Lower, (0..16).map(|_| sample()).collect())
    }

    #[test]
    fn noise_raises_no_false_alarm() {
        let mut chance = Chance::new(1);
        // 20 pairs of runs with 30 figures each, from calm to wild.
        for trial in 0..600 {
            let spread = [0.01, 0.03, 0.1, 0.2][trial % 4];
            let (a, b) = (noisy(&mut chance, 1.0, spread), noisy(&mut chance, 1.0, spread));
            let class = class_of(&a, &b, Clock::Wall, 0.10);
            assert!(!matches!(class, Some(Class::Regression)), "trial {trial}: {a:?} {b:?}");
        }
    }

    #[test]
    fn a_fifth_slower_is_found_in_nine_of_ten() {
        let mut chance = Chance::new(2);
        let found = (0..60).filter(|_| {
            let (a, b) = (noisy(&mut chance, 1.0, 0.03), noisy(&mut chance, 1.2, 0.03));
            class_of(&a, &b, Clock::Wall, 0.10) == Some(Class::Regression)
        });
        let found = found.count();
        assert!(found >= 54, "{found} of 60");
    }

    #[test]
    fn one_sample_of_each_tells_nothing_on_the_wall_clock() {
        let (a, b) =
            (figure_of(Preference::Lower, vec![1.0]), figure_of(Preference::Lower, vec![9.0]));
        assert_eq!(class_of(&a, &b, Clock::Wall, 0.1), Some(Class::Inconclusive));
        assert_eq!(class_of(&a, &b, Clock::Virtual, 0.1), Some(Class::Regression));
    }

    #[test]
    fn a_threshold_below_the_noise_is_not_judged_by() {
        let mut chance = Chance::new(3);
        let (a, b) = (noisy(&mut chance, 1.0, 0.1), noisy(&mut chance, 1.0, 0.1));
        let judged = figure(&a, &b, Clock::Wall, 0.001);
        assert!(judged.floor.unwrap() > 0.001);
        assert!(judged.finding.unwrap().1.contains("below its noise floor"));
    }

    proptest! {
        #[test]
        fn on_the_virtual_clock_the_size_alone_decides(
            base in 1_000_u32..1_000_000_000,
            effect in -0.5_f64..0.5,
        ) {
            let was = f64::from(base);
            let of = |better, it| figure_of(better, vec![it]);
            let new = was * (1.0 + effect);
            let judged = |better| class_of(&of(better, was), &of(better, new), Clock::Virtual, 0.01);
            if effect.abs() < 0.0099 {
                prop_assert_eq!(judged(Preference::Lower), None);
            } else if effect > 0.0101 {
                prop_assert_eq!(judged(Preference::Lower), Some(Class::Regression));
                prop_assert_eq!(judged(Preference::Higher), Some(Class::Improvement));
                prop_assert_eq!(judged(Preference::Neither), Some(Class::Change));
            } else if effect < -0.0101 {
                prop_assert_eq!(judged(Preference::Lower), Some(Class::Improvement));
                prop_assert_eq!(judged(Preference::Higher), Some(Class::Regression));
            }
        }

        #[test]
        fn the_same_is_the_same(samples in prop::collection::vec(0.0_f64..1e9, 1..4)) {
            let it = figure_of(Preference::Lower, samples);
            prop_assert_eq!(class_of(&it, &it, Clock::Virtual, 0.0), None);
        }
    }
}
