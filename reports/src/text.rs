//! Makes text from a run harmless: bounded, on one line, free of control
//! characters. It must not know any output format; those escape for themselves.

/// The longest name: of a configuration, suite, case, metric or file.
pub(crate) const NAME: usize = 200;
/// The longest sentence: a reason, a promise, an observed text, a line of output.
pub(crate) const SENTENCE: usize = 1000;
/// The most lines of evidence that a case keeps; the last ones say most.
pub(crate) const EVIDENCE_LINES: usize = 60;

/// One line of printable text of at most `limit` characters.
///
/// White space of any kind becomes a single space; whatever could move a
/// cursor, turn the writing direction round or is no character of XML is dropped.
pub(crate) fn tidy(text: &str, limit: usize) -> String {
    if is_tidy(text, limit) {
        return text.to_owned();
    }
    // Bounded before anything else, so that a megabyte costs no more than a line.
    let head = cut(text, limit.saturating_mul(4));
    let words: Vec<String> = head
        .split_whitespace()
        .map(|it| it.chars().filter(|it| is_harmless(*it)).collect())
        .collect();
    let line =
        words.iter().filter(|it| !it.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
    let whole = head.len() == text.len();
    if whole && line.chars().count() <= limit {
        return line;
    }
    let kept: String = line.chars().take(limit.saturating_sub(1)).collect();
    kept + "…"
}

/// Whether it is plainly tidy as it stands, as nearly every text is.
fn is_tidy(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    let single_spaces = !bytes.windows(2).any(|it| it == b"  ");
    let trimmed = !text.starts_with(' ') && !text.ends_with(' ');
    let printable = bytes.iter().all(|it| matches!(it, b' '..=b'~'));
    bytes.len() <= limit && printable && single_spaces && trimmed
}

/// One line of output, its spacing kept.
pub(crate) fn tidy_line(line: &str) -> String {
    let spaced =
        cut(line, SENTENCE).trim_end().chars().map(|it| if it.is_whitespace() { ' ' } else { it });
    spaced.filter(|it| is_harmless(*it)).collect()
}

/// The head of a text that may be a value of the kernel: only its length is
/// mended, for what it holds is shown quoted.
pub(crate) fn cut_value(text: String) -> String {
    if text.len() <= SENTENCE {
        return text;
    }
    format!("{}… ({} bytes in all)", cut(&text, SENTENCE), text.len())
}

/// The longest head of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_harmless(it: char) -> bool {
    let moves_or_turns = it.is_control()
        || matches!(it, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let no_xml = matches!(it, '\u{fffe}' | '\u{ffff}');
    !moves_or_turns && !no_xml
}

/// Whether it is a moment of RFC 3339 in UTC, to the second or finer: where a reader
/// checks it, a wrong one would have the whole file refused.
pub(crate) fn is_utc_time(text: &str) -> bool {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|it| it.parse::<u32>().ok());
    let shape = "dddd-dd-ddTdd:dd:dd";
    let shaped = text.len() > shape.len()
        && text.bytes().zip(shape.bytes()).all(|(it, shape)| match shape {
            b'd' => it.is_ascii_digit(),
            other => it == other,
        });
    let days = match (number(0, 4), number(5, 7)) {
        (_, Some(4 | 6 | 9 | 11)) => 30,
        (Some(year), Some(2)) if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        (_, Some(2)) => 28,
        _ => 31,
    };
    let within = [(5, 1, 12), (8, 1, days), (11, 0, 23), (14, 0, 59), (17, 0, 59)]
        .into_iter()
        .all(|(at, least, most)| number(at, at + 2).is_some_and(|it| (least..=most).contains(&it)));
    let rest = text.get(shape.len()..).unwrap_or_default();
    let fraction = rest.strip_prefix('.').and_then(|it| it.strip_suffix('Z'));
    let digits = |it: &str| (1..=9).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
    shaped && within && number(0, 4) != Some(0) && (rest == "Z" || fraction.is_some_and(digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_and_direction_marks_go() {
        assert_eq!(tidy("a\u{1b}[31mb\u{7}\r\nc\u{202e}d\0", 40), "a[31mb cd");
        assert_eq!(tidy("\u{1b} \u{2028} x", 40), "x");
        assert_eq!(tidy_line("  [    1.2]\tline\u{7}\n"), "  [    1.2] line");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let megabyte = "ä".repeat(1 << 20);
        assert_eq!(tidy(&megabyte, 10), "äääääääää…");
        assert_eq!(tidy("0123456789", 10), "0123456789");
        assert!(cut_value(megabyte).ends_with("… (2097152 bytes in all)"));
    }

    #[test]
    fn only_a_real_moment_is_a_start_time() {
        for text in ["2026-01-02T03:04:05Z", "2024-02-29T23:59:59.123Z"] {
            assert!(is_utc_time(text), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-01-02",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05Z<script>",
            "2026-01-0äT03:04:05Z",
        ] {
            assert!(!is_utc_time(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_in_one_bounded_line_comes_out(text in any::<String>(), limit in 1_usize..50) {
            let line = tidy(&text, limit);
            prop_assert!(line.chars().count() <= limit);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(tidy(&line, limit), line.clone());
        }
    }
}
