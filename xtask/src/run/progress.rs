//! What a run shows while it goes on: a bar with an estimate on a terminal,
//! plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use cgauge_record::{CaseEnd, Outcome};
use cgauge_reports::terminal::{Colour, case_line};
use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::Case;

/// The display.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    colour: Colour,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    finished: u64,
    total: u64,
    wrong: u64,
}

impl Progress {
    /// A display for so many cases.
    pub fn new(total: usize) -> Self {
        let total = total as u64;
        let on_terminal = std::io::stderr().is_terminal();
        let bar = on_terminal.then(|| {
            let bar = ProgressBar::new(total);
            // The template is a constant of ours, and valid.
            if let Ok(style) = ProgressStyle::with_template(
                "{bar:24} {pos}/{len}  {elapsed} gone, about {eta} to go  {wide_msg}",
            ) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self {
            bar,
            colour: colour(on_terminal),
            state: Mutex::new(State { finished: 0, total, wrong: 0 }),
        }
    }

    /// The colours of this terminal.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// A case began.
    pub fn started(&self, case: &Case) {
        if let Some(bar) = &self.bar {
            let wrong = self.state().wrong;
            let so_far = if wrong == 0 { String::new() } else { format!("[{wrong} not passed] ") };
            bar.set_message(format!("{so_far}{} {}", case.suite, case.name));
        }
    }

    /// A case is over.
    pub fn ended(&self, end: &CaseEnd) {
        let mut state = self.state();
        state.finished += 1;
        state.wrong += u64::from(matches!(end.outcome, Outcome::Fail | Outcome::Error));
        let line = case_line(end, self.colour);
        let line = match &self.bar {
            Some(_) => line,
            None => format!("[{}/{}] {line}", state.finished, state.total),
        };
        drop(state);
        self.say(&line);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Colours where people look and did not ask for none (no-color.org).
fn colour(on_terminal: bool) -> Colour {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    if on_terminal && !unwanted { Colour::Always } else { Colour::Never }
}
