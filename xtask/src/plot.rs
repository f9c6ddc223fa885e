//! `plot`: one picture of a run as a file of its own.

use anyhow::Result;
use cgauge_reports::Run;
use cgauge_reports::charts::Chart;

use crate::exit::{Exit, usage};
use crate::flags::Plot;

/// Prints the first picture of the run that fits, as SVG.
pub fn plot(flags: &Plot) -> Result<Exit> {
    let run = Run::read(&flags.run).map_err(usage)?;
    let cases = run.cases().filter(|(_, it)| it.case.contains(&flags.case));
    let mut charts = cases.flat_map(|(_, it)| Chart::of_case(it));
    match charts.find(|it| it.metric() == flags.metric) {
        Some(chart) => println!("{}", chart.standalone()),
        None => {
            let (case, metric) = (&flags.case, &flags.metric);
            return Err(usage(format!(
                "no case with {case:?} in its name has a picture of {metric:?}: report.html shows \
                 what there is"
            )));
        }
    }
    Ok(Exit::Fine)
}
