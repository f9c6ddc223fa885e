//! Cases that break things on purpose: they test the harness, not the kernel,
//! and run only when this suite is named. What has to become of each stands in
//! `xtask/tests/nothing_is_lost.rs`.

use std::arch::asm;
use std::fs;
use std::io::Write;

use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// The ports of the VM's debug console and of its off switch (suites/agent, port.rs).
const DEBUGCON: u16 = 0xe9;
const DEBUG_EXIT: u16 = 0xf4;

/// One check that holds, as proof that what came before the end is kept.
fn one_good_check(lab: &Lab) {
    lab.interface("one and one").observed(2).equals(2, "arithmetic");
}

/// A check holds.
#[rstest]
fn holds(lab: Lab) -> Outcome {
    one_good_check(&lab);
    Ok(())
}

/// A check fails.
#[rstest]
fn fails(lab: Lab) -> Outcome {
    lab.interface("one and one").unit(Unit::Count).observed(2).equals(3, "wishful arithmetic");
    Ok(())
}

/// The kernel lacks something.
#[rstest]
fn skips(lab: Lab) -> Outcome {
    Err(lab.skip("this kernel has no tea.max"))
}

/// No check is made.
#[rstest]
fn checks_nothing(lab: Lab) -> Outcome {
    drop(lab);
    Ok(())
}

/// The kernel refuses what every case relies on.
#[rstest]
fn is_refused(lab: Lab) -> Outcome {
    lab.group("group")?.set("cgroup.procs", "no process id")
}

/// The case panics.
#[rstest]
fn panics(lab: Lab) -> Outcome {
    one_good_check(&lab);
    panic!("a case lost its head");
}

/// The case dies of a signal.
#[rstest]
fn aborts(lab: Lab) -> Outcome {
    one_good_check(&lab);
    std::process::abort();
}

/// The guest's kernel panics.
#[rstest]
fn panics_the_guest(lab: Lab) -> Outcome {
    one_good_check(&lab);
    fs::write("/proc/sysrq-trigger", "c")?;
    Ok(())
}

/// The guest hangs with interrupts off.
#[rstest]
fn hangs_the_guest(lab: Lab) -> Outcome {
    one_good_check(&lab);
    switch_off_interrupts()?;
    loop {
        std::hint::black_box(());
    }
}

/// Switches off the local APIC: no timer interrupts this CPU any more. `cli` would
/// not do, for since 5.5 the kernel leaves it out where `iopl` let it through.
fn switch_off_interrupts() -> Outcome {
    const LOCAL_APIC: i64 = 0xfee0_0000;
    /// The register with the switch in it, bit 8.
    const SPURIOUS_VECTOR: usize = 0xf0;
    let memory = fs::OpenOptions::new().read(true).write(true).open("/dev/mem")?;
    let page = std::num::NonZeroUsize::MIN.saturating_add(4095);
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a mapping of device registers, one of which is written in its width.
    unsafe {
        let registers = mmap(None, page, rights, MapFlags::MAP_SHARED, &memory, LOCAL_APIC)
            .map_err(Stop::broken("map the local APIC"))?;
        registers.cast::<u8>().add(SPURIOUS_VECTOR).cast::<u32>().write_volatile(0xff);
    }
    Ok(())
}

/// The case never ends.
#[rstest]
fn never_ends(lab: Lab) -> Outcome {
    one_good_check(&lab);
    loop {
        nix::unistd::pause();
    }
}

/// The agent dies, and with PID 1 the guest.
#[rstest]
fn kills_the_agent(lab: Lab) -> Outcome {
    one_good_check(&lab);
    let maps = fs::read_to_string("/proc/1/maps")?;
    let mut memory = fs::OpenOptions::new().write(true).open("/proc/1/mem")?;
    for line in maps.lines().filter(|it| it.contains(" r-xp ") && it.contains("/init")) {
        let bounds = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let parse = |it: &str| u64::from_str_radix(it, 16).ok();
        if let Some((from, to)) = bounds.and_then(|(from, to)| Some((parse(from)?, parse(to)?))) {
            let nonsense = vec![0xff; usize::try_from(to - from).unwrap_or_default()];
            std::os::unix::fs::FileExt::write_all_at(&memory, &nonsense, from)?;
        }
    }
    memory.flush()?;
    loop {
        nix::unistd::pause();
    }
}

