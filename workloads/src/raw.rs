//! System calls without the C library's bookkeeping.
//!
//! A task made here may share its memory, and so its thread-local `errno`, with
//! others; so nothing here touches thread-local storage, allocates or locks.
//! It must not know what the tasks are for.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the loads make their system calls by hand, for x86-64 only");

use std::arch::asm;
use std::ffi::{c_long, c_void};
use std::mem::{MaybeUninit, size_of};
use std::ptr::{from_mut, from_ref, null};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

/// A task's id, never 0.
pub(crate) type Pid = i32;

/// Which side of a fork the caller is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Parent(Pid),
    Child,
}

fn outcome(value: isize) -> Result<usize, Errno> {
    let errno = i32::try_from(-value).unwrap_or(0);
    if (1..4096).contains(&errno) { Err(Errno::from_raw(errno)) } else { Ok(value as usize) }
}

/// # Safety
/// As the system call `number` demands of its arguments.
unsafe fn syscall(number: c_long, args: [usize; 5]) -> Result<usize, Errno> {
    let value: isize;
    // SAFETY: the kernel changes rax, rcx and r11 alone; the rest is up to the
    // caller.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => value,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    outcome(value)
}

fn side(pid: usize) -> Side {
    match pid as Pid {
        0 => Side::Child,
        pid => Side::Parent(pid),
    }
}

/// `fork(2)`, without the handlers that a C library runs around it.
///
/// # Safety
/// The child must neither allocate nor lock, and must not return into code
/// that minds being run twice.
pub(crate) unsafe fn fork() -> Result<Side, Errno> {
    // SAFETY: no argument; the caller vouches for the child.
    unsafe { syscall(libc::SYS_fork, [0; 5]) }.map(side)
}

/// `clone3(2)` sharing nothing, with SIGCHLD at the end.
///
/// # Safety
/// As for [`fork`].
pub(crate) unsafe fn clone3() -> Result<Side, Errno> {
    // SAFETY: a struct of integers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.exit_signal = libc::SIGCHLD as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: the arguments outlive the call; the caller vouches for the child.
    unsafe { syscall(libc::SYS_clone3, [from_ref(&args) as usize, size, 0, 0, 0]) }.map(side)
}

/// Where a task begins that has a stack of its own.
pub(crate) type Entry<T> = unsafe extern "C" fn(&T) -> !;

/// `vfork(2)` with a stack of the child's own, so that the parent finds its own
/// untouched: returns once the child has executed a program or died.
///
/// # Safety
/// `stack_top` is the end of writable memory that nothing else uses, large
/// enough for `entry`; `entry` uses no thread-local storage.
pub(crate) unsafe fn vfork<T>(
    stack_top: *mut u8,
    entry: Entry<T>,
    argument: T,
) -> Result<Pid, Errno> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: as promised by the caller.
    unsafe { clone_onto(flags, stack_top, entry, argument, null()) }
}

/// Starts a thread without thread-local storage of its own. The kernel sets
/// `gone` to 0 and wakes its waiters when the thread has left its stack.
///
/// # Safety
/// As for [`vfork`], and the stack must outlive the thread.
pub(crate) unsafe fn thread<T>(
    stack_top: *mut u8,
    entry: Entry<T>,
    argument: T,
    gone: Option<&AtomicU32>,
) -> Result<Pid, Errno> {
    let mut flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_SYSVSEM
        | libc::CLONE_THREAD;
    if gone.is_some() {
        flags |= libc::CLONE_CHILD_CLEARTID;
    }
    // SAFETY: as promised by the caller.
    unsafe { clone_onto(flags, stack_top, entry, argument, gone.map_or(null(), from_ref)) }
}

unsafe fn clone_onto<T>(
    flags: i32,
    stack_top: *mut u8,
    entry: Entry<T>,
    argument: T,
    gone: *const AtomicU32,
) -> Result<Pid, Errno> {
    // The argument lies on the new stack: the parent may move on before the
    // child looks at it. 16 is the alignment that a call needs.
    let place = (stack_top as usize - size_of::<T>()) & !(align_of::<T>().max(16) - 1);
    let place = place as *mut T;
    // SAFETY: within the stack by the caller's word, and aligned.
    unsafe { place.write(argument) };
    let value: isize;
    // SAFETY: the child has every register but rax and rsp from the parent; it
    // never comes back from `entry`.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, rsi",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => value,
            in("rdi") flags as isize, in("rsi") place, in("rdx") 0,
            in("r10") gone, in("r8") 0, in("r9") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    outcome(value).map(|pid| pid as Pid)
}

/// Ends this task alone: a thread, or a process of one thread.
pub(crate) fn exit() -> ! {
    // SAFETY: nothing of this task runs any more.
    unsafe {
        asm!("syscall", "ud2", in("rax") libc::SYS_exit, in("rdi") 0, options(noreturn, nostack));
    }
}

