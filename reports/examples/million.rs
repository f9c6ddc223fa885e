//! Writes a results file with as many records as asked for, and writes the reports
//! of one, for measuring what a large run costs. See `reports/README.md`.

use std::error::Error;
use std::io::{BufWriter, Write as _, stdout};
use std::path::Path;

use cgauge_reports::{Format, Run, write_into};
use serde_json::json;

/// The records of one case.
const OF_A_CASE: u64 = 500;
const CONFIG: &str = "debian:6.12/unified/cgroupfs/vm";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["write", records] => write(records.parse()?),
        ["report", run, directory, formats @ ..] => report(run, directory, formats),
        _ => Err("usage: million write RECORDS | million report RUN DIRECTORY [FORMAT...]".into()),
    }
}

fn report(run: &str, directory: &str, formats: &[&str]) -> Result<(), Box<dyn Error>> {
    let formats: Vec<Format> = match formats {
        [] => Format::OF_EVERY_RUN.to_vec(),
        some => some.iter().map(|it| it.parse()).collect::<Result<_, _>>()?,
    };
    write_into(&Run::read(run)?, Path::new(directory), &formats)?;
    Ok(())
}

/// Of a hundred records: 60 checks, of which one in a thousand fails, 38 values, a
/// histogram and a series.
fn write(records: u64) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(stdout().lock());
    let start = json!({
        "event": "run_start", "schema": 1, "run": "large", "harness": "cgauge", "config": CONFIG,
        "started": "2026-01-02T03:04:05Z", "stage": "vm", "accel": "tcg", "clock": "virtual",
        "hierarchy": "unified", "driver": "cgroupfs", "qemu": "", "cpus": 1, "memory_bytes": 1,
        "kernel": {"release": "6.12.9", "version": "", "config_sha256": ""},
    });
    writeln!(out, "{start}")?;
    for first in (0..records).step_by(usize::try_from(OF_A_CASE)?) {
        let suite =
            ["core", "cpu", "io", "memory", "pids"][usize::try_from(first / OF_A_CASE % 5)?];
        let case = format!("holds::limit_{}_{first}", first / OF_A_CASE);
        let named = |mut event: serde_json::Value| {
            event["config"] = CONFIG.into();
            event["suite"] = suite.into();
            event["case"] = case.as_str().into();
            event
        };
        writeln!(out, "{}", named(json!({"event": "case_start", "promise": "A promise holds."})))?;
        for number in first..(first + OF_A_CASE).min(records) {
            writeln!(out, "{}", named(record(number)))?;
        }
        let end =
            json!({"event": "case_end", "outcome": "pass", "reason": "", "elapsed_ns": first});
        writeln!(out, "{}", named(end))?;
    }
    writeln!(
        out,
        "{}",
        json!({
            "event": "run_end", "passed": 0, "failed": 0, "skipped": 0, "errors": 0,
            "inconclusive": 0, "requirements_covered": 0,
        })
    )?;
    Ok(out.flush()?)
}

fn record(number: u64) -> serde_json::Value {
    match number % 100 {
        0 => json!({
            "event": "histogram", "metric": "wake-up", "unit": "ns", "count": 11, "min": 10, "p50": 100,
            "p90": 1000, "p99": 1000, "p999": 1000, "max": 1000, "encoded": "10:1 100:7 1000:3",
        }),
        1 => json!({
            "event": "series", "metric": "memory.current", "unit": "bytes", "limit": 1000.0,
            "points": (0..100).map(|it| (it * 250_000, 10 * it)).collect::<Vec<_>>(),
        }),
        2..40 => json!({
            "event": "value", "metric": format!("time of step {}", number % 100), "unit": "ns",
            "value": number * 977 % 1_000_003, "better": "lower",
        }),
        _ => json!({
            "event": "check", "requirements": [format!("R{:03}", 1 + number % 185)],
            "kind": "enforcement", "what": "processes in the bomb's group", "file": "pids.current",
            "unit": "processes", "observed": if number % 1000 == 999 { 70_000 } else { number % 65_536 },
            "at_least": null, "at_most": 65_536, "equals": null, "verdict": "pass",
            "bound_reason": "pids.max is 65536, and a fork above it fails with EAGAIN",
        }),
    }
}
