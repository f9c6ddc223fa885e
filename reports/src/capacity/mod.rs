//! Capacity planning: what the sweeps of the suite `capacity` say of a kernel, as
//! six answers, and whether a model of services fits a node by them.
//!
//! Pure. Nothing here measures: an answer names the figures that it rests on, and
//! what it had to extrapolate.

mod answers;
mod curve;
mod fit;
mod model;
mod sweeps;
mod write;

use serde::Serialize;

use crate::charts::Chart;
use crate::run::Run;

pub use fit::{Fit, Load, Pressure};
pub use model::{Model, ModelError, Node, Service};
pub use write::{CapacityFormat, write_capacity};

/// What the sweeps say.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// On which kernel and guest, in a sentence.
    pub measured_on: String,
    /// The six answers.
    pub answers: Vec<Answer>,
    /// Whether the model's services fit its node, if there is a model.
    pub fit: Option<Fit>,
}

/// One question with its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The question.
    pub question: &'static str,
    /// The answer, in a sentence or two.
    pub sentence: String,
    /// The figures that it rests on.
    pub tables: Vec<Table>,
    /// How it is to be read: what was measured, and where it ends.
    pub basis: &'static str,
    /// The same as pictures.
    #[serde(skip)]
    pub charts: Vec<Chart>,
}

/// Figures in rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The columns; the first is what the rows are for.
    pub head: Vec<String>,
    /// As many fields as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Capacity {
    /// Reads the answers out of a run, and judges a model by them.
    #[must_use]
    pub fn of(run: &Run, model: Option<&Model>) -> Self {
        let sweeps = sweeps::Sweeps::of(run);
        Self {
            measured_on: sweeps.measured_on(),
            answers: answers::all(&sweeps),
            fit: model.map(|it| fit::fit(it, &sweeps)),
        }
    }
}
