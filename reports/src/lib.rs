//! What a run means: `events.jsonl` is read, judged, drawn and written out for
//! people and for machines.
//!
//! Nothing here runs anything, and nothing here knows how a case was booted.
//! Whatever comes from a run directory is untrusted: it is bounded and stripped
//! of control characters when it is read, and escaped when it is written.

pub mod charts;
mod compare;
mod describe;
mod html;
mod json;
pub mod judge;
mod junit;
mod ktap;
mod markdown;
mod names;
mod output;
pub mod requirements;
mod run;
pub mod terminal;
mod text;
mod units;
mod verdict;

pub use compare::{Comparison, Difference, compare};
pub use names::rerun_command;
pub use output::{Format, UnknownFormat, WriteError, render, write_into};
pub use run::{CaseReport, Configuration, EVENTS_FILE, ReadError, Run};
pub use verdict::{Standing, Verdict};
