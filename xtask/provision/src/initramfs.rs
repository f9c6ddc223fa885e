//! The guest's first and only file system: a cpio archive in the `newc` format
//! that the kernel unpacks into memory.
//!
//! Byte for byte the same for the same content, in whatever order it was added:
//! its hash names saved guests. Knows nothing of what the files are for.

use std::collections::BTreeMap;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The largest initramfs that is handed over as it is; a larger one is packed.
///
/// Packing never pays in time. The guest's clock when init starts, the same in
/// every boot, and the processor time that QEMU takes for boot and reset, the
/// median of five; 8.5 MB of guest binaries, QEMU 7.2 with `-icount shift=1`,
/// Debian's 6.12 kernel:
///
/// | packed by   | size   | init at | processor |
/// | ----------- | ------ | ------- | --------- |
/// | nothing     | 8.5 MB | 1.499 s | 5.02 s    |
/// | lz4         | 4.1 MB | 1.574 s | 5.09 s    |
/// | zstd (ours) | 4.9 MB | 1.683 s | 5.12 s    |
/// | zstd -3     | 2.9 MB | 1.701 s | 5.15 s    |
/// | gzip -6     | 3.6 MB | 1.804 s | 5.09 s    |
///
/// A plain archive also needs no unpacker in the kernel. But memory is small
/// in some machine profiles, and archive and files are both there for a while.
const PLAIN_BYTES: usize = 8_000_000;

/// The permission bits of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// Everyone may read and run it.
    pub const EXECUTABLE: Self = Self(0o755);
    /// Everyone may read it.
    pub const DATA: Self = Self(0o644);

    /// These bits of `chmod`.
    #[must_use]
    pub const fn of(bits: u32) -> Self {
        Self(bits & 0o7777)
    }
}

/// Something that cannot be put into an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitramfsError {
    /// Not of the form `/a/b`.
    #[error("{path:?} is no absolute path without dots")]
    OddPath {
        /// The path.
        path: String,
    },
    /// Something lies below it, and it is no directory.
    #[error("{path:?} is no directory, yet something lies below it")]
    NoDirectory {
        /// The path.
        path: String,
    },
    /// The format has 32 bits for a length.
    #[error("{path:?} is larger than the 4 GiB that an initramfs can hold")]
    TooLarge {
        /// The path.
        path: String,
    },
}

/// A file system in the making.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    /// Sorted, so that a directory comes before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Directory(Mode),
    File(Vec<u8>, Mode),
    Symlink(String),
    CharDevice { mode: Mode, major: u32, minor: u32 },
}

impl Initramfs {
    /// One with nothing in it but `/dev/console` and `/dev/null`: the kernel
    /// opens the first for init before anything could be mounted.
    #[must_use]
    pub fn new() -> Self {
        let device = |mode, major, minor| Entry::CharDevice { mode: Mode(mode), major, minor };
        Self::default()
            .with("/dev/console", device(0o600, 5, 1))
            .with("/dev/null", device(0o666, 1, 3))
    }

    /// Adds an empty directory. Those that lead to a file need not be added.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        self.dir_with(path, Mode::EXECUTABLE)
    }

    /// Adds a directory with another mode than the usual one.
    #[must_use]
    pub fn dir_with(self, path: &str, mode: Mode) -> Self {
        self.with(path, Entry::Directory(mode))
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, bytes: impl Into<Vec<u8>>, mode: Mode) -> Self {
        self.with(path, Entry::File(bytes.into(), mode))
    }

    /// Adds a symbolic link at `path` that leads to `target`.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.with(path, Entry::Symlink(target.to_owned()))
    }

    fn with(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// The bytes to give to QEMU as `-initrd`: the archive, packed with zstd if
    /// it is larger than 8 MB.
    pub fn finish(&self) -> Result<Vec<u8>, InitramfsError> {
        let archive = self.archive()?;
        if archive.len() <= PLAIN_BYTES {
            return Ok(archive);
        }
        Ok(compress_to_vec(archive.as_slice(), CompressionLevel::Fastest))
    }

    /// The plain archive.
    pub fn archive(&self) -> Result<Vec<u8>, InitramfsError> {
        let entries = self.with_parents()?;
        let mut archive = Vec::new();
        // Inode 0 means none to some readers.
        for (inode, (path, entry)) in (1..).zip(&entries) {
            entry.write(&path[1..], inode, &mut archive)?;
        }
        Entry::File(Vec::new(), Mode(0)).write(TRAILER, 0, &mut archive)?;
        // Some boot loaders hand over whole blocks, and the kernel skips zeros.
        pad(&mut archive, 512);
        Ok(archive)
    }

    /// Every entry and the directories that lead there.
    fn with_parents(&self) -> Result<BTreeMap<&str, &Entry>, InitramfsError> {
        let mut all: BTreeMap<&str, &Entry> = BTreeMap::new();
        for (path, entry) in &self.entries {
            let odd = |it: &str| matches!(it, "" | "." | "..") || it.contains('\0');
            if path.strip_prefix('/').is_none_or(|it| it.split('/').any(odd)) {
                return Err(InitramfsError::OddPath { path: path.clone() });
            }
            for (end, _) in path.match_indices('/').skip(1) {
                let parent =
                    *all.entry(&path[..end]).or_insert(&Entry::Directory(Mode::EXECUTABLE));
                if !matches!(parent, Entry::Directory(_)) {
                    return Err(InitramfsError::NoDirectory { path: path[..end].to_owned() });
                }
            }
            all.insert(path, entry);
        }
        Ok(all)
    }
}

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

