//! Every measured number as CSV (RFC 4180, lines ended by a newline alone), one
//! number a row, exact and in the unit of the record. It must not judge anything.

use std::borrow::Cow;
use std::io::{self, Write};

use cgauge_record::{Preference, Quantity};

use crate::run::Run;

/// The names of the columns.
const HEADER: &str = "run,config,suite,case,metric,statistic,unit,value,better";

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    for (configuration, case) in run.cases() {
        let start = &configuration.start;
        let names = [&start.run, &start.config, &case.suite, &case.case];
        let place = names.map(|it| cell(it)).join(",");
        for it in &case.values {
            let value = match &it.value {
                Quantity::Text(text) => cell(text),
                number => Cow::Owned(number.to_string()),
            };
            let better = match it.better {
                Preference::Lower => "lower",
                Preference::Higher => "higher",
                Preference::Neither => "neither",
            };
            let (metric, unit) = (cell(&it.metric), it.unit.symbol());
            writeln!(out, "{place},{metric},value,{unit},{value},{better}")?;
        }
        for it in &case.histograms {
            let (metric, unit) = (cell(&it.metric), it.unit.symbol());
            writeln!(out, "{place},{metric},count,events,{},neither", it.count)?;
            for (statistic, value) in [
                ("min", it.min),
                ("p50", it.p50),
                ("p90", it.p90),
                ("p99", it.p99),
                ("p999", it.p999),
                ("max", it.max),
            ] {
                writeln!(out, "{place},{metric},{statistic},{unit},{value},neither")?;
            }
        }
    }
    Ok(())
}

/// A text as a cell: on one line, quoted where it has to be, and never a formula,
/// which a spreadsheet would run.
fn cell(text: &str) -> Cow<'_, str> {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']);
    let odd = text.contains(['"', ',']) || text.chars().any(is_odd);
    if !formula && !odd {
        return Cow::Borrowed(text);
    }
    let apostrophe = if formula { "'" } else { "" };
    let line: String = text.chars().map(|it| if is_odd(it) { ' ' } else { it }).collect();
    Cow::Owned(format!("\"{apostrophe}{}\"", line.replace('"', "\"\"")))
}

/// Whether a character has no place in a cell: the texts that the kernel shows keep
/// theirs when they are read.
fn is_odd(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_is_quoted_where_it_has_to_be_and_never_a_formula() {
        for (text, expected) in [
            ("pids.current", "pids.current"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines\u{202e}", "\"two lines \""),
            ("=HYPERLINK(1)", "\"'=HYPERLINK(1)\""),
            ("-1+2", "\"'-1+2\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1", "\"' =1\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
