//! The hierarchy's mount options (cgroup-v2.rst, "Mounting"): who may change
//! them, and what each one does. What `nsdelegate` does is in `delegation.rs`.

use std::ptr::null_mut;

use cgauge_lab::Remounted;
use cgauge_lab::kernel::{self, Refusal};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const MIB: u64 = 1 << 20;
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;

/// An option changes by a remount from the initial namespaces alone; elsewhere it is ignored or refused.
#[rstest]
#[case::nsdelegate("nsdelegate", "since 4.13")]
#[case::favordynmods("favordynmods", "since 6.0")]
#[case::memory_localevents("memory_localevents", "since 5.2")]
#[case::memory_recursiveprot("memory_recursiveprot", "since 5.7")]
#[case::memory_hugetlb_accounting("memory_hugetlb_accounting", "since 6.7")]
#[case::pids_localevents("pids_localevents", "since 6.11")]
fn options_change_from_the_initial_namespace_only(
    lab: Lab,
    #[case] option: &str,
    #[case] since: &str,
) -> Outcome {
    lab.whole_hierarchy()?;
    let shown = |what: &str, expected: &str, reason: &str| -> Outcome {
        let options = lab.mount_options()?;
        lab.interface(what)
            .covers([R003])
            .observed(if options.split(',').any(|it| it == option) { "yes" } else { "no" })
            .equals(expected, reason);
        Ok(())
    };
    lab.interface("the answer to a remount with an option that no kernel has")
        .covers([R003])
        .answered(&lab.remount("cgauge")?)
        .equals("EINVAL", "a mount refuses what it does not know");
    let with = with_option(&lab, option, since)?;
    shown("the option is shown after a remount with it", "yes", INITIAL)?;
    let answer = elsewhere(&lab, CloneFlags::CLONE_NEWCGROUP, "")?;
    lab.interface("the answer to a remount without it from another cgroup namespace")
        .covers([R003])
        .returned(&answer)
        .equals("ok", IGNORED);
    shown("the option is shown after that", "yes", IGNORED)?;

    drop(with);
    let _without = lab.remount("")?;
    shown("the option is shown after a remount without any", "no", INITIAL)?;
    let answer = elsewhere(&lab, CloneFlags::CLONE_NEWCGROUP, option)?;
    lab.interface("the answer to a remount with it from another cgroup namespace")
        .covers([R003])
        .returned(&answer)
        .equals("ok", IGNORED);
    shown("the option is shown after that remount", "no", IGNORED)?;
    let answer = elsewhere(&lab, CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWUSER, option)?;
    lab.interface("the answer to a remount with it from another user namespace")
        .covers([R003])
        .returned(&answer)
        .equals("EPERM", "the mount is the initial user namespace's");
    shown("the option is shown after the refusal", "no", INITIAL)
}

/// Known bug 7: `memory.events` counts the whole subtree, and only the group's own with `memory_localevents`.
#[rstest]
#[case::whole_subtree("", 1)]
#[case::own_alone("memory_localevents", 0)]
fn bug_7_memory_events_count_the_subtree_unless_local(
    lab: Lab,
    #[case] options: &str,
    #[case] above: u64,
) -> Outcome {
    lab.needs_controller("memory")?;
    let _mounted = with_option(&lab, options, "since 5.2")?;
    let outer = lab.group("outer")?;
    outer.enable("memory")?;
    let middle = outer.make("middle")?;
    middle.enable("memory")?;
    let inner = middle.make("inner")?;
    inner.set("memory.max", MIB)?;
    let mut glutton = inner.spawn(|| {
        Mapping::new(8 << 20, 0).touch(PAGE);
    })?;
    let exit = glutton.wait()?;
    lab.enforcement("the end of a process that wants 8 MiB of 1 MiB")
        .covers([R004])
        .file("memory.max")
        .observed(format!("{exit:?}"))
        .equals("Signal(SIGKILL)", "nothing can be reclaimed without swap: it is OOM-killed");
    let groups = [
        (&inner, 1, "kills counted in the group of the victim"),
        (&middle, above, "kills counted in its parent"),
        (&outer, above, "kills counted in its grandparent"),
    ];
    for (group, expected, what) in groups {
        lab.accounting(what)
            .covers([R004])
            .file("memory.events")
            .unit(Unit::Events)
            .observed(group.key("memory.events", "oom_kill")?)
            .equals(expected, "cgroup-v2.rst, Mounting, memory_localevents: \"the default behaviour without this option is to include subtree counts\"");
    }
    for ((group, _, what), expected) in groups.into_iter().zip([1, 0, 0]) {
        lab.accounting(&format!("{what} as local events"))
            .covers([R004])
            .file("memory.events.local")
            .unit(Unit::Events)
            .observed(group.key("memory.events.local", "oom_kill")?)
            .equals(expected, "cgroup-v2.rst, Memory: \"the fields in the file are local to the cgroup i.e. not hierarchical\", with the option and without");
    }
    Ok(())
}

