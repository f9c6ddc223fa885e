//! Memory that grows step by step, at a pace, and is read again and again: what
//! a limit does to such a process shows in its own clock.
//!
//! It must not know whom the memory is charged to.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};
use nix::errno::Errno;
use nix::libc;

use crate::mapping::Mapping;
use crate::options::{Argument, arguments_by_choice, options};
use crate::output::{tell, wait_for_end_of_input};
use crate::raw::Instant;
use crate::series::Thinning;
use crate::{Failure, Load, Millis, truth};

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
/// Samples that a series keeps.
const MOST_SAMPLES: usize = 512;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Growth {
    /// Private anonymous memory, written to page by page.
    Anonymous,
    /// The same in huge pages.
    Huge,
    /// Shared anonymous memory.
    Shmem,
    /// The page cache of `file`, read.
    Cache,
}
arguments_by_choice!(Growth);

/// An optional path: empty for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaybePath(pub Option<PathBuf>);

impl Argument for MaybePath {
    fn argument(&self) -> OsString {
        self.0.clone().map(Into::into).unwrap_or_default()
    }
}

options! {
    /// Grows by steps, tells so, reads all of it again as often as it is told to, and
    /// holds it until standard input ends.
    pub struct MemoryHog as "memory-hog" {
        /// What grows.
        "growth" => growth: Growth,
        /// The file whose cache grows; empty unless it is that.
        #[arg(value_parser = OsStringValueParser::new().map(|it| MaybePath(Some(PathBuf::from(it)).filter(|it| !it.as_os_str().is_empty()))))]
        "file" => file: MaybePath,
        /// How large it grows, in bytes.
        "bytes" => bytes: u64,
        /// How many bytes a step adds.
        "step" => step: u64,
        /// How long it waits after each step, in milliseconds.
        "pace-ms" => pace: Millis,
        /// How often all of it is gone through again.
        "passes" => passes: u32,
        /// When it stops growing at the latest, in milliseconds.
        "for-ms" => deadline: Millis,
    }
}

impl Load for MemoryHog {
    type Truth = truth::MemoryHog;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

/// What grows, ready to.
#[derive(Debug)]
enum Ground {
    Mapped(Mapping, u64),
    Cached(std::fs::File, Vec<u8>),
}

impl MemoryHog {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (ground, mut truth) = self.grow()?;
        tell(&truth)?;
        wait_for_end_of_input(Instant::NEVER)?;
        drop(ground);
        truth.state = truth::State::Over;
        tell(&truth)
    }

    fn grow(&self) -> Result<(Ground, truth::MemoryHog), Failure> {
        let ground = self.ground()?;
        let start = Instant::now();
        let deadline = start.after(self.deadline);
        let mut sizes = Thinning::new(MOST_SAMPLES);
        let (mut bytes, mut slowest_ns, mut state) = (0, 0, truth::State::Standing);
        sizes.push(0, 0);
        while bytes < self.bytes {
            if Instant::now() >= deadline {
                state = truth::State::Overdue;
                break;
            }
            let step = self.step.clamp(1, self.bytes - bytes);
            let began = Instant::now();
            ground.go_through(bytes, bytes + step)?;
            bytes += step;
            slowest_ns = slowest_ns.max(began.elapsed_ns());
            sizes.push(start.elapsed_ns(), bytes);
            std::thread::sleep(self.pace.into());
        }
        let grown_ns = start.elapsed_ns();
        for _ in 0..self.passes {
            ground.go_through(0, bytes)?;
        }
        let truth = truth::MemoryHog {
            state,
            bytes,
            grown_ns,
            slowest_step_ns: slowest_ns,
            elapsed_ns: start.elapsed_ns(),
            bytes_over_time: sizes.finish(),
        };
        Ok((ground, truth))
    }

    fn ground(&self) -> Result<Ground, Failure> {
        let room = usize::try_from(self.bytes.next_multiple_of(HUGE).saturating_add(HUGE));
        let room = room.ok().and_then(NonZeroUsize::new);
        let room = room.ok_or_else(|| Failure::system("mmap", Errno::ENOMEM))?;
        Ok(match (self.growth, &self.file.0) {
            (Growth::Cache, Some(path)) => {
                let failed = |why| Failure::File { path: path.clone(), action: "opened", why };
                let file = OpenOptions::new().read(true).open(path).map_err(failed)?;
                Ground::Cached(file, vec![0; 32 * PAGE as usize])
            }
            (Growth::Cache, None) => return Err(Failure::system("open", Errno::ENOENT)),
            (Growth::Anonymous, _) => {
                Ground::Mapped(Mapping::private(room)?.in_small_pages(), PAGE)
            }
            (Growth::Shmem, _) => Ground::Mapped(Mapping::shmem(room)?.in_small_pages(), PAGE),
            (Growth::Huge, _) => {
                let memory = Mapping::private(room)?;
                let start = memory.start().as_ptr().cast();
                // SAFETY: advice on memory of our own.
                unsafe { libc::madvise(start, memory.bytes(), libc::MADV_HUGEPAGE) };
                Ground::Mapped(memory, HUGE)
            }
        })
    }
}

impl Ground {
    /// Touches every page from `from` to `to`, or reads the file there.
    fn go_through(&self, from: u64, to: u64) -> Result<(), Failure> {
        match self {
            Self::Mapped(memory, page) => {
                let start = memory.start().as_ptr();
                // Huge pages begin at their own border: there is one more of room.
                let border = start.align_offset(*page as usize);
                for place in (from.next_multiple_of(*page)..to).step_by(*page as usize) {
                    // SAFETY: within the mapping, which is a huge page longer.
                    unsafe { start.add(border + place as usize).write_volatile(1) };
                }
            }
            Self::Cached(file, buffer) => {
                let mut buffer = buffer.clone();
                let mut at = from;
                while at < to {
                    let wanted = buffer.len().min((to - at) as usize);
                    match file.read_at(&mut buffer[..wanted], at) {
                        Ok(0) => return Err(Failure::system("read", Errno::ENODATA)),
                        Ok(read) => at += read as u64,
                        Err(why) => {
                            let errno = why.raw_os_error().unwrap_or(libc::EIO);
                            return Err(Failure::system("read", Errno::from_raw(errno)));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_size_in_steps() {
        for growth in [Growth::Anonymous, Growth::Shmem, Growth::Huge] {
            let load = MemoryHog {
                growth,
                file: MaybePath(None),
                bytes: 1 << 20,
                step: 300_000,
                pace: Millis(0),
                passes: 2,
                deadline: Millis(60_000),
            };
            let (_ground, truth) = load.grow().unwrap();
            assert_eq!((truth.bytes, truth.state), (1 << 20, truth::State::Standing));
            assert_eq!(truth.bytes_over_time.points.len(), 5);
        }
    }

    #[test]
    fn its_deadline_ends_it() {
        let load = MemoryHog {
            growth: Growth::Anonymous,
            file: MaybePath(None),
            bytes: u64::MAX / 4,
            step: 1,
            pace: Millis(1),
            passes: 0,
            deadline: Millis(20),
        };
        // As much room as that there is nowhere: it refuses before it begins.
        assert!(load.grow().is_err());
        let load = MemoryHog { bytes: 1 << 30, ..load };
        let (_ground, truth) = load.grow().unwrap();
        assert_eq!(truth.state, truth::State::Overdue);
        assert!(truth.bytes < 1 << 30);
    }
}
