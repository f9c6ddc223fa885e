//! What the user may have meant: the known word nearest to a mistyped one.
//!
//! Knows nothing of what the words name, so that every list of names can use it.

/// The candidate nearest to `word`, if one is near enough to be a slip of the
/// fingers: at most a third of the word's letters differ. Case does not count.
/// Of equally near candidates the first wins.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let most = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|it| (distance(&word, &it.to_lowercase().chars().collect::<Vec<_>>()), it))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
}

/// How many letters to insert, delete, replace or swap with their neighbour
/// until `a` reads as `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    // Three rows of the table are enough: a swap looks two rows back.
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replace = above[j] + usize::from(from != to);
            let mut best = replace.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apart(a: &str, b: &str) -> usize {
        distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>())
    }

    #[test]
    fn each_slip_counts_once() {
        for (a, b, expected) in [
            ("pids", "pids", 0),
            ("pids", "pid", 1),
            ("pids", "pidss", 1),
            ("pids", "puds", 1),
            ("pids", "pdis", 1),
            ("", "core", 4),
            ("core", "pids", 4),
        ] {
            assert_eq!(apart(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_word_is_offered() {
        let known = ["core", "pids", "memory"];
        assert_eq!(nearest("pdis", known), Some("pids"));
        assert_eq!(nearest("MEMROY", known), Some("memory"));
        assert_eq!(nearest("network", known), None);
        assert_eq!(nearest("core", []), None);
    }

    proptest! {
        #[test]
        fn is_a_distance(a in "[a-d]{0,8}", b in "[a-d]{0,8}") {
            let between = apart(&a, &b);
            prop_assert_eq!(between, apart(&b, &a));
            prop_assert_eq!(between == 0, a == b);
            prop_assert!(between <= a.len().max(b.len()));
            prop_assert!(between >= a.len().abs_diff(b.len()));
        }
    }
}
