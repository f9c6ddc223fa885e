//! What an operation costs in a group: with a controller absent, present and
//! limiting, and how deep the group is.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use cgauge_benchmarks::{Benchmark, Timer};
use cgauge_lab::{Group, Lab, Outcome, Stop};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};

/// A page, and the size of the requests.
const PAGE: usize = 4096;

/// What stands between the operation and the kernel.
#[derive(Clone, Copy, Debug)]
enum Controllers {
    /// No controller is enabled where the operation runs.
    Absent,
    /// Every controller is enabled, and none limits.
    Present,
    /// The controllers have limits, all above what is used.
    Limiting,
}

/// One operation, made ready.
type Operation = Box<dyn FnMut() -> Result<(), Stop>>;

fn main() {
    type Prepare = fn() -> Result<Operation, Stop>;
    let operations: [(&str, Prepare); 5] = [
        ("fork_and_exit", fork_and_exit),
        ("page_fault", page_fault),
        ("context_switch", context_switch),
        ("direct_read", direct_read),
        ("pipe_write", pipe_write),
    ];
    let mut all = Vec::new();
    for (name, prepare) in operations {
        for controllers in [Controllers::Absent, Controllers::Present, Controllers::Limiting] {
            for depth in [1, 10] {
                let with = format!("{controllers:?}").to_lowercase();
                let name = format!("{name}::controllers_{with}::depth_{depth:02}");
                all.push(Benchmark::new(name, move |lab, timer| {
                    price(lab, timer, controllers, depth, prepare)
                }));
            }
        }
    }
    cgauge_benchmarks::main(&all);
}

/// One operation in a group, with controllers absent, present or limiting.
fn price(
    lab: &Lab,
    timer: &mut Timer<'_>,
    controllers: Controllers,
    depth: u32,
    prepare: fn() -> Result<Operation, Stop>,
) -> Outcome {
    // They come back when this goes out of scope.
    let whole = lab.whole_hierarchy()?;
    if matches!(controllers, Controllers::Absent) {
        whole.withdraw(&lab.root().line("cgroup.controllers")?)?;
    }
    let nest = Nest::new(lab, controllers, depth)?;
    // Within, what the operation uses is charged there.
    nest.innermost().admit(Pid::from_raw(0))?;
    let timed = prepare().map(|mut operation| timer.each(&mut operation));
    let home = lab.root().dir().child("self").map_err(Stop::Refused)?;
    home.write("cgroup.procs", "0").map_err(Stop::Refused)?;
    timed
}

/// Groups in each other.
struct Nest(Vec<Group>);

impl Nest {
    fn new(lab: &Lab, controllers: Controllers, depth: u32) -> Result<Self, Stop> {
        let mut groups = vec![lab.group("level-1")?];
        for level in 2..=depth {
            let above = &groups[groups.len() - 1];
            if !matches!(controllers, Controllers::Absent) {
                let all = above.line("cgroup.controllers")?;
                above.enable(&all)?;
            }
            let below = above.make(&format!("level-{level}"))?;
            groups.push(below);
        }
        if matches!(controllers, Controllers::Limiting) {
            for group in &groups {
                for (file, limit) in
                    [("cpu.max", "200000 100000"), ("memory.max", "256M"), ("pids.max", "1000")]
                {
                    group.set(file, limit)?;
                }
            }
        }
        Ok(Self(groups))
    }

    fn innermost(&self) -> &Group {
        &self.0[self.0.len() - 1]
    }
}

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

/// 4 KiB from a block device that answers at once, past the page cache.
fn direct_read() -> Result<Operation, Stop> {
    #[repr(align(4096))]
    struct Aligned([u8; PAGE]);
    let disk = File::options().read(true).custom_flags(libc::O_DIRECT).open("/dev/nullb0")?;
    let mut buffer = Box::new(Aligned([0; PAGE]));
    Ok(Box::new(move || Ok(disk.read_exact_at(&mut buffer.0, 0)?)))
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
