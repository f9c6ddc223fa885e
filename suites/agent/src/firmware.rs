//! QEMU's firmware configuration device: the files that the harness hands to a
//! guest, the job and the programs that it names.
//!
//! A small file is read byte by byte; a program comes by DMA, page by page into
//! memory of this process. Both are synchronous. It knows nothing of what the
//! bytes mean.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};

use crate::port::Ports;

/// Selector, data and the address of a DMA request.
const SELECT: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_HIGH: u16 = 0x514;
const DMA_LOW: u16 = 0x518;
/// The items that are no files.
const SIGNATURE: u16 = 0x0000;
const FEATURES: u16 = 0x0001;
const DIRECTORY: u16 = 0x0019;
/// The feature bit that says that there is DMA.
const HAS_DMA: u32 = 1 << 1;
/// Bits of a DMA request's control word.
const DMA_READ: u32 = 1 << 1;
const DMA_SELECT: u32 = 1 << 3;
/// What is read byte by byte is a few kilobytes; what claims to be more than
/// this is no job.
const LARGEST_TEXT: u32 = 1 << 20;
/// The most pages that a program is read by at a time.
const WINDOW: usize = 64;
const PAGE: usize = 4096;

/// The device.
#[derive(Debug)]
pub struct Firmware<'a> {
    ports: &'a Ports,
}

impl<'a> Firmware<'a> {
    /// The device, if this machine has it.
    pub fn find(ports: &'a Ports) -> Option<Self> {
        let it = Self { ports };
        it.select(SIGNATURE);
        (it.bytes::<4>() == *b"QEMU").then_some(it)
    }

    /// The text of the file `name`, if QEMU was given one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<Vec<u8>> {
        let (selector, size) = self.entry(name).filter(|(_, size)| *size <= LARGEST_TEXT)?;
        self.select(selector);
        Some((0..size).map(|_| self.ports.input(DATA)).collect())
    }

    /// Writes the file `name` to `path`, as a program.
    ///
    /// # Errors
    /// QEMU was given no such file or has no DMA, or what the kernel answered.
    pub fn place_program(&self, name: &str, path: &Path) -> io::Result<()> {
        let missing = || io::Error::other(format!("QEMU was given no {name}"));
        let (selector, size) = self.entry(name).ok_or_else(missing)?;
        self.select(FEATURES);
        if u32::from_le_bytes(self.bytes()) & HAS_DMA == 0 {
            return Err(io::Error::other("QEMU's firmware configuration has no DMA"));
        }
        let mut program =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path)?;
        let window = Window::new(WINDOW)?;
        let mut left = size as usize;
        let mut select = u32::from(selector) << 16 | DMA_SELECT;
        while left > 0 {
            let part = left.min(WINDOW * PAGE);
            for (page, frame) in window.frames.iter().enumerate().take(part.div_ceil(PAGE)) {
                let length = (part - page * PAGE).min(PAGE);
                // Only the first request of a file selects it; each goes on where
                // the last one ended.
                self.dma(&window, std::mem::take(&mut select) | DMA_READ, length, *frame)?;
            }
            program.write_all(window.bytes(part))?;
            left -= part;
        }
        Ok(())
    }

    /// The selector and size of a file.
    fn entry(&self, name: &str) -> Option<(u16, u32)> {
        self.select(DIRECTORY);
        let count = u32::from_be_bytes(self.bytes());
        let mut found = None;
        // `struct FWCfgFile`: size, selector, reserved, name; big endian.
        for _ in 0..count.min(1024) {
            let size = u32::from_be_bytes(self.bytes());
            let selector = u16::from_be_bytes(self.bytes());
            let _reserved = self.bytes::<2>();
            let entry = self.bytes::<56>();
            let length = entry.iter().position(|it| *it == 0).unwrap_or(entry.len());
            if &entry[..length] == name.as_bytes() {
                found = Some((selector, size));
            }
        }
        found
    }

    /// Has QEMU fill `length` bytes of the page frame at `address`.
    fn dma(&self, window: &Window, control: u32, length: usize, address: u64) -> io::Result<()> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        window.request(control, length, address);
        fence(Ordering::SeqCst);
        let [high, low] = [(window.control >> 32) as u32, window.control as u32];
        // The device takes the address big endian; the second half starts it.
        self.ports.out32(DMA_HIGH, high.to_be());
        self.ports.out32(DMA_LOW, low.to_be());
        fence(Ordering::SeqCst);
        if window.answer() == 0 {
            return Ok(());
        }
        Err(io::Error::other("QEMU refused to hand over a program"))
    }

    fn select(&self, item: u16) {
        self.ports.out16(SELECT, item);
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|_| self.ports.input(DATA))
    }
}

/// Pages of this process whose place in the machine's memory is known: the first
/// holds the request, the rest what comes in.
struct Window {
    start: NonNull<c_void>,
    pages: usize,
    /// The request's address in the machine's memory.
    control: u64,
    /// The addresses of the pages that follow.
    frames: Vec<u64>,
}

impl Window {
    fn new(pages: usize) -> io::Result<Self> {
        let length = NonZeroUsize::MIN.saturating_add((pages + 1) * PAGE - 1);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping; `Drop` alone unmaps it.
        let start = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE) }?;
        let mut window = Self { start, pages: pages + 1, control: 0, frames: Vec::new() };
        // In memory and to stay there: every page gets a frame now.
        // SAFETY: the mapping is this long.
        unsafe { mlock(start, length.get()) }?;
        let pagemap = File::open("/proc/self/pagemap")?;
        let mut entries = vec![0; (pages + 1) * 8];
        pagemap.read_exact_at(&mut entries, (start.addr().get() / PAGE * 8) as u64)?;
        let mut frames = Vec::with_capacity(pages + 1);
        for entry in entries.chunks_exact(8) {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
            let frame = entry & ((1 << 55) - 1);
            if frame == 0 {
                return Err(io::Error::other("/proc/self/pagemap shows no page frames"));
            }
            frames.push(frame * PAGE as u64);
        }
        window.control = frames.remove(0);
        window.frames = frames;
        Ok(window)
    }

    /// `struct FWCfgDmaAccess`: control, length, address; big endian.
    fn request(&self, control: u32, length: u32, address: u64) {
        let place = self.start.cast::<u8>().as_ptr();
        let words = [control.to_be_bytes(), length.to_be_bytes()].concat();
        for (offset, byte) in words.into_iter().chain(address.to_be_bytes()).enumerate() {
            // SAFETY: 16 bytes of the first page.
            unsafe { place.add(offset).write_volatile(byte) };
        }
    }

    /// What the device made of the control word: 0 when all is done.
    fn answer(&self) -> u32 {
        // SAFETY: the first bytes of the first page, aligned to a page.
        u32::from_be(unsafe { self.start.cast::<u32>().as_ptr().read_volatile() })
    }

    /// The first `length` bytes that came in.
    fn bytes(&self, length: usize) -> &[u8] {
        // SAFETY: within the mapping; QEMU writes there only within `dma`.
        unsafe { std::slice::from_raw_parts(self.start.cast::<u8>().as_ptr().add(PAGE), length) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: nobody else has the mapping. What fails to go ends with the process.
        let _ = unsafe { munmap(self.start, self.pages * PAGE) };
    }
}
