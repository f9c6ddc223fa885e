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
