//! A measured dependence: points from left to right, lines between them, and an
//! estimate that says when it lies beyond what was measured. It must not know
//! what is measured.

use serde::Serialize;

/// A number read off a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) reach: Reach,
}

/// Whether an estimate lies where something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Reach {
    /// Between two measured points, or on one.
    Measured,
    /// Outside: the end of the curve was drawn on.
    Extrapolated,
}

/// Points from left to right, one at each place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Curve(Vec<(f64, f64)>);

impl Curve {
    /// Nothing without a finite point. Of several at one place the greatest counts.
    pub(super) fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let mut points: Vec<_> =
            points.into_iter().filter(|it| it.0.is_finite() && it.1.is_finite()).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        points.dedup_by(|next, kept| next.0 == kept.0);
        (!points.is_empty()).then_some(Self(points))
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.0
    }

    /// The first and the last place.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.0[0].0, self.0[self.0.len() - 1].0)
    }

    /// The value at a place: on the line between its neighbours; beyond the last
    /// one on the last line drawn on, never below zero; before the first one as
    /// there.
    pub(super) fn at(&self, place: f64) -> Estimate {
        let points = &self.0;
        let next = points.partition_point(|it| it.0 < place);
        let on_line = |from: (f64, f64), to: (f64, f64)| {
            from.1 + (to.1 - from.1) * (place - from.0) / (to.0 - from.0)
        };
        match (next.checked_sub(1).map(|it| points[it]), points.get(next)) {
            (_, Some(to)) if to.0 == place => Estimate { value: to.1, reach: Reach::Measured },
            (Some(from), Some(to)) => {
                Estimate { value: on_line(from, *to), reach: Reach::Measured }
            }
            (None, Some(first)) => Estimate { value: first.1, reach: Reach::Extrapolated },
            (Some(last), None) => {
                let value = match points.len().checked_sub(2).map(|it| points[it]) {
                    Some(before) => on_line(before, last).max(0.0),
                    None => last.1,
                };
                Estimate { value, reach: Reach::Extrapolated }
            }
            (None, None) => Estimate { value: 0.0, reach: Reach::Extrapolated },
        }
    }

    /// The greatest place up to which every value stays within `most`: where the
    /// curve first crosses it, or its end. Nothing where it begins above.
    pub(super) fn up_to(&self, most: f64) -> Option<Estimate> {
        let points = &self.0;
        if points[0].1 > most {
            return None;
        }
        let crossing = points.windows(2).find(|it| it[1].1 > most).map(|it| {
            let (from, to) = (it[0], it[1]);
            from.0 + (to.0 - from.0) * (most - from.1) / (to.1 - from.1)
        });
        Some(match crossing {
            Some(value) => Estimate { value, reach: Reach::Measured },
            None => Estimate { value: self.ends().1, reach: Reach::Extrapolated },
        })
    }

    /// Where the curve bends: the first place at which the value is `times` the
    /// least one before it.
    pub(super) fn bend(&self, times: f64) -> Option<f64> {
        let mut least = f64::INFINITY;
        let mut last = self.0[0];
        for point in &self.0 {
            if point.1 > least * times {
                let wanted = least * times;
                let share = (wanted - last.1) / (point.1 - last.1);
                return Some(last.0 + (point.0 - last.0) * share.clamp(0.0, 1.0));
            }
            least = least.min(point.1);
            last = *point;
        }
        None
    }

    /// The least and the greatest value.
    pub(super) fn extent(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), it| {
            (least.min(it.1), most.max(it.1))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve::new(points.iter().copied()).unwrap()
    }

    #[test]
    fn a_curve_needs_a_point() {
        assert_eq!(Curve::new([]), None);
        assert_eq!(Curve::new([(f64::NAN, 1.0)]), None);
        assert_eq!(curve(&[(2.0, 1.0), (1.0, 5.0), (2.0, 3.0)]).points(), [(1.0, 5.0), (2.0, 3.0)]);
    }

    #[test]
    fn outside_is_said_to_be_outside() {
        let it = curve(&[(10.0, 1.0), (20.0, 3.0)]);
        assert_eq!(it.at(15.0), Estimate { value: 2.0, reach: Reach::Measured });
        assert_eq!(it.at(30.0), Estimate { value: 5.0, reach: Reach::Extrapolated });
        assert_eq!(it.at(1.0), Estimate { value: 1.0, reach: Reach::Extrapolated });
        assert_eq!(curve(&[(1.0, 7.0)]).at(9.0).value, 7.0);
        assert_eq!(curve(&[(1.0, 7.0), (2.0, 1.0)]).at(9.0).value, 0.0);
    }

    #[test]
    fn it_bends_where_it_leaves_its_least() {
        assert_eq!(curve(&[(1.0, 10.0), (10.0, 10.0), (20.0, 20.0)]).bend(1.5), Some(15.0));
        assert_eq!(curve(&[(1.0, 10.0), (10.0, 12.0)]).bend(1.5), None);
        assert_eq!(curve(&[(1.0, 10.0)]).bend(1.5), None);
    }

    #[test]
    fn the_place_of_a_bound_is_where_it_is_crossed() {
        let it = curve(&[(1.0, 0.0), (2.0, 10.0), (3.0, 5.0)]);
        assert_eq!(it.up_to(5.0), Some(Estimate { value: 1.5, reach: Reach::Measured }));
        assert_eq!(it.up_to(10.0), Some(Estimate { value: 3.0, reach: Reach::Extrapolated }));
        assert_eq!(it.up_to(-1.0), None);
    }

    proptest! {
        #[test]
        fn what_is_measured_stays_between_the_extremes(
            points in prop::collection::vec((0.0_f64..1e6, 0.0_f64..1e9), 1..30),
            place in 0.0_f64..1e6,
        ) {
            let it = Curve::new(points).unwrap();
            let (least, most) = it.extent();
            let (begin, end) = it.ends();
            let estimate = it.at(place);
            prop_assert!(estimate.value >= 0.0);
            if estimate.reach == Reach::Measured {
                prop_assert!((begin..=end).contains(&place));
                prop_assert!(estimate.value >= least - 1e-3 && estimate.value <= most + 1e-3);
            }
            for (x, y) in it.points() {
                prop_assert_eq!(it.at(*x), Estimate { value: *y, reach: Reach::Measured });
            }
        }

        #[test]
        fn up_to_its_place_a_bound_holds(
            points in prop::collection::vec((0.0_f64..1e3, 0.0_f64..1e3), 1..20),
            most in 0.0_f64..1e3,
        ) {
            let it = Curve::new(points).unwrap();
            if let Some(place) = it.up_to(most) {
                prop_assert!(it.points().iter().all(|(x, y)| *x > place.value || *y <= most + 1e-6));
            }
        }
    }
}
