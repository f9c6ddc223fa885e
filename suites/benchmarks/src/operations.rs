//! What a process asks of the kernel, made ready to be done again and again.
//!
//! It knows no group: what an operation uses is charged where its process is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use cgauge_lab::Stop;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, pipe};

/// A page, and the size of the requests.
const PAGE: usize = 4096;

/// One operation, made ready.
pub type Operation = Box<dyn FnMut() -> Result<(), Stop>>;

/// Makes one ready.
pub type Prepare = fn() -> Result<Operation, Stop>;

/// All of them, by name.
pub const ALL: [(&str, Prepare); 6] = [
    ("fork_and_exit", fork_and_exit),
    ("page_fault", page_fault),
    ("context_switch", context_switch),
    ("direct_read", direct_read),
    ("direct_write", direct_write),
    ("pipe_write", pipe_write),
];

/// A child that ends at once, and is waited for.
fn fork_and_exit() -> Result<Operation, Stop> {
    Ok(Box::new(|| {
        // SAFETY: the child calls what is async-signal-safe alone.
        match unsafe { fork() }.map_err(Stop::broken("fork"))? {
            ForkResult::Child => {
                // SAFETY: ends the child without what belongs to the parent.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                waitpid(child, None).map_err(Stop::broken("wait"))?;
                Ok(())
            }
        }
    }))
}

/// A page that is touched first, mapped before and unmapped after.
fn page_fault() -> Result<Operation, Stop> {
    let size = std::num::NonZeroUsize::MIN.saturating_add(PAGE - 1);
    Ok(Box::new(move || {
        let flags = MapFlags::MAP_PRIVATE;
        // SAFETY: a new mapping, touched within its bounds and unmapped again.
        unsafe {
            let page =
                mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)
                    .map_err(Stop::broken("map"))?;
            page.cast::<u8>().write_volatile(1);
            munmap(page, PAGE).map_err(Stop::broken("unmap"))
        }
    }))
}

/// A byte to a thread and back: two switches.
fn context_switch() -> Result<Operation, Stop> {
    let ends = || pipe().map_err(Stop::broken("make a pipe"));
    let ((there, to), (back, from)) = (ends()?, ends()?);
    let (mut there, mut from) = (File::from(there), File::from(from));
    let (mut to, mut back) = (File::from(to), File::from(back));
    std::thread::spawn(move || {
        let mut byte = [0];
        // It ends when the benchmark drops its ends.
        while there.read_exact(&mut byte).is_ok() && from.write_all(&byte).is_ok() {}
    });
    Ok(Box::new(move || {
        to.write_all(&[1])?;
        back.read_exact(&mut [0])?;
        Ok(())
    }))
}

/// As a direct request wants its memory.
#[repr(align(4096))]
struct Aligned([u8; PAGE]);

/// A block device that answers at once, past the page cache.
fn device() -> Result<File, Stop> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    Ok(options.open("/dev/nullb0")?)
}

/// 4 KiB from the device.
fn direct_read() -> Result<Operation, Stop> {
    let (disk, mut buffer) = (device()?, Box::new(Aligned([0; PAGE])));
    Ok(Box::new(move || Ok(disk.read_exact_at(&mut buffer.0, 0)?)))
}

/// 4 KiB to the device.
fn direct_write() -> Result<Operation, Stop> {
    let (disk, buffer) = (device()?, Box::new(Aligned([0; PAGE])));
    Ok(Box::new(move || Ok(disk.write_all_at(&buffer.0, 0)?)))
}

/// A page into a pipe and out again.
fn pipe_write() -> Result<Operation, Stop> {
    let (out, into) = pipe().map_err(Stop::broken("make a pipe"))?;
    let (mut out, mut into) = (File::from(out), File::from(into));
    let mut buffer = vec![0; PAGE];
    Ok(Box::new(move || {
        into.write_all(&buffer)?;
        Ok(out.read_exact(&mut buffer)?)
    }))
}
