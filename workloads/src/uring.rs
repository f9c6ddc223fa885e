//! io_uring by its system calls, for requests that are in flight together.
//!
//! It must not know what is read or written.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;

/// `IORING_OP_READ` of `linux/io_uring.h`.
pub(crate) const READ: u8 = 22;
/// `IORING_OP_WRITE`.
pub(crate) const WRITE: u8 = 23;

/// `IORING_FEAT_SINGLE_MMAP`: both rings in one mapping, since 5.4.
const SINGLE_MMAP: u32 = 1;
/// `IORING_OFF_SQES`.
const OFFSET_OF_ENTRIES: i64 = 0x1000_0000;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;

/// `struct io_sqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Submissions {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    user_address: u64,
}

/// `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completions {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    entries: u32,
    flags: u32,
    reserved: u32,
    user_address: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Parameters {
    submission_entries: u32,
    completion_entries: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    worker: u32,
    reserved: [u32; 3],
    submissions: Submissions,
    completions: Completions,
}

/// `struct io_uring_sqe`, as far as a read or write fills it.
#[repr(C)]
struct Submission {
    opcode: u8,
    flags: u8,
    priority: u16,
    file: i32,
    offset: u64,
    address: u64,
    length: u32,
    operation_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// `struct io_uring_cqe`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// A pair of rings, for requests of one thread.
pub(crate) struct Ring {
    fd: OwnedFd,
    rings: Shared,
    entries: Shared,
    parameters: Parameters,
    unsubmitted: u32,
}

impl Ring {
    /// Rings for `depth` requests in flight.
    pub(crate) fn new(depth: u32) -> Result<Self, Errno> {
        let mut parameters = Parameters::default();
        // SAFETY: the kernel reads and writes one struct of parameters.
        let fd = unsafe {
            libc::syscall(libc::SYS_io_uring_setup, depth, std::ptr::from_mut(&mut parameters))
        };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel just made it, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) };
        if parameters.features & SINGLE_MMAP == 0 {
            return Err(Errno::ENOSYS);
        }
        let (sq, cq) = (&parameters.submissions, &parameters.completions);
        let of_submissions = sq.array as usize + parameters.submission_entries as usize * 4;
        let of_completions =
            cq.entries as usize + parameters.completion_entries as usize * size_of::<Completion>();
        let rings = Shared::new(&fd, of_submissions.max(of_completions), 0)?;
        let bytes = parameters.submission_entries as usize * size_of::<Submission>();
        let entries = Shared::new(&fd, bytes, OFFSET_OF_ENTRIES)?;
        Ok(Self { fd, rings, entries, parameters, unsubmitted: 0 })
    }

    /// Adds a request. There must be room: the caller has fewer than `depth` in
    /// flight.
    pub(crate) fn push(
        &mut self,
        opcode: u8,
        file: i32,
        address: u64,
        length: u32,
        offset: u64,
        user_data: u64,
    ) {
        let at = self.parameters.submissions;
        let tail = self.rings.word(at.tail).load(Ordering::Relaxed);
        let index = tail & self.rings.word(at.ring_mask).load(Ordering::Relaxed);
        let entry = Submission {
            opcode,
            flags: 0,
            priority: 0,
            file,
            offset,
            address,
            length,
            operation_flags: 0,
            user_data,
            rest: [0; 3],
        };
        // SAFETY: the index is below the number of entries, and the kernel
        // does not look at it before the tail moves.
        unsafe { self.entries.start.cast::<Submission>().add(index as usize).write(entry) };
        self.rings.word(at.array + index * 4).store(index, Ordering::Relaxed);
        self.rings.word(at.tail).store(tail.wrapping_add(1), Ordering::Release);
        self.unsubmitted += 1;
    }

    /// Hands over what was added and waits until `completions` are there.
    pub(crate) fn enter(&mut self, completions: u32) -> Result<(), Errno> {
        loop {
            // SAFETY: integers, and no set of signals.
            let taken = unsafe {
                libc::syscall(
                    libc::SYS_io_uring_enter,
                    self.fd.as_raw_fd(),
                    self.unsubmitted,
                    completions,
                    GET_EVENTS,
                    std::ptr::null::<u8>(),
                    0,
                )
            };
            match Errno::result(taken) {
                Ok(taken) => {
                    self.unsubmitted -= u32::try_from(taken).unwrap_or(0).min(self.unsubmitted);
                    return Ok(());
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// A request that is done: its user data and the result of its system call.
    pub(crate) fn pop(&mut self) -> Option<(u64, i32)> {
        let at = self.parameters.completions;
        let head = self.rings.word(at.head).load(Ordering::Relaxed);
        if head == self.rings.word(at.tail).load(Ordering::Acquire) {
            return None;
        }
        let index = head & self.rings.word(at.ring_mask).load(Ordering::Relaxed);
        // SAFETY: the kernel filled it before it moved the tail.
        let done = unsafe {
            let first = self.rings.start.as_ptr().add(at.entries as usize).cast::<Completion>();
            first.add(index as usize).read()
        };
        self.rings.word(at.head).store(head.wrapping_add(1), Ordering::Release);
        Some((done.user_data, done.result))
    }
}

/// Memory that is shared with the kernel.
struct Shared {
    start: NonNull<u8>,
    bytes: usize,
}

impl Shared {
    fn new(fd: &impl AsFd, bytes: usize, offset: i64) -> Result<Self, Errno> {
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: the kernel chooses a place where nothing is mapped.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd.as_fd().as_raw_fd(), offset)
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, bytes }),
            _ => Err(Errno::last()),
        }
    }

    /// The word at `offset`, which the kernel gave.
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: within the mapping and aligned, by the kernel's word; both
        // sides use it as an atomic.
        unsafe { self.start.add(offset as usize).cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and unmapped here alone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
