//! `capacity`: the sweeps, and the planning report made of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use cgauge_reports::Run;
use cgauge_reports::capacity::{Capacity, Model, write_capacity};

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags::{self, Seconds};
use crate::run;

/// The suite of the sweeps.
const SUITE: &str = "capacity";
/// A guest that makes ten thousand groups says nothing for long.
const SILENCE: Duration = Duration::from_secs(900);

/// Runs the sweeps, unless there is a run of them, and writes the report.
pub fn capacity(workspace: &Path, flags: &flags::Capacity) -> Result<Exit> {
    // First: nobody waits for minutes to be told of a slip in a file.
    let model = flags.model.as_deref().map(read_model).transpose()?;
    let (from, exit) = match &flags.run {
        Some(run) => (run.clone(), Exit::Fine),
        None => sweep(workspace, flags)?,
    };
    let sweeps = Run::read(&from).map_err(usage)?;
    let capacity = Capacity::of(&sweeps, model.as_ref());
    let into = flags.out.clone().unwrap_or_else(|| {
        if from.is_dir() { from } else { from.parent().map(PathBuf::from).unwrap_or_default() }
    });
    std::fs::create_dir_all(&into).map_err(|it| usage(format!("{}: {it}", into.display())))?;
    println!("{}", capacity.measured_on);
    for answer in &capacity.answers {
        println!("\n{}\n  {}", answer.question, answer.sentence);
    }
    if let Some(fit) = &capacity.fit {
        println!("\n{}", fit.sentence);
        for it in &fit.extrapolations {
            println!("  not measured: {it}");
        }
    }
    println!();
    for path in write_capacity(&capacity, &into)? {
        println!("{}", path.display());
    }
    Ok(exit)
}

fn read_model(path: &Path) -> Result<Model> {
    let text = std::fs::read_to_string(path)
        .map_err(|it| usage(format!("could not read {}: {it}", path.display())))?;
    text.parse().map_err(|it| usage(format!("{}: {it}", path.display())))
}

fn sweep(workspace: &Path, flags: &flags::Capacity) -> Result<(PathBuf, Exit)> {
    let out = flags.out.clone().unwrap_or_else(|| run::new_directory(workspace));
    let sweeps = flags::Run {
        suites: vec![SUITE.to_owned()],
        kernel: flags.kernel.iter().cloned().collect(),
        quick: flags.quick,
        jobs: flags.jobs,
        cpus: flags.cpus,
        memory: flags.memory,
        out: Some(out.clone()),
        silence: Seconds(SILENCE),
        ..flags::Run::on_the_virtual_clock()
    };
    let exit = run::run(workspace, Kind::Conformance, &sweeps)?;
    Ok((out, exit))
}
