//! The trigger of a pressure file: from the moment at which the stall reaches the
//! threshold to the wake-up (accounting/psi.rst, "Monitoring for pressure thresholds").

use std::io::{Read, Write};
use std::os::fd::AsFd;

use cgauge_lab::disk::NullDisk;
use cgauge_lab::kernel::Open;
use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_lab::turns::Turns;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::causes::direct;
use crate::plan::SHORTEST;
use crate::watchers::{END, Watchers, collect};

const FILE: &str = "io.pressure";
/// Stall within a window that a watcher is to be told of.
const THRESHOLD: Duration = Duration::from_millis(100);
/// The shortest window that every kernel takes.
const WINDOW: Duration = Duration::from_millis(500);
/// What a read takes: longer than the threshold and a look of the kernel's at it,
/// and so short that what is left after an event is no new one.
const STALL: Duration = Duration::from_millis(180);
/// How often the process stalls.
const STALLS: u32 = 6;

/// A stall wakes every watcher with a trigger of its own, not before the threshold and within a tenth of the window after it.
#[rstest]
#[case::watchers_1(1, 10)]
#[case::watchers_10(10, 1)]
#[case::watchers_100(100, 1)]
fn stall_wakes_every_watcher_with_a_trigger(
    lab: Lab,
    #[case] watchers: usize,
    #[case] depth: usize,
) -> Outcome {
    let disk = lab.null_disk(NullDisk { completion: STALL, ..NullDisk::default() })?;
    let groups = crate::causes::chain(&lab, depth, "")?;
    let watching = Watchers::start(&lab, watchers, |ready| {
        let first = trigger(&groups[0]);
        ready.open();
        let mut armed = first?;
        collect(|| {
            let fired = fires(&armed)?;
            // A new one for each stall: what is left of this one would make the old
            // one fire again.
            armed = trigger(&groups[0])?;
            Ok(fired.map(|at| (at, None)))
        })
    })?;
    let file = direct(&disk)?;
    let turns = Turns::new()?;
    let _reader: Process<()> = groups[depth - 1].spawn(|| {
        loop {
            turns.step(|| {
                let mut block = Block([0; 4096]);
                let began = now();
                // A device that holds nothing cannot fail to read it.
                let _ = (&file).read(&mut block.0);
                nanoseconds(began)
            });
        }
    })?;
    let mut stalls = Vec::new();
    for round in 0..STALLS {
        // Beyond the window, so that the stall before is forgotten, and each watcher
        // has its next trigger.
        pause(WINDOW * 5 + Duration::from_micros(1370) * round);
        stalls.push(Duration::from_nanos(turns.next()?));
    }
    let reports = watching.reports()?;
    let mut times = Vec::new();
    for stall in &stalls {
        let told = reports.iter().filter_map(|it| it.first(&(*stall..*stall + WINDOW), |_| true));
        times.extend(told.map(|it| it - *stall));
    }
    let after: Vec<_> = times.iter().map(|it| it.saturating_sub(THRESHOLD)).collect();
    lab.latencies("from the threshold to wake-up: PSI trigger", &after);
    let wanted = stalls.len() * watchers;
    lab.notification("stalls that the watchers were told of, summed")
        .covers([R126])
        .file(FILE)
        .unit(Unit::Events)
        .observed(times.len())
        .equals(wanted, "psi.rst: an event when the stall within a window exceeds the threshold");
    let notices: usize = reports.iter().map(|it| it.notices.len()).sum();
    lab.notification("events that the watchers got, summed")
        .covers([R126])
        .file(FILE)
        .unit(Unit::Events)
        .observed(notices)
        .equals(wanted, "psi.rst: \"notifications to the userspace are rate-limited to one per tracking window\"");
    lab.notification("shortest time from the begin of the stall to wake-up")
        .covers([R126])
        .file(FILE)
        .took(times.iter().min().copied().unwrap_or_default())
        .at_least(
            nanoseconds(THRESHOLD),
            "there is no stall before, and it is as long as the time is",
        );
    let cpu: Duration = reports.iter().map(|it| it.cpu).sum();
    lab.value(
        "CPU time of a watcher for each event, with the making of its next trigger: PSI trigger",
        Unit::Nanoseconds,
        nanoseconds(cpu) / u64::try_from(notices.max(1)).unwrap_or(u64::MAX),
        Lower,
    );
    let longest = if times.len() == wanted { after.iter().max().copied() } else { None };
    lab.notification("longest time from the threshold to wake-up")
        .covers([R126])
        .file(FILE)
        .took(longest.unwrap_or(Duration::from_secs(60)))
        .between(
            SHORTEST,
            nanoseconds(WINDOW / 10 + tick()? * 4) + nanoseconds(cpu) / u64::from(STALLS) * 2,
            "psi.rst: the stall is looked at ten times in a window; a tick for the first look, one for the rounding of each look up to this, and then the watchers run one after the other on one CPU",
        );
    Ok(())
}

/// A block, aligned as a direct read wants it.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// A descriptor with a trigger of its own.
fn trigger(group: &Group) -> Result<Open, String> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
    let mut open = group.dir().open_file(FILE, flags).map_err(|it| it.to_string())?;
    let words = format!("some {} {}\0", THRESHOLD.as_micros(), WINDOW.as_micros());
    open.write(words.as_bytes()).map_err(|it| format!("set a trigger: {it}"))?;
    Ok(open)
}

/// When it fires; `None` if it does not in time.
fn fires(trigger: &Open) -> Result<Option<Duration>, String> {
    let timeout = PollTimeout::try_from(END.as_millis()).unwrap_or(PollTimeout::MAX);
    let mut watched = [PollFd::new(trigger.as_fd(), PollFlags::POLLPRI)];
    let ready = poll(&mut watched, timeout).map_err(|it| format!("poll a trigger: {it}"))?;
    let at = now();
    if watched[0].revents().is_some_and(|it| it.contains(PollFlags::POLLERR)) {
        return Err("a trigger is gone".to_owned());
    }
    Ok((ready > 0).then_some(at))
}
