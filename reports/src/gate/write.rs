//! A gate's verdict for people, for the comment of a CI job and for programs. It
//! must not judge anything.

use std::fmt::Write as _;
use std::str::FromStr;

use cgauge_record::Clock;
use thiserror::Error;

use super::{Class, Finding, Gate, Side};
use crate::units::readable;

/// Findings of a class that are shown; JSON has all.
const MOST_SHOWN: usize = 100;

/// How a verdict is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateFormat {
    /// Lines for a terminal.
    Text,
    /// A table for a comment.
    Markdown,
    /// One object with everything.
    Json,
}

/// No format of a gate's.
#[derive(Debug, Error)]
#[error("{0:?} is no format of a gate: text, markdown or json")]
pub struct UnknownGateFormat(String);

impl FromStr for GateFormat {
    type Err = UnknownGateFormat;

    fn from_str(text: &str) -> Result<Self, UnknownGateFormat> {
        match text {
            "text" => Ok(Self::Text),
            "markdown" => Ok(Self::Markdown),
            "json" => Ok(Self::Json),
            _ => Err(UnknownGateFormat(text.to_owned())),
        }
    }
}

impl Gate {
    /// The verdict as text, with its last line end.
    #[must_use]
    pub fn render(&self, format: GateFormat) -> String {
        match format {
            GateFormat::Text => self.text(),
            GateFormat::Markdown => self.markdown(),
            // Its types hold nothing that JSON cannot.
            GateFormat::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        self.marks.iter().for_each(|it| text += &format!("not comparable: {it}\n"));
        self.notes.iter().for_each(|it| text += &format!("note: {it}\n"));
        for class in CLASSES {
            for it in self.shown(class) {
                text += &format!("{}: {}{}\n", class.word(), it.case, with_colon(&it.what));
                text += &format!("    {}\n", summary(it));
                if let Some(measured) = &it.measured {
                    for (name, side) in [("base", &measured.base), ("new", &measured.new)] {
                        text += &format!("    {name:<4} {}\n", shown_side(side));
                    }
                }
            }
            let rest = self.count(class).saturating_sub(MOST_SHOWN);
            if rest > 0 {
                text += &format!("… and {rest} more of {}\n", class.word());
            }
        }
        text + &self.sentence() + "\n"
    }

    fn markdown(&self) -> String {
        let mark = match (self.count(Class::Regression), self.count(Class::Inconclusive)) {
            (0, 0) => "✅",
            (0, _) => "⚠️",
            _ => "❌",
        };
        let mut text = format!("## {mark} cgauge gate\n\n{}\n", escape(self.sentence()));
        self.marks.iter().for_each(|it| {
            let _ = write!(text, "\n> not comparable: {}\n", escape(it));
        });
        self.notes.iter().for_each(|it| {
            let _ = write!(text, "\n> {}\n", escape(it));
        });
        if !self.findings.is_empty() {
            text += "\n| | Case | What | Change |\n| --- | --- | --- | --- |\n";
        }
        for it in CLASSES.into_iter().flat_map(|class| self.shown(class)) {
            let row = [it.class.word(), &it.case, &it.what, &summary(it)].map(escape);
            text += &format!("| {} |\n", row.join(" | "));
        }
        text
    }

    fn shown(&self, class: Class) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |it| it.class == class).take(MOST_SHOWN)
    }

    fn sentence(&self) -> String {
        let clock = match self.clock {
            Clock::Virtual => "virtual",
            Clock::Wall => "wall",
        };
        let counts = CLASSES.map(|it| format!("{} {}", self.count(it), it.plural(self.count(it))));
        format!(
            "{}; {} figures and {} checks of {} cases, threshold {}, {clock} clock",
            counts.join(", "),
            self.figures,
            self.checks,
            self.cases,
            percent(self.threshold),
        )
    }
}

const CLASSES: [Class; 4] =
    [Class::Regression, Class::Inconclusive, Class::Improvement, Class::Change];

impl Class {
    fn word(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
            Self::Improvement => "improvement",
            Self::Change => "change",
        }
    }

    fn plural(self, count: usize) -> String {
        let s = if count == 1 || self == Self::Inconclusive { "" } else { "s" };
        format!("{}{s}", self.word())
    }
}

fn with_colon(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!(": {what}") }
}

fn summary(it: &Finding) -> String {
    match &it.measured {
        Some(measured) => {
            let shown = |side: &Side| readable(side.median, measured.unit);
            format!("{} ({} -> {})", it.reason, shown(&measured.base), shown(&measured.new))
        }
        None => it.reason.clone(),
    }
}

/// The distribution of a side: a histogram's, or that of the samples.
fn shown_side(it: &Side) -> String {
    if let Some(of) = it.distribution {
        return format!(
            "{} samples: min {}, p50 {}, p90 {}, p99 {}, max {}",
            of.count, of.min, of.p50, of.p90, of.p99, of.max
        );
    }
    let (least, most) = it
        .samples
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), it| (a.min(*it), b.max(*it)));
    match it.samples.len() {
        1 => format!("1 sample: {}", it.median),
        count => format!("{count} samples: min {least}, median {}, max {most}", it.median),
    }
}

/// A share in per cent.
pub(super) fn percent(share: f64) -> String {
    let digits = if share.abs() < 0.01 { 2 } else { 1 };
    format!("{:.digits$} %", share * 100.0)
}

fn escape(text: impl AsRef<str>) -> String {
    let mut safe = String::new();
    for it in text.as_ref().chars() {
        match it {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '@' | '#' | '!' => safe.extend(['\\', it]),
            _ => safe.push(it),
        }
    }
    safe
}
