//! Memory straight from the kernel: shared with other tasks, or made of stacks
//! for them.
//!
//! It must not know what is kept there.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;

use crate::Failure;

/// Mapped memory, zero at first. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    /// Memory of this process's own.
    pub(crate) fn private(bytes: NonZeroUsize) -> Result<Self, Failure> {
        Self::new(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// Shared memory, that the kernel accounts as shmem.
    pub(crate) fn shmem(bytes: NonZeroUsize) -> Result<Self, Failure> {
        Self::new(bytes, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)
    }

    /// The first `bytes` of a file, shared with all who map it.
    pub(crate) fn of_file(file: BorrowedFd<'_>, bytes: NonZeroUsize) -> Result<Self, Failure> {
        Self::new(bytes, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn new(bytes: NonZeroUsize, flags: i32, file: i32) -> Result<Self, Failure> {
        let (access, bytes) = (libc::PROT_READ | libc::PROT_WRITE, bytes.get());
        // Only touched pages are to count, however large the mapping.
        let flags = flags | libc::MAP_NORESERVE;
        // SAFETY: the kernel chooses a place where nothing is mapped.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, file, 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, bytes }),
            _ => Err(Failure::system("mmap", Errno::last())),
        }
    }

    /// Keeps the kernel from backing it with huge pages, so that touching a
    /// byte costs one page.
    pub(crate) fn in_small_pages(self) -> Self {
        // SAFETY: advice on memory of our own. A kernel without huge pages
        // refuses it and does what is wanted anyway.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.bytes, libc::MADV_NOHUGEPAGE) };
        self
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and unmapped here alone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