/// Known bug 28: with `memory_recursiveprot` a parent's protection reaches leaves that set nothing; without it, it does not.
#[rstest]
#[case::off("", "shelter", Survival::Some)]
#[case::on("memory_recursiveprot", "shelter", Survival::All)]
#[case::off_with_the_leaf_protected_as_well("", "shelter leaf", Survival::All)]
#[case::on_without_protection("memory_recursiveprot", "", Survival::Some)]
fn bug_28_recursive_protection_reaches_leaves_that_set_nothing(
    lab: Lab,
    #[values("memory.min", "memory.low")] protection: &str,
    #[case] options: &str,
    #[case] protected: &str,
    #[case] survival: Survival,
) -> Outcome {
    lab.needs_controller("memory")?;
    let _mounted = with_option(&lab, options, "since 5.7")?;
    let bounded = lab.group("bounded")?;
    bounded.enable("memory")?;
    bounded.set("memory.max", 24 * MIB)?;
    let shelter = bounded.make("shelter")?;
    shelter.enable("memory")?;
    let (leaf, rival) = (shelter.make("leaf")?, bounded.make("rival")?);
    for (group, name) in [(&shelter, "shelter"), (&leaf, "leaf")] {
        if protected.contains(name) {
            group.set(protection, 16 * MIB)?;
        }
    }

    let (filled, pressed) = (Gate::new()?, Gate::new()?);
    let holder = leaf.spawn(|| {
        let memory = Mapping::new(8 << 20, 0);
        memory.touch(PAGE);
        memory.give_up();
        filled.open();
        pressed.pass();
        memory.touched(PAGE)
    })?;
    filled.pass();
    let mut presser = rival.spawn(|| {
        for _ in 0..32 {
            let memory = Mapping::new(1 << 20, 0);
            memory.touch(PAGE);
            memory.give_up();
            // It stays mapped: only reclaim takes it.
            std::mem::forget(memory);
        }
    })?;
    presser.wait()?;
    pressed.open();
    let survivors = holder.finish()?;
    let question = lab
        .enforcement("pages of the leaf's 8 MiB that are left after 32 MiB of its rival's")
        .covers([R005])
        .file(protection)
        .unit(Unit::Pages)
        .observed(survivors);
    match survival {
        Survival::All => question.equals(2048, "the protection of 16 MiB reaches the leaf, and the rival's own pages can be reclaimed"),
        Survival::Some => question.at_most(2047, "24 MiB cannot hold 40 MiB, and nothing protects the leaf from its share of the reclaim"),
    }
    Ok(())
}

/// Known bug 28: under `memory_recursiveprot` a leaf that set nothing has `low` events for its parent's protection.
#[rstest]
#[case::without("", 0)]
#[case::with("memory_recursiveprot", 1)]
fn bug_28_low_events_come_with_the_protection_of_the_parent(
    lab: Lab,
    #[case] options: &str,
    #[case] told: u64,
) -> Outcome {
    lab.needs_controller("memory")?;
    let _mounted = with_option(&lab, options, "since 5.7")?;
    let bounded = lab.group("bounded")?;
    bounded.enable("memory")?;
    bounded.set("memory.max", 8 * MIB)?;
    let shelter = bounded.make("shelter")?;
    shelter.enable("memory")?;
    shelter.set("memory.low", 16 * MIB)?;
    let leaf = shelter.make("leaf")?;
    let mut holder = leaf.spawn(|| {
        for _ in 0..16 {
            let memory = Mapping::new(1 << 20, 0);
            memory.touch(PAGE);
            memory.give_up();
            std::mem::forget(memory);
        }
    })?;
    let exit = holder.wait()?;
    lab.enforcement("the end of a process that goes through twice the limit above its group")
        .covers([R005])
        .file("memory.max")
        .observed(format!("{exit:?}"))
        .equals(
            "Code(0)",
            "its pages can be reclaimed, and low protects them only as long as there are others",
        );
    for (role, group) in [("the leaf that set nothing", &leaf), ("its parent", &shelter)] {
        let low = group.key("memory.events", "low")?;
        lab.accounting(&format!("whether {role} counts reclaim below low"))
            .covers([R005, R101])
            .file("memory.events:low")
            .unit(Unit::Events)
            .observed(low.min(1))
            .equals(told, "the leaf is below its effective low, its parent's 16 MiB under memory_recursiveprot and its own 0 without, when nothing but its pages can be reclaimed; LTP #1209 saw such events and took them for wrong");
    }
    Ok(())
}

