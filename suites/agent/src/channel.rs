//! The way out of the guest: messages as JSON lines on the VM's debug console.
//!
//! Bounded: a case that records without end fills its own allowance and nothing
//! else.

use cgauge_record::Message;

use crate::port::Ports;

/// Where messages go.
#[derive(Debug)]
pub struct Channel<'a> {
    ports: &'a Ports,
}

impl<'a> Channel<'a> {
    /// A channel over the debug console.
    pub fn new(ports: &'a Ports) -> Self {
        Self { ports }
    }

    /// Says one message.
    pub fn say(&self, message: &Message) {
        // The types of a message hold nothing that JSON cannot.
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        self.ports.send(&line);
    }

    /// Passes on lines that a case wrote, each a message already.
    pub fn pass_on(&self, lines: &[u8]) {
        self.ports.send(lines);
    }
}
