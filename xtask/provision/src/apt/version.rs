//! The order of Debian's version numbers, as its policy manual defines it
//! (section 5.6.12). Knows nothing of packages.

use std::cmp::Ordering;

/// Compares two versions, `[EPOCH:]UPSTREAM[-REVISION]`.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    a.epoch
        .cmp(&b.epoch)
        .then_with(|| compare_part(a.upstream, b.upstream))
        .then_with(|| compare_part(a.revision, b.revision))
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(version: &'a str) -> Self {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch: epoch.parse().unwrap_or(0), upstream, revision }
    }
}

/// Compares by turns a stretch without digits and a number.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        let (text_a, rest_a) = split(a, |it| !it.is_ascii_digit());
        let (text_b, rest_b) = split(b, |it| !it.is_ascii_digit());
        let (number_a, rest_a) = split(rest_a, |it| it.is_ascii_digit());
        let (number_b, rest_b) = split(rest_b, |it| it.is_ascii_digit());
        let order = compare_text(text_a, text_b).then_with(|| compare_number(number_a, number_b));
        if order.is_ne() || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|it| !belongs(it)).unwrap_or(text.len()))
}

/// A tilde sorts before the end, the end before letters, letters before the rest.
fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |it: Option<char>| match it {
        Some('~') => (0, '~'),
        None => (1, ' '),
        Some(it) if it.is_ascii_alphabetic() => (2, it),
        Some(it) => (3, it),
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (next_a, next_b) = (a.next(), b.next());
        let order = weight(next_a).cmp(&weight(next_b));
        if order.is_ne() || next_a.is_none() {
            return order;
        }
    }
}

/// As numbers, however long; no digits are 0.
fn compare_number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn follows_the_policy_manual() {
        // Each is later than the one before it.
        for pair in [
            "6.12~rc1-1",
            "6.12-1~bpo12+1",
            "6.12-1",
            "6.12-1+deb12u1",
            "6.12-2",
            "6.12.9-1",
            "6.12.100-1~deb12u1",
            "6.12.100-1",
            "6.13-1",
            "6.13a-1",
            "6.13+b-1",
            "1:5.10-1",
        ]
        .windows(2)
        {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("6.012-1", "0:6.12-01"), Ordering::Equal);
        assert_eq!(compare("1.0", "1.0-0"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn is_an_order(a in "[0-2a~.+-]{0,6}", b in "[0-2a~.+-]{0,6}", c in "[0-2a~.+-]{0,6}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
