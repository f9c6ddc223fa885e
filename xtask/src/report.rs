//! `report`: the reports of a run again, or of several runs as one matrix.

use std::path::PathBuf;

use anyhow::{Result, bail};
use cgauge_reports::{Format, Run, write_into};

use crate::exit::{Exit, usage};
use crate::flags::Report;

/// Writes what `flags` ask for.
pub fn report(flags: &Report) -> Result<Exit> {
    let runs: Vec<Run> =
        flags.runs.iter().map(|it| Run::read(it).map_err(usage)).collect::<Result<_>>()?;
    let directory = place(flags)?;
    let formats: &[Format] =
        if flags.format.is_empty() { &Format::OF_EVERY_RUN } else { &flags.format };
    std::fs::create_dir_all(&directory)
        .map_err(|it| usage(format!("{}: {it}", directory.display())))?;
    for path in write_into(&Run::join(runs), &directory, formats)? {
        println!("{}", path.display());
    }
    Ok(Exit::Fine)
}

fn place(flags: &Report) -> Result<PathBuf> {
    match (&flags.out, flags.runs.as_slice()) {
        (Some(out), _) => Ok(out.clone()),
        (None, [run]) if run.is_dir() => Ok(run.clone()),
        (None, [events]) => Ok(events.parent().map(PathBuf::from).unwrap_or_default()),
        (None, _) => bail!(crate::exit::UsageError(
            "several runs make one report: say where it goes with --out DIR".to_owned()
        )),
    }
}