/// What the pressure leaves of a leaf's pages.
#[derive(Clone, Copy, Debug)]
enum Survival {
    All,
    Some,
}

/// With `memory_hugetlb_accounting` huge pages are charged when they are used, not when the pool grows.
#[rstest]
#[case::off("", 0)]
#[case::on("memory_hugetlb_accounting", 2 * MIB)]
fn huge_pages_are_charged_at_use(lab: Lab, #[case] options: &str, #[case] page: u64) -> Outcome {
    lab.needs_controller("memory")?;
    let _mounted = with_option(&lab, options, "since 6.7")?;
    let group = lab.group("group")?;
    let pool = HugePool::note()?;
    let grower = group.spawn(|| HugePool::resize(4).is_ok())?;
    if !grower.finish()? || pool.size()? != 4 {
        return Err(lab.skip("this machine has no room for four huge pages"));
    }
    lab.accounting("memory of the group that grew the pool by four huge pages")
        .covers([R006])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?)
        .at_most(2 * MIB - 1, "cgroup-v2.rst, Mounting: \"It is only charged to a cgroup when it is actually used\"; less than one page of the pool");

    let (mapped, done) = (Gate::new()?, Gate::new()?);
    let steps: Vec<_> =
        (0..2).map(|_| Ok((Gate::new()?, Gate::new()?))).collect::<Result<_, Stop>>()?;
    let user = group.spawn(|| {
        let memory = Mapping::new(2 * HUGE, libc::MAP_HUGETLB);
        mapped.open();
        for (number, (touch, touched)) in steps.iter().enumerate() {
            touch.pass();
            memory.touch_one(number * HUGE);
            touched.open();
        }
        done.pass();
    })?;
    mapped.pass();
    let mut before = group.number("memory.current")?;
    lab.accounting("memory of the group with two huge pages reserved and none used")
        .covers([R006])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(before)
        .at_most(2 * MIB - 1, "a reserved page is not used yet; less than one");
    for (touch, touched) in &steps {
        touch.open();
        touched.pass();
        let after = group.number("memory.current")?;
        lab.accounting("memory that the use of one huge page adds")
            .covers([R006])
            .file("memory.current")
            .unit(Unit::Bytes)
            .observed(after.saturating_sub(before))
            .between(page, page + BATCH, "one page of 2 MiB with the option, none without; a page table beside it may take the charge batch of 64 pages");
        before = after;
    }
    done.open();
    user.finish()?;
    lab.accounting("memory of the group after the end of the process that used them")
        .covers([R006])
        .file("memory.current")
        .unit(Unit::Bytes)
        .observed(group.number("memory.current")?)
        .at_most(
            2 * MIB - 1,
            "huge pages go back to the pool, which is charged to nobody; less than one",
        );
    Ok(())
}

/// With `memory_hugetlb_accounting` a huge page above `memory.max` ends its user with SIGBUS; within it works.
#[rstest]
#[case::off("", "Code(0)")]
#[case::on("memory_hugetlb_accounting", "Signal(SIGBUS)")]
fn huge_page_above_the_limit_gives_sigbus(
    lab: Lab,
    #[case] options: &str,
    #[case] above: &str,
) -> Outcome {
    lab.needs_controller("memory")?;
    let _mounted = with_option(&lab, options, "since 6.7")?;
    let pool = HugePool::note()?;
    HugePool::resize(2)?;
    if pool.size()? != 2 {
        return Err(lab.skip("this machine has no room for two huge pages"));
    }
    let group = lab.group("group")?;
    for (limit, what, expected) in [
        (2 * MIB, "the end of a process that uses a huge page with 2 MiB for all it has", above),
        (8 * MIB, "the end of such a process with 8 MiB", "Code(0)"),
    ] {
        group.set("memory.max", limit)?;
        let mut user = group.spawn(|| Mapping::new(HUGE, libc::MAP_HUGETLB).touch_one(0))?;
        // A fault that is tried for ever spins: a millisecond of work gets a tenth of a second.
        let ended = user.ended_within(Duration::from_millis(100))?;
        let end = if ended { format!("{:?}", user.wait()?) } else { "none within 100 ms".into() };
        lab.enforcement(what)
            .covers([R007])
            .file("memory.max")
            .observed(end)
            .equals(expected, "cgroup-v2.rst, Mounting, memory_hugetlb_accounting: \"Failure to charge a HugeTLB folio to the memory controller results in SIGBUS\"");
    }
    lab.accounting("OOM kills")
        .covers([R007])
        .file("memory.events")
        .unit(Unit::Events)
        .observed(group.key("memory.events", "oom_kill")?)
        .equals(0, "the charge of a huge page fails without the OOM killer");
    Ok(())
}

