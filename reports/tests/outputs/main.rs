//! What comes out of a run, from `events.jsonl` to each output, for people's eyes
//! and for machines', for honest files and for hostile ones.

mod browser;
mod build;
mod capacity;
mod comparing;
mod hostile;
mod parsers;
mod reading;
mod schema;
mod size;
mod snapshots;

use cgauge_reports::{Format, Run, render, terminal};

fn written(run: &Run, format: Format) -> String {
    let mut out = Vec::new();
    render(run, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn shown(run: &Run, colour: terminal::Colour) -> String {
    let mut out = Vec::new();
    terminal::write(run, colour, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
