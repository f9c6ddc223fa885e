//! From the tar archive of a whole Debian to what a guest needs of it.
//!
//! Everything in it belongs to root, and no file has a time: neither matters to a
//! guest whose one user is root, and both would differ from one making to the next.

use std::collections::BTreeMap;
use std::io::Read;

use tar::EntryType;

use crate::initramfs::{Initramfs, Mode};

/// What no guest needs: documentation, translations, what installs packages, and
/// generators of units, which look for disks and terminals at each boot and reload.
/// It is half of a userland, and all of it would lie in the guest's memory.
pub(super) const LEFT_OUT: [&str; 16] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/zoneinfo",
    "usr/share/bash-completion",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/lib/systemd/system-generators",
    "usr/lib/udev/hwdb.d",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg/info",
];

/// A userland without this much room to be is none of ours.
const LARGEST: u64 = 1 << 30;

/// The tar archive is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// It names no file that is in it.
    #[error("{path} is a link to {target}, which is not there")]
    DeadLink {
        /// The link.
        path: String,
        /// What it should lead to.
        target: String,
    },
    /// More than a guest could hold.
    #[error("it is larger than {LARGEST} bytes")]
    TooLarge,
}

/// Reads the archive, and keeps what a guest needs.
pub(super) fn read(tar: impl Read) -> Result<Initramfs, PackError> {
    let mut files: BTreeMap<String, (Vec<u8>, Mode)> = BTreeMap::new();
    let mut made = Initramfs::new();
    let mut bytes_read = 0;
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = plain(&entry.path()?.to_string_lossy());
        if path.is_empty() || is_left_out(&path) {
            continue;
        }
        let place = format!("/{path}");
        let mode = Mode::of(entry.header().mode()?);
        let target = entry.link_name()?.map(|it| it.to_string_lossy().into_owned());
        match (entry.header().entry_type(), target) {
            (EntryType::Directory, _) => made = made.dir_with(&place, mode),
            (EntryType::Symlink, Some(target)) => made = made.symlink(&place, &target),
            (EntryType::Link, Some(target)) => {
                let file = files.get(&plain(&target)).cloned();
                let file = file.ok_or(PackError::DeadLink { path: path.clone(), target })?;
                files.insert(path, file);
            }
            (EntryType::Regular, _) => {
                bytes_read += entry.header().size()?;
                if bytes_read > LARGEST {
                    return Err(PackError::TooLarge);
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                files.insert(path, (bytes, mode));
            }
            // Devices come with devtmpfs; of other kinds there is none.
            _ => {}
        }
    }
    for (path, (bytes, mode)) in files {
        made = made.file(&format!("/{path}"), bytes, mode);
    }
    Ok(made)
}

/// A path of a tar archive, `./usr/bin/` or `usr/bin`, as `usr/bin`.
fn plain(path: &str) -> String {
    path.trim_start_matches("./").trim_matches('/').to_owned()
}

fn is_left_out(path: &str) -> bool {
    LEFT_OUT.iter().any(|it| path.strip_prefix(it).is_some_and(|rest| rest.starts_with('/')))
}
