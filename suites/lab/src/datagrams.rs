//! Processes that send datagrams over the loopback device when they are told to:
//! each is one packet, so that packets can be counted exactly.
//!
//! It knows no group's files: whoever opens a socket has it.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

use crate::group::Group;
use crate::kernel_memory::bring_up_loopback;
use crate::process::Process;
use crate::stop::{Outcome, Stop};
use crate::turns::Turns;

/// Datagrams of one turn.
pub const DATAGRAMS: u64 = 5;

/// A process with a socket that it has opened in the group that it began in.
#[derive(Debug)]
pub struct Sender {
    /// The process.
    pub process: Process,
    turns: Turns,
    /// Somebody to send to; what is not read costs nobody anything.
    _receiver: UdpSocket,
}

impl Sender {
    /// Starts it in `group`, and waits until it has its socket.
    pub fn start(group: &Group) -> Result<Self, Stop> {
        Self::with_priority(group, None)
    }

    /// The same with a priority of its own (`SO_PRIORITY`).
    pub fn with_priority(group: &Group, priority: Option<i32>) -> Result<Self, Stop> {
        bring_up_loopback()?;
        let receiver = UdpSocket::bind("127.0.0.1:0")?;
        let to = receiver.local_addr()?;
        let turns = Turns::new()?;
        let process = group.spawn(|| {
            let mut socket = None;
            turns.step(|| {
                socket = open(to, priority).ok();
                0
            });
            let send = |_: &u64| socket.as_ref().is_some_and(|it| it.send(b"datagram").is_ok());
            loop {
                turns.step(|| (0..DATAGRAMS).filter(send).count() as u64);
            }
        })?;
        turns.next()?;
        Ok(Self { process, turns, _receiver: receiver })
    }

    /// Lets it send [`DATAGRAMS`] datagrams.
    pub fn send(&self) -> Outcome {
        match self.turns.next()? {
            DATAGRAMS => Ok(()),
            sent => Err(Stop::Broken(format!("a process sent {sent} of {DATAGRAMS} datagrams"))),
        }
    }
}

fn open(to: SocketAddr, priority: Option<i32>) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    if let Some(priority) = priority {
        // SAFETY: the value is as long as is said.
        Errno::result(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PRIORITY,
                (&raw const priority).cast(),
                size_of::<i32>() as u32,
            )
        })?;
    }
    socket.connect(to)?;
    Ok(socket)
}
