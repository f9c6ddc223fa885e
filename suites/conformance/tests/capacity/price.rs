//! What accounting itself costs: the same operations in a group with no
//! controller, with each one alone, and with all.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::prelude::*;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};

use crate::each;

/// Operations that are timed together.
const TIMES: u32 = 200;

/// The operations work with each controller as they do with none.
#[rstest]
fn operations_with_a_controller(
    lab: Lab,
    #[values("none", "cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "all")]
    controller: &str,
) -> Outcome {
    let quick = NullDisk { completion: Duration::from_micros(10), ..NullDisk::default() };
    let disk = lab.null_disk(quick)?;
    let hierarchy = lab.whole_hierarchy()?;
    let offered = lab.root().line("cgroup.controllers")?;
    let kept: Vec<&str> = match controller {
        "none" => Vec::new(),
        "all" => offered.split(' ').collect(),
        one => vec![one],
    };
    if kept.iter().any(|it| !offered.split(' ').any(|offered| offered == *it)) {
        return Err(lab.skip(&format!("this kernel does not offer the {controller} controller")));
    }
    let others: Vec<&str> = offered.split(' ').filter(|it| !kept.contains(it)).collect();
    if !others.is_empty() {
        hierarchy.withdraw(&others.join(" "))?;
    }
    let group = lab.group("group")?;
    let shown = group.line("cgroup.controllers")?;
    group.admit(Pid::from_raw(0))?;
    let prices = prices(&disk);
    let home = lab.root().dir().child("self").map_err(Stop::Refused)?;
    home.write("cgroup.procs", "0").map_err(Stop::Refused)?;
    let mut failed = 0;
    for (operation, (price, refused)) in prices? {
        lab.value(operation, Unit::Nanoseconds, price, Lower);
        failed += refused;
    }
    lab.performance("controllers of the group")
        .file("cgroup.controllers")
        .observed(shown)
        .equals(kept.join(" "), "these were left enabled and no others: it is their price");
    lab.performance("operations that failed")
        .unit(Unit::Events)
        .observed(failed)
        .equals(0, "what fails is quicker than what works: its time would be no price");
    Ok(())
}

type Prices = Vec<(&'static str, (u64, u32))>;

fn prices(disk: &Disk) -> Result<Prices, Stop> {
    let memory = Memory::anonymous(u64::from(TIMES) * PAGE).map_err(Stop::broken("map memory"))?;
    let disk = File::options().read(true).custom_flags(libc::O_DIRECT).open(disk.path())?;
    let mut page = Box::new(Aligned([0; PAGE as usize]));
    let ends = || pipe().map_err(Stop::broken("make a pipe"));
    let ((there, to), (back, from)) = (ends()?, ends()?);
    let (mut there, mut from) = (File::from(there), File::from(from));
    let (mut to, mut back) = (File::from(to), File::from(back));
    let partner = std::thread::spawn(move || {
        let mut byte = [0];
        while there.read_exact(&mut byte).is_ok() && from.write_all(&byte).is_ok() {}
    });
    let found = vec![
        ("fork and exit", each(TIMES / 4, |_| fork_and_exit())),
        (
            "page fault",
            each(TIMES, |nth| {
                memory.write(u64::from(nth)..u64::from(nth) + 1, 1);
                Ok::<_, Stop>(())
            }),
        ),
        (
            "context switch",
            each(TIMES, |_| {
                to.write_all(&[1])?;
                back.read_exact(&mut [0])
            }),
        ),
        ("direct read", each(TIMES / 4, |_| disk.read_exact_at(&mut page.0, 0))),
    ];
    // Its end of the pipe is gone: the partner ends.
    drop(to);
    let _ = partner.join();
    Ok(found)
}

#[repr(align(4096))]
struct Aligned([u8; PAGE as usize]);

/// A child that ends at once, and is waited for.
fn fork_and_exit() -> Result<(), Stop> {
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
}
