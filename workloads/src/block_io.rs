//! Reads, writes and discards of a device or file, each request counted and
//! timed.
//!
//! It must not know who may slow it down, nor what is below the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::ValueEnum;
use nix::errno::Errno;
use nix::libc;

use crate::mapping::Mapping;
use crate::options::{arguments_by_choice, options};
use crate::output::tell;
use crate::raw::{Instant, clock_ns};
use crate::uring::Ring;
use crate::{Failure, Load, Millis, truth};

/// `BLKDISCARD` of `linux/fs.h`: `_IO(0x12, 119)`.
const BLKDISCARD: libc::c_ulong = 0x1277;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Discards a piece of a block device.
    Discard,
}

/// Whether the page cache stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Access {
    /// `O_DIRECT`: a request of the load is one of the device.
    Direct,
    /// Through the page cache.
    Buffered,
    /// Through the page cache, with an `fsync` after the last request.
    Synced,
}

/// Where the next request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Pattern {
    /// Behind the last one, and from the start again at the end.
    Sequential,
    /// Anywhere, each place as likely.
    Random,
}

arguments_by_choice!(Operation, Access, Pattern);

options! {
    /// Does I/O until it has done enough or the time is up, and counts it.
    pub struct BlockIo as "block-io" {
        /// The device or file; a file is made if it is to be written.
        "path" => path: PathBuf,
        /// What each request does.
        "operation" => operation: Operation,
        /// Whether the page cache stands between.
        "access" => access: Access,
        /// Where the next request goes.
        "pattern" => pattern: Pattern,
        /// Bytes of a request.
        "block-bytes" => block_bytes: u64,
        /// Where the part begins that is worked on.
        "offset-bytes" => offset_bytes: u64,
        /// How large that part is.
        "span-bytes" => span_bytes: u64,
        /// Requests in flight: 1 is a plain system call each, more goes by io_uring.
        "depth" => depth: u32,
        /// Requests at the most.
        "requests" => requests: u64,
        /// Requests a second, arriving as a Poisson process; 0 starts the next as
        /// soon as one is done.
        "rate" => rate: u64,
        /// Of the places and the arrivals: the same seed, the same requests.
        "seed" => seed: u64,
        /// The window of the progress over time, in milliseconds.
        "window-ms" => window: Millis,
        /// When no further request begins, in milliseconds.
        "for-ms" => deadline: Millis,
    }
}

impl BlockIo {
    /// Requests of 4 KiB to 16 MiB of `path`, one after the other, direct, for
    /// as long as it takes; to be changed by `..`.
    #[must_use]
    pub fn direct(operation: Operation, path: impl Into<PathBuf>, requests: u64) -> Self {
        Self {
            path: path.into(),
            operation,
            access: Access::Direct,
            pattern: Pattern::Sequential,
            block_bytes: 4096,
            offset_bytes: 0,
            span_bytes: 16 << 20,
            depth: 1,
            requests,
            rate: 0,
            seed: 1,
            window: Millis(250),
            deadline: Millis(600_000),
        }
    }
}

impl Load for BlockIo {
    type Truth = truth::BlockIo;

    fn args(&self) -> Vec<OsString> {
        self.to_args()
    }
}

impl BlockIo {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        tell(&self.work()?)
    }

    fn work(&self) -> Result<truth::BlockIo, Failure> {
        let file = self.open()?;
        let size = usize::try_from(self.block_bytes).ok().and_then(NonZeroUsize::new);
        let size = size.ok_or_else(|| Failure::system("mmap", Errno::EINVAL))?;
        // Shared by all requests in flight: nobody looks at what is read.
        let buffer = Mapping::private(size)?;
        // SAFETY: within the mapping. What is written is no page of zeroes.
        unsafe { buffer.start().as_ptr().write_bytes(0x5a, buffer.bytes()) };
        let mut run = Run::new(self, &file, &buffer);
        if self.depth <= 1 {
            run.one_by_one()
        } else {
            run.many_at_once()?
        }
        if self.access == Access::Synced {
            file.sync_all().map_err(|why| self.failed("synced")(why))?;
        }
        Ok(run.finish())
    }

    fn open(&self) -> Result<File, Failure> {
        let direct = if self.access == Access::Direct { libc::O_DIRECT } else { 0 };
        OpenOptions::new()
            .read(self.operation == Operation::Read)
            .write(self.operation != Operation::Read)
            .create(self.operation == Operation::Write)
            .custom_flags(direct)
            .open(&self.path)
            .map_err(self.failed("opened"))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
        let path = self.path.clone();
        move |why| Failure::File { path, action, why }
    }
}

