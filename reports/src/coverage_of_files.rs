//! Which interface files and keys a run asserted, against the documented ones of
//! `suites/interface-files.csv`, which is compiled in.
//!
//! A check names its file as `memory.stat`, and a key in it as `memory.stat:anon`;
//! a check of the file alone counts for a key that stands as a word in what it is
//! about. Where a file is and what it accepts is told apart from whether it keeps
//! its word, so that a sweep over all files alone covers nothing of the latter.
//! Legacy hierarchies have files of the same names, and do not count here.

use std::collections::BTreeSet;
use std::io::{self, Write};

use cgauge_record::{CheckKind, Hierarchy, Quantity};

use crate::names;
use crate::run::{CheckReport, Run};

/// A file or a key, and how many checks were about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// Its name.
    pub name: String,
    /// Checks of where it is, what it shows first, takes and refuses.
    pub interface: usize,
    /// Checks of whether it keeps its word.
    pub behaviour: usize,
}

impl Asserted {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), interface: 0, behaviour: 0 }
    }

    /// Whether any check was about it.
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        self.interface + self.behaviour > 0
    }

    fn count(&mut self, kind: CheckKind) {
        match kind {
            CheckKind::Interface => self.interface += 1,
            _ => self.behaviour += 1,
        }
    }
}

/// A file of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The file.
    pub file: Asserted,
    /// `groups`, `root` or `everywhere`.
    pub place: String,
    /// The release whose document names it; `later` or `no` for what 6.12's does not.
    pub document: String,
    /// Its documented keys.
    pub keys: Vec<Asserted>,
    /// Whether a check found that it is not there.
    pub absent: bool,
    /// The functions whose cases asserted it, each with its suite.
    pub by: BTreeSet<String>,
}

impl File {
    /// Whether 6.12's document names it.
    fn is_documented(&self) -> bool {
        self.document != "no" && self.document != "later"
    }

    fn keys(&self, wanted: impl Fn(&Asserted) -> bool) -> String {
        let keys = self.keys.iter().filter(|it| wanted(it)).map(|it| format!("`{}`", it.name));
        keys.collect::<Vec<_>>().join(" ")
    }

    /// The first few functions, and how many more.
    fn by(&self) -> String {
        const NAMED: usize = 3;
        let mut names: Vec<_> =
            self.by.iter().take(NAMED).map(|it| format!("`{}`", it.replace('|', " "))).collect();
        if let more @ 1.. = self.by.len().saturating_sub(NAMED) {
            names.push(format!("and {more} more"));
        }
        names.join(", ")
    }
}

/// The whole list with what a run asserted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageOfFiles {
    /// The listed files, in the list's order.
    pub files: Vec<File>,
    /// Files that checks were about and the list lacks.
    pub unlisted: BTreeSet<String>,
}

impl CoverageOfFiles {
    /// What `run` asserted. A check counts whatever came of it.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let mut coverage = Self {
            files: listed(include_str!("../../suites/interface-files.csv")),
            unlisted: BTreeSet::new(),
        };
        let unified = run.cases().filter(|(it, _)| it.start.hierarchy == Hierarchy::Unified);
        for (_, case) in unified {
            let by = format!("{} {}", case.suite, names::split(&case.case).base);
            for check in &case.checks {
                coverage.add(check, &by);
            }
        }
        coverage
    }

    fn add(&mut self, check: &CheckReport, by: &str) {
        let (file, key) = match check.file.split_once(':') {
            Some((file, key)) => (file, Some(key)),
            None => (check.file.as_ref(), None),
        };
        let file = general(file);
        let Some(row) = self.files.iter_mut().find(|it| it.file.name == file) else {
            if !file.is_empty() {
                self.unlisted.insert(file);
            }
            return;
        };
        // That a file is not there says nothing of the file.
        if check.observed.same(&Quantity::from("absent")) {
            row.absent = true;
            return;
        }
        row.by.insert(by.to_owned());
        row.file.count(check.kind);
        let words: BTreeSet<String> = match key {
            Some(key) => [general_key(key)].into(),
            None => check
                .what
                .split(|it: char| !(it.is_alphanumeric() || it == '_'))
                .map(general_key)
                .collect(),
        };
        for key in row.keys.iter_mut().filter(|it| words.contains(&it.name)) {
            key.count(check.kind);
        }
    }

    /// Writes it as a table in Markdown.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let documented = || self.files.iter().filter(|it| it.is_documented());
        let keys = || documented().flat_map(|it| &it.keys);
        let (files_behave, keys_behave) = (
            documented().filter(|it| it.file.behaviour > 0).count(),
            keys().filter(|it| it.behaviour > 0).count(),
        );
        let hidden = |it: &&File| it.absent && !it.file.is_asserted();
        writeln!(
            out,
            "| documented in 6.12 | asserted | of these whether it keeps its word | not shown by the kernel |\n| --- | --- | --- | --- |"
        )?;
        writeln!(
            out,
            "| files | {} of {} | {files_behave} of {} | {} |",
            documented().filter(|it| it.file.is_asserted()).count(),
            documented().count(),
            documented().count(),
            documented().filter(hidden).count(),
        )?;
        writeln!(
            out,
            "| keys | {} of {} | {keys_behave} of {} | {} of files that are not |\n",
            keys().filter(|it| it.is_asserted()).count(),
            keys().count(),
            keys().count(),
            documented().filter(hidden).map(|it| it.keys.len()).sum::<usize>(),
        )?;
        let missing = documented().filter(|it| !it.file.is_asserted()).map(|it| {
            let why = if it.absent { " (not shown)" } else { "" };
            format!("`{}`{why}", it.file.name)
        });
        writeln!(out, "Files not asserted: {}\n", listing(missing))?;
        let missing = documented().flat_map(|file| {
            let keys = file.keys.iter().filter(|it| !it.is_asserted());
            keys.map(|it| format!("`{}:{}`", file.file.name, it.name))
        });
        writeln!(out, "Keys not asserted: {}\n", listing(missing))?;
        writeln!(
            out,
            "| file | where | document | interface | behaviour | keys with behaviour | keys by interface alone | asserted by |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
        )?;
        for it in &self.files {
            writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} | {} | {} |",
                it.file.name,
                it.place,
                it.document,
                it.file.interface,
                it.file.behaviour,
                it.keys(|key| key.behaviour > 0),
                it.keys(|key| key.behaviour == 0 && key.interface > 0),
                it.by(),
            )?;
        }
        if !self.unlisted.is_empty() {
            let names: Vec<_> =
                self.unlisted.iter().map(|it| format!("`{}`", it.replace('|', " "))).collect();
            writeln!(out, "\nNot in the list: {}", names.join(", "))?;
        }
        Ok(())
    }
}

