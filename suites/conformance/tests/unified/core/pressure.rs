//! Pressure per group: `cgroup.pressure`, which turns it off and on, and
//! `irq.pressure` (cgroup-v2.rst, "Core Interface Files").

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, now, pause, wait_until};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::time::{ClockId, clock_getres};
use nix::unistd::Pid;

const SWITCH: &str = "cgroup.pressure";
const CPU: &str = "cpu.pressure";
const SINCE: &str = "since 6.1";
/// How long two processes compete for one CPU.
const RACE: Duration = Duration::from_millis(20);
/// CPU time that a process uses while interrupts hit it.
const WORK: Duration = Duration::from_millis(20);

/// Microseconds that one of the two waits at least: all of [`RACE`] but the
/// timer's slack of 50 us and the way from the timer to the run queue.
const STALL: u64 = 19_000;
const ONE_WAITS: &str =
    "two compete for one CPU for 20 ms, less 1 ms for the timer that starts both";

/// A 0 in `cgroup.pressure` hides the group's pressure and stops its accounting; its ancestors and descendants go on.
#[rstest]
#[case::in_top([0, 1, 1])]
#[case::in_the_middle([1, 0, 1])]
#[case::in_the_leaf([1, 1, 0])]
#[case::in_all_but_the_leaf([0, 0, 1])]
fn pressure_is_switched_off_for_one_group_alone(lab: Lab, #[case] switches: [u64; 3]) -> Outcome {
    lab.needs_file(SWITCH, SINCE)?;
    let top = lab.group("top")?;
    let middle = top.make("middle")?;
    let leaf = middle.make("leaf")?;
    let groups = [("top", &top), ("middle", &middle), ("leaf", &leaf)];

    let mut before = [0; 3];
    compete(&leaf)?;
    for (nth, (role, group)) in groups.into_iter().enumerate() {
        lab.interface(&format!("the switch of {role} as made"))
            .covers([R061])
            .file(SWITCH)
            .observed(group.get(SWITCH)?)
            .equals("1\n", "cgroup-v2.rst, cgroup.pressure: the default");
        before[nth] = total(group, CPU, "some")?;
        lab.accounting(&format!("stall in {role} while two processes of the leaf compete"))
            .covers([R061])
            .file(CPU)
            .unit(Unit::Microseconds)
            .observed(before[nth])
            .at_least(STALL, ONE_WAITS);
    }
    for ((_, group), switch) in groups.into_iter().zip(switches) {
        group.set(SWITCH, switch)?;
    }
    for ((role, group), switch) in groups.into_iter().zip(switches) {
        lab.interface(&format!("the switch of {role}"))
            .covers([R061])
            .file(SWITCH)
            .observed(group.number(SWITCH)?)
            .equals(switch, "what was written, and nothing is inherited");
        lab.interface(&format!("the answer to reading the pressure of {role}"))
            .covers([R061])
            .file(CPU)
            .answered(&group.try_get(CPU))
            .equals(
                if switch == 1 { "ok" } else { "ENOENT" },
                "cgroup_pressure_write() hides the pressure files of a group that is switched off",
            );
    }
    compete(&leaf)?;
    for (_, group) in groups {
        group.set(SWITCH, 1)?;
    }
    for (nth, (role, group)) in groups.into_iter().enumerate() {
        let grown = total(group, CPU, "some")? - before[nth];
        let check = lab
            .accounting(&format!("stall added in {role} by two more that compete"))
            .covers([R061])
            .file(CPU)
            .unit(Unit::Microseconds)
            .observed(grown);
        if switches[nth] == 1 {
            check.at_least(
                STALL,
                "the group is on, and no ancestor's switch matters: two compete for 20 ms",
            );
        } else {
            check.equals(0, "the group was off meanwhile");
        }
    }
    Ok(())
}

