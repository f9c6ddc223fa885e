//! `baseline`: a run as one compact file, to be committed and gated against.

use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use cgauge_reports::{Run, write_baseline};

use crate::exit::{Exit, usage};
use crate::flags::Baseline;

/// Writes the baseline to the standard output.
pub fn baseline(flags: &Baseline) -> Result<Exit> {
    let run = Run::read(&flags.run).map_err(usage)?;
    if run.end.interrupted {
        return Err(usage("the run was cut off: a baseline is made of a whole one"));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    write_baseline(&run, &mut out).and_then(|()| out.flush()).context("write the baseline")?;
    Ok(Exit::Fine)
}
