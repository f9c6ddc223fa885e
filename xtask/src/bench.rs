//! `bench`: what operations cost on a kernel, and whether one is worse than
//! another.

use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, Result};
use cgauge_record::{Clock, StageKind};
use cgauge_reports::{Absent, GateFormat, GateSettings, Mismatched, Run};

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags;
use crate::gate;
use crate::plan;
use crate::run::{self, Order, Wanted};

/// How often a benchmark is measured as A B B A on the wall clock: of each kernel
/// twice as many samples, as many as the gate asks for.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// Runs the benchmarks that `flags` ask for.
pub fn bench(workspace: &Path, flags: &flags::Bench) -> Result<Exit> {
    match &flags.against {
        None => run::run(workspace, Kind::Benchmarks, &flags.run),
        Some(against) => compare(workspace, flags, against),
    }
}

/// Measures two kernels by turns and judges the one by the other.
fn compare(workspace: &Path, flags: &flags::Bench, against: &str) -> Result<Exit> {
    let mut both = flags.run.clone();
    if both.kernel.is_empty() {
        both.kernel.push(run::default_kernel().to_owned());
    }
    if both.kernel.len() > 1 || both.kernel[0] == against {
        return Err(usage("--against takes one --kernel, and another one than itself"));
    }
    both.kernel.insert(0, against.to_owned());
    let order = match plan::clock(StageKind::Vm, &both) {
        // Nothing changes with time there: each once is the truth.
        Clock::Virtual => Order::Apart,
        Clock::Wall => Order::Interleaved(ROUNDS),
    };
    let wanted = Wanted { order, ..Wanted::default() };
    let measured = run::measure(workspace, Kind::Benchmarks, &both, &wanted)?;
    if !matches!(measured.exit, Exit::Fine | Exit::Failure) {
        return Ok(measured.exit);
    }
    let run = Run::read(&measured.out)?;
    let side = |nth: usize| -> Result<Run> {
        let configuration = run.configurations.get(nth).context("a kernel was not measured")?;
        Ok(Run { configurations: vec![configuration.clone()], ..run.clone() })
    };
    let settings = GateSettings {
        threshold: flags.threshold.map(|it| it.share),
        mismatched: Mismatched::Refuse,
        absent: Absent::Regression,
    };
    let judged = cgauge_reports::gate(&side(0)?, &side(1)?, &settings).map_err(usage)?;
    print!("{}", judged.render(GateFormat::Text));
    Ok(gate::exit(&judged, flags.strict))
}
