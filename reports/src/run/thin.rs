//! Keeps a series of any length small: of each stretch its least and its greatest
//! value stay, so that no spike is lost. It must not know what is measured.

use std::hash::{DefaultHasher, Hash, Hasher};

use cgauge_record::Series;

/// The most points of a series that are kept as they are. A workload records some
/// five hundred.
const MOST_POINTS: usize = 4096;

/// What a series was before it was thinned out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thinned {
    /// Its metric.
    pub metric: String,
    /// How many points it had.
    pub points: usize,
    /// A digest of all of them, by which two runs are still told apart. Not stable
    /// between versions.
    pub digest: u64,
}

/// Thins out a series that is too long, and says what it was.
pub(super) fn thin(series: &mut Series) -> Option<Thinned> {
    let points = series.points.len();
    if points <= MOST_POINTS {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for (time, value) in &series.points {
        (time, value.to_bits()).hash(&mut hasher);
    }
    series.points = thinned(&series.points, MOST_POINTS);
    Some(Thinned { metric: series.metric.clone(), points, digest: hasher.finish() })
}

/// At most `most` of the points, first and last, least and greatest among them.
fn thinned(points: &[(u64, f64)], most: usize) -> Vec<(u64, f64)> {
    let [first, middle @ .., last] = points else {
        return points.to_vec();
    };
    let stretch = middle.len().div_ceil((most / 2).saturating_sub(1).max(1)).max(1);
    let mut kept = vec![*first];
    for stretch in middle.chunks(stretch) {
        let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
        let place = |it: Option<&(u64, f64)>| {
            it.and_then(|it| stretch.iter().position(|other| std::ptr::eq(it, other)))
        };
        let mut ends =
            [place(stretch.iter().min_by(by_value)), place(stretch.iter().max_by(by_value))];
        ends.sort_unstable();
        let ends = if ends[0] == ends[1] { &ends[1..] } else { &ends[..] };
        kept.extend(ends.iter().flatten().map(|it| stretch[*it]));
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extremes_ends_and_order_stay(values in prop::collection::vec(-1e6_f64..1e6, 0..3000)) {
            let points: Vec<(u64, f64)> = (0..).zip(values).collect();
            let kept = thinned(&points, 64);
            prop_assert!(kept.len() <= 64);
            prop_assert!(kept.iter().all(|it| points.contains(it)));
            prop_assert!(kept.is_sorted_by_key(|it| it.0));
            prop_assert_eq!(kept.first(), points.first());
            prop_assert_eq!(kept.last(), points.last());
            let least = |points: &[(u64, f64)]| points.iter().map(|it| it.1).min_by(f64::total_cmp);
            let greatest = |points: &[(u64, f64)]| points.iter().map(|it| it.1).max_by(f64::total_cmp);
            prop_assert_eq!((least(&kept), greatest(&kept)), (least(&points), greatest(&points)));
        }
    }
}
