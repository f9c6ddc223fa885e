//! What a process may want of a device, and the kernel's answer to it.
//!
//! It knows no rule.

use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::unlink;

pub const NULL: &str = "/dev/null";
pub const ZERO: &str = "/dev/zero";
/// A node of a block device that nobody drives: an open that is allowed finds no device.
pub const NOBODY: &str = "/dev/cgauge-block";

/// What is asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Read(&'static str),
    Write(&'static str),
    Both(&'static str),
    /// Makes a node of this kind and numbers, and removes it again.
    Make(SFlag, u64, u64),
}

/// To make a node of a character device.
pub const fn char(major: u64, minor: u64) -> Deed {
    Deed::Make(SFlag::S_IFCHR, major, minor)
}

/// To make a node of a block device.
pub const fn block(major: u64, minor: u64) -> Deed {
    Deed::Make(SFlag::S_IFBLK, major, minor)
}

impl Deed {
    fn done(self) -> Result<(), Errno> {
        let opened = |path: &str, flags| open(path, flags, Mode::empty()).map(drop);
        match self {
            Self::Read(path) => opened(path, OFlag::O_RDONLY),
            Self::Write(path) => opened(path, OFlag::O_WRONLY),
            Self::Both(path) => opened(path, OFlag::O_RDWR),
            Self::Make(kind, major, minor) => {
                let path = "/dev/cgauge-made";
                mknod(path, kind, Mode::S_IRUSR, makedev(major, minor))?;
                unlink(path)
            }
        }
    }

    /// `ok`, or the errno's name.
    pub fn answer(self) -> String {
        match self.done() {
            Ok(()) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        }
    }

    /// What the kernel says to a process of `group` that does it.
    pub fn within(self, group: &Group) -> Result<String, Stop> {
        group.spawn(move || self.answer())?.finish()
    }

    /// What it says where no rule speaks against it.
    pub fn if_allowed(self) -> &'static str {
        match self {
            Self::Read(NOBODY) | Self::Write(NOBODY) | Self::Both(NOBODY) => "ENXIO",
            _ => "ok",
        }
    }
}

/// The node of a block device that nobody drives; removed when it goes out of scope.
pub struct Node;

impl Node {
    pub fn new() -> Result<Self, Stop> {
        // A number for examples (Documentation/admin-guide/devices.txt, block 42).
        mknod(NOBODY, SFlag::S_IFBLK, Mode::S_IRUSR, makedev(42, 7))
            .map_err(Stop::broken("make a node"))?;
        Ok(Self)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It is a name in the guest's own memory.
        let _ = unlink(NOBODY);
    }
}
