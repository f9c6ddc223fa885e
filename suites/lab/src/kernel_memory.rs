//! Ways to make the kernel allocate memory of its own, of a size that is known:
//! objects, tables of descriptors, sockets.
//!
//! It knows no group: whoever calls has it charged.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// So many epoll descriptors: each is an `eventpoll`, a `file` and a `dentry`.
#[must_use]
pub fn epolls(count: usize) -> Vec<OwnedFd> {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: a limit of our own; if it is refused fewer are made, and the count says so.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    let one = || {
        // SAFETY: no pointers.
        let fd = Errno::result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).ok()?;
        // SAFETY: just made, and nobody else's.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (0..count).map_while(|_| one()).collect()
}

/// Gives a descriptor the number `number`, for which the process's table has to
/// grow to the next power of two above it: eight bytes for each.
pub fn widest_descriptor(number: i32) -> Result<OwnedFd, Errno> {
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: a limit of our own.
    Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    // SAFETY: integers alone; the number is free.
    let fd = Errno::result(unsafe { libc::dup2(libc::STDERR_FILENO, number) })?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The CPUs that the kernel keeps memory for, present or not.
#[must_use]
pub fn possible_cpus() -> u64 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next().and_then(|it| it.parse::<u64>().ok());
    last.unwrap_or(0) + 1
}

/// What one object of a slab cache is charged as; `None` where the kernel does
/// not say how large it is.
#[must_use]
pub fn object_bytes(cache: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/sys/kernel/slab/{cache}/slab_size")).ok()?;
    text.trim().parse().ok()
}

/// A TCP connection over the loopback device, with data that nobody reads.
#[derive(Debug)]
pub struct Connection {
    sender: TcpStream,
    receiver: TcpStream,
    queued: u64,
}

impl Connection {
    /// Connects over 127.0.0.1, which is brought up for it.
    pub fn new() -> std::io::Result<Self> {
        bring_up_loopback()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, _) = listener.accept()?;
        Ok(Self { sender, receiver, queued: 0 })
    }

    /// Sends until neither side takes more, and says how many bytes that were.
    pub fn fill(&mut self) -> std::io::Result<u64> {
        self.sender.set_nonblocking(true)?;
        let data = [1; 4096];
        while let Ok(sent) = self.sender.write(&data) {
            self.queued += sent as u64;
        }
        Ok(self.queued)
    }

    /// Bytes that both ends have taken from their protocol, by their own count
    /// (`SO_MEMINFO`): received, queued to be sent, and set aside.
    pub fn taken(&self) -> Result<u64, Errno> {
        Ok(taken_by(&self.sender)? + taken_by(&self.receiver)?)
    }
}

fn taken_by(socket: &TcpStream) -> Result<u64, Errno> {
    // linux/sock_diag.h: places in the answer to SO_MEMINFO.
    const SO_MEMINFO: i32 = 55;
    const RECEIVED: usize = 0;
    const SET_ASIDE: usize = 4;
    const QUEUED: usize = 5;
    let mut answer = [0_u32; 9];
    let mut bytes = u32::try_from(size_of_val(&answer)).unwrap_or(0);
    // SAFETY: the kernel writes no more than it is told of.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            answer.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    })?;
    Ok([RECEIVED, SET_ASIDE, QUEUED].iter().map(|it| u64::from(answer[*it])).sum())
}

/// Brings the loopback device up.
///
/// # Errors
/// The kernel has none, or the caller may not.
pub fn bring_up_loopback() -> std::io::Result<()> {
    // SAFETY: a plain C struct, for which zero is "nothing".
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request lives as long as the call.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(answer).map(drop).map_err(Into::into)
}
