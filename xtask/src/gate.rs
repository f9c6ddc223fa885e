//! `gate`: the verdict of one run by another, as an exit code.

use std::str::FromStr;

use anyhow::Result;
use cgauge_reports::{Absent, Class, Gate as Judged, GateSettings, Mismatched, Run};

use crate::exit::{Exit, usage};
use crate::flags::Gate;

/// Judges a run by a run or a baseline.
pub fn gate(flags: &Gate) -> Result<Exit> {
    let base = Run::read(&flags.base).map_err(usage)?;
    let new = Run::read(&flags.new).map_err(usage)?;
    let settings = GateSettings {
        threshold: flags.threshold.map(|it| it.share),
        mismatched: if flags.allow_mismatch { Mismatched::Mark } else { Mismatched::Refuse },
        absent: if flags.subset { Absent::Ignore } else { Absent::Regression },
    };
    let judged = cgauge_reports::gate(&base, &new, &settings).map_err(usage)?;
    print!("{}", judged.render(flags.format));
    Ok(exit(&judged, flags.strict))
}

fn exit(judged: &Judged, strict: bool) -> Exit {
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
