//! Is this file a kernel that QEMU can boot, and which release is it?
//!
//! Reads the x86 boot protocol's header and nothing else; the file is untrusted.
//! Offsets are those of the kernel's Documentation/arch/x86/boot.rst.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Failed;

/// How much of the file is read: the boot sector, and the setup code of at most
/// 64 sectors, in which the release string lies.
const HEAD_BYTES: u64 = 512 * 65;
/// The longest release string: the kernel's own limit is 64.
const RELEASE_BYTES: usize = 128;

/// What the header of a bzImage says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// `uname -r` of the kernel.
    pub release: String,
}

/// Why a file cannot be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBootable {
    /// Nothing in it.
    Empty,
    /// Text: a configuration, a script.
    Text,
    /// The kernel before it was made bootable.
    Vmlinux,
    /// Some other ELF file.
    Elf,
    /// A kernel for another architecture.
    Arm64,
    /// A kernel, compressed by itself.
    Compressed,
    /// The file ends before the kernel does.
    Truncated {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file ends within its header.
    CutHeader {
        /// Bytes that are there.
        found: u64,
    },
    /// A kernel older than 2.6.24, or a header with nonsense in it.
    OddHeader,
    /// Anything else.
    Unknown,
}

impl fmt::Display for NotBootable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::Text => f.write_str("this is a text file"),
            Self::Vmlinux => f.write_str(
                "this is an ELF vmlinux: give the bzImage, arch/x86/boot/bzImage of the same tree",
            ),
            Self::Elf => f.write_str("this is an ELF file, no kernel image"),
            Self::Arm64 => f.write_str("this is an Arm64 kernel: give one for x86-64"),
            Self::Compressed => {
                f.write_str("this is a compressed file: give the bzImage, which unpacks itself")
            }
            Self::Truncated { expected, found } => {
                write!(f, "it is cut off: {found} of {expected} bytes are there")
            }
            Self::CutHeader { found } => {
                write!(f, "it is cut off within its header, after {found} bytes")
            }
            Self::OddHeader => f.write_str("its boot header makes no sense"),
            Self::Unknown => f.write_str("this is no Linux kernel"),
        }
    }
}

/// A file was given as a kernel and is none.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It could not be read.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// It is a directory.
    #[error("{path} is a directory: give the bzImage, or tree:{path} for a built tree")]
    Directory {
        /// Its path.
        path: String,
    },
    /// It is a pipe, a socket or a device.
    #[error("{} is no regular file", path.display())]
    NoFile {
        /// Its path.
        path: PathBuf,
    },
    /// It is something else than a bzImage.
    #[error("{} is no bzImage: {reason}", path.display())]
    NotBootable {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: NotBootable,
    },
}

/// Checks that a file is a whole bzImage and reads its header.
pub fn check(path: &Path) -> Result<ImageHeader, ImageError> {
    let meta = fs::metadata(path).map_err(Failed::to("find the kernel image", path))?;
    if meta.is_dir() {
        return Err(ImageError::Directory { path: path.display().to_string() });
    }
    // To open a pipe or a device may block or do something.
    if !meta.is_file() {
        return Err(ImageError::NoFile { path: path.to_owned() });
    }
    let length = meta.len();
    let file = File::open(path).map_err(Failed::to("open the kernel image", path))?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).map_err(Failed::to("read", path))?;
    header(&head, length)
        .map_err(|reason| ImageError::NotBootable { path: path.to_owned(), reason })
}

/// Reads the header from the first bytes of a file that is `length` bytes long.
fn header(head: &[u8], length: u64) -> Result<ImageHeader, NotBootable> {
    if head.get(0x202..0x206) != Some(b"HdrS") {
        return Err(other_kind(head, length));
    }
    let cut = NotBootable::CutHeader { found: length };
    let (Some(protocol), Some(setup_sectors), Some(name)) =
        (word(head, 0x206), head.get(0x1f1), word(head, 0x20e))
    else {
        return Err(cut);
    };
    let (Some(units), Some(payload_offset), Some(payload_length)) =
        (long(head, 0x1f4), long(head, 0x248), long(head, 0x24c))
    else {
        return Err(cut);
    };
    // payload_offset came with protocol 2.08, in Linux 2.6.24.
    if protocol < 0x208 {
        return Err(NotBootable::OddHeader);
    }
    // For compatibility 0 stands for 4.
    let setup_sectors = if *setup_sectors == 0 { 4 } else { u64::from(*setup_sectors) };
    let start = (setup_sectors + 1) * 512;
    let code = start + u64::from(units) * 16;
    let payload = start + u64::from(payload_offset) + u64::from(payload_length);
    // The payload lies within the code; a header that says otherwise is made up.
    if payload > code {
        return Err(NotBootable::OddHeader);
    }
    if length < code {
        return Err(NotBootable::Truncated { expected: code, found: length });
    }
    if name == 0 {
        return Err(NotBootable::OddHeader);
    }
    let release = release(head, usize::from(name) + 0x200).ok_or(NotBootable::OddHeader)?;
    Ok(ImageHeader { release })
}

/// The first word of the version string at `offset`. It goes into messages and
/// names of directories, so it may hold nothing but what releases are made of.
fn release(head: &[u8], offset: usize) -> Option<String> {
    let text = head.get(offset..)?;
    let end = text.iter().take(RELEASE_BYTES).position(|it| matches!(it, b' ' | 0))?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    let plain = |it: char| it.is_ascii_alphanumeric() || "+-._~".contains(it);
    let sound = release.starts_with(|it: char| it.is_ascii_digit()) && release.chars().all(plain);
    sound.then(|| release.to_owned())
}

