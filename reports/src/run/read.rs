//! Reads `events.jsonl` from a stranger's disk: bounded, one line at a time.
//!
//! A file that cannot be understood is refused with the line and the reason; one
//! that merely ends too soon is read as far as it goes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cgauge_record::{Event, SCHEMA};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

use super::Run;
use super::collect::Collector;
use crate::text::{SENTENCE, tidy};

/// The name of the records' file in a run directory.
pub const EVENTS_FILE: &str = "events.jsonl";

/// The longest line that is read, in bytes.
const LONGEST_LINE: u64 = 4 << 20;
/// The most lines that are read.
const MOST_LINES: u64 = 4_000_000;

/// Why a file is no run.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("could not read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is not one whole line.
    #[error("{path} is empty: the run wrote nothing")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The first line is no `run_start`.
    #[error("{path} is no results file of cgauge: its first line is no run_start event")]
    NoRunStart {
        /// The file.
        path: PathBuf,
    },
    /// A newer harness wrote it.
    #[error(
        "{path} has schema {found}, and this cgauge reads {SCHEMA}: use the version that wrote it, or a newer one"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// A line is no event.
    #[error("{path}:{line} is no event: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There are too many lines.
    #[error("{path} has more than {MOST_LINES} lines, which is more than any run writes")]
    TooManyLines {
        /// The file.
        path: PathBuf,
    },
}

impl Run {
    /// Reads a run from its directory, or from its `events.jsonl`.
    pub fn read(path: impl AsRef<Path>) -> Result<Run, ReadError> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join(EVENTS_FILE) } else { path.to_owned() };
        match File::open(&file) {
            Ok(it) => Self::read_from(BufReader::new(it), &file),
            Err(source) => Err(ReadError::Io { path: file, source }),
        }
    }

    /// Reads a run from anything that has lines; errors call it by `name`.
    pub fn read_from(source: impl BufRead, name: impl AsRef<Path>) -> Result<Run, ReadError> {
        let path = name.as_ref().to_owned();
        let mut lines = Lines { source, number: 0, buffer: Vec::new() };
        let mut collector = Collector::default();
        let mut unknown = Unknown::default();
        while let Some(ending) = lines.advance(&path)? {
            if lines.number == 1 {
                check_head(&lines.buffer, &path)?;
            }
            match parse(&lines.buffer, &mut unknown) {
                Ok(Some(event)) => collector.add(event),
                Ok(None) => {}
                Err(_) if ending == LineEnding::Missing => {
                    collector.note(
                        "the last line is cut off: the run was stopped while it wrote it"
                            .to_owned(),
                    );
                }
                Err(why) => {
                    let why = tidy(&why.to_string(), SENTENCE);
                    return Err(ReadError::Line { path, line: lines.number, why });
                }
            }
        }
        if lines.number == 0 {
            return Err(ReadError::Empty { path });
        }
        unknown.note_in(&mut collector);
        Ok(collector.finish())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnding {
    Newline,
    Missing,
}

struct Lines<R> {
    source: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line into the buffer, if there is one.
    fn advance(&mut self, path: &Path) -> Result<Option<LineEnding>, ReadError> {
        self.buffer.clear();
        let mut bounded = self.source.by_ref().take(LONGEST_LINE + 1);
        let read = bounded
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.number > MOST_LINES {
            return Err(ReadError::TooManyLines { path: path.to_owned() });
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Some(LineEnding::Newline));
        }
        if read as u64 > LONGEST_LINE {
            let why = format!("it is longer than {LONGEST_LINE} bytes");
            return Err(ReadError::Line { path: path.to_owned(), line: self.number, why });
        }
        Ok(Some(LineEnding::Missing))
    }
}

#[derive(Deserialize)]
struct Head {
    event: String,
    schema: u64,
}

