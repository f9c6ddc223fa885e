//! Memory of a chosen kind, every page of it touched, held for as long as
//! somebody wants it.
//!
//! It must not know whom the memory is charged to.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use nix::unistd::{SysconfVar, sysconf};

use crate::mapping::Mapping;
use crate::options::{Argument, options};
use crate::output::{tell, wait_for_end_of_input};
use crate::raw::Instant;
use crate::{Failure, Load, truth};

/// What kind of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory: `anonymous`.
    Anonymous,
    /// Shared anonymous memory: `shmem`.
    Shmem,
    /// The page cache of a new file, gone with the load: `file:PATH`.
    File(PathBuf),
}

impl Argument for Backing {
    fn argument(&self) -> OsString {
        match self {
            Self::Anonymous => "anonymous".into(),
            Self::Shmem => "shmem".into(),
            Self::File(path) => {
                let mut text = OsString::from("file:");
                text.push(path);
                text
            }
        }
    }
}

/// The text is no kind of memory.
#[derive(Debug, thiserror::Error)]
#[error("it is anonymous, shmem or file:PATH")]
struct NoBacking;

impl Backing {
    fn parse(text: OsString) -> Result<Self, NoBacking> {
        match (text.as_bytes(), text.as_bytes().strip_prefix(b"file:")) {
            (b"anonymous", _) => Ok(Self::Anonymous),
            (b"shmem", _) => Ok(Self::Shmem),
            (_, Some(path)) if !path.is_empty() => {
                Ok(Self::File(OsString::from_vec(path.to_vec()).into()))
            }
            _ => Err(NoBacking),
        }
    }
}

options! {
    /// Touches every page of some memory, tells so, and holds it until standard input
    /// ends.
    pub struct HoldMemory as "hold-memory" {
        /// What kind: anonymous, shmem or file:PATH.
        #[arg(value_parser = OsStringValueParser::new().try_map(Backing::parse))]
        "backing" => backing: Backing,
        /// How many bytes, rounded up to whole pages.
        "bytes" => bytes: u64,
    }
}

impl Load for HoldMemory {
    type Truth = truth::HoldMemory;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl HoldMemory {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let start = Instant::now();
        let (held, pages, page_bytes) = self.take()?;
        tell(&truth::HoldMemory {
            state: truth::State::Standing,
            pages,
            page_bytes,
            elapsed_ns: start.elapsed_ns(),
        })?;
        wait_for_end_of_input(Instant::NEVER)?;
        drop(held);
        Ok(())
    }

    /// The memory, how many pages of it were touched, and how large each is.
    fn take(&self) -> Result<(Held, u64, u64), Failure> {
        let page = match sysconf(SysconfVar::PAGE_SIZE) {
            Ok(Some(bytes)) => u64::try_from(bytes).unwrap_or(4096),
            _ => {
                return Err(Failure::system("sysconf(PAGE_SIZE)", nix::errno::Errno::EINVAL));
            }
        };
        let pages = self.bytes.div_ceil(page);
        let too_much = || Failure::system("mmap", nix::errno::Errno::ENOMEM);
        let bytes = pages.checked_mul(page).and_then(|it| usize::try_from(it).ok());
        let Some(bytes) = NonZeroUsize::new(bytes.ok_or_else(too_much)?) else {
            return Ok((Held::Nothing, 0, page));
        };
        let held = match &self.backing {
            Backing::Anonymous => touched(Mapping::private(bytes)?, page),
            Backing::Shmem => touched(Mapping::shmem(bytes)?, page),
            Backing::File(path) => filled(path.clone(), pages, page)?,
        };
        Ok((held, pages, page))
    }
}

/// What keeps the memory.
#[derive(Debug)]
enum Held {
    Nothing,
    Mapped { _memory: Mapping },
    Cached { _file: fs::File },
}

fn touched(memory: Mapping, page: u64) -> Held {
    // One page at a time: the truth counts small ones.
    let memory = memory.in_small_pages();
    for place in (0..memory.bytes()).step_by(page as usize) {
        // SAFETY: within the mapping.
        unsafe { memory.start().as_ptr().add(place).write_volatile(1) };
    }
    Held::Mapped { _memory: memory }
}

/// Writes rather than maps, so that a full file system is an error and not a
/// signal.
fn filled(path: PathBuf, pages: u64, page: u64) -> Result<Held, Failure> {
    let failed = |action| {
        let path = path.clone();
        move |why| Failure::File { path, action, why }
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed("created"))?;
    // It keeps its pages as long as it is open, and cannot be left behind.
    fs::remove_file(&path).map_err(failed("removed"))?;
    let content = vec![1; page as usize];
    for _ in 0..pages {
        file.write_all(&content).map_err(failed("written"))?;
    }
    Ok(Held::Cached { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_page_is_a_page() {
        for backing in [Backing::Anonymous, Backing::Shmem] {
            for (bytes, expected) in [(0, 0), (1, 1), (4096, 1), (4097, 2), (1 << 20, 256)] {
                let (_held, pages, page) =
                    HoldMemory { backing: backing.clone(), bytes }.take().unwrap();
                assert_eq!((pages, page), (expected, 4096), "{backing:?} {bytes}");
            }
        }
    }

    #[test]
    fn a_file_holds_its_pages_and_leaves_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("held");
        let load = HoldMemory { backing: Backing::File(path.clone()), bytes: 10_000 };
        let (held, pages, _) = load.take().unwrap();
        let Held::Cached { _file: file } = held else { panic!("{held:?}") };
        assert_eq!((pages, file.metadata().unwrap().len()), (3, 3 * 4096));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_exists_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "precious").unwrap();
        let load = HoldMemory { backing: Backing::File(file.path().into()), bytes: 1 };
        let message = load.take().unwrap_err().to_string();
        assert!(message.contains("cannot be created"), "{message}");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "precious");
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        let load = HoldMemory { backing: Backing::Anonymous, bytes: u64::MAX };
        assert!(load.take().is_err());
    }
}
