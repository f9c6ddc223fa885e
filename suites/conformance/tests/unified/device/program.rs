//! Device programs by `bpf(2)`, assembled by hand: what they are made of, and
//! how they are attached to a group (include/uapi/linux/bpf.h).
//!
//! It knows nothing of which devices a case uses.

use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use cgauge_lab::{Group, kernel};
use nix::errno::Errno;
use nix::libc;

/// Making a node.
pub const MKNOD: u32 = 1;
/// Reading from it.
pub const READ: u32 = 2;
/// Writing to it.
pub const WRITE: u32 = 4;
/// A block device.
pub const BLOCK: u32 = 1;
/// A character device.
pub const CHAR: u32 = 2;

/// A program below this may replace the one here.
pub const ALLOW_OVERRIDE: u32 = 1;
/// Programs below this run as well as the one here.
pub const ALLOW_MULTI: u32 = 2;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;

/// What a program refuses; a part that is `None` fits everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refuses {
    /// Of block or of character devices.
    pub kind: Option<u32>,
    /// With this major number.
    pub major: Option<u32>,
    /// With this minor number.
    pub minor: Option<u32>,
    /// When any of these is asked for.
    pub access: Option<u32>,
}

/// One instruction: operation, registers, offset of a jump, number.
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    u64::from(code)
        | u64::from(from << 4 | to) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number) << 32
}

impl Refuses {
    /// The program: 0 for what it refuses, 1 for all else.
    fn assemble(self) -> Vec<u64> {
        /// `r2 = *(u32 *)(r1 + OFFSET)`.
        fn load(offset: i16) -> u64 {
            instruction(0x61, 2, 1, offset, 0)
        }
        /// `r2 &= NUMBER`, in 32 bits.
        fn mask(number: u32) -> u64 {
            instruction(0x54, 2, 0, 0, number)
        }
        // Each test is its instructions and the jump that leaves it with "allowed":
        // if r2 is not the number (0x55), or if it is (0x15).
        let mut tests: Vec<(Vec<u64>, u8, u32)> = Vec::new();
        if let Some(kind) = self.kind {
            tests.push((vec![load(0), mask(0xffff)], 0x55, kind));
        }
        if let Some(access) = self.access {
            tests.push((vec![load(0), mask(access << 16)], 0x15, 0));
        }
        if let Some(major) = self.major {
            tests.push((vec![load(4)], 0x55, major));
        }
        if let Some(minor) = self.minor {
            tests.push((vec![load(8)], 0x55, minor));
        }
        // `r0 = 1` first; at the end `r0 = 0; exit`, and a jump goes past `r0 = 0`.
        let mut program = vec![instruction(0xb7, 0, 0, 0, 1)];
        let length: usize = 1 + tests.iter().map(|(it, ..)| it.len() + 1).sum::<usize>();
        for (instructions, jump, number) in tests {
            program.extend(instructions);
            let offset = i16::try_from(length - program.len()).unwrap_or(i16::MAX);
            program.push(instruction(jump, 2, 0, offset, number));
        }
        program.push(instruction(0xb7, 0, 0, 0, 0));
        program.push(instruction(0x95, 0, 0, 0, 0));
        program
    }

    /// Loads the program.
    pub fn load(self) -> Result<OwnedFd, Errno> {
        let instructions = self.assemble();
        let license = c"GPL";
        // prog_type, insn_cnt, insns, license; no log.
        let mut attributes = [0_u64; 6];
        let count = u64::try_from(instructions.len()).unwrap_or(0);
        attributes[0] = u64::from(PROG_TYPE_CGROUP_DEVICE) | count << 32;
        attributes[1] = instructions.as_ptr() as u64;
        attributes[2] = license.as_ptr() as u64;
        let fd = bpf(PROG_LOAD, &mut attributes)?;
        // SAFETY: the kernel just made it, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Attaches a program to a group.
pub fn attach(group: &Group, program: &OwnedFd, flags: u32) -> Result<(), Errno> {
    let ask = || bpf(PROG_ATTACH, &mut attributes(group, program, flags)).map(drop);
    kernel::call("bpf, attach", ask)
}

/// Takes a program from a group.
pub fn detach(group: &Group, program: &OwnedFd) -> Result<(), Errno> {
    let ask = || bpf(PROG_DETACH, &mut attributes(group, program, 0)).map(drop);
    kernel::call("bpf, detach", ask)
}

/// Attaches a program by a link, which holds it until it is closed.
pub fn link(group: &Group, program: &OwnedFd) -> Result<OwnedFd, Errno> {
    // prog_fd, target_fd, attach_type, flags.
    let (group, program) = (fd(group.dir()), fd(program));
    let mut attributes = [program | group << 32, u64::from(CGROUP_DEVICE)];
    let link = bpf(LINK_CREATE, &mut attributes)?;
    // SAFETY: the kernel just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// How many programs are attached to a group itself.
pub fn attached(group: &Group) -> Result<u64, Errno> {
    let mut ids = [0_u32; 8];
    // target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt.
    let mut attributes =
        [fd(group.dir()) | u64::from(CGROUP_DEVICE) << 32, 0, ids.as_mut_ptr() as u64, 8];
    bpf(PROG_QUERY, &mut attributes)?;
    Ok(kernel::figure("bpf, query", attributes[3] & 0xffff_ffff))
}

/// target_fd, attach_bpf_fd, attach_type, attach_flags, replace_bpf_fd.
fn attributes(group: &Group, program: &OwnedFd, flags: u32) -> [u64; 3] {
    let (group, program) = (fd(group.dir()), fd(program));
    [group | program << 32, u64::from(CGROUP_DEVICE) | u64::from(flags) << 32, 0]
}

fn fd(it: &impl AsFd) -> u64 {
    // A descriptor that is open is no negative number.
    u64::try_from(it.as_fd().as_raw_fd()).unwrap_or(0)
}

fn bpf(command: libc::c_int, attributes: &mut [u64]) -> Result<RawFd, Errno> {
    // SAFETY: the attributes are those of the command, and what they point to
    // outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes))
    };
    Errno::result(result).map(|it| RawFd::try_from(it).unwrap_or(RawFd::MAX))
}
