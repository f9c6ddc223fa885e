//! Pieces that several parts of the page share: marks of outcomes, bounded lists,
//! tables that scroll inside themselves, and the fingerprint of the run.

use cgauge_record::{Clock, Outcome, RunStart, Unit};
use maud::{Markup, PreEscaped, html};

use super::Section;
use crate::run::Run;
use crate::units::readable;

/// What an outcome looks like: a style, a shape and a word, for colour alone
/// tells nothing to many readers.
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) shape: &'static str,
    pub(super) word: &'static str,
}

pub(super) fn mark(outcome: Outcome) -> Mark {
    let (class, shape, word) = match outcome {
        Outcome::Pass => ("pass", "✓", "pass"),
        Outcome::Fail => ("fail", "✗", "fail"),
        Outcome::Skip => ("skip", "–", "skip"),
        Outcome::Error => ("error", "!", "error"),
        Outcome::Inconclusive => ("noise", "≈", "inconclusive"),
    };
    Mark { class, shape, word }
}

/// An outcome in a box; `label` says what it is the outcome of, if not all.
pub(super) fn chip(outcome: Outcome, label: &str) -> Markup {
    let mark = mark(outcome);
    html! {
        span class={ "chip " (mark.class) } {
            span aria-hidden="true" { (mark.shape) " " }
            @if label.is_empty() { (mark.word) } @else { span.sr { (mark.word) ": " } (label) }
        }
    }
}

/// A sentence whose words between backquotes are code.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Renders items until they fill `budget` bytes, and counts those left out.
pub(super) fn within<T>(
    budget: usize,
    items: impl IntoIterator<Item = T>,
    render: impl Fn(T) -> Markup,
) -> (Markup, usize) {
    let mut text = String::new();
    let mut left_out = 0;
    for item in items {
        if left_out == 0 {
            let one = render(item).into_string();
            if text.len() + one.len() <= budget {
                text += &one;
                continue;
            }
        }
        left_out += 1;
    }
    (PreEscaped(text), left_out)
}

/// Says that something was left out, and where it is to be found.
pub(super) fn rest(left_out: usize, what: &str) -> Markup {
    html! {
        @if left_out > 0 {
            p.note { (left_out) " more " (what) " left out here; they are in " code { "events.jsonl" } "." }
        }
    }
}

/// The configuration's name, where there is more than one to tell apart.
pub(super) fn place<'a>(run: &Run, config: &'a str) -> &'a str {
    if run.configurations.len() > 1 { config } else { "" }
}

/// A table that scrolls inside itself where the page is too narrow for it.
pub(crate) fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" tabindex="0" aria-label=(label) { (table) } }
}

/// One choice of a filter: what is shown for it is a matter of the style sheet.
pub(super) fn choices(group: &str, legend: &str, all: &[(&str, &str)]) -> Markup {
    html! {
        fieldset.filter {
            legend { (legend) }
            @for (index, (value, label)) in all.iter().enumerate() {
                label {
                    input type="radio" name=(group) value=(value) checked[index == 0];
                    " " (label)
                }
            }
        }
    }
}

/// A box to type words into, of which a row has to have all. It is hidden until
/// the script that heeds it runs.
pub(super) fn search(label: &str) -> Markup {
    html! {
        p.filter {
            label.search hidden { (label) " " input type="search" autocomplete="off"; }
            span.muted role="status" {}
        }
    }
}

type Field = fn(&RunStart) -> String;

const FIELDS: [(&str, Field); 18] = [
    ("Kernel", |it| it.kernel.release.clone()),
    ("Build", |it| it.kernel.version.clone()),
    ("Its configuration (SHA-256)", |it| it.kernel.config_sha256.chars().take(16).collect()),
    ("Asked for as", |it| it.kernel_spec.clone()),
    ("Hierarchy", |it| format!("{:?}", it.hierarchy).to_lowercase()),
    ("Driver", |it| format!("{:?}", it.driver).to_lowercase()),
    ("Stage", |it| format!("{:?}", it.stage).to_lowercase()),
    ("Clock", |it| format!("{:?}", it.clock).to_lowercase()),
    ("Accelerator", |it| it.accel.clone()),
    ("QEMU", |it| it.qemu.clone()),
    ("Machine", |it| it.machine.clone()),
    ("Guest", |it| it.guest.clone()),
    ("CPUs", |it| it.cpus.to_string()),
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    ("Memory", |it| readable(it.memory_bytes as f64, Unit::Bytes)),
    ("Run", |it| it.run.clone()),
    ("Started", |it| it.started.clone()),
    ("Harness", |it| it.harness.clone()),
    ("Schema", |it| it.schema.to_string()),
];

/// What a reader needs to get the same numbers again.
pub(super) fn fingerprint(run: &Run) -> Option<Section> {
    let starts: Vec<&RunStart> = run.configurations.iter().map(|it| &it.start).take(64).collect();
    let table = html! {
        table.facts {
            thead { tr { td {} @for it in &starts { th scope="col" { (it.config) } } } }
            tbody {
                @for (name, field) in FIELDS {
                    @let values: Vec<String> = starts.iter().map(|it| field(it)).collect();
                    @if values.iter().any(|it| !it.is_empty()) {
                        tr { th scope="row" { (name) } @for value in &values { td { (value) } } }
                    }
                }
            }
        }
    };
    let virtual_time = starts.iter().any(|it| it.clock == Clock::Virtual);
    let content = html! {
        @if virtual_time {
            p { "On the virtual clock time is counted in the guest's instructions: the same kernel gives the same "
                "figures on any host, and they are not those of real hardware." }
        }
        (scrolling("Fingerprint of the run", &table))
    };
    (!starts.is_empty()).then_some(Section {
        id: "fingerprint",
        title: "Fingerprint of the run",
        content,
    })
}
