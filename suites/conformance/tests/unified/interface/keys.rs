//! The keys of keyed files against the document's, and what the document lacks.

use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;

use crate::presence::{files, needs, news};
use crate::row::{Subject, is_met};

/// Known bug 30: a keyed file has every key that the kernel's release promises, each once; what the document lacks is news.
#[rstest]
fn bug_30_keyed_files_have_their_keys(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Pids,
        Subject::Hugetlb
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let group = lab.group("group")?;
    let there = files(&group)?;
    for row in subject.rows().iter().filter(|row| !row.keys.is_empty()) {
        if !there.iter().any(|it| it == row.file) {
            continue;
        }
        let text = group.get(row.file)?;
        let mut shown: Vec<&str> =
            text.lines().map(|it| it.split(' ').next().unwrap_or_default()).collect();
        for key in row.keys {
            let count = shown.iter().filter(|it| **it == key.name).count();
            let offered = release()? >= key.since && is_met(key.needs, &there);
            if count == 0 && !offered {
                continue;
            }
            lab.interface(&format!("lines of the key {}", key.name))
                .covers(row.among([
                    R029, R051, R052, R053, R054, R055, R062, R063, R081, R101, R102, R107, R108,
                    R111, R113, R126, R137, R138, R151,
                ]))
                .file(&format!("{}:{}", row.file, key.name))
                .observed(count)
                .equals(1, &format!("cgroup-v2.rst or, where it does not name the key, the kernel: there since {}.{} at the latest, needs {}", key.since.0, key.since.1, key.needs.option()));
        }
        if row.from_zero {
            let moved: Vec<&str> = text.lines().filter(|it| !it.ends_with(" 0")).collect();
            lab.interface(&format!("keys of {} that do not begin at 0", row.file))
                .covers(row.among([R029, R054, R055, R063, R101, R102, R111, R137, R138, R151]))
                .file(row.file)
                .observed(moved.join(", "))
                .equals("", "nothing has happened in a new group");
        }
        shown.retain(|it| row.keys.iter().all(|key| key.name != *it));
        // One for each controller that the kernel is built with.
        shown.retain(|it| !it.starts_with("nr_subsys_") && !it.starts_with("nr_dying_subsys_"));
        news(&lab, row.file, &shown);
    }
    Ok(())
}

/// A line of a pressure file has three averages and a total, in this order.
#[rstest]
#[case::cpu("cpu.pressure")]
#[case::memory("memory.pressure")]
#[case::io("io.pressure")]
#[case::irq("irq.pressure")]
fn pressure_has_three_averages_and_a_total(lab: Lab, #[case] file: &str) -> Outcome {
    lab.needs_file(
        file,
        "since 4.20 with CONFIG_PSI; irq.pressure since 6.1 with CONFIG_IRQ_TIME_ACCOUNTING",
    )?;
    let group = lab.group("group")?;
    for line in group.get(file)?.lines() {
        let (name, pairs) = line.split_once(' ').unwrap_or((line, ""));
        let keys: Vec<_> =
            pairs.split(' ').map(|it| it.split('=').next().unwrap_or_default()).collect();
        lab.interface(&format!("keys of the line {name}"))
            .covers([R062, R081, R113, R126])
            .file(&format!("{file}:{name}"))
            .observed(keys.join(" "))
            .equals("avg10 avg60 avg300 total", "Documentation/accounting/psi.rst, Pressure interface: \"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\"");
    }
    Ok(())
}
