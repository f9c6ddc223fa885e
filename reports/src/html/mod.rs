//! One page for people: self-contained, readable on a phone, on paper and without
//! its one small script, in the order in which a reader asks.
//!
//! Everything from a run is escaped by `maud`, and each part has a budget of
//! bytes, so that no run makes a page that a browser chokes on.

mod controllers;
mod failures;
mod matrix;
mod parts;
mod promises;
mod values;

use std::io::{self, Write};

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub(crate) use failures::figure;
pub(crate) use parts::scrolling;

use crate::requirements::Catalogue;
use crate::run::Run;
use crate::verdict::{Standing, Verdict, coverage};

/// Nothing is loaded, and no script but the page's own is run, whatever a run's
/// texts may hold.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
     script-src 'sha256-fpxu+i3XOUabOSuEF+4sf0+KenY3k4nf75MDwcM3u14='";
/// Must be what the policy's digest is of; a test sees to it.
const SCRIPT: &str = include_str!("script.js");

pub(crate) fn write(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(page(run, &Catalogue::load()).into_string().as_bytes())
}

/// A part of the page: its anchor, its heading and what stands there.
pub(crate) struct Section {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) content: Markup,
}

fn page(run: &Run, catalogue: &Catalogue) -> Markup {
    let several = run.configurations.len() > 1;
    let mut sections: Vec<Option<Section>> = vec![
        failures::failed(run, catalogue),
        failures::errors(run, catalogue),
        failures::inconclusive(run, catalogue),
        failures::skipped(run),
    ];
    sections.extend(several.then(|| matrix::section(run)));
    sections.extend(controllers::sections(run).into_iter().map(Some));
    sections.push(promises::section(run, catalogue));
    sections.extend((!several).then(|| matrix::section(run)));
    sections.push(values::section(run));
    sections.push(parts::fingerprint(run));
    let sections: Vec<Section> = sections.into_iter().flatten().collect();
    let verdict = Verdict::of(run);
    let title = format!("cgauge: {}", verdict.standing.word());
    document(&title, &header(run, &verdict), &sections)
}

/// A whole page: a head that says most, and parts with a list of links to them.
pub(crate) fn document(title: &str, header: &Markup, sections: &[Section]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                button type="button" id="theme" hidden { "Theme" }
                (header)
                nav aria-label="Parts of this report" {
                    @for it in sections { a href={ "#" (it.id) } { (it.title) } " " }
                }
                main {
                    @for it in sections {
                        section id=(it.id) aria-labelledby={ (it.id) "-title" } {
                            h2 id={ (it.id) "-title" } { (it.title) }
                            (it.content)
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn header(run: &Run, verdict: &Verdict) -> Markup {
    let end = &run.end;
    let class = match verdict.standing {
        Standing::Held => "pass",
        Standing::Broken => "fail",
        Standing::Undecided | Standing::Untested => "error",
    };
    let counts = [
        ("pass", end.passed, "passed"),
        ("fail", end.failed, "failed"),
        ("error", end.errors, if end.errors == 1 { "error" } else { "errors" }),
        ("noise", end.inconclusive, "inconclusive"),
        ("skip", end.skipped, "skipped"),
    ];
    html! {
        header class=(class) {
            p.standing { (verdict.standing.word()) }
            h1 { (verdict.sentence) }
            ul.counts {
                @for (class, count, word) in counts {
                    @if count > 0 || class != "noise" {
                        li class=(class) { strong { (count) } " " (word) }
                    }
                }
                li { (coverage(end)) }
            }
            @for note in &run.notes { p.note { "Note: " (note) "." } }
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_lets_the_pages_own_script_run() {
        let digest = base64(&Sha256::digest(SCRIPT));
        assert!(POLICY.contains(&format!("'sha256-{digest}'")), "the script's digest is {digest}");
        assert!(!SCRIPT.contains("</script"));
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let whole = group
                .iter()
                .chain(&[0, 0])
                .take(3)
                .fold(0_u32, |sum, it| sum << 8 | u32::from(*it));
            for nth in 0..4 {
                let digit = DIGITS[(whole >> (18 - 6 * nth) & 63) as usize];
                text.push(if nth <= group.len() { char::from(digit) } else { '=' });
            }
        }
        text
    }
}
