//! Triggers: a threshold and a window written to a pressure file, and `poll` on
//! it (accounting/psi.rst, "Monitoring for pressure thresholds").

use std::io::Write;

use cgauge_lab::Group;
use cgauge_lab::kernel::{Open, errno_of};
use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;
use cgauge_lab::time::now;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollFlags;

use crate::stall::{Disk, micros, reader, total};

const IO: &str = "io.pressure";

/// A trigger fires once the stall has reached its threshold, not before, and at most once in a window.
#[rstest]
#[case::some("some 100000 1000000", 100_000, 1_000)]
#[case::full("full 300000 2000000", 300_000, 2_000)]
fn trigger_fires_once_the_threshold_is_reached(
    lab: Lab,
    #[case] words: &str,
    #[case] threshold: u64,
    #[case] window_ms: u64,
) -> Outcome {
    let disk = Disk::open(&lab)?;
    let (group, neighbour) = (lab.group("group")?, lab.group("neighbour")?);
    let window = Duration::from_millis(window_ms);
    let line = words.split(' ').next().unwrap_or_default();
    let trigger = Trigger::new(&group, IO, words)?;
    let spared = Trigger::new(&neighbour, IO, words)?;
    lab.notification("whether it fires without a stall")
        .covers([R126])
        .file(IO)
        .happened(trigger.fires(window * 2)?)
        .equals("no", "nobody waits for anything");
    let before = total(&group, IO, line)?;
    let began = now();
    let process = reader(&group, &disk, 1, Duration::ZERO)?;
    let mut times = Vec::new();
    let mut at_first = 0;
    while now() < began + window * 5 {
        if let Some(at) = trigger.fires(window * 2)? {
            if times.is_empty() {
                at_first = total(&group, IO, line)? - before;
            }
            times.push(at - began);
        }
    }
    let fired_elsewhere = spared.fires(Duration::ZERO)?;
    process.end()?;
    let first = times.first().copied().unwrap_or_default();
    lab.latencies("from the begin of the stall to the first event", &times[..times.len().min(1)]);
    lab.notification("stall by the first event")
        .covers([R126])
        .file(IO)
        .unit(Unit::Microseconds)
        .observed(at_first)
        .at_least(
            threshold,
            "psi.rst: the trigger fires when the stall of the window exceeds the threshold",
        );
    lab.notification("time from the begin of the stall to the first event")
        .covers([R126])
        .file(IO)
        .unit(Unit::Microseconds)
        .observed(micros(first))
        .between(
            threshold,
            threshold + micros(window) / 10 * 2 + 20_000,
            "the stall is without a pause, so that it reaches the threshold after so long; psi.rst: it is looked at ten times in a window, once more for the begin, and one read of 20 ms before it is accounted",
        );
    let gaps = times.windows(2).map(|it| micros(it[1] - it[0]));
    lab.notification("shortest time between two events")
        .covers([R126])
        .file(IO)
        .unit(Unit::Microseconds)
        .observed(gaps.clone().min().unwrap_or(0))
        .at_least(micros(window) - 1000, "psi.rst: \"Notifications to the userspace are rate-limited to one per tracking window\"; 1 ms for the watcher's own way");
    lab.notification("longest time between two events")
        .covers([R126])
        .file(IO)
        .unit(Unit::Microseconds)
        .observed(gaps.max().unwrap_or(u64::MAX))
        .at_most(
            micros(window) * 13 / 10,
            "the stall goes on, and it is looked at ten times in a window",
        );
    lab.notification("whether a neighbour's trigger fires")
        .covers([R126])
        .file(IO)
        .happened(fired_elsewhere)
        .equals("no", "nobody waits in the neighbour");
    Ok(())
}

/// A stall below the threshold never fires.
#[rstest]
#[case::above("some 300000 1000000", "yes")]
#[case::below("some 700000 1000000", "no")]
fn stall_below_the_threshold_never_fires(
    lab: Lab,
    #[case] words: &str,
    #[case] expected: &str,
) -> Outcome {
    let disk = Disk::open(&lab)?;
    let group = lab.group("group")?;
    let trigger = Trigger::new(&group, IO, words)?;
    // 20 ms of stall, 20 ms of rest.
    let _process = reader(&group, &disk, 1, Duration::from_millis(20))?;
    lab.notification("whether it fires in 5 s in which half of the time is stall")
        .covers([R126])
        .file(IO)
        .happened(trigger.fires(Duration::from_secs(5))?)
        .equals(expected, "the stall of every second is 500 ms");
    Ok(())
}

