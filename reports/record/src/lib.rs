//! The record schema: every word that a guest says to the harness, and every
//! line that a run directory keeps.
//!
//! The only crate that both sides of the VM share, so it depends on serde alone
//! and must not know how a case is run, judged or drawn.

mod event;
mod lie;
mod quantity;
mod requirement;
mod wire;

pub use event::{
    CaseEnd, CaseStart, Check, CheckKind, Clock, Driver, Event, GuestBinary, Hierarchy, Histogram,
    KernelId, Outcome, Planned, Preference, RunEnd, RunStart, SCHEMA, Series, StageKind, Value,
    Verdict,
};
pub use lie::{Asked, Layer, Lie, Told, Touch};
pub use quantity::{Quantity, Unit};
pub use requirement::{ALL, ParseRequirementError, Requirement, ids};
pub use wire::{Ending, Job, JobCase, Message, Ready};
