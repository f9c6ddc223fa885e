//! Every output by its name, and the way into a run directory: written beside
//! its place and renamed, so that what stands there is always whole.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::run::Run;
use crate::{annotations, csv, html, json, junit, kcidb, ktap, markdown};

/// A format that a run can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One self-contained page for people.
    Html,
    /// JUnit XML, as CI servers read it.
    Junit,
    /// KTAP, as the kernel's own tools read it.
    Ktap,
    /// KCIDB JSON, as KernelCI's database takes it in.
    Kcidb,
    /// Markdown for the summary of a CI job.
    Markdown,
    /// A summary for scripts; the records themselves stay in `events.jsonl`.
    Json,
    /// Every measured number, one a row.
    Csv,
    /// Workflow commands of GitHub, which its runner reads from standard output.
    Annotations,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::Html,
        Self::Junit,
        Self::Ktap,
        Self::Kcidb,
        Self::Markdown,
        Self::Json,
        Self::Csv,
        Self::Annotations,
    ];

    /// What each run directory has.
    pub const OF_EVERY_RUN: [Self; 4] = [Self::Html, Self::Junit, Self::Ktap, Self::Markdown];

    /// The name that a user gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Ktap => "ktap",
            Self::Kcidb => "kcidb",
            Self::Markdown => "markdown",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Annotations => "annotations",
        }
    }

    /// Its file in a run directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Html => "report.html",
            Self::Junit => "junit.xml",
            Self::Ktap => "results.ktap",
            Self::Kcidb => "kcidb.json",
            Self::Markdown => "summary.md",
            Self::Json => "summary.json",
            Self::Csv => "values.csv",
            Self::Annotations => "annotations.txt",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no format: they are html, junit, ktap, kcidb, markdown, json, csv and annotations"
)]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// An output could not be written.
#[derive(Debug, Error)]
#[error("could not write {path}")]
pub struct WriteError {
    /// The file that should have been there.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Writes a run in a format.
pub fn render(run: &Run, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Html => html::write(run, out),
        Format::Junit => junit::write(run, out),
        Format::Ktap => ktap::write(run, out),
        Format::Kcidb => kcidb::write(run, out),
        Format::Markdown => markdown::write(run, out),
        Format::Json => json::write(run, out),
        Format::Csv => csv::write(run, out),
        Format::Annotations => annotations::write(run, out),
    }
}

/// Writes a run's outputs into a directory and returns their paths.
///
/// Each is written whole or not at all; an older one stays until it is replaced.
pub fn write_into(
    run: &Run,
    directory: &Path,
    formats: &[Format],
) -> Result<Vec<PathBuf>, WriteError> {
    formats
        .iter()
        .map(|format| {
            let path = directory.join(format.file_name());
            match replace(directory, &path, |out| render(run, *format, out)) {
                Ok(()) => Ok(path),
                Err(source) => Err(WriteError { path, source }),
            }
        })
        .collect()
}

/// Writes a file beside its place and puts it there whole.
pub(crate) fn replace(
    directory: &Path,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let staged = tempfile::Builder::new()
        .prefix(".cgauge-")
        // A CI server reads the files as another user; the umask still applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    let mut out = BufWriter::new(staged);
    write(&mut out)?;
    let staged = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    staged.as_file().sync_all()?;
    staged.persist(path).map_err(|it| it.error)?;
    Ok(())
}