/// Pressure is accounted again from the moment that `cgroup.pressure` is 1 again.
#[rstest]
fn pressure_goes_on_when_it_is_switched_on_again(lab: Lab) -> Outcome {
    lab.needs_file(SWITCH, SINCE)?;
    let group = lab.group("group")?;
    group.set(SWITCH, 0)?;
    group.set(SWITCH, 1)?;
    let before = total(&group, CPU, "some")?;
    compete(&group)?;
    lab.accounting("stall in a group that was off and is on")
        .covers([R061])
        .file(CPU)
        .unit(Unit::Microseconds)
        .observed(total(&group, CPU, "some")? - before)
        .at_least(STALL, ONE_WAITS);
    Ok(())
}

/// A new group has its pressure on, also below a group that is switched off.
#[rstest]
fn switch_is_not_inherited_by_a_new_group(lab: Lab) -> Outcome {
    lab.needs_file(SWITCH, SINCE)?;
    let parent = lab.group("parent")?;
    parent.set(SWITCH, 0)?;
    let child = parent.make("child")?;
    lab.interface("the switch of a group made below one that is off")
        .covers([R061])
        .file(SWITCH)
        .observed(child.get(SWITCH)?)
        .equals("1\n", "cgroup-v2.rst, cgroup.pressure: it is not hierarchical");
    lab.interface("the answer to reading its pressure")
        .covers([R061])
        .file(CPU)
        .answered(&child.try_get(CPU))
        .equals("ok", "it is on");
    Ok(())
}

/// `cgroup.pressure` takes 0 and 1 and nothing else.
#[rstest]
#[case::zero("0", "ok", "0\n")]
#[case::one("1", "ok", "1\n")]
#[case::two("2", "ERANGE", "1\n")]
#[case::negative("-1", "ERANGE", "1\n")]
#[case::word("off", "EINVAL", "1\n")]
fn pressure_takes_zero_and_one_alone(
    lab: Lab,
    #[case] written: &str,
    #[case] answer: &str,
    #[case] shown: &str,
) -> Outcome {
    lab.needs_file(SWITCH, SINCE)?;
    let group = lab.group("group")?;
    lab.interface("the answer to the value")
        .covers([R061])
        .file(SWITCH)
        .answered(&group.try_set(SWITCH, written))
        .equals(
            answer,
            "cgroup_pressure_write(): EINVAL for what is no number, ERANGE for any but 0 and 1",
        );
    lab.interface("the switch afterwards")
        .covers([R061])
        .file(SWITCH)
        .observed(group.get(SWITCH)?)
        .equals(shown, "a refused write changes nothing");
    Ok(())
}

