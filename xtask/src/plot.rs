//! `plot`: one picture of a run as a file of its own, or those of the README.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cgauge_reports::Run;
use cgauge_reports::charts::Chart;

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags::{self, Plot};
use crate::run;

/// The pictures that the README shows: file, title, and the suite and part of a
/// case's name from which each comes.
const README: [(&str, &str, &str, &str); 3] = [
    ("fork-bomb.svg", "Processes of a fork bomb against pids.max", "pids", "bomb::fork_bomb_stops"),
    ("cpu-weight.svg", "Share against cpu.weight", "cpu", "weight::"),
    ("memory-high.svg", "What memory.high costs", "memory", "high::growth_above_high"),
];

/// Prints the first picture of the run that fits, or writes those of the README.
pub fn plot(workspace: &Path, flags: &Plot) -> Result<Exit> {
    if flags.readme {
        return readme(workspace, flags);
    }
    let from = flags.run.as_deref().context("a run is required by the command line")?;
    let run = Run::read(from).map_err(usage)?;
    let wanted = flags.metric.as_deref().unwrap_or_default();
    match find(&run, &flags.case, wanted) {
        Some(chart) => println!("{}", chart.standalone()),
        None => {
            return Err(usage(format!(
                "no picture is called {wanted:?}{}: report.html shows what there is",
                if flags.case.is_empty() {
                    String::new()
                } else {
                    format!(" in a case with {:?} in its name", flags.case)
                }
            )));
        }
    }
    Ok(Exit::Fine)
}

/// A picture of a single case, or where no case is wanted of several together.
fn find(run: &Run, case: &str, wanted: &str) -> Option<Chart> {
    let cases = run.cases().filter(|(_, it)| it.case.contains(case));
    let mut single = cases.flat_map(|(_, it)| Chart::of_case(it));
    let mut together =
        run.configurations.iter().filter(|_| case.is_empty()).flat_map(Chart::gathered);
    together.find(|it| it.metric() == wanted).or_else(|| single.find(|it| it.metric() == wanted))
}

fn readme(workspace: &Path, flags: &Plot) -> Result<Exit> {
    let from = match &flags.run {
        Some(run) => run.clone(),
        None => measure(workspace)?,
    };
    let run = Run::read(&from).map_err(usage)?;
    for (file, title, ..) in README {
        let chart = find(&run, "", title)
            .with_context(|| format!("{} has no picture {title:?}", from.display()))?;
        let path = workspace.join("docs").join(file);
        std::fs::write(&path, chart.standalone() + "\n")
            .with_context(|| format!("could not write {}", path.display()))?;
        println!("docs/{file}: {}", chart.description());
    }
    Ok(Exit::Fine)
}

fn measure(workspace: &Path) -> Result<PathBuf> {
    let out = run::new_directory(workspace);
    let flags = flags::Run {
        suites: README.iter().map(|it| it.2.to_owned()).collect(),
        case: README.iter().map(|it| it.3.to_owned()).collect(),
        out: Some(out.clone()),
        ..flags::Run::on_the_virtual_clock()
    };
    run::run(workspace, Kind::Conformance, &flags)?;
    Ok(out)
}