fn listing(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A file's name as the document writes it: without the size of huge pages.
fn general(file: &str) -> String {
    match file.strip_prefix("hugetlb.").and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) => format!("hugetlb.<hugepagesize>.{rest}"),
        None => file.to_owned(),
    }
}

/// A key as the document writes it: without the controller's name.
fn general_key(key: &str) -> String {
    for prefix in ["nr_subsys_", "nr_dying_subsys_"] {
        if key.starts_with(prefix) {
            return format!("{prefix}<cgroup_subsys>");
        }
    }
    key.to_owned()
}

/// The list's rows; its header is left out.
fn listed(csv: &str) -> Vec<File> {
    let rows = csv.lines().skip(1).filter_map(|line| {
        let mut fields = line.split(',');
        let file = Asserted::new(fields.next()?);
        let (place, document) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        let keys = fields.next()?.split_ascii_whitespace().map(Asserted::new).collect();
        Some(File { file, place, document, keys, absent: false, by: BTreeSet::new() })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use cgauge_record::{Check, Unit, Verdict};

    use super::*;

    fn check(kind: CheckKind, what: &str, file: &str) -> CheckReport {
        CheckReport::of(&Check {
            config: String::new(),
            suite: String::new(),
            case: String::new(),
            requirements: Vec::new(),
            kind,
            what: what.to_owned(),
            file: file.to_owned(),
            unit: Unit::Text,
            observed: Quantity::from(""),
            at_least: None,
            at_most: None,
            equals: Some(Quantity::from("")),
            bound_reason: String::new(),
            beyond_lies: String::new(),
            verdict: Verdict::Pass,
        })
    }

    #[test]
    fn every_documented_file_is_listed() {
        let coverage = CoverageOfFiles::of(&Run::default());
        let documented = || coverage.files.iter().filter(|it| it.document == "6.12");
        assert_eq!(documented().count(), 77);
        assert_eq!(documented().map(|it| it.keys.len()).sum::<usize>(), 122);
        assert!(
            coverage
                .files
                .iter()
                .all(|it| ["groups", "root", "everywhere"].contains(&it.place.as_str()))
        );
    }

    #[test]
    fn a_key_is_asserted_by_its_name_or_as_a_word() {
        let mut coverage = CoverageOfFiles::of(&Run::default());
        coverage.add(&check(CheckKind::Accounting, "bytes", "memory.stat:anon"), "s f");
        coverage.add(&check(CheckKind::Interface, "growth of file_mapped", "memory.stat"), "s f");
        coverage
            .add(&check(CheckKind::Accounting, "nr_subsys_cpu of a group", "cgroup.stat"), "s f");
        coverage.add(&check(CheckKind::Enforcement, "pages", "hugetlb.2MB.max"), "s f");
        coverage.add(&check(CheckKind::Enforcement, "luck", "luck.max"), "s f");
        let file = |name: &str| coverage.files.iter().find(|it| it.file.name == name).unwrap();
        let asserted: Vec<_> = file("memory.stat")
            .keys
            .iter()
            .filter(|it| it.interface + it.behaviour > 0)
            .map(|it| (it.name.as_str(), it.interface, it.behaviour))
            .collect();
        assert_eq!(asserted, [("anon", 0, 1), ("file_mapped", 1, 0)]);
        assert_eq!(
            file("memory.stat").file,
            Asserted { name: "memory.stat".into(), interface: 1, behaviour: 1 }
        );
        assert_eq!(file("cgroup.stat").keys[2].behaviour, 1);
        assert_eq!(file("hugetlb.<hugepagesize>.max").file.behaviour, 1);
        assert_eq!(coverage.unlisted, ["luck.max".to_owned()].into());
        let mut text = Vec::new();
        coverage.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("| files | 3 of 77 | 3 of 77 | 0 |"), "{text}");
        assert!(
            text.contains("| keys | 3 of 122 | 2 of 122 | 0 of files that are not |"),
            "{text}"
        );
        assert!(text.contains("| `anon` | `file_mapped` | `s f` |"), "{text}");
    }
}
