//! The checked-in schema of `events.jsonl` says what is written and what is read,
//! and a file of an older harness still reads.

use std::path::Path;

use cgauge_record::{Outcome, SCHEMA};
use cgauge_reports::Run;
use serde_json::Value;

use super::build::{CONFIG, every_outcome};

/// Written by a real run of the harness that had schema 1 first; never to be
/// written again. Each later schema gets a file of its own beside it.
const OLDEST: &str = include_str!("data/schema-1.jsonl");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../record/schema/events.schema.json")).unwrap()
}

#[test]
fn every_written_line_is_in_the_schema_field_by_field() {
    let schema = schema();
    for line in every_outcome(CONFIG).0.lines().chain(OLDEST.lines()) {
        valid_line(&schema, line).unwrap_or_else(|why| panic!("{why}: {line}"));
    }
}

#[test]
fn the_runs_on_this_machine_are_in_the_schema() {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cgauge/runs");
    let Ok(runs) = std::fs::read_dir(runs) else {
        eprintln!("skipped the_runs_on_this_machine_are_in_the_schema: there is no run");
        return;
    };
    let schema = schema();
    for run in runs.flatten() {
        let Ok(text) = std::fs::read_to_string(run.path().join("events.jsonl")) else { continue };
        // The last line of a run that is still being written may be half a line.
        let whole = text.rsplit_once('\n').map_or("", |it| it.0);
        for (number, line) in whole.lines().enumerate() {
            let place = || format!("{}:{}", run.path().display(), number + 1);
            valid_line(&schema, line).unwrap_or_else(|why| panic!("{}: {why}", place()));
        }
    }
}

#[test]
fn a_line_that_breaks_the_schema_is_found() {
    let schema = schema();
    let good = every_outcome(CONFIG).0.lines().nth(2).unwrap().to_owned();
    valid_line(&schema, &good).unwrap();
    for (from, to) in [
        ("\"event\":\"check\"", "\"event\":\"chekc\""),
        ("\"kind\":\"enforcement\"", "\"kind\":\"magic\""),
        ("\"observed\":8", "\"observed\":[8]"),
        ("\"what\":", "\"wath\":"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from} is not in {good}");
        assert!(valid_line(&schema, &bad).is_err(), "{bad}");
    }
}

#[test]
fn the_schema_is_of_the_version_that_is_written() {
    let schema = schema();
    let start = &schema["$defs"]["run_start"]["properties"]["schema"]["const"];
    assert_eq!(start.as_u64(), Some(u64::from(SCHEMA)));
}

#[test]
fn a_run_of_the_oldest_harness_still_reads() {
    let run = Run::read_from(OLDEST.as_bytes(), "schema-1.jsonl").unwrap();
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    let outcomes: Vec<Outcome> = run.cases().map(|(_, it)| it.outcome).collect();
    assert_eq!(outcomes.len(), 4);
    assert!(outcomes.contains(&Outcome::Pass) && outcomes.contains(&Outcome::Skip));
    let records = |count: fn(&cgauge_reports::CaseReport) -> usize| -> usize {
        run.cases().map(|(_, it)| count(it)).sum()
    };
    assert!(records(|it| it.checks.len()) > 0);
    assert!(records(|it| it.values.len()) > 0);
    assert!(records(|it| it.histograms.len()) > 0);
    assert!(records(|it| it.series.len()) > 0);
}

fn valid_line(schema: &Value, line: &str) -> Result<(), String> {
    let event: Value = serde_json::from_str(line).map_err(|it| it.to_string())?;
    let kind = event["event"].as_str().ok_or("no event")?;
    let known = schema["oneOf"].as_array().unwrap();
    let reference = format!("#/$defs/{kind}");
    if !known.iter().any(|it| it["$ref"] == reference.as_str()) {
        return Err(format!("{kind} is no kind of event"));
    }
    valid(schema, &schema["$defs"][kind], &event, kind)
}

/// As much of JSON Schema as the file uses, and stricter in one thing: a field that
/// the schema does not name is an error here, so that none is written without it.
fn valid(root: &Value, schema: &Value, it: &Value, place: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().ok_or_else(|| format!("no schema of {place}"))? {
        let holds = match keyword.as_str() {
            "description" => true,
            "$ref" => {
                let name = wanted.as_str().and_then(|it| it.strip_prefix("#/$defs/")).unwrap();
                return valid(root, &root["$defs"][name], it, place);
            }
            "const" => it == wanted,
            "enum" => wanted.as_array().unwrap().contains(it),
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|wanted| is_of(it, wanted)),
                wanted => is_of(it, wanted),
            },
            "minimum" => it.as_f64() >= wanted.as_f64(),
            "minItems" => {
                it.as_array().is_some_and(|it| it.len() as u64 >= wanted.as_u64().unwrap())
            }
            "maxItems" => {
                it.as_array().is_some_and(|it| it.len() as u64 <= wanted.as_u64().unwrap())
            }
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|name| it.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, value) in it.as_object().into_iter().flatten() {
                    let place = format!("{place}.{name}");
                    let schema = wanted.get(name).ok_or_else(|| format!("{place} is unknown"))?;
                    valid(root, schema, value, &place)?;
                }
                true
            }
            "items" => {
                for value in it.as_array().into_iter().flatten() {
                    valid(root, wanted, value, place)?;
                }
                true
            }
            "prefixItems" => {
                let schemas = wanted.as_array().unwrap();
                for (schema, value) in schemas.iter().zip(it.as_array().into_iter().flatten()) {
                    valid(root, schema, value, place)?;
                }
                true
            }
            other => return Err(format!("the schema uses {other}, which this test does not know")),
        };
        if !holds {
            return Err(format!("{place} breaks {keyword} {wanted}"));
        }
    }
    Ok(())
}

fn is_of(it: &Value, wanted: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "object" => it.is_object(),
        "array" => it.is_array(),
        "string" => it.is_string(),
        "integer" => it.is_u64() || it.is_i64(),
        "number" => it.is_number(),
        "boolean" => it.is_boolean(),
        "null" => it.is_null(),
        other => panic!("the schema has a type {other}"),
    }
}
