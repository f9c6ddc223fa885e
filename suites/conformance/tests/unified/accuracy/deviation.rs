//! Samples of one counter against the truth, and what is recorded of them: the
//! error over time with its bound, its size in absolute and relative terms, and a
//! check on both sides.
//!
//! It knows no counter.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now};
use cgauge_record::Requirement;

/// A reading of the counter, and between what the truth lay while it was read.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    counted: u64,
    least: u64,
    most: u64,
}

impl Sample {
    /// How far the counter is above the truth; negative below it.
    fn error(&self) -> i64 {
        let nearest = self.counted.clamp(self.least, self.most.max(self.least));
        self.counted.cast_signed() - nearest.cast_signed()
    }
}

/// What a counter may be off by, and why.
#[derive(Clone, Copy, Debug)]
pub struct Allowed<'a> {
    pub below: u64,
    pub above: u64,
    pub reason: &'a str,
}

/// Which counter.
#[derive(Clone, Debug)]
pub struct Counter<'a> {
    /// What it counts, under which circumstances.
    pub what: String,
    pub file: &'a str,
    pub unit: Unit,
    pub covers: &'a [Requirement],
}

/// Samples over a time.
#[derive(Debug)]
pub struct Deviations {
    began: Duration,
    samples: Vec<Sample>,
}

impl Deviations {
    /// Times are counted from `began` on.
    pub fn since(began: Duration) -> Self {
        Self { began, samples: Vec::new() }
    }

    /// Takes a sample: the load's own counts are taken before the counter is read,
    /// and what the truth lay between while it was follows from them and from those
    /// after it.
    pub fn sample<T>(
        &mut self,
        before: impl FnOnce() -> T,
        counter: impl FnOnce() -> Result<u64, Stop>,
        between: impl FnOnce(T) -> (u64, u64),
    ) -> Outcome {
        let at = now().saturating_sub(self.began);
        let taken = before();
        let counted = counter()?;
        let (least, most) = between(taken);
        self.samples.push(Sample { at, counted, least, most });
        Ok(())
    }

    /// Records them all, and checks that none is further off than is allowed.
    pub fn tell(&self, lab: &Lab, of: &Counter<'_>, allowed: Allowed<'_>) {
        let mut sizes: Vec<u64> = self.samples.iter().map(|it| it.error().unsigned_abs()).collect();
        sizes.sort_unstable();
        let at = |share: usize| sizes.get(sizes.len() * share / 100).or(sizes.last()).copied();
        for (name, share) in [("median", 50), ("ninth decile", 90), ("largest", 100)] {
            lab.value(
                &format!("error of {}: {name}", of.what),
                of.unit,
                at(share).unwrap_or_default(),
                Lower,
            );
        }
        let relative = |it: &&Sample| it.error().unsigned_abs() as f64 / it.most.max(1) as f64;
        let settled = self.samples.iter().filter(|it| it.most > 0).map(|it| relative(&it));
        lab.value(
            &format!("relative error of {}: largest", of.what),
            Unit::Ratio,
            settled.fold(0.0, f64::max),
            Lower,
        );
        let points: Vec<_> = self.samples.iter().map(|it| (it.at, it.error() as f64)).collect();
        let bound = allowed.below.max(allowed.above) as f64;
        lab.series(&format!("error of {}", of.what), of.unit, &points, Some(bound));
        let furthest = self.samples.iter().map(Sample::error).max_by_key(|it| it.unsigned_abs());
        lab.accounting(&format!("error of {} that is furthest from the truth", of.what))
            .covers(of.covers.iter().copied())
            .file(of.file)
            .unit(of.unit)
            .observed(furthest.unwrap_or(i64::MAX))
            .between(-allowed.below.cast_signed(), allowed.above.cast_signed(), allowed.reason);
    }

    /// How long it took until the counter was no further off than that, for good.
    pub fn settled(&self, below: u64, above: u64) -> Option<Duration> {
        let within =
            |it: &Sample| (-below.cast_signed()..=above.cast_signed()).contains(&it.error());
        let last_off = self.samples.iter().rposition(|it| !within(it));
        let first = last_off.map_or(0, |it| it + 1);
        self.samples.get(first).map(|it| it.at)
    }

    /// Records and checks how long it took until the counter told the truth.
    pub fn tell_settled(
        &self,
        lab: &Lab,
        of: &Counter<'_>,
        (below, above): (u64, u64),
        most: Duration,
        reason: &str,
    ) {
        let settled = self.settled(below, above);
        // One that never comes takes longer than anything here.
        let took = settled.unwrap_or(Duration::from_secs(3600));
        lab.value(
            &format!("time from the end of the load to the truth: {}", of.what),
            Unit::Nanoseconds,
            nanoseconds(took),
            Lower,
        );
        lab.accounting(&format!("time from the end of the load to the truth: {}", of.what))
            .covers(of.covers.iter().copied())
            .file(of.file)
            .took(took)
            .at_most(nanoseconds(most), reason);
    }
}
