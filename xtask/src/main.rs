//! The command line of cgauge: reads it, does it, ends with the exit code.

mod baseline;
mod bench;
mod build;
mod capacity;
mod catalogue;
mod ci;
mod compare;
mod doctor;
mod exit;
mod files;
mod flags;
mod gate;
mod ground;
mod host;
mod kernels;
mod lies;
mod list;
mod own_kernel;
mod plan;
mod plot;
mod pool;
mod prepare;
mod report;
mod run;
mod test;
mod userland;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::catalogue::Kind;
use crate::exit::{Exit, UsageError};
use crate::flags::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = obey(&cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        if error.is::<UsageError>() { Exit::Usage } else { Exit::Broken }
    });
    exit.into()
}

fn obey(cli: &Cli) -> Result<Exit> {
    let workspace = workspace()?;
    match &cli.command {
        Command::Run(flags) => run::run(&workspace, Kind::Conformance, flags),
        Command::Bench(flags) => bench::bench(&workspace, flags),
        Command::List(flags) => list::list(&workspace, flags),
        Command::Report(flags) => report::report(flags),
        Command::Plot(flags) => plot::plot(&workspace, flags),
        Command::Files(flags) => files::files(flags),
        Command::Compare(flags) => compare::compare_runs(flags),
        Command::Gate(flags) => gate::gate(&workspace, flags),
        Command::Baseline(flags) => baseline::baseline(flags),
        Command::Capacity(flags) => capacity::capacity(&workspace, flags),
        Command::Repeat(flags) => compare::repeat(&workspace, flags),
        Command::Kernels(flags) => kernels::kernels(&workspace, flags),
        Command::Keeper => own_kernel::keep(),
        Command::Doctor => doctor::doctor(),
        Command::Test(flags) if flags.lies => lies::test(&workspace, flags),
        Command::Test(flags) => test::test(&workspace, flags),
    }
}

/// The root of the workspace that this program was built from.
fn workspace() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_path_buf).context("the workspace is gone")
}
