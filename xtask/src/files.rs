//! `files`: which interface files and keys runs asserted.

use std::io;

use anyhow::Result;
use cgauge_reports::{CoverageOfFiles, Run};

use crate::exit::{Exit, usage};
use crate::flags::Files;

/// Prints the table.
pub fn files(flags: &Files) -> Result<Exit> {
    let runs: Vec<Run> =
        flags.runs.iter().map(|it| Run::read(it).map_err(usage)).collect::<Result<_>>()?;
    CoverageOfFiles::of(&Run::join(runs)).write(&mut io::stdout().lock())?;
    Ok(Exit::Fine)
}
