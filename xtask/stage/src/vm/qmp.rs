//! QEMU's control channel (QMP): JSON lines over its standard input and output.
//!
//! Used only while the guest stands still: a command to a running guest would
//! let the host's timing in.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What went wrong between us and QEMU.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU closed the channel: it ended.
    #[error("QEMU ended while it was being told {0:?}")]
    Closed(String),
    /// QEMU refused a command.
    #[error("QEMU refused {command:?}: {reason}")]
    Refused {
        /// The command's name.
        command: String,
        /// QEMU's words.
        reason: String,
    },
    /// QEMU did not answer in time.
    #[error("QEMU did not answer {0:?} in time")]
    Silent(String),
}

/// The channel.
#[derive(Debug)]
pub struct Qmp {
    commands: ChildStdin,
    lines: Receiver<Value>,
    events: Vec<String>,
}

/// QEMU answers from its main loop; it is slow only on a host that is drowning.
const PATIENCE: Duration = Duration::from_secs(20);

impl Qmp {
    /// Greets QEMU.
    pub fn new(commands: ChildStdin, answers: ChildStdout) -> Result<Self, Error> {
        let (sender, lines) = channel();
        // A thread of its own, so that a QEMU that says nothing can be given up.
        // It ends with QEMU's output.
        std::thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(io::Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Self { commands, lines, events: Vec::new() };
        qmp.receive("the greeting", Instant::now() + PATIENCE)?;
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Gives a command and waits for its answer.
    pub fn command(&mut self, name: &str, arguments: Value) -> Result<Value, Error> {
        let line = json!({ "execute": name, "arguments": arguments }).to_string() + "\n";
        let sent = self.commands.write_all(line.as_bytes()).and_then(|()| self.commands.flush());
        sent.map_err(|_| Error::Closed(name.to_owned()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut answer = self.receive(name, deadline)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason").to_owned();
                return Err(Error::Refused { command: name.to_owned(), reason });
            }
            self.note(&answer);
        }
    }

    /// Waits for one of `wanted` events, at most until `deadline`.
    pub fn wait_for(&mut self, wanted: &[&str], deadline: Instant) -> Result<String, Error> {
        loop {
            if let Some(place) = self.events.iter().position(|it| wanted.contains(&it.as_str())) {
                return Ok(self.events.remove(place));
            }
            let line = self.receive(wanted[0], deadline)?;
            self.note(&line);
        }
    }

    /// Asks again and again until a migration, either way, is complete.
    pub fn until_migrated(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.command("query-migrate", json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed") => {
                    let reason = answer["error-desc"].as_str().unwrap_or("no reason").to_owned();
                    return Err(Error::Refused { command: "migrate".to_owned(), reason });
                }
                _ if Instant::now() > deadline => return Err(Error::Silent("migrate".to_owned())),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn note(&mut self, line: &Value) {
        if let Some(event) = line["event"].as_str() {
            self.events.push(event.to_owned());
        }
    }

    fn receive(&mut self, what: &str, deadline: Instant) -> Result<Value, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::Silent(what.to_owned()),
            RecvTimeoutError::Disconnected => Error::Closed(what.to_owned()),
        })
    }
}
