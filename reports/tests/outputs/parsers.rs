//! What others accept: each format for machines goes through the parser of those
//! who read it. Where that is not to be had here, the test says so by name and is
//! skipped; `reports/README.md` says how to get each.

use std::path::Path;
use std::process::Command;

use cgauge_reports::{Format, Run};

use super::build::{CONFIG, every_outcome};
use super::hostile::{CONTROL, SCRIPT, with_every_text};
use super::written;

/// The runs that every parser has to take: each outcome, and texts made to harm.
fn runs() -> Vec<Run> {
    let mut runs = vec![every_outcome(CONFIG).read()];
    runs.extend([SCRIPT, CONTROL, "", "1..2", "]]>", "not ok 1 - #"].map(with_every_text));
    runs
}

/// Runs a program of Python on each of these outputs, given as a file.
fn python(test: &str, needs: &str, program: &str, extra: &Path, format: Format) {
    let missing = Command::new("python3").args(["-c", needs]).arg(extra).output();
    if !missing.is_ok_and(|it| it.status.success()) {
        eprintln!("skipped {test}: python3 cannot run {needs:?} here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (number, run) in runs().iter().enumerate() {
        let file = directory.path().join(format!("{number}-{}", format.file_name()));
        std::fs::write(&file, written(run, format)).unwrap();
        let it = Command::new("python3").args(["-c", program]).arg(extra).arg(&file).output();
        let it = it.unwrap();
        let said = [it.stdout, it.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(it.status.success(), "{format} of run {number} was refused: {said}");
    }
}

/// The path that an environment variable holds.
fn given(test: &str, variable: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os(variable).map(Into::into);
    if path.is_none() {
        eprintln!("skipped {test}: {variable} is not set");
    }
    path
}

#[test]
fn kcidb_is_accepted_by_kcidb_io() {
    python(
        "kcidb_is_accepted_by_kcidb_io",
        "import kcidb_io",
        "import sys, json, kcidb_io\n\
         data = json.load(open(sys.argv[2], encoding='utf-8'))\n\
         kcidb_io.schema.LATEST.validate(data)\n\
         ids = [it['id'] for it in data['tests']]\n\
         assert len(ids) == len(set(ids)), 'ids repeat'",
        Path::new("-"),
        Format::Kcidb,
    );
}

#[test]
fn junit_is_valid_by_the_schema_of_jenkins() {
    let test = "junit_is_valid_by_the_schema_of_jenkins";
    let Some(schema) = given(test, "CGAUGE_JUNIT_XSD") else { return };
    python(
        test,
        "import sys; from lxml import etree; etree.XMLSchema(etree.parse(sys.argv[1]))",
        "import sys; from lxml import etree\n\
         etree.XMLSchema(etree.parse(sys.argv[1])).assertValid(etree.parse(sys.argv[2]))",
        &schema,
        Format::Junit,
    );
}

#[test]
fn ktap_is_accepted_by_the_parser_of_the_kernel() {
    let test = "ktap_is_accepted_by_the_parser_of_the_kernel";
    let Some(kernel) = given(test, "CGAUGE_KERNEL_TREE") else { return };
    python(
        test,
        "import sys; sys.path.insert(0, sys.argv[1] + '/tools/testing/kunit'); import kunit_parser",
        "import sys\n\
         sys.path.insert(0, sys.argv[1] + '/tools/testing/kunit')\n\
         import kunit_parser, inspect\n\
         class Quiet:\n\
         \x20   def __getattr__(self, name): return lambda *a, **k: ''\n\
         # Newer kernels want a printer too.\n\
         printer = len(inspect.signature(kunit_parser.parse_run_tests).parameters) > 1\n\
         lines = open(sys.argv[2], encoding='utf-8')\n\
         test = kunit_parser.parse_run_tests(lines, *([Quiet()] if printer else []))\n\
         assert test.counts.errors == 0, test.counts\n\
         assert test.counts.total() > 0",
        &kernel,
        Format::Ktap,
    );
}