/// A trigger's words are two numbers within their bounds; anything else is refused.
#[rstest]
fn trigger_takes_a_threshold_and_a_window(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    // 500 ms was the shortest window until 6.2; psi.rst still says so.
    let short_windows = release()? >= (6, 3);
    // Since 5.13 there is a full for the CPU too.
    let cpu_has_full = release()? >= (5, 13);
    for file in ["cpu.pressure", "memory.pressure", IO] {
        for (words, answer) in [
            ("some 150000 1000000", "ok"),
            (
                "full 150000 1000000",
                if file != "cpu.pressure" || cpu_has_full { "ok" } else { "EINVAL" },
            ),
            ("some 1 500000", "ok"),
            ("some 10000000 10000000", "ok"),
            ("some 0 1000000", "EINVAL"),
            ("some 1000001 1000000", "EINVAL"),
            ("some 1000 499999", if short_windows { "ok" } else { "EINVAL" }),
            ("some 1000 0", "EINVAL"),
            ("some 1000 10000001", "EINVAL"),
            ("some 150000", "EINVAL"),
            ("some", "EINVAL"),
            ("any 150000 1000000", "EINVAL"),
            ("150000 1000000", "EINVAL"),
            ("some -1 1000000", "EINVAL"),
        ] {
            let trigger = Trigger::try_new(&group, file, words)?;
            lab.interface(&format!("the answer to {words:?}"))
                .covers([R113, R126, R081])
                .file(file)
                .returned(&trigger)
                .equals(answer, "psi.rst: some or full, a threshold and a window in microseconds; the window is up to 10 s (until 6.2 of at least 500 ms), and the threshold not above it");
        }
    }
    let mut held = Trigger::new(&group, IO, "some 150000 1000000")?;
    lab.interface("the answer to a second trigger on one descriptor")
        .covers([R126])
        .file(IO)
        .returned(&held.add("some 250000 1000000"))
        .equals("EBUSY", "psi.rst: \"for each trigger a separate file descriptor\"; kernel/cgroup/cgroup.c, pressure_write");
    Ok(())
}

/// A trigger ends with its group, and with the group's pressure being switched off.
#[rstest]
#[case::removal(true)]
#[case::switch(false)]
fn trigger_ends_with_what_it_watches(lab: Lab, #[case] removed: bool) -> Outcome {
    if !removed {
        lab.needs_file("cgroup.pressure", "since 6.1")?;
    }
    let group = lab.group("group")?;
    let trigger = Trigger::new(&group, IO, "some 150000 1000000")?;
    if removed {
        group.try_remove().map_err(|it| Stop::Broken(it.to_string()))?;
    } else {
        group.set("cgroup.pressure", 0)?;
    }
    let events = trigger.told(Duration::from_secs(1))?;
    lab.notification("what the watcher is told")
        .covers([R061])
        .file(IO)
        .observed(if events.contains(PollFlags::POLLERR) { "POLLERR" } else { "nothing" })
        .equals(
            "POLLERR",
            "psi.rst, userspace monitor usage: POLLERR says that the source of the events is gone",
        );
    Ok(())
}

/// A trigger: it is there as long as its descriptor is open.
#[derive(Debug)]
struct Trigger(Open);

impl Trigger {
    fn new(group: &Group, file: &str, words: &str) -> Result<Self, Stop> {
        Self::try_new(group, file, words)?.map_err(Stop::broken("set a trigger"))
    }

    fn try_new(group: &Group, file: &str, words: &str) -> Result<Result<Self, Errno>, Stop> {
        let open = group
            .dir()
            .open_file(file, OFlag::O_RDWR | OFlag::O_NONBLOCK)
            .map_err(|it| Stop::Broken(it.to_string()))?;
        let mut trigger = Self(open);
        Ok(trigger.add(words).map(|()| trigger))
    }

    fn add(&mut self, words: &str) -> Result<(), Errno> {
        // With its NUL byte, as psi.rst does it.
        self.0.write(format!("{words}\0").as_bytes()).map(drop).map_err(|it| errno_of(&it))
    }

    fn told(&self, patience: Duration) -> Result<PollFlags, Stop> {
        self.0.told(patience).map_err(Stop::broken("poll a trigger"))
    }

    /// When it fired; `None` if it did not in time.
    fn fires(&self, patience: Duration) -> Result<Option<Duration>, Stop> {
        let events = self.told(patience)?;
        let at = now();
        if events.contains(PollFlags::POLLERR) {
            return Err(Stop::Broken("a trigger is gone".to_owned()));
        }
        Ok(events.contains(PollFlags::POLLPRI).then_some(at))
    }
}