impl Entry {
    /// Appends header, name and content as `newc` has them: hexadecimal fields
    /// of eight digits, each part padded to four bytes.
    fn write(&self, name: &str, inode: u32, archive: &mut Vec<u8>) -> Result<(), InitramfsError> {
        const DIRECTORY: u32 = 0o040_000;
        const REGULAR: u32 = 0o100_000;
        const SYMLINK: u32 = 0o120_000;
        const CHAR_DEVICE: u32 = 0o020_000;
        let (mode, links, (major, minor), content): (u32, u32, (u32, u32), &[u8]) = match self {
            Self::Directory(mode) => (DIRECTORY | mode.0, 2, (0, 0), &[]),
            Self::File(bytes, mode) => (REGULAR | mode.0, 1, (0, 0), bytes),
            Self::Symlink(target) => (SYMLINK | 0o777, 1, (0, 0), target.as_bytes()),
            Self::CharDevice { mode, major, minor } => {
                (CHAR_DEVICE | mode.0, 1, (*major, *minor), &[])
            }
        };
        let too_large = || InitramfsError::TooLarge { path: format!("/{name}") };
        let length = u32::try_from(content.len()).map_err(|_| too_large())?;
        let name_length = u32::try_from(name.len() + 1).map_err(|_| too_large())?;
        // Owner, group, time and the device that it came from are all 0.
        let fields = [inode, mode, 0, 0, links, 0, length, 0, 0, major, minor, name_length, 0];
        archive.extend_from_slice(b"070701");
        for field in fields {
            archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        pad(archive, 4);
        archive.extend_from_slice(content);
        pad(archive, 4);
        Ok(())
    }
}

fn pad(archive: &mut Vec<u8>, unit: usize) {
    archive.resize(archive.len().next_multiple_of(unit), 0);
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::io::Read;

    use proptest::prelude::*;
    use ruzstd::decoding::StreamingDecoder;

    use super::*;

    /// Reads an archive back, as the kernel's init/initramfs.c would.
    fn listing(mut archive: &[u8]) -> String {
        let mut out = String::new();
        loop {
            let (header, rest) = archive.split_at(110);
            assert_eq!(&header[..6], b"070701");
            let field = |n: usize| {
                let digits = std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let name_end = 110 + field(11) as usize;
            let name = std::str::from_utf8(&rest[..field(11) as usize - 1]).unwrap();
            if name == "TRAILER!!!" {
                return out;
            }
            let start = name_end.next_multiple_of(4);
            let end = start + field(6) as usize;
            let content = String::from_utf8_lossy(&archive[start..end]);
            writeln!(
                out,
                "{} {:o} {}:{} {name} {content:?}",
                field(0),
                field(1),
                field(9),
                field(10)
            )
            .unwrap();
            archive = &archive[end.next_multiple_of(4)..];
        }
    }

    #[test]
    fn holds_what_was_put_in_and_the_way_there() {
        let archive = Initramfs::new()
            .file("/init", "\x7fELF", Mode::EXECUTABLE)
            .file("/etc/a/conf", "x=1", Mode::DATA)
            .symlink("/bin/sh", "../init")
            .dir("/proc")
            .archive()
            .unwrap();
        assert_eq!(archive.len() % 512, 0);
        insta::assert_snapshot!(listing(&archive), @r#"
        1 40755 0:0 bin ""
        2 120777 0:0 bin/sh "../init"
        3 40755 0:0 dev ""
        4 20600 5:1 dev/console ""
        5 20666 1:3 dev/null ""
        6 40755 0:0 etc ""
        7 40755 0:0 etc/a ""
        8 100644 0:0 etc/a/conf "x=1"
        9 100755 0:0 init "\u{7f}ELF"
        10 40755 0:0 proc ""
        "#);
    }

    #[test]
    fn a_large_one_is_packed_and_unpacks_to_the_same() {
        let large = |bytes| Initramfs::new().file("/init", vec![7; bytes], Mode::EXECUTABLE);
        let small = large(1000);
        assert_eq!(small.finish(), small.archive());
        let large = large(PLAIN_BYTES);
        let packed = large.finish().unwrap();
        assert!(packed.len() < PLAIN_BYTES / 100);
        let mut unpacked = Vec::new();
        StreamingDecoder::new(packed.as_slice()).unwrap().read_to_end(&mut unpacked).unwrap();
        // A failing comparison of so many bytes is not to be printed.
        assert!(unpacked == large.archive().unwrap());
    }

    #[test]
    fn impossible_paths_are_refused() {
        for path in ["", "/", "init", "/a/../b", "//a", "/a/", "/./a", "/a\0b"] {
            let error = Initramfs::new().dir(path).archive().unwrap_err();
            assert_eq!(error, InitramfsError::OddPath { path: path.to_owned() });
        }
        let error = Initramfs::new().file("/a", "", Mode::DATA).dir("/a/b").archive().unwrap_err();
        insta::assert_snapshot!(error, @r#""/a" is no directory, yet something lies below it"#);
    }

    proptest! {
        #[test]
        fn the_order_of_adding_does_not_show(files in prop::collection::btree_map("/[a-c]/[d-f]{1,4}", prop::collection::vec(any::<u8>(), 0..9), 0..6)) {
            let add = |fs: Initramfs, it: (&String, &Vec<u8>)| fs.file(it.0, it.1.clone(), Mode::DATA);
            let forth = files.iter().fold(Initramfs::new(), add);
            let back = files.iter().rev().fold(Initramfs::new(), add);
            prop_assert_eq!(forth.archive(), back.archive());
            prop_assert!(files.keys().all(|it| listing(&forth.archive().unwrap()).contains(&it[1..])));
        }
    }
}
