//! What a process does between its birth and its first own instruction: it enters
//! its groups, and where no engine sees to it gives up what it needs no more.
//!
//! Only system calls are made here, on what was made before: other threads may
//! have held any lock when the process was born.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;

use super::oci::CAPABILITIES;

/// No kernel has more capabilities.
const MOST_CAPABILITIES: u32 = 64;

/// Has the process enter its groups before it does anything, and end with the
/// thread that starts it.
pub(super) fn enter(command: &mut Command, doors: Vec<CString>) {
    let parent = std::process::id().cast_signed();
    // SAFETY: only system calls between fork and exec; what they need is made.
    unsafe {
        command.pre_exec(move || {
            // The thread that starts a guest also waits for its end.
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // It may have died before it could be told so.
            if libc::getppid() != parent {
                libc::_exit(127);
            }
            for door in &doors {
                let fd =
                    Errno::result(libc::open(door.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
                Errno::result(libc::write(fd, c"0".as_ptr().cast(), 1))?;
                Errno::result(libc::close(fd))?;
            }
            // Whatever it mounts is nobody else's.
            Errno::result(libc::unshare(libc::CLONE_NEWNS))?;
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            Errno::result(libc::mount(none, c"/".as_ptr(), none, private, none.cast()))?;
            Ok(())
        });
    }
}

/// Has the process see the folder `root` as its own, with the machine's `/proc`,
/// `/sys` and `/dev` in it, and keep no more rights than a container would.
pub(super) fn confine(command: &mut Command, root: &Path) {
    let text = |it: &Path| CString::new(it.as_os_str().as_bytes()).unwrap_or_default();
    let shown = [(c"/proc", "proc"), (c"/sys", "sys"), (c"/dev", "dev")]
        .map(|(it, to)| (it, text(&root.join(to))));
    let fresh = ["tmp", "run"].map(|it| text(&root.join(it)));
    let sysctl = text(&root.join("proc/sys"));
    let root = text(root);
    // SAFETY: only system calls between fork and exec; what they need is made.
    unsafe {
        command.pre_exec(move || {
            for (from, to) in &shown {
                mount(from, to, None, libc::MS_BIND | libc::MS_REC)?;
            }
            // Hierarchies are mounts of their own, and stay writable.
            mount(&sysctl, &sysctl, None, libc::MS_BIND)?;
            for it in [&sysctl, &shown[1].1] {
                mount(it, it, None, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY)?;
            }
            for to in &fresh {
                mount(c"tmpfs", to, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV)?;
            }
            Errno::result(libc::chroot(root.as_ptr()))?;
            Errno::result(libc::chdir(c"/".as_ptr()))?;
            for number in 0..MOST_CAPABILITIES {
                if !CAPABILITIES.iter().any(|(kept, _)| *kept == number) {
                    // One that the kernel does not have is none to give up.
                    libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0);
                }
            }
            Ok(())
        });
    }
}

/// Has an engine keep what it would keep for good where it goes with it.
pub(super) fn forget(command: &mut Command) {
    // SAFETY: only system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for place in [c"/run", c"/dev/shm"] {
                mount(c"tmpfs", place, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV)?;
            }
            Ok(())
        });
    }
}

fn mount(from: &CStr, to: &CStr, kind: Option<&CStr>, flags: libc::c_ulong) -> nix::Result<()> {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: strings of ours, and no data.
    Errno::result(unsafe {
        libc::mount(from.as_ptr(), to.as_ptr(), kind, flags, std::ptr::null())
    })?;
    Ok(())
}
