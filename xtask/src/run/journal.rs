//! `events.jsonl` while it is written: each event one line, written at once and
//! whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use cgauge_record::{CaseEnd, Check, Event, RunEnd};
use cgauge_reports::EVENTS_FILE;
use cgauge_reports::judge::Tally;

/// The run directory while a run fills it.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    events: File,
    /// Bytes of whole lines.
    length: u64,
    tally: Tally,
    /// Why nothing more is written.
    failure: Option<String>,
}

impl Journal {
    /// Makes the run directory. One that holds a run already is left alone.
    pub fn create(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        fs::create_dir_all(directory.join("console"))
            .with_context(|| format!("cannot write to the run directory {shown}"))?;
        let path = directory.join(EVENTS_FILE);
        if path.exists() {
            bail!("{shown} holds a run already: name another directory, or remove it");
        }
        let events = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write to the run directory {shown}"))?;
        let state = State { events, length: 0, tally: Tally::default(), failure: None };
        Ok(Self { directory: directory.to_path_buf(), state: Mutex::new(state) })
    }

    /// Writes an event.
    pub fn write(&self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut state = self.lock();
        if let Some(failure) = &state.failure {
            bail!("{failure}");
        }
        match state.events.write_all(&line) {
            Ok(()) => {
                state.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line would make the whole file suspect.
                let _ = state.events.set_len(state.length);
                let failure = format!(
                    "cannot write to {}: {error}; what was written so far is whole",
                    self.directory.join(EVENTS_FILE).display()
                );
                state.failure = Some(failure.clone());
                bail!("{failure}");
            }
        }
    }

    /// Writes a case's end, and counts it with the checks that it made.
    pub fn end_case(&self, checks: &[Check], end: CaseEnd) -> Result<()> {
        let outcome = end.outcome;
        self.write(&Event::CaseEnd(end))?;
        self.lock().tally.add(outcome, checks);
        Ok(())
    }

    /// The counts so far.
    pub fn counts(&self) -> RunEnd {
        self.lock().tally.end()
    }

    /// Adds the console of a guest to its unit's log. A console that cannot be
    /// written loses nothing that a verdict rests on.
    pub fn console(&self, unit: &str, heading: &str, lines: &[String]) {
        let safe = |it: char| {
            if it.is_ascii_alphanumeric() || "._-".contains(it) { it } else { '-' }
        };
        let name: String = unit.chars().map(safe).take(120).collect();
        let path = self.directory.join("console").join(format!("{name}.log"));
        let mut text = format!("== {heading}\n");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let _ = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A worker that panicked has broken nothing here: every change is whole.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Journal {
    /// A run that never began leaves no directory that looks like one.
    fn drop(&mut self) {
        if self.lock().length == 0 {
            let _ = fs::remove_file(self.directory.join(EVENTS_FILE));
            let _ = fs::remove_dir(self.directory.join("console"));
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_a_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path()).unwrap();
        journal.write(&Event::RunEnd(RunEnd::default())).unwrap();
        let error = Journal::create(folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("holds a run already: name another directory, or remove it"),
            "{error}"
        );
        let text = fs::read_to_string(folder.path().join(EVENTS_FILE)).unwrap();
        assert!(text.starts_with("{\"event\":\"run_end\"") && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn a_run_that_never_began_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("run");
        drop(Journal::create(&place).unwrap());
        assert!(!place.exists());
    }

    #[test]
    fn a_full_disk_leaves_whole_lines_and_is_told_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path()).unwrap();
        journal.lock().events = OpenOptions::new().write(true).open("/dev/full").unwrap();
        for _ in 0..2 {
            let error = journal.write(&Event::RunEnd(RunEnd::default())).unwrap_err().to_string();
            assert!(error.contains("No space left on device"), "{error}");
        }
    }

    #[test]
    fn a_console_never_leaves_the_run_directory() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(&folder.path().join("run")).unwrap();
        journal.write(&Event::RunEnd(RunEnd::default())).unwrap();
        journal.console("../../escape", "case", &["line".to_owned()]);
        assert!(folder.path().join("run/console/..-..-escape.log").exists());
    }
}