/// `irq.pressure` grows with the interrupts that hit a group's processes.
#[rstest]
fn irq_pressure_grows_with_interrupts(lab: Lab) -> Outcome {
    lab.needs_file("irq.pressure", "since 6.1, with CONFIG_IRQ_TIME_ACCOUNTING")?;
    // A kernel that has just booted takes a second to trust its clock so far.
    if wait_until(Duration::from_secs(10), timers_are_exact).is_none() {
        return Err(lab.skip("this machine has no high-resolution timers (CONFIG_HIGH_RES_TIMERS and a clock for them)"));
    }
    let parent = lab.group("parent")?;
    let (hit, spared) = (parent.make("hit")?, parent.make("spared")?);
    let stall = |group: &Group| total(group, "irq.pressure", "full");

    let work = |group: &Group, period: Option<Duration>| -> Result<(u64, u64), Stop> {
        let before = stall(group)?;
        let process = group.spawn(move || spin_through(period))?;
        let expiries = process.finish()?;
        Ok((stall(group)? - before, expiries))
    };
    let (quiet, none) = work(&spared, None)?;
    let (loaded, expiries) = work(&hit, Some(Duration::from_micros(100)))?;
    let (lighter, fewer) = work(&hit, Some(Duration::from_micros(400)))?;
    lab.value("timer expiries at one in 100 us", Unit::Events, expiries, Neither);
    lab.value("timer expiries at one in 400 us", Unit::Events, fewer, Neither);
    lab.value("interrupt stall at one in 100 us", Unit::Microseconds, loaded, Neither);
    lab.value("interrupt stall at one in 400 us", Unit::Microseconds, lighter, Neither);
    lab.value("interrupt stall with the tick alone", Unit::Microseconds, quiet, Neither);
    if none > 0 || fewer >= expiries {
        return Err(Stop::Broken(format!(
            "the timer expired {none}, {fewer} and {expiries} times"
        )));
    }

    lab.accounting("stall by interrupts, one in 400 us, over that of the tick alone")
        .covers([R062])
        .file("irq.pressure")
        .unit(Unit::Microseconds)
        .observed(lighter.saturating_sub(quiet))
        .at_least(1, "every expiry of the timer is an interrupt more in the same CPU time");
    lab.accounting("stall by interrupts, one in 100 us, over that of one in 400 us")
        .covers([R062])
        .file("irq.pressure")
        .unit(Unit::Microseconds)
        .observed(loaded.saturating_sub(lighter))
        .at_least(1, "four times as many interrupts in the same CPU time");
    let children = stall(&hit)? + stall(&spared)?;
    lab.accounting("stall by interrupts in the parent of both")
        .covers([R062])
        .file("irq.pressure")
        .unit(Unit::Microseconds)
        .observed(stall(&parent)?)
        .between(
            children,
            children + 2,
            "psi_account_irqtime() charges a group and all above it; the two totals added here are each rounded down to 1 us",
        );
    Ok(())
}

/// Lets two processes of `group` compete for one CPU for [`RACE`]: both sleep to
/// the same moment and spin to the same moment.
fn compete(group: &Group) -> Outcome {
    let start = now() + Duration::from_millis(20);
    let race = move || {
        let mut first = CpuSet::new();
        // There always is a first CPU.
        let _ = first.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &first));
        pause(start.saturating_sub(now()));
        while now() < start + RACE {
            std::hint::spin_loop();
        }
    };
    let racers = [group.spawn(race)?, group.spawn(race)?];
    for racer in racers {
        racer.finish()?;
    }
    Ok(())
}

/// Whether timers expire between two ticks, too.
fn timers_are_exact() -> bool {
    clock_getres(ClockId::CLOCK_MONOTONIC)
        .is_ok_and(|it| Duration::from(it) == Duration::from_nanos(1))
}

/// Uses the CPU for [`WORK`], with a timer that expires every `period` if there
/// is one, and counts its signals.
fn spin_through(period: Option<Duration>) -> u64 {
    static SIGNALS: AtomicU64 = AtomicU64::new(0);
    extern "C" fn count(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    let action = SigAction::new(SigHandler::Handler(count), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler touches an atomic alone.
    let _ = unsafe { sigaction(Signal::SIGALRM, &action) };
    let set = |period: Duration| {
        let every = libc::timeval { tv_sec: 0, tv_usec: period.subsec_micros().into() };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        // SAFETY: a plain structure that outlives the call.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, null_mut()) }
    };
    let began = cpu_time();
    set(period.unwrap_or_default());
    while cpu_time() - began < WORK {
        std::hint::spin_loop();
    }
    set(Duration::ZERO);
    SIGNALS.load(Ordering::Relaxed)
}

/// The total of a line of a pressure file, in microseconds.
fn total(group: &Group, file: &str, line: &str) -> Result<u64, Stop> {
    let text = group.get(file)?;
    let lines = parse::nested_keyed(&text).map_err(|it| Stop::Broken(format!("{file}: {it}")))?;
    let total = lines.get(line).and_then(|it| it.get("total")?.parse().ok());
    total.ok_or_else(|| Stop::Broken(format!("{file} has no total in a line {line:?}: {text:?}")))
}
