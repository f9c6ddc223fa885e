//! What a guest says, read while it is written: its messages, and the last of its
//! console. Both are untrusted, so both are bounded.
//!
//! It knows what a message is, but not what any of them means.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use cgauge_record::Message;

use crate::Error;

/// A line longer than this is no message of ours.
const LONGEST_MESSAGE: usize = 4 << 20;
/// A guest that says more than this has lost its way.
const MOST_BYTES: u64 = 64 << 20;

/// The last `count` lines of a file that a guest wrote: bounded, printable.
pub(crate) fn tail(path: &Path, count: usize) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(64 << 10);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let clean =
        |line: &str| line.chars().filter(|it| !it.is_control()).take(400).collect::<String>();
    let lines: Vec<_> = text.lines().map(clean).filter(|it| !it.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// What a look into the guest's messages found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    Messages,
    Babble(String),
}

/// The guest's messages, read while they are written.
#[derive(Debug)]
pub(crate) struct Lines {
    file: File,
    held: Vec<u8>,
    total: u64,
}

impl Lines {
    /// The messages in the file at `path`, from its beginning.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file =
            File::open(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
        Ok(Self { file, held: Vec::new(), total: 0 })
    }

    /// Hands on what is there by now.
    pub(crate) fn read(&mut self, hear: &mut dyn FnMut(Message)) -> Result<Heard, Error> {
        let mut heard = Heard::Nothing;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(heard),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(Error::File { path: "the guest's messages".into(), source });
                }
            };
            self.total += length as u64;
            self.held.extend_from_slice(&buffer[..length]);
            while let Some(end) = self.held.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(message) => hear(message),
                    Err(_) => return Ok(Heard::Babble(babble(&line))),
                }
                heard = Heard::Messages;
            }
            if self.held.len() > LONGEST_MESSAGE {
                return Ok(Heard::Babble(format!("a line of more than {LONGEST_MESSAGE} bytes")));
            }
            if self.total > MOST_BYTES {
                return Ok(Heard::Babble(format!("more than {MOST_BYTES} bytes of messages")));
            }
        }
    }
}

fn babble(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let shown: String = text.trim_end().chars().take(80).collect();
    format!("a line that is no message: {shown:?}")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: &[u8]) -> (Vec<Message>, Heard) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut heard = Vec::new();
        let end = Lines::open(file.path()).unwrap().read(&mut |it| heard.push(it)).unwrap();
        (heard, end)
    }

    #[test]
    fn whole_lines_are_messages_and_half_a_line_waits() {
        let start = r#"{"message":"start","body":{"index":0}}"#;
        let (heard, end) = lines(format!("{start}\n{start}").as_bytes());
        assert_eq!(heard, [Message::Start { index: 0 }]);
        assert_eq!(end, Heard::Messages);
    }

    #[test]
    fn what_is_no_message_is_babble() {
        for bytes in [b"\xff\xfe garbage\n".as_slice(), b"{\"message\":\"start\"}\n", b"\n"] {
            assert!(matches!(lines(bytes).1, Heard::Babble(_)), "{bytes:?}");
        }
        let endless = vec![b'x'; LONGEST_MESSAGE + 1];
        assert!(matches!(lines(&endless).1, Heard::Babble(_)));
    }

    #[test]
    fn the_tail_of_a_console_is_printable_and_bounded() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "one\n\x1b[31mtwo\x07\n\n{}\n", "x".repeat(1000)).unwrap();
        let lines = tail(file.path(), 2);
        assert_eq!(lines[0], "[31mtwo");
        assert_eq!(lines[1].len(), 400);
    }
}
