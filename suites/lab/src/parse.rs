//! The shapes of interface files (cgroup-v2.rst, "Interface Files"): a limit,
//! flat keys, nested keys, lists of ids.
//!
//! Unknown keys are kept and order is kept: a conformance suite has to see what
//! is there. It knows no file by name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The text is not of the shape that its file promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {shape}")]
pub struct ParseError {
    shape: Cow<'static, str>,
    text: String,
}

impl ParseError {
    fn new(shape: &'static str, text: &str) -> Self {
        Self { shape: shape.into(), text: text.chars().take(200).collect() }
    }

    /// The shape that the text should have had.
    #[must_use]
    pub fn shape(&self) -> &str {
        &self.shape
    }

    /// `text` has no line for a key that it should have.
    pub(crate) fn missing(key: &str, text: &str) -> Self {
        Self { shape: format!("text with the key {key:?}").into(), ..Self::new("", text) }
    }
}

/// What a limit file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// No limit.
    Max,
    /// A number in the file's own unit.
    Value(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Value(it) => it.fmt(f),
        }
    }
}

impl FromStr for Limit {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.trim_end() {
            "max" => Ok(Self::Max),
            it => it.parse().map(Self::Value).map_err(|_| ParseError::new("limit", text)),
        }
    }
}

impl From<u64> for Limit {
    fn from(it: u64) -> Self {
        Self::Value(it)
    }
}

/// One whole number.
pub fn number(text: &str) -> Result<u64, ParseError> {
    text.trim_end().parse().map_err(|_| ParseError::new("whole number", text))
}

/// `KEY VALUE` lines, as in `cgroup.events`.
pub fn flat_keyed(text: &str) -> Result<BTreeMap<String, u64>, ParseError> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.parse().ok()?))
    };
    text.lines().map(|it| line(it).ok_or_else(|| ParseError::new("`KEY VALUE` line", it))).collect()
}

/// `NAME KEY=VALUE KEY=VALUE` lines, as in `io.stat`.
pub fn nested_keyed(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, ParseError> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?.to_owned();
        let pairs = words.map(|it| {
            let (key, value) = it.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        });
        Some((name, pairs.collect::<Option<_>>()?))
    };
    text.lines()
        .map(|it| line(it).ok_or_else(|| ParseError::new("`NAME KEY=VALUE…` line", it)))
        .collect()
}

/// Process or thread ids, one a line, as in `cgroup.procs`. 0 stands for a
/// process that the reader's PID namespace does not have.
pub fn ids(text: &str) -> Result<Vec<i32>, ParseError> {
    text.lines().map(|it| it.parse().map_err(|_| ParseError::new("process id", it))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!("max\n".parse(), Ok(Limit::Max));
        assert_eq!("4096\n".parse(), Ok(Limit::Value(4096)));
        for text in ["", "-1", "maximum", "1 2", "4k"] {
            assert!(text.parse::<Limit>().is_err(), "{text:?}");
        }
        assert_eq!(Limit::Max.to_string(), "max");
    }

    #[test]
    fn unknown_keys_are_kept() {
        let events = flat_keyed("populated 1\nfrozen 0\nnews 7\n").unwrap();
        assert_eq!(events["news"], 7);
        assert_eq!(flat_keyed(""), Ok(BTreeMap::new()));
        for text in ["populated", "populated one", "populated  1", "populated 1 2"] {
            assert!(flat_keyed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nested_keys() {
        let stat = nested_keyed("8:0 rbytes=4096 news=x\n259:1\n").unwrap();
        assert_eq!(stat["8:0"]["news"], "x");
        assert!(stat["259:1"].is_empty());
        assert!(nested_keyed("8:0 rbytes").is_err());
    }

    #[test]
    fn process_ids() {
        assert_eq!(ids("12\n0\n"), Ok(vec![12, 0]));
        assert!(ids("12 13\n").is_err());
    }
}