/// The case prints a hundred megabytes.
#[rstest]
fn floods_its_output(lab: Lab) -> Outcome {
    one_good_check(&lab);
    let line = [b'x'; 8191];
    let mut out = std::io::stdout().lock();
    for _ in 0..100 * 128 {
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// The case records without end.
#[rstest]
fn floods_its_records(lab: Lab) -> Outcome {
    let what = "x".repeat(60_000);
    for _ in 0..400 {
        lab.interface(&what).observed(2).equals(2, "arithmetic");
    }
    Ok(())
}

/// The guest says what is no message.
#[rstest]
fn sends_garbage(lab: Lab) -> Outcome {
    one_good_check(&lab);
    say(b"\xff\x00<script>alert(1)</script> is no message\n");
    loop {
        nix::unistd::pause();
    }
}

/// The guest ends in the middle of a message.
#[rstest]
fn sends_half_a_line(lab: Lab) -> Outcome {
    one_good_check(&lab);
    say(b"{\"message\":\"end\",\"body\":{\"exit_co");
    out(DEBUG_EXIT, 0);
    Ok(())
}

/// A message names another case than its own.
#[rstest]
fn speaks_for_another(lab: Lab) -> Outcome {
    one_good_check(&lab);
    say(b"{\"message\":\"start\",\"body\":{\"index\":7}}\n");
    Ok(())
}

/// A group, a mount and a process stay behind.
#[rstest]
fn leaves_things_behind(lab: Lab) -> Outcome {
    one_good_check(&lab);
    let group = lab.group("left-behind")?;
    let ready = Gate::new()?;
    let stays: Process = group.spawn(|| {
        // It shall outlive its parent, as no process of an honest case does.
        let _ = nix::sys::prctl::set_pdeathsig(None);
        ready.open();
        loop {
            nix::unistd::pause();
        }
    })?;
    ready.pass();
    std::mem::forget(stays);
    std::mem::forget(group);
    let none: Option<&str> = None;
    nix::mount::mount(Some("none"), "/tmp", Some("tmpfs"), nix::mount::MsFlags::empty(), none)
        .map_err(Stop::broken("mount"))
}

/// The kernel is tainted meanwhile, as after a warning.
#[rstest]
fn taints_the_kernel(lab: Lab) -> Outcome {
    one_good_check(&lab);
    // TAINT_WARN (Documentation/admin-guide/tainted-kernels.rst).
    fs::write("/proc/sys/kernel/tainted", "512")?;
    Ok(())
}

/// The case takes seconds of the host's time.
#[rstest]
fn takes_its_time(lab: Lab) -> Outcome {
    one_good_check(&lab);
    let began = cgauge_lab::time::now();
    while cgauge_lab::time::now() - began < Duration::from_secs(8) {
        std::hint::spin_loop();
    }
    Ok(())
}

/// Threads are started until the kernel refuses one, in no group with a limit of the case's.
#[rstest]
fn starts_threads_until_it_is_refused(lab: Lab) -> Outcome {
    /// More than any guest may have.
    const MANY: u64 = 20_000;
    let group = lab.group("bomb")?;
    let bomb = group.spawn(|| {
        let start = || std::thread::Builder::new().stack_size(16 << 10).spawn(std::thread::park);
        let mut started = 0;
        while started < MANY {
            match start() {
                Ok(_) => started += 1,
                Err(error) => return (started, error.raw_os_error()),
            }
        }
        (started, None)
    })?;
    let (started, answer) = bomb.finish()?;
    lab.enforcement("the answer to one thread more")
        .observed(format!("{:?}", answer.map(Errno::from_raw)))
        .equals("Some(EAGAIN)", "clone(2): there is a limit, the guest's or one above it");
    lab.value("threads", Unit::Count, started, Neither);
    Ok(())
}

/// Memory is taken until there is none.
#[rstest]
fn takes_all_memory(lab: Lab) -> Outcome {
    one_good_check(&lab);
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 1 << 20]);
    }
}

fn take_ports() {
    // SAFETY: raises this thread's I/O privilege and touches no memory.
    assert_eq!(unsafe { libc::iopl(3) }, 0, "a case runs as root");
}

fn say(bytes: &[u8]) {
    take_ports();
    for byte in bytes {
        out(DEBUGCON, *byte);
    }
}

fn out(port: u16, value: u8) {
    take_ports();
    // SAFETY: a port write touches no memory of ours.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack)) }
}
