//! What a file shows first, what it takes and shows then, and what it refuses.

use cgauge_lab::prelude::*;

use crate::presence::needs;
use crate::row::{Row, Subject};

/// A new group's files show the defaults of the document.
#[rstest]
fn new_group_shows_the_defaults(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Io,
        Subject::Pids,
        Subject::Cpuset,
        Subject::Hugetlb
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let group = lab.group("group")?;
    for row in there(&group, subject)? {
        let Some(default) = row.default else { continue };
        lab.interface(&format!("what {} shows in a new group", row.file))
            .covers(row.among([
                R021, R042, R044, R045, R047, R049, R050, R054, R055, R058, R061, R062, R070,
                R071, R074, R077, R080, R081, R083, R097, R098, R109, R111, R112, R113, R116,
                R119, R126, R131, R135, R136, R137, R138, R139, R142, R143, R144, R150, R151,
            ]))
            .file(row.file)
            .observed(group.line(row.file)?)
            .equals(default, "the default that cgroup-v2.rst gives for the file; where it gives none, that nothing was set and nothing has happened");
    }
    Ok(())
}

/// A file shows what it took.
#[rstest]
fn file_shows_what_it_took(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Io,
        Subject::Pids,
        Subject::Cpuset,
        Subject::Hugetlb
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let probe = lab.group("probe")?;
    for row in there(&probe, subject)? {
        let parent = lab.group("parent")?;
        let group = if row.file == "cgroup.type" { parent.make("child")? } else { parent };
        for (written, shown) in row.accepts {
            lab.interface(&format!("the answer of {} to {written:?}", row.file))
                .covers(row.among([
                    R032, R033, R034, R042, R044, R045, R047, R049, R050, R058, R061, R062, R070,
                    R071, R074, R077, R080, R081, R082, R094, R098, R112, R113, R126, R131, R139,
                    R142, R143, R144,
                ]))
                .file(row.file)
                .answered(&group.try_set(row.file, written))
                .equals("ok", "the document, or the parser of the file, takes it");
            let Some(shown) = shown else { continue };
            lab.interface(&format!("what {} shows after {written:?}", row.file))
                .covers(row.among([
                    R032, R033, R034, R044, R045, R047, R049, R050, R058, R061, R070, R071, R074,
                    R077, R080, R082, R098, R112, R131, R139, R142, R143, R144,
                ]))
                .file(row.file)
                .observed(group.line(row.file)?)
                .equals(
                    *shown,
                    "what was written is what holds; bytes are cut to whole pages, sets to ranges",
                );
        }
    }
    Ok(())
}

/// A file refuses what the document does not allow, with the errno of its parser, and keeps what it had.
#[rstest]
fn refused_value_changes_nothing(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Io,
        Subject::Pids,
        Subject::Cpuset,
        Subject::Hugetlb,
        Subject::Misc,
        Subject::Rdma
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let probe = lab.group("probe")?;
    for row in there(&probe, subject)? {
        let group = lab.group("group")?;
        // Not the default, which a refused value could have brought back.
        let set = row.accepts.first().filter(|_| row.file != "cgroup.type");
        if let Some((written, _)) = set {
            group.set(row.file, written)?;
        }
        // What is known to be there now; only where nothing is, what is read.
        let known = set.map_or(row.default, |(_, shown)| *shown);
        let before = match known {
            Some(text) if row.is_readable() => text.to_owned(),
            _ => content(&group, row)?,
        };
        for (written, errno) in row.refuses {
            lab.interface(&format!("the answer of {} to {written:?}", row.file))
                .covers(row.among([
                    R010, R021, R032, R033, R042, R044, R045, R047, R049, R050, R058, R061, R062,
                    R070, R071, R074, R077, R080, R081, R082, R094, R098, R112, R113, R119, R126,
                    R129, R131, R139, R142, R143, R144, R149, R152,
                ]))
                .file(row.file)
                .answered(&group.try_set(row.file, written))
                .equals(*errno, "the document does not allow it; the errno is that of the file's parser in the kernel");
        }
        lab.interface(&format!("what {} shows after what it refused", row.file))
            .covers(row.among([
                R021, R032, R033, R044, R045, R047, R049, R050, R058, R061, R070, R071, R074, R077,
                R080, R082, R098, R112, R119, R131, R139, R142, R143, R144, R149, R152,
            ]))
            .file(row.file)
            .observed(content(&group, row)?)
            .equals(before, "a refused write changes nothing");
        for written in row.loose {
            // Promised nowhere: written down, so that a change is seen.
            let answer = match group.try_set(row.file, written) {
                Ok(()) => content(&group, row)?,
                Err(refusal) => format!("{:?}", refusal.errno),
            };
            lab.value(&format!("{} makes of {written:?}", row.file), Unit::Text, answer, Neither);
        }
    }
    Ok(())
}

/// The rows whose files the group has.
fn there(group: &Group, subject: Subject) -> Result<Vec<&'static Row>, Stop> {
    let files = crate::presence::files(group)?;
    Ok(subject.rows().iter().filter(|row| files.iter().any(|it| it == row.file)).collect())
}

fn content(group: &Group, row: &Row) -> Result<String, Stop> {
    if row.is_readable() { group.line(row.file) } else { Ok("write-only".to_owned()) }
}
