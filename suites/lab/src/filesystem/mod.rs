//! File systems for cases, made here since the guest has no mkfs, and mounted
//! by the kernel's own code.
//!
//! Each is as small as its kernel code takes it: empty, with room for some MiB
//! of data to be dirtied and written back. It knows no controller.

mod btrfs;
mod ext4;
mod xfs;

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::case::Lab;
use crate::disk::Disk;
use crate::stop::Stop;

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ext4 without a journal, of 128 MiB at the most.
    Ext4,
    /// XFS, version 5, with one allocation group.
    Xfs,
    /// Btrfs, everything once.
    Btrfs,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// What stands on an empty one of this many bytes.
    fn pieces(self, bytes: u64) -> Vec<Piece> {
        match self {
            Self::Ext4 => ext4::pieces(bytes),
            Self::Xfs => xfs::pieces(bytes),
            Self::Btrfs => btrfs::pieces(bytes),
        }
    }
}

/// Bytes at a place of the device.
#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: Vec<u8>,
}

/// A mounted file system; unmounted when it goes out of scope.
#[derive(Debug)]
pub struct FileSystem {
    path: PathBuf,
    folder: File,
}

impl Lab {
    /// Makes an empty file system on the whole of `disk`, which holds zeroes, and
    /// mounts it on a new folder. Skips the case where the kernel has none such.
    pub fn file_system(&self, format: Format, disk: &Disk) -> Result<FileSystem, Stop> {
        let name = format.name();
        let known = std::fs::read_to_string("/proc/filesystems")?;
        if known.lines().all(|it| it.trim() != name) {
            return Err(self.skip(&format!("this kernel has no {name}")));
        }
        let device = OpenOptions::new().write(true).open(disk.path())?;
        for piece in format.pieces(disk.bytes()?) {
            device.write_all_at(&piece.bytes, piece.at)?;
        }
        device.sync_all()?;
        drop(device);
        let path = std::env::temp_dir().join(format!("{name}-{}", disk.number()));
        std::fs::create_dir(&path)?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        if let Err(errno) = mount(Some(&disk.path()), &path, Some(name), quiet, None::<&str>) {
            let _ = std::fs::remove_dir(&path);
            return Err(Stop::broken("mount a file system")(errno));
        }
        let folder = File::open(&path)?;
        Ok(FileSystem { path, folder })
    }
}

impl FileSystem {
    /// The folder that it is mounted on.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes back what is dirty, by the kernel's own threads, and waits for it.
    pub fn sync(&self) -> Result<(), Stop> {
        // SAFETY: takes a descriptor.
        let result = unsafe { libc::syncfs(self.folder.as_raw_fd()) };
        Errno::result(result).map(|_| ()).map_err(Stop::broken("sync a file system"))
    }

    /// Throws what is clean out of the page cache, of every file system.
    pub fn forget(&self) -> Result<(), Stop> {
        self.sync()?;
        crate::disk::write(Path::new("/proc/sys/vm/drop_caches"), "1")
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        // What will not go is found and named by the agent.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The identity of every file system made here: cases are alone in their machine.
const UUID: [u8; 16] = *b"cgauge's own fs.";

/// Puts `value` at a place of `bytes`.
fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// CRC-32C, bit by bit: there is little to sum up.
fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    (!sum).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_sum_is_the_one_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283_u32.to_le_bytes());
    }

    #[rstest]
    #[case(Format::Ext4, 1024 + 56, &[0x53, 0xef])]
    #[case(Format::Xfs, 0, b"XFSB")]
    #[case(Format::Btrfs, 65536 + 64, b"_BHRfS_M")]
    fn the_magic_is_where_each_has_it(
        #[case] format: Format,
        #[case] at: u64,
        #[case] magic: &[u8],
    ) {
        let mut device = vec![0; 64 << 20];
        for piece in format.pieces(device.len() as u64) {
            put(&mut device, piece.at as usize, piece.bytes);
        }
        assert_eq!(&device[at as usize..][..magic.len()], magic);
    }
}