/// What a file without the header's magic is.
fn other_kind(head: &[u8], length: u64) -> NotBootable {
    let printable = |it: &u8| matches!(it, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    match head {
        [] => NotBootable::Empty,
        [0x7f, b'E', b'L', b'F', rest @ ..] => {
            // e_type: an executable, or position-independent code.
            match word(rest, 0x10 - 4) {
                Some(2) if word(rest, 0x12 - 4) == Some(62) => NotBootable::Vmlinux,
                _ => NotBootable::Elf,
            }
        }
        _ if head.get(0x38..0x3c) == Some(b"ARM\x64") => NotBootable::Arm64,
        [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', b'X', b'Z', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            NotBootable::Compressed
        }
        _ if head.iter().all(printable) => NotBootable::Text,
        // Every bzImage starts as a DOS executable or with a jump, and has the
        // boot sector's signature where it is long enough.
        [b'M', b'Z', ..] if head.len() < 0x206 => NotBootable::CutHeader { found: length },
        _ => NotBootable::Unknown,
    }
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2).map(|it| u16::from_le_bytes([it[0], it[1]]))
}

fn long(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4).map(|it| u32::from_le_bytes([it[0], it[1], it[2], it[3]]))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with the header of a bzImage and nothing that would run.
    pub(crate) fn bz_image(release: &str) -> Vec<u8> {
        let mut image = vec![0_u8; 512 * 3 + 160];
        image[..2].copy_from_slice(b"MZ");
        image[0x1f1] = 2; // Setup sectors.
        image[0x1f4..0x1f8].copy_from_slice(&10_u32.to_le_bytes()); // 160 bytes of code.
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x20e..0x210].copy_from_slice(&0x180_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&100_u32.to_le_bytes());
        let text = format!("{release} (builder@host) #1 SMP");
        image[0x380..0x380 + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    fn read(file: &[u8]) -> Result<ImageHeader, NotBootable> {
        header(file, file.len() as u64)
    }

    fn changed(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = bz_image("6.9.0");
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
        image
    }

    #[test]
    fn a_whole_image_tells_its_release() {
        let image = bz_image("6.12.117+deb12-cloud-amd64");
        assert_eq!(read(&image).unwrap().release, "6.12.117+deb12-cloud-amd64");
    }

    #[test]
    fn any_other_file_is_told_what_it_is() {
        let mut elf = vec![0; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[0x10] = 1;
        let mut vmlinux = elf.clone();
        vmlinux[0x10] = 2;
        vmlinux[0x12] = 62;
        let mut arm = vec![0; 4096];
        arm[..2].copy_from_slice(b"MZ");
        arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
        for (file, expected) in [
            (vec![], NotBootable::Empty),
            (b"# CONFIG_PSI is not set\n".to_vec(), NotBootable::Text),
            (elf, NotBootable::Elf),
            (vmlinux, NotBootable::Vmlinux),
            (arm, NotBootable::Arm64),
            (b"\x1f\x8b\x08\0".to_vec(), NotBootable::Compressed),
            (vec![0; 4096], NotBootable::Unknown),
            (bz_image("6.9.0")[..0x100].to_vec(), NotBootable::CutHeader { found: 0x100 }),
            (bz_image("6.9.0")[..0x20c].to_vec(), NotBootable::CutHeader { found: 0x20c }),
            (changed(0x206, &[1, 2]), NotBootable::OddHeader),
            (changed(0x24c, &[0xff; 4]), NotBootable::OddHeader),
            (changed(0x20e, &[0xff; 2]), NotBootable::OddHeader),
            (changed(0x20e, &[0; 2]), NotBootable::OddHeader),
            (changed(0x380, b"6/../x"), NotBootable::OddHeader),
        ] {
            assert_eq!(read(&file), Err(expected));
        }
    }

    #[test]
    fn a_cut_off_image_says_how_much_is_missing() {
        let image = bz_image("6.9.0");
        let found = image.len() as u64 - 1;
        assert_eq!(
            read(&image[..image.len() - 1]),
            Err(NotBootable::Truncated { expected: found + 1, found })
        );
    }

    #[test]
    fn messages_name_the_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("kernel");
        let message =
            |error: ImageError| error.to_string().replace(home.path().to_str().unwrap(), "DIR");
        insta::assert_snapshot!(message(check(&path).unwrap_err()), @"cannot find the kernel image DIR/kernel: No such file or directory (os error 2)");
        fs::write(&path, "hello\n").unwrap();
        insta::assert_snapshot!(message(check(&path).unwrap_err()), @"DIR/kernel is no bzImage: this is a text file");
        insta::assert_snapshot!(message(check(home.path()).unwrap_err()), @"DIR is a directory: give the bzImage, or tree:DIR for a built tree");
        fs::write(&path, &bz_image("6.9.0")[..1600]).unwrap();
        insta::assert_snapshot!(message(check(&path).unwrap_err()), @"DIR/kernel is no bzImage: it is cut off: 1600 of 1696 bytes are there");
        fs::write(&path, bz_image("6.9.0")).unwrap();
        assert_eq!(check(&path).unwrap().release, "6.9.0");
        insta::assert_snapshot!(check(Path::new("/dev/null")).unwrap_err(), @"/dev/null is no regular file");
    }

    proptest! {
        #[test]
        fn no_prefix_passes_for_the_whole(cut in 0_usize..1696) {
            prop_assert!(read(&bz_image("6.9.0")[..cut]).is_err());
        }

        #[test]
        fn no_bytes_in_the_header_panic(at in 0x1f0_usize..0x260, bytes in prop::collection::vec(any::<u8>(), 1..24)) {
            let mut image = bz_image("6.9.0");
            image[at..at + bytes.len()].copy_from_slice(&bytes);
            if let Ok(header) = read(&image) {
                prop_assert!(!header.release.contains('/'));
            }
        }
    }
}
