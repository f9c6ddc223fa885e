//! Memory that a case's process touches byte by byte, so that it knows better
//! than any counter what is there.
//!
//! It knows no group: whoever touches a page first has it charged.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::libc;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// Bytes in a huge page.
pub const HUGE: u64 = 2 << 20;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;

/// Mapped memory, untouched at first; unmapped when it goes out of scope.
#[derive(Debug)]
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

impl Memory {
    /// Private anonymous memory in pages of the smallest size.
    pub fn anonymous(bytes: u64) -> Result<Self, Errno> {
        let memory = Self::map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        // A kernel without huge pages refuses, and does what is wanted anyway.
        let _ = memory.advise(libc::MADV_NOHUGEPAGE);
        Ok(memory)
    }

    /// Private anonymous memory that begins at a huge page's border and wants
    /// to be made of huge ones.
    pub fn huge(bytes: u64) -> Result<Self, Errno> {
        let whole = Self::map(bytes + HUGE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
        let (border, length) = (whole.start.as_ptr().align_offset(HUGE as usize), bytes as usize);
        // SAFETY: within the mapping, which is one huge page longer than what is kept.
        let start = unsafe { whole.start.as_ptr().add(border) };
        // SAFETY: two parts of the mapping that are nobody's from here on.
        unsafe {
            libc::munmap(whole.start.as_ptr().cast(), border);
            libc::munmap(start.add(length).cast(), whole.bytes - border - length);
        }
        std::mem::forget(whole);
        let memory = Self { start: NonNull::new(start).ok_or(Errno::EFAULT)?, bytes: length };
        memory.advise(libc::MADV_HUGEPAGE)?;
        Ok(memory)
    }

    /// Shared anonymous memory, which the kernel counts as shmem.
    pub fn shmem(bytes: u64) -> Result<Self, Errno> {
        Self::map(bytes, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// A part of a file, shared with all who map it.
    pub fn of_file(file: &File, offset: u64, bytes: u64) -> Result<Self, Errno> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        Self::map(bytes, libc::MAP_SHARED, file.as_raw_fd(), offset)
    }

    fn map(bytes: u64, flags: i32, file: i32, offset: i64) -> Result<Self, Errno> {
        let bytes = usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses a place where nothing is mapped.
        let start = unsafe {
            libc::mmap(null_mut(), bytes, access, flags | libc::MAP_NORESERVE, file, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { start: NonNull::new(start.cast()).ok_or(Errno::EFAULT)?, bytes })
    }

    /// Writes to the first byte of every page, and says how many there are.
    pub fn touch(&self) -> u64 {
        self.write(0..self.pages(), 1)
    }

    /// Writes `value` to the first byte of these pages, and says how many they are.
    pub fn write(&self, pages: std::ops::Range<u64>, value: u8) -> u64 {
        let count = pages.end - pages.start;
        for page in pages {
            // SAFETY: within the mapping, by `place`.
            unsafe { self.place(page).write_volatile(value) };
        }
        count
    }

    /// Fills these pages with bytes that do not compress.
    pub fn scramble(&self, pages: std::ops::Range<u64>) -> u64 {
        let count = pages.end - pages.start;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ pages.start;
        for page in pages {
            let place = self.place(page).cast::<u64>();
            for word in 0..(PAGE as usize / 8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // SAFETY: within the page, which is within the mapping and aligned.
                unsafe { place.add(word).write_volatile(state) };
            }
        }
        count
    }

    /// Reads the first byte of these pages, and says how many of them hold `value`.
    pub fn read(&self, pages: std::ops::Range<u64>, value: u8) -> u64 {
        // SAFETY: within the mapping, by `place`.
        let holds = |page: &u64| unsafe { self.place(*page).read_volatile() } == value;
        pages.filter(holds).count() as u64
    }

    /// How many pages are in memory now (`mincore(2)`).
    pub fn resident(&self) -> u64 {
        let mut map = vec![0_u8; self.pages() as usize];
        // SAFETY: a byte for each page of the mapping.
        let asked =
            unsafe { libc::mincore(self.start.as_ptr().cast(), self.bytes, map.as_mut_ptr()) };
        if asked != 0 {
            return 0;
        }
        map.iter().filter(|it| **it & 1 == 1).count() as u64
    }

    /// `madvise(2)` on the whole.
    pub fn advise(&self, advice: i32) -> Result<(), Errno> {
        self.advise_part(0..self.pages(), advice)
    }

    /// `madvise(2)` on these pages.
    pub fn advise_part(&self, pages: std::ops::Range<u64>, advice: i32) -> Result<(), Errno> {
        let bytes = ((pages.end - pages.start) * PAGE) as usize;
        // SAFETY: memory of our own; what is dropped of it reads as new.
        let answer = unsafe { libc::madvise(self.place(pages.start).cast(), bytes, advice) };
        Errno::result(answer).map(drop)
    }

    /// `mlock(2)` on the whole.
    pub fn lock(&self) -> Result<(), Errno> {
        // SAFETY: memory of our own.
        Errno::result(unsafe { libc::mlock(self.start.as_ptr().cast(), self.bytes) }).map(drop)
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> u64 {
        (self.bytes as u64).div_ceil(PAGE)
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// The first word, for two processes that share the memory.
    #[must_use]
    pub fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping begins at a page's border and is as long as it is;
        // nobody looks at the word in another way while this is borrowed.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().cast()) }
    }

    fn place(&self, page: u64) -> *mut u8 {
        assert!(page < self.pages(), "page {page} of {}", self.pages());
        // SAFETY: within the mapping.
        unsafe { self.start.as_ptr().add((page * PAGE) as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and unmapped here alone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
