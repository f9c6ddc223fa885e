//! The VM's I/O ports: how a guest without drivers speaks, says that it is ready
//! to be saved, and switches itself off.
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

    /// Writes two bytes to a port.
    pub fn out16(&self, port: u16, value: u16) {
        // SAFETY: a port write touches no memory of ours.
        unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack)) }
    }

    /// Writes four bytes to a port, which may have a device write to memory.
    pub fn out32(&self, port: u16, value: u32) {
        // SAFETY: what the device writes to is named to it by the caller, who owns it.
        unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)) }
    }

    /// Reads a byte from a port.
    pub fn input(&self, port: u16) -> u8 {
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
