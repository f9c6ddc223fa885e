//! Swap on a zram device: sized, formatted, switched on, and off again when it
//! goes out of scope; and zswap before it.
//!
//! It knows no group; what it changes is the whole machine's, so that only a
//! case with a kernel of its own may use it.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;

use crate::case::Lab;
use crate::memory::PAGE;
use crate::stop::Stop;

const DEVICE: &str = "/dev/zram0";
const SETTINGS: &str = "/sys/block/zram0";
const ZSWAP: &str = "/sys/module/zswap/parameters";

/// Swap space that is switched on.
#[derive(Debug)]
pub struct Swap {
    device: CString,
}

impl Lab {
    /// Switches on `bytes` of swap space in compressed memory. Skips the case
    /// where the kernel has no swap or no zram.
    pub fn swap(&self, bytes: u64) -> Result<Swap, Stop> {
        if !PathBuf::from("/proc/swaps").exists() {
            return Err(self.skip("this kernel has no swap (CONFIG_SWAP)"));
        }
        if !PathBuf::from(SETTINGS).exists() {
            return Err(self.skip("this kernel has no zram (CONFIG_ZRAM)"));
        }
        // The first page holds the header.
        fs::write(format!("{SETTINGS}/disksize"), (bytes + PAGE).to_string())?;
        let mut open = OpenOptions::new().write(true).open(DEVICE)?;
        open.write_all(&header(bytes / PAGE))?;
        open.sync_all()?;
        drop(open);
        let device = CString::new(DEVICE).map_err(|it| Stop::Broken(it.to_string()))?;
        // SAFETY: a path.
        Errno::result(unsafe { libc::swapon(device.as_ptr(), 0) })
            .map_err(Stop::broken("swapon"))?;
        Ok(Swap { device })
    }

    /// Puts compressed memory before the swap space. Skips the case where the
    /// kernel has no zswap.
    pub fn zswap(&self) -> Result<Zswap, Stop> {
        if !PathBuf::from(ZSWAP).exists() {
            return Err(self.skip("this kernel has no zswap (CONFIG_ZSWAP)"));
        }
        fs::write(format!("{ZSWAP}/enabled"), "Y")?;
        Ok(Zswap)
    }
}

impl Swap {
    /// Switches it off, which brings every page of it back into memory.
    pub fn off(&self) -> Result<(), Errno> {
        // SAFETY: a path.
        Errno::result(unsafe { libc::swapoff(self.device.as_ptr()) }).map(drop)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        // Off already, or the machine has no room: the machine is the case's own.
        let _ = self.off();
        let _ = fs::write(format!("{SETTINGS}/reset"), "1");
    }
}

/// Zswap, switched on; off again when it goes out of scope.
#[derive(Debug)]
pub struct Zswap;

impl Drop for Zswap {
    fn drop(&mut self) {
        let _ = fs::write(format!("{ZSWAP}/enabled"), "N");
    }
}

/// What `mkswap` writes (`union swap_header`, include/linux/swap.h): version 1,
/// the last page's number, no bad pages, the magic at the end of the page.
fn header(last_page: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    page[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    let last = u32::try_from(last_page).unwrap_or(u32::MAX);
    page[1028..1032].copy_from_slice(&last.to_ne_bytes());
    let end = page.len();
    page[end - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_with_the_magic_and_counts_the_pages() {
        let page = header(256);
        assert_eq!((page.len(), &page[4086..]), (4096, b"SWAPSPACE2".as_slice()));
        assert_eq!(u32::from_ne_bytes(page[1028..1032].try_into().unwrap()), 256);
    }
}