/// A load at work.
struct Run<'a> {
    load: &'a BlockIo,
    file: i32,
    buffer: &'a Mapping,
    began: Instant,
    deadline: Instant,
    random: Random,
    started: u64,
    /// When the next request arrives, with a rate.
    arrival: Instant,
    truth: truth::BlockIo,
    latencies: BTreeMap<u64, u64>,
}

impl<'a> Run<'a> {
    fn new(load: &'a BlockIo, file: &File, buffer: &'a Mapping) -> Self {
        let began = Instant::now();
        let mut run = Self {
            load,
            file: file.as_raw_fd(),
            buffer,
            began,
            deadline: began.after(load.deadline),
            random: Random(load.seed),
            started: 0,
            arrival: began,
            truth: truth::BlockIo {
                began_ns: began.0,
                window_ns: load.window.0 * 1_000_000,
                ..Default::default()
            },
            latencies: BTreeMap::new(),
        };
        run.next_arrival();
        run
    }

    fn next_arrival(&mut self) {
        if self.load.rate > 0 {
            let gap = self.random.exponential() * 1e9 / self.load.rate as f64;
            self.arrival = Instant(self.arrival.0 + gap as u64);
        }
    }

    /// The place of the next request and the moment from which it counts as
    /// late: its arrival, or now. `None` when there is no further one.
    fn next(&mut self) -> Option<(u64, Instant)> {
        let now = Instant::now();
        let since = if self.load.rate > 0 { self.arrival } else { now };
        if self.started == self.load.requests || now.max(since) >= self.deadline {
            return None;
        }
        let places = (self.load.span_bytes / self.load.block_bytes).max(1);
        let place = match self.load.pattern {
            Pattern::Sequential => self.started % places,
            Pattern::Random => self.random.next() % places,
        };
        self.started += 1;
        self.next_arrival();
        Some((self.load.offset_bytes + place * self.load.block_bytes, since))
    }

    fn one_by_one(&mut self) {
        while let Some((offset, since)) = self.next() {
            let left = since.left();
            if !left.is_zero() {
                std::thread::sleep(left);
            }
            let outcome = self.request(offset);
            self.done(since, outcome);
        }
    }

    fn request(&self, offset: u64) -> Result<u64, Errno> {
        let (start, size) = (self.buffer.start().as_ptr().cast(), self.buffer.bytes());
        let result = match self.load.operation {
            // SAFETY: the buffer is ours and as large as is said.
            Operation::Read => unsafe { libc::pread(self.file, start, size, offset as i64) },
            // SAFETY: as above.
            Operation::Write => unsafe { libc::pwrite(self.file, start, size, offset as i64) },
            Operation::Discard => {
                let range = [offset, size as u64];
                // SAFETY: BLKDISCARD reads two u64.
                let result = unsafe { libc::ioctl(self.file, BLKDISCARD, range.as_ptr()) };
                if result == 0 { size as isize } else { -1 }
            }
        };
        Errno::result(result).map(|it| it as u64)
    }

