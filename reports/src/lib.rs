//! What a run means: `events.jsonl` is read, judged, drawn and written out for
//! people and for machines.
//!
//! Nothing here runs anything, and nothing here knows how a case was booted.
//! Whatever comes from a run directory is untrusted: it is bounded and stripped
//! of control characters when it is read, and escaped when it is written.

mod annotations;
mod baseline;
pub mod capacity;
pub mod charts;
mod compare;
mod coverage_of_files;
mod csv;
mod describe;
mod gate;
mod html;
mod json;
pub mod judge;
mod junit;
mod kcidb;
mod ktap;
mod markdown;
mod names;
mod output;
mod parts;
pub mod requirements;
mod run;
pub mod statistics;
pub mod terminal;
mod text;
mod units;
mod verdict;

pub use baseline::write_baseline;
pub use compare::{Comparison, Difference, compare};
pub use coverage_of_files::{Asserted, CoverageOfFiles, File};
pub use gate::{
    Absent, Class, Distribution, Finding, Gate, GateError, GateFormat, GateSettings, Measured,
    Mismatch, Mismatched, Side, UnknownGateFormat, gate,
};
pub use names::rerun_command;
pub use output::{Format, UnknownFormat, WriteError, render, write_into};
pub use run::{CaseReport, CheckReport, Configuration, EVENTS_FILE, ReadError, Run, Thinned};
pub use verdict::{Standing, Verdict};
