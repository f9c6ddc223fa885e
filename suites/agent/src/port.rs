//! The VM's I/O ports: how a guest without drivers reads its job, says that it
//! is ready to be saved, and switches itself off.
//!
//! Every access is synchronous and raises no interrupt, so that a guest does
//! the same thing at the same instruction in every run. It knows nothing of
//! what the bytes mean.

use std::arch::asm;

use nix::errno::Errno;

/// QEMU's `pvpanic` device; `-action panic=pause` stops the VM at the very
/// instruction that writes to it.
const PVPANIC: u16 = 0x505;
/// QEMU's `isa-debug-exit` device: the VM ends at the instruction that writes.
const DEBUG_EXIT: u16 = 0xf4;
/// QEMU's `isa-debugcon` device: a byte written is a byte out of the guest.
const DEBUGCON: u16 = 0xe9;
/// QEMU's firmware configuration device: selector and data.
const FW_CFG_SELECT: u16 = 0x510;
const FW_CFG_DATA: u16 = 0x511;
const FW_CFG_SIGNATURE: u16 = 0x0000;
const FW_CFG_DIRECTORY: u16 = 0x0019;
/// A job is a few kilobytes; what claims to be more than this is none.
const LARGEST_FILE: u32 = 1 << 20;

/// The right to use I/O ports.
#[derive(Debug)]
pub struct Ports(());

impl Ports {
    /// Asks the kernel for the right. Only root gets it.
    pub fn open() -> Result<Self, Errno> {
        // SAFETY: raises this thread's I/O privilege and touches no memory.
        Errno::result(unsafe { nix::libc::iopl(3) })?;
        Ok(Self(()))
    }

    /// Stops the VM here, to be saved. Returns in each guest that is restored
    /// from it.
    pub fn pause_to_be_saved(&self) {
        self.out(PVPANIC, 1);
    }

    /// Ends the VM.
    pub fn power_off(&self) -> ! {
        loop {
            self.out(DEBUG_EXIT, 0);
        }
    }

    /// Writes bytes to the debug console.
    pub fn send(&self, bytes: &[u8]) {
        // SAFETY: reads exactly `bytes`; the direction flag is clear by the ABI.
        unsafe {
            asm!("rep outsb", inout("rcx") bytes.len() => _, inout("rsi") bytes.as_ptr() => _,
                in("dx") DEBUGCON, options(nostack, preserves_flags, readonly));
        }
    }

    /// The file `name` of the firmware configuration, if QEMU was given one.
    #[must_use]
    pub fn firmware_file(&self, name: &str) -> Option<Vec<u8>> {
        self.select(FW_CFG_SIGNATURE);
        if self.bytes::<4>() != *b"QEMU" {
            return None;
        }
        self.select(FW_CFG_DIRECTORY);
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
        let (selector, size) = found.filter(|(_, size)| *size <= LARGEST_FILE)?;
        self.select(selector);
        Some((0..size).map(|_| self.input(FW_CFG_DATA)).collect())
    }

    fn select(&self, item: u16) {
        // SAFETY: a port write touches no memory of ours.
        unsafe {
            asm!("out dx, ax", in("dx") FW_CFG_SELECT, in("ax") item, options(nomem, nostack))
        }
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        std::array::from_fn(|_| self.input(FW_CFG_DATA))
    }

    fn input(&self, port: u16) -> u8 {
        let value: u8;
        // SAFETY: a port read touches no memory of ours.
        unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) }
        value
    }

    fn out(&self, port: u16, value: u8) {
        // SAFETY: a port write touches no memory of ours. No `nomem`: what was
        // written before the VM pauses or ends has to be in memory by then.
        unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) }
    }
}