/// With `pids_localevents` `pids.events` counts the forks that failed in the group itself, as it once did.
#[rstest]
#[case::at_the_limit("", [0, 1, 1])]
#[case::at_the_fork("pids_localevents", [1, 0, 0])]
fn pids_localevents_counts_where_the_fork_failed(
    lab: Lab,
    #[case] options: &str,
    #[case] counts: [u64; 3],
) -> Outcome {
    // A kernel without the option counts as with it; that is the pids suite's to check.
    drop(with_option(&lab, "pids_localevents", "since 6.11")?);
    let _mounted = with_option(&lab, options, "since 6.11")?;
    let outer = lab.group("outer")?;
    outer.enable("pids")?;
    let limited = outer.make("limited")?;
    limited.enable("pids")?;
    let forking = limited.make("forking")?;
    limited.set("pids.max", 1)?;
    let _only = forking.sleeper()?;
    lab.enforcement("the answer to a clone above the limit of the parent")
        .covers([R008])
        .file("pids.max")
        .answered(&forking.try_spawn(|| ())?)
        .equals("EAGAIN", "the parent allows one process");
    for ((group, what), expected) in [
        (&forking, "events of the group where the fork failed"),
        (&limited, "events of the parent whose limit it was"),
        (&outer, "events of the group above"),
    ]
    .into_iter()
    .zip(counts)
    {
        lab.accounting(what)
            .covers([R008])
            .file("pids.events")
            .unit(Unit::Events)
            .observed(group.key("pids.events", "max")?)
            .equals(expected, "cgroup-v2.rst, Mounting, pids_localevents: \"The option restores v1-like behavior of pids.events:max, that is only local (inside cgroup proper) fork failures are counted\"");
    }
    Ok(())
}

/// `favordynmods` takes the wait for a grace period out of a migration, at the price of fork and exit.
#[rstest]
fn favordynmods_makes_migration_fast(lab: Lab) -> Outcome {
    const SAMPLES: usize = 15;
    let (here, there) = (lab.group("here")?, lab.group("there")?);
    let process = here.sleeper()?;
    let measure = |options: &str, name: &str| -> Result<Duration, Stop> {
        let _mounted = with_option(&lab, options, "since 6.0")?;
        let (mut moves, mut forks) = (Vec::new(), Vec::new());
        for sample in 0..SAMPLES {
            // Right after another move there is a grace period under way already.
            pause(Duration::from_millis(50));
            let to = if sample % 2 == 0 { &there } else { &here };
            let began = now();
            to.admit(process.pid())?;
            moves.push(now() - began);
            pause(Duration::from_millis(50));
            let began = now();
            here.spawn(|| ())?.wait()?;
            forks.push(now() - began);
        }
        lab.latencies(&format!("a migration {name}"), &moves);
        lab.latencies(&format!("fork, exit and wait {name}"), &forks);
        moves.sort();
        Ok(moves[SAMPLES / 2])
    };
    let without = measure("", "without favordynmods")?;
    let with = measure("favordynmods", "with favordynmods")?;
    let ratio = without.as_secs_f64() / with.as_secs_f64();
    lab.value(
        "a migration without favordynmods, in migrations with it",
        Unit::Ratio,
        ratio,
        Neither,
    );
    lab.performance("the median migration with favordynmods")
        .covers([R009])
        .file("cgroup.procs")
        .took(with)
        .at_most(
            u64::try_from(without.as_nanos()).unwrap_or(u64::MAX),
            "the median without it; cgroup-v2.rst, Mounting: it reduces \"the latencies of dynamic cgroup modifications\", \
             for a migration without it waits for an RCU grace period if the CPUs need one. \
             The price in fork and exit is kept as a figure alone: a kernel without that price is no worse",
        );
    Ok(())
}