/// Whether the file is ours and of a schema that this version knows.
fn check_head(line: &[u8], path: &Path) -> Result<(), ReadError> {
    match serde_json::from_slice::<Head>(line) {
        Ok(head) if head.event != "run_start" => {
            Err(ReadError::NoRunStart { path: path.to_owned() })
        }
        Ok(head) if head.schema != u64::from(SCHEMA) => {
            Err(ReadError::Schema { path: path.to_owned(), found: head.schema })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(ReadError::NoRunStart { path: path.to_owned() }),
    }
}

/// What a newer harness of the same schema added.
#[derive(Debug, Default)]
struct Unknown {
    kinds: BTreeMap<String, u64>,
    fields: BTreeMap<String, u64>,
}

impl Unknown {
    fn note_in(&self, collector: &mut Collector) {
        for (what, counts) in
            [("events of unknown kinds", &self.kinds), ("unknown fields", &self.fields)]
        {
            let count: u64 = counts.values().sum();
            if count == 0 {
                continue;
            }
            let names: Vec<String> = counts.keys().take(8).map(|it| tidy(it, 40)).collect();
            collector.note(format!(
                "{count} {what} were ignored, a newer cgauge may know them: {}",
                names.join(", ")
            ));
        }
    }

    /// Counts one more of `name`, remembering a few names only.
    fn count(counts: &mut BTreeMap<String, u64>, name: String) {
        let name = if counts.len() < 100 || counts.contains_key(&name) {
            name
        } else {
            "others".to_owned()
        };
        *counts.entry(name).or_default() += 1;
    }
}

/// The event of a line; none where its kind is unknown.
fn parse(line: &[u8], unknown: &mut Unknown) -> Result<Option<Event>, serde_json::Error> {
    let outline: Outline = serde_json::from_slice(line)?;
    let event = match outline.kind.as_str() {
        "run_start" => Event::RunStart(record(line, &outline, unknown)?),
        "case_start" => Event::CaseStart(record(line, &outline, unknown)?),
        "check" => Event::Check(record(line, &outline, unknown)?),
        "value" => Event::Value(record(line, &outline, unknown)?),
        "histogram" => Event::Histogram(record(line, &outline, unknown)?),
        "series" => Event::Series(record(line, &outline, unknown)?),
        "case_end" => Event::CaseEnd(record(line, &outline, unknown)?),
        "run_end" => Event::RunEnd(record(line, &outline, unknown)?),
        _ => {
            Unknown::count(&mut unknown.kinds, outline.kind);
            return Ok(None);
        }
    };
    Ok(Some(event))
}

/// The record of a line whose kind is known, its unknown fields counted.
///
/// The tagged enum's own reader keeps a copy of each line and takes a quarter
/// longer for a million of them.
fn record<T: DeserializeOwned>(
    line: &[u8],
    outline: &Outline,
    unknown: &mut Unknown,
) -> Result<T, serde_json::Error> {
    let record = serde_json::from_slice(line)?;
    let known = FieldNames::of::<T>();
    for field in outline.fields.iter().filter(|it| !known.contains(&it.as_str())) {
        Unknown::count(&mut unknown.fields, field.clone());
    }
    Ok(record)
}

/// What can be said of a line before its kind is known.
struct Outline {
    kind: String,
    /// The names of all fields but the kind's own.
    fields: Vec<String>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Outline;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut kind = None;
                let mut fields = Vec::new();
                while let Some(field) = map.next_key::<String>()? {
                    if field == "event" {
                        kind = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        fields.push(field);
                    }
                }
                let kind = kind.ok_or_else(|| A::Error::missing_field("event"))?;
                Ok(Outline { kind, fields })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A deserializer that yields nothing: it only writes down which fields a record
/// asks for, so that their list stands nowhere but in the record itself.
struct FieldNames(&'static [&'static str]);

impl FieldNames {
    fn of<T: DeserializeOwned>() -> &'static [&'static str] {
        let mut names = Self(&[]);
        // It always fails, for there is nothing to read.
        let _ = T::deserialize(&mut names);
        names.0
    }
}

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only the names are wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
