//! The way to the harness: the job that comes in, and messages as JSON lines that
//! go out; in a VM over its ports, elsewhere over standard input and output.
//!
//! Bounded: a case that records without end fills its own allowance and nothing
//! else.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use cgauge_record::Message;

use crate::port::Ports;

/// Where messages go.
#[derive(Debug)]
pub enum Channel<'a> {
    /// The VM's debug console.
    Ports(&'a Ports),
    /// What standard output was when the agent started.
    Output(RefCell<File>),
}

impl Channel<'_> {
    /// A channel over standard output, of which no case gets hold.
    pub fn of_output() -> std::io::Result<Self> {
        use std::os::fd::AsFd;
        let output: OwnedFd = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::Output(RefCell::new(output.into())))
    }

    /// Says one message.
    pub fn say(&self, message: &Message) {
        // The types of a message hold nothing that JSON cannot.
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        self.pass_on(&line);
    }

    /// Passes on lines that a case wrote, each a message already.
    pub fn pass_on(&self, lines: &[u8]) {
        match self {
            Self::Ports(ports) => ports.send(lines),
            // A harness that does not hear any more has ended this guest already.
            Self::Output(file) => drop(file.borrow_mut().write_all(lines)),
        }
    }
}

/// The job, from standard input.
pub fn job_of_input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}