/// The id of this process.
pub(crate) fn own_pid() -> Pid {
    // SAFETY: no arguments, no effects.
    unsafe { syscall(libc::SYS_getpid, [0; 5]) }.unwrap_or(0) as Pid
}

/// Makes the kernel kill this process when its parent ends, and ends it at
/// once if `parent` is not its parent any more.
pub(crate) fn die_with(parent: Pid) {
    // SAFETY: integers alone. It cannot fail for a valid signal.
    let parent_now = unsafe {
        let kill = libc::SIGKILL as usize;
        let _ = syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, kill, 0, 0, 0]);
        syscall(libc::SYS_getppid, [0; 5])
    };
    if parent_now != Ok(parent as usize) {
        exit()
    }
}

/// Which children [`wait_for_child`] considers, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until one has died.
    Endless,
    /// Only those that are dead already.
    None,
}

/// Finds a dead child and leaves it unreaped, so that it can be counted while
/// the kernel still counts it. `Ok(None)` if none is dead and there was no
/// patience to wait; `ECHILD` if there is none at all.
pub(crate) fn wait_for_child(patience: Patience) -> Result<Option<Pid>, Errno> {
    let hurry = if patience == Patience::None { libc::WNOHANG } else { 0 };
    let options = (libc::WEXITED | libc::WNOWAIT | hurry) as usize;
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let place = info.as_mut_ptr() as usize;
        // SAFETY: the kernel writes one siginfo_t to where there is room for it.
        let found =
            unsafe { syscall(libc::SYS_waitid, [libc::P_ALL as usize, 0, place, options, 0]) };
        match found {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            // SAFETY: zeroed, then filled in by the kernel if a child was found.
            Ok(_) => return Ok(Some(unsafe { info.assume_init().si_pid() }).filter(|it| *it != 0)),
        }
    }
}

/// Reaps a child, waiting for its end.
pub(crate) fn reap(pid: Pid) -> Result<(), Errno> {
    loop {
        // SAFETY: a null pointer means that the status is not wanted.
        match unsafe { syscall(libc::SYS_wait4, [pid as usize, 0, 0, 0, 0]) } {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Waits on a word of memory while it holds `value`. May return early.
pub(crate) fn futex_wait(word: &AtomicU32, value: u32) {
    let place = from_ref(word) as usize;
    // Not FUTEX_PRIVATE: the kernel's wake at a thread's end is not private.
    // SAFETY: a null timeout means none. Every failure means "look again".
    let _ = unsafe {
        syscall(libc::SYS_futex, [place, libc::FUTEX_WAIT as usize, value as usize, 0, 0])
    };
}

/// Wakes all who wait on a word of memory.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let (place, all) = (from_ref(word) as usize, i32::MAX as usize);
    // SAFETY: the word is only taken as a key.
    let _ = unsafe { syscall(libc::SYS_futex, [place, libc::FUTEX_WAKE as usize, all, 0, 0]) };
}

/// Waits for a signal for ever.
pub(crate) fn pause() -> ! {
    loop {
        // SAFETY: no arguments, no effects.
        let _ = unsafe { syscall(libc::SYS_pause, [0; 5]) };
    }
}

/// Replaces this process's program; returns only if the kernel refused.
///
/// # Safety
/// `path` and each pointer of the null-terminated `argv` are C strings.
pub(crate) unsafe fn execute(path: *const i8, argv: *const *const i8) -> Errno {
    let no_environment: [*const c_void; 1] = [null()];
    let args = [path as usize, argv as usize, no_environment.as_ptr() as usize, 0, 0];
    // SAFETY: as promised by the caller.
    match unsafe { syscall(libc::SYS_execve, args) } {
        Ok(_) => Errno::UnknownErrno,
        Err(errno) => errno,
    }
}

/// Adds one to an eventfd, by its number: the tasks that do so share it by
/// inheritance.
pub(crate) fn ring(eventfd: i32) {
    let mut one = 1_u64;
    let place = from_mut(&mut one) as usize;
    // SAFETY: eight readable bytes.
    let _ = unsafe { syscall(libc::SYS_write, [eventfd as usize, place, size_of::<u64>(), 0, 0]) };
}

/// A point of CLOCK_MONOTONIC, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) u64);

impl Instant {
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn now() -> Self {
        Self(clock_ns(libc::CLOCK_MONOTONIC))
    }

    /// This long after it; at the end of time if that is later still.
    pub(crate) fn after(self, time: impl Into<Duration>) -> Self {
        let ns = u64::try_from(time.into().as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds since then.
    pub(crate) fn elapsed_ns(self) -> u64 {
        Self::now().0.saturating_sub(self.0)
    }

    /// How long until then.
    pub(crate) fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Self::now().0))
    }
}

/// What a clock shows, by the C library: it asks the vDSO and uses no
/// thread-local storage for a clock that exists.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to where there is room for it.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}
