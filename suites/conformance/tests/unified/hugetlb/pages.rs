//! Huge pages: the machine's pool of them, and processes that take some.
//!
//! It knows no interface file of the controller.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Bytes in a huge page of x86-64.
pub const PAGE: u64 = 2 << 20;
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Gives the machine `pages` huge pages, or skips the case.
pub fn pool(lab: &Lab, pages: u64) -> Outcome {
    if std::fs::write(POOL, pages.to_string()).is_err() {
        return Err(lab.skip("this kernel has no huge pages (CONFIG_HUGETLBFS)"));
    }
    let got = std::fs::read_to_string(POOL)?;
    if got.trim() == pages.to_string() {
        return Ok(());
    }
    Err(Stop::Broken(format!("the machine has {} huge pages instead of {pages}", got.trim())))
}

/// A counter that processes share, so that it outlives the one that counts.
#[derive(Clone, Copy, Debug)]
pub struct Shared(&'static AtomicU64);

impl Shared {
    /// A counter at 0.
    pub fn new() -> Result<Self, Stop> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let place = map(4096, flags, None).map_err(Stop::broken("map a shared page"))?;
        // SAFETY: aligned, zeroed, and never unmapped.
        Ok(Self(unsafe { &*place.cast::<AtomicU64>() }))
    }

    /// What it stands at.
    pub fn get(self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn count(self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Where a process takes its huge pages from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Its own memory, reserved when it is mapped.
    Private,
    /// Its own memory, with nothing reserved.
    Unreserved,
    /// A file that others may hold as well.
    File(&'a OwnedFd),
}

/// Maps `pages` huge pages.
pub fn reserve(pages: u64, source: Source<'_>) -> Result<*mut u8, Errno> {
    let own = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    match source {
        Source::Private => map(pages * PAGE, own, None),
        Source::Unreserved => map(pages * PAGE, own | libc::MAP_NORESERVE, None),
        Source::File(file) => map(pages * PAGE, libc::MAP_SHARED, Some(file)),
    }
}

/// Touches the first `pages` huge pages and counts each that came.
pub fn touch(start: *mut u8, pages: u64, counted: Shared) {
    // Rust's own handler would come back and fault a second time.
    // SAFETY: the default action has no code of ours.
    let _ = unsafe { signal(Signal::SIGBUS, SigHandler::SigDfl) };
    for page in 0..pages {
        // A mapping fits the address space.
        let offset = usize::try_from(page * PAGE).unwrap_or(0);
        // SAFETY: within the mapping.
        unsafe { start.add(offset).write_volatile(1) };
        counted.count();
    }
}

/// A file of huge pages without a name.
pub fn file() -> Result<OwnedFd, Stop> {
    // SAFETY: the name is a C string.
    let fd =
        unsafe { libc::memfd_create(c"pages".as_ptr(), libc::MFD_HUGETLB | libc::MFD_CLOEXEC) };
    let fd = Errno::result(fd).map_err(Stop::broken("make a file of huge pages"))?;
    // SAFETY: the kernel just made it, and nobody else has it.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(file)
}

/// Sets the length of a file of huge pages.
pub fn stretch(file: &OwnedFd, pages: u64) -> Outcome {
    let length = i64::try_from(pages * PAGE).unwrap_or(i64::MAX);
    nix::unistd::ftruncate(file, length).map_err(Stop::broken("stretch a file"))
}

/// Binds the caller's memory to one node.
pub fn bind_to(node: usize) -> Result<(), Errno> {
    const MPOL_BIND: libc::c_int = 2;
    let mask: u64 = 1 << node;
    // SAFETY: the mask outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, &raw const mask, 64_usize) };
    Errno::result(result).map(drop)
}

fn map(bytes: u64, flags: i32, file: Option<&OwnedFd>) -> Result<*mut u8, Errno> {
    let length = usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.map_or(-1, |it| it.as_fd().as_raw_fd());
    // SAFETY: a new mapping at an address that the kernel chooses.
    let place = unsafe { libc::mmap(null_mut(), length, access, flags, fd, 0) };
    if place == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(place.cast()) }
}
