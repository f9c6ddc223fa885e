//! `gate`: the verdict of one run by another, as an exit code.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use cgauge_reports::{Absent, Class, Gate as Judged, GateSettings, Mismatched, Run};

use clap::Parser;

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags::{Cli, Command, Gate};
use crate::run::{self, Wanted};

/// Judges a run by a run or a baseline.
pub fn gate(workspace: &Path, flags: &Gate) -> Result<Exit> {
    match (&flags.new, &flags.kernel) {
        (Some(new), _) => judge(flags, new),
        (None, Some(kernel)) => Ok(measure_and_judge(workspace, flags, kernel)),
        (None, None) => Err(usage("name a run to judge, or a --kernel to measure")),
    }
}

/// Whatever keeps a kernel from being judged is a skip to `git bisect run`, which
/// would take any other code for a verdict.
fn measure_and_judge(workspace: &Path, flags: &Gate, kernel: &str) -> Exit {
    let judged = measure(workspace, flags, kernel).and_then(|new| judge(flags, &new));
    judged.unwrap_or_else(|error| {
        eprintln!("nothing to judge: {error:#}");
        Exit::NothingTested
    })
}

/// Measures on `kernel` what the base measured, the same way, and says where.
fn measure(workspace: &Path, flags: &Gate, kernel: &str) -> Result<PathBuf> {
    let base = Run::read(&flags.base)?;
    let [of] = base.configurations.as_slice() else {
        bail!("the base has {} configurations, and one is measured", base.configurations.len());
    };
    let only: BTreeSet<_> = of.cases.iter().map(|it| (it.suite.clone(), it.case.clone())).collect();
    let suites: BTreeSet<String> = only.iter().map(|it| it.0.clone()).collect();
    let word = |it: &dyn Debug| format!("{it:?}").to_lowercase();
    let mut words = vec!["cargo xtask".to_owned(), "run".to_owned()];
    words.extend(suites);
    for (flag, value) in [
        ("--kernel", kernel.to_owned()),
        ("--hierarchy", word(&of.start.hierarchy)),
        ("--driver", word(&of.start.driver)),
        ("--stage", word(&of.start.stage)),
        ("--clock", word(&of.start.clock)),
    ] {
        words.extend([flag.to_owned(), value]);
    }
    let Command::Run(mut asked) = Cli::try_parse_from(words)?.command else {
        bail!("`run` is no command any more");
    };
    asked.jobs = flags.jobs;
    asked.out.clone_from(&flags.out);
    let wanted = Wanted { only: Some(only), ..Wanted::default() };
    let measured = run::measure(workspace, Kind::Benchmarks, &asked, &wanted)?;
    if measured.exit == Exit::NothingTested {
        bail!("the kernel did not come up, or every case was skipped");
    }
    if Run::read(&measured.out)?.end.interrupted {
        bail!("the run was cut off");
    }
    Ok(measured.out)
}

fn judge(flags: &Gate, new: &Path) -> Result<Exit> {
    let base = Run::read(&flags.base).map_err(usage)?;
    let new = Run::read(new).map_err(usage)?;
    let settings = GateSettings {
        threshold: flags.threshold.map(|it| it.share),
        mismatched: if flags.allow_mismatch { Mismatched::Mark } else { Mismatched::Refuse },
        absent: if flags.subset { Absent::Ignore } else { Absent::Regression },
    };
    let judged = cgauge_reports::gate(&base, &new, &settings).map_err(usage)?;
    print!("{}", judged.render(flags.format));
    Ok(exit(&judged, flags.strict))
}

/// What a verdict says to the one that asked for it.
pub fn exit(judged: &Judged, strict: bool) -> Exit {
    match (judged.count(Class::Regression), judged.count(Class::Inconclusive)) {
        (0, 1..) if strict => Exit::Inconclusive,
        (0, _) => Exit::Fine,
        _ => Exit::Regression,
    }
}

/// A share, written in per cent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent {
    /// 0.02 for 2 %.
    pub share: f64,
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
        match number {
            Ok(it) if (0.0..=1000.0).contains(&it) => Ok(Self { share: it / 100.0 }),
            _ => Err(format!("{text:?} is no threshold: write it as 2% or 0.5%")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!("2%".parse(), Ok(Percent { share: 0.02 }));
        assert_eq!("50".parse(), Ok(Percent { share: 0.5 }));
        for text in ["", "%", "-1%", "NaN", "inf", "two"] {
            assert!(text.parse::<Percent>().is_err(), "{text:?}");
        }
    }
}
