//! A run in one compact file that is meant to be committed: what a gate looks at
//! and nothing else. It must not judge anything.
//!
//! It is an `events.jsonl` like any other, and whatever reads a run reads it:
//! without series, evidence, requirements, reasons and the times of the host,
//! of which the last would make two equal runs two different files.

use std::io::{self, Write};

use cgauge_record::{
    CaseEnd, CaseStart, Check, Event, Histogram, Quantity, RunEnd, RunStart, Value, Verdict,
};

use crate::run::{CaseReport, Configuration, Run};

/// Writes the baseline that `run` makes.
///
/// # Errors
/// If `out` cannot be written.
pub fn write_baseline(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let several = run.configurations.len() > 1;
    for it in &run.configurations {
        line(&Event::RunStart(RunStart { planned: Vec::new(), ..it.start.clone() }), out)?;
        // Of a single configuration the events need not name it.
        let config = if several { it.start.config.as_str() } else { "" };
        configuration(it, config, out)?;
    }
    line(&Event::RunEnd(RunEnd { requirements: Vec::new(), ..run.end.clone() }), out)
}

fn configuration(of: &Configuration, config: &str, out: &mut dyn Write) -> io::Result<()> {
    for case in &of.cases {
        let of = Names { config, case };
        line(
            &Event::CaseStart(CaseStart {
                config: of.config(),
                suite: of.suite(),
                case: of.case(),
                promise: String::new(),
                host_ns: 0,
                worker: 0,
            }),
            out,
        )?;
        for it in &case.checks {
            line(&Event::Check(of.check(it.record(), it.verdict)), out)?;
        }
        for it in &case.values {
            let it = it.clone();
            let event = Value { config: of.config(), suite: of.suite(), case: of.case(), ..it };
            line(&Event::Value(event), out)?;
        }
        for it in &case.histograms {
            let it = it.clone();
            let event = Histogram { config: of.config(), suite: of.suite(), case: of.case(), ..it };
            line(&Event::Histogram(event), out)?;
        }
        line(
            &Event::CaseEnd(CaseEnd {
                config: of.config(),
                suite: of.suite(),
                case: of.case(),
                outcome: case.outcome,
                reason: case.reason.clone(),
                elapsed_ns: case.elapsed_ns,
                host_elapsed_ns: 0,
                host_ns: 0,
                evidence: Vec::new(),
            }),
            out,
        )?;
    }
    Ok(())
}

/// Under which names the records of a case stand.
struct Names<'a> {
    config: &'a str,
    case: &'a CaseReport,
}

impl Names<'_> {
    fn config(&self) -> String {
        self.config.to_owned()
    }

    fn suite(&self) -> String {
        self.case.suite.clone()
    }

    fn case(&self) -> String {
        self.case.case.clone()
    }

    fn check(&self, it: Check, verdict: Verdict) -> Check {
        let check = Check {
            config: self.config(),
            suite: self.suite(),
            case: self.case(),
            requirements: Vec::new(),
            bound_reason: String::new(),
            beyond_lies: String::new(),
            verdict,
            ..it
        };
        if check.implied() == verdict {
            return check;
        }
        // Its texts differ beyond what a reader keeps of them. The verdict is made
        // anew from the quantities whenever a file is read, so they have to say it.
        let equals = matches!(verdict, Verdict::Pass);
        Check {
            observed: Quantity::Text("cut".into()),
            at_least: None,
            at_most: None,
            equals: Some(Quantity::Text(if equals { "cut" } else { "another" }.into())),
            ..check
        }
    }
}

fn line(event: &Event, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}