    fn many_at_once(&mut self) -> Result<(), Failure> {
        let opcode = match self.load.operation {
            Operation::Read => crate::uring::READ,
            Operation::Write => crate::uring::WRITE,
            Operation::Discard => return Err(Failure::system("io_uring", Errno::EOPNOTSUPP)),
        };
        let mut ring = Ring::new(self.load.depth).map_err(|it| Failure::system("io_uring", it))?;
        let mut in_flight = 0;
        let mut upcoming = self.next();
        while in_flight > 0 || upcoming.is_some() {
            while let Some((offset, since)) = upcoming
                && in_flight < self.load.depth
            {
                let left = since.left();
                if !left.is_zero() {
                    // What is done meanwhile is seen when it is over: with a rate
                    // one request at a time tells more.
                    std::thread::sleep(left);
                }
                let (start, size) = (self.buffer.start().as_ptr(), self.buffer.bytes());
                ring.push(opcode, self.file, start as u64, size as u32, offset, since.0);
                in_flight += 1;
                upcoming = self.next();
            }
            ring.enter(1).map_err(|it| Failure::system("io_uring_enter", it))?;
            while let Some((since, result)) = ring.pop() {
                in_flight -= 1;
                let outcome = u64::try_from(result).map_err(|_| Errno::from_raw(-result));
                self.done(Instant(since), outcome);
            }
        }
        Ok(())
    }

    fn done(&mut self, since: Instant, outcome: Result<u64, Errno>) {
        let now = Instant::now();
        match outcome {
            Ok(bytes) => {
                let truth = &mut self.truth;
                truth.requests += 1;
                truth.bytes += bytes;
                let window = (now.0 - self.began.0) / truth.window_ns.max(1);
                let window = usize::try_from(window).unwrap_or(usize::MAX).min(100_000);
                if truth.windows.len() <= window {
                    truth.windows.resize(window + 1, 0);
                }
                truth.windows[window] += bytes;
                *self.latencies.entry(bucket(now.0.saturating_sub(since.0))).or_default() += 1;
            }
            Err(errno) => *self.truth.failures.entry(format!("{errno:?}")).or_default() += 1,
        }
    }

    fn finish(self) -> truth::BlockIo {
        truth::BlockIo {
            elapsed_ns: self.began.elapsed_ns(),
            cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
            latencies_ns: self.latencies.into_iter().collect(),
            ..self.truth
        }
    }
}

/// A time rounded down to five significant bits, 3 % at the most.
fn bucket(ns: u64) -> u64 {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(6);
    ns >> shift << shift
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// With a mean of 1.
    fn exponential(&mut self) -> f64 {
        // In (0, 1]: the logarithm of 0 is no time.
        let unit = ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -unit.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffered(operation: Operation, path: &std::path::Path, requests: u64) -> BlockIo {
        BlockIo {
            access: Access::Buffered,
            span_bytes: 64 << 10,
            ..BlockIo::direct(operation, path, requests)
        }
    }

    #[test]
    fn it_counts_what_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for depth in [1, 4] {
            for operation in [Operation::Write, Operation::Read] {
                let truth = match (BlockIo { depth, ..buffered(operation, &path, 40) }).work() {
                    // Containers often forbid io_uring.
                    Err(Failure::System { errno: Errno::EPERM | Errno::ENOSYS, .. }) => continue,
                    other => other.unwrap(),
                };
                assert_eq!((truth.requests, truth.bytes), (40, 40 * 4096));
                assert_eq!(truth.windows.iter().sum::<u64>(), truth.bytes);
                assert_eq!(truth.latencies_ns.iter().map(|it| it.1).sum::<u64>(), 40);
                assert!(truth.failures.is_empty(), "{truth:?}");
                assert_eq!(std::fs::metadata(&path).unwrap().len(), 64 << 10);
            }
        }
    }

    #[test]
    fn arrivals_keep_their_rate_and_their_seed() {
        let mut random = Random(1);
        let sum: f64 = (0..10_000).map(|_| random.exponential()).sum();
        assert!((9_700.0..10_300.0).contains(&sum), "{sum}");
        assert_eq!(Random(7).next(), Random(7).next());
    }

    #[test]
    fn a_bucket_is_at_most_three_per_cent_below() {
        for ns in [0, 1, 31, 63, 64, 100, 12_345, u64::MAX] {
            let bucket = bucket(ns);
            assert!(bucket <= ns && ns - bucket <= ns / 32, "{ns} {bucket}");
        }
    }
}