/// The charge batch of the memory controller, 64 pages on each CPU; here is one.
const BATCH: u64 = 64 * 4096;
const INITIAL: &str = "cgroup-v2.rst, Mounting: options are \"set on mount or modified through remount from the init namespace\"";
const IGNORED: &str =
    "cgroup-v2.rst, Mounting: \"The mount option is ignored on non-init namespace mounts\"";

/// The hierarchy with this option alone. Skips the case on a kernel that lacks it.
fn with_option(lab: &Lab, option: &str, since: &str) -> Result<Remounted, Stop> {
    let known = kernel::text("/sys/kernel/cgroup/features").unwrap_or_default();
    let answer = lab.remount(option)?;
    if answer.as_ref().is_err_and(|it| it.errno == Errno::EINVAL)
        && !known.lines().any(|it| it == option)
    {
        return Err(lab.skip(&format!("this kernel has no mount option {option} ({since})")));
    }
    answer.map_err(|it: Refusal| {
        lab.interface("the answer to a remount with an option that the kernel lists as a feature")
            .answered::<()>(&Err(it.clone()))
            .equals("ok", "/sys/kernel/cgroup/features lists the options that a mount takes");
        Stop::Refused(it)
    })
}

/// What the kernel answers to a remount from new namespaces.
fn elsewhere(lab: &Lab, namespaces: CloneFlags, options: &str) -> Result<Result<(), Errno>, Stop> {
    let point = lab.mount_point();
    let remount = || -> Result<(), Errno> {
        unshare(namespaces | CloneFlags::CLONE_NEWNS)?;
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(None::<&str>, &point, None::<&str>, MsFlags::MS_REMOUNT | quiet, Some(options))
    };
    let home = lab.group("elsewhere")?;
    let errno = home.spawn(|| remount().err().map_or(0, |it| it as i32))?.finish()?;
    Ok(if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) })
}

/// Anonymous memory of the calling process.
struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    /// # Panics
    /// Where the kernel refuses the mapping; it ends a process of the case.
    fn new(length: usize, flags: i32) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: a new mapping where the kernel likes.
        let start = unsafe { libc::mmap(null_mut(), length, protection, flags, -1, 0) };
        assert!(start != libc::MAP_FAILED, "mmap: {}", Errno::last());
        // The test is about single pages; a hugetlb mapping refuses the advice.
        // SAFETY: the mapping is ours.
        unsafe { libc::madvise(start, length, libc::MADV_NOHUGEPAGE) };
        Self { start: start.cast(), length }
    }

    /// Writes a byte into every page of `size`.
    fn touch(&self, size: usize) {
        (0..self.length).step_by(size).for_each(|at| self.touch_one(at));
    }

    fn touch_one(&self, at: usize) {
        assert!(at < self.length);
        // SAFETY: within the mapping.
        unsafe { self.start.add(at).write_volatile(1) };
    }

    /// Lets the kernel take the pages when it needs memory (`MADV_FREE`): what
    /// can be reclaimed without swap and without a disk.
    fn give_up(&self) {
        // SAFETY: the mapping is ours, and a page that is gone reads as zeros.
        let answer = unsafe { libc::madvise(self.start.cast(), self.length, libc::MADV_FREE) };
        assert!(answer == 0, "madvise: {}", Errno::last());
    }

    /// How many pages of `size` still hold what was written.
    fn touched(&self, size: usize) -> u64 {
        // SAFETY: within the mapping.
        let holds = |at: &usize| unsafe { self.start.add(*at).read_volatile() } == 1;
        (0..self.length).step_by(size).filter(holds).count() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// The machine's pool of huge pages, which has its old size again when this
/// goes out of scope.
struct HugePool {
    before: u64,
}

impl HugePool {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn note() -> Result<Self, Stop> {
        let mut pool = Self { before: 0 };
        pool.before = pool.size()?;
        Ok(pool)
    }

    fn resize(pages: u64) -> std::io::Result<()> {
        std::fs::write(Self::FILE, pages.to_string())
    }

    fn size(&self) -> Result<u64, Stop> {
        let text = std::fs::read_to_string(Self::FILE)?;
        text.trim().parse().map_err(|_| Stop::Broken(format!("{} holds {text:?}", Self::FILE)))
    }
}

impl Drop for HugePool {
    fn drop(&mut self) {
        let _ = Self::resize(self.before);
    }
}
