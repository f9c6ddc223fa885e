//! A group is empty: the unified hierarchy notifies, a legacy one starts a program.
//! Both in one guest, one after the other, in latency and in CPU time.

use std::path::Path;

use cgauge_lab::kernel::Dir;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// How often a group becomes empty.
const TIMES: u32 = 20;
/// Longer than any agent takes to run, and than the rate limit of notifications.
const QUIET: Duration = Duration::from_millis(100);
/// After so long an agent that was not started is lost.
const DEADLINE: Duration = Duration::from_secs(5);
/// What is started: it finds that it was given no load, and ends.
const AGENT: &str = "/bin/cgauge-workload";

/// The last exit is told through `populated`, by poll and by inotify, and by the start of the release agent; each every time, and at its own price.
#[rstest]
fn release_agent_beside_populated(lab: Lab) -> Outcome {
    let unified = lab.group("unified")?;
    let legacy = lab.legacy("freezer")?.make("legacy")?;
    let root = lab.legacy("freezer")?.dir().path().parent().unwrap_or(Path::new("/"));
    let root = Dir::open(root).map_err(Stop::Refused)?;
    legacy.set("notify_on_release", 1)?;
    // The exits alone, of which nobody is told.
    let alone = exits(&unified, |_| Ok(None))?.1;
    for mechanism in [Mechanism::Poll, Mechanism::Inotify] {
        let mut watch = Watch::new(&unified, "cgroup.events", mechanism)?;
        let told = |after: Duration| {
            let wake = watch.until("populated 0", DEADLINE)?;
            Ok(wake.map(|(it, _)| it.at.saturating_sub(after)))
        };
        let (times, busy) = exits(&unified, told)?;
        let name = format!("populated by {mechanism:?}").to_lowercase();
        tell(&lab, &name, ("cgroup.events", R030), &times, busy.saturating_sub(alone));
    }
    let alone = exits(&legacy, |_| Ok(None))?.1;
    root.write("release_agent", AGENT).map_err(Stop::Refused)?;
    let started = Starts::of(AGENT)?;
    let (times, busy) =
        exits(&legacy, |after| Ok(started.next()?.map(|it| it.saturating_sub(after))))?;
    root.write("release_agent", "").map_err(Stop::Refused)?;
    tell(&lab, "release agent", ("release_agent", R030), &times, busy.saturating_sub(alone));
    Ok(())
}

/// Has a process of `group` exit again and again; how long after each `told` was
/// told, and for how long the CPU was busy in all.
fn exits(
    group: &Group,
    mut told: impl FnMut(Duration) -> Result<Option<Duration>, Stop>,
) -> Result<(Vec<Duration>, Duration), Stop> {
    pause(QUIET);
    let (mut times, before) = (Vec::new(), busy()?);
    for _ in 0..TIMES {
        let end = Gate::new()?;
        let process = group.spawn(|| {
            end.pass();
            now()
        })?;
        // The birth is told of as well: the exit waits until that is long past.
        pause(QUIET);
        end.open();
        let at = process.finish()?;
        times.extend(told(at)?);
        pause(QUIET);
    }
    Ok((times, busy()?.saturating_sub(before)))
}

fn tell(
    lab: &Lab,
    name: &str,
    (file, covers): (&str, cgauge_record::Requirement),
    times: &[Duration],
    busy: Duration,
) {
    lab.latencies(&format!("from the last exit: {name}"), times);
    lab.value(
        &format!("CPU time of all for each last exit: {name}"),
        Unit::Nanoseconds,
        nanoseconds(busy / TIMES),
        Lower,
    );
    lab.notification(&format!("last exits that were told: {name}"))
        .covers([covers, S14])
        .file(file)
        .unit(Unit::Events)
        .observed(times.len())
        .equals(TIMES, "each is told within five seconds: cgroup-v2.rst, [Un]populated Notification; cgroups.rst, 1.4: the kernel runs the release agent when the last process leaves");
}

/// For how long the one CPU has run anything (Documentation/scheduler/
/// sched-stats.rst, the seventh number of a CPU).
fn busy() -> Result<Duration, Stop> {
    let text = std::fs::read_to_string("/proc/schedstat")?;
    let line = text.lines().find(|it| it.starts_with("cpu0 "));
    let time = line.and_then(|it| it.split_ascii_whitespace().nth(7)?.parse().ok());
    time.map(Duration::from_nanos)
        .ok_or_else(|| Stop::Broken("this kernel has no /proc/schedstat".to_owned()))
}

/// The moments at which a program is started: its file is opened then.
struct Starts(Inotify);

impl Starts {
    fn of(program: &str) -> Result<Self, Stop> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(Stop::broken("watch with inotify"))?;
        inotify
            .add_watch(program, AddWatchFlags::IN_OPEN)
            .map_err(Stop::broken("watch the agent"))?;
        Ok(Self(inotify))
    }

    fn next(&self) -> Result<Option<Duration>, Stop> {
        use std::os::fd::AsFd;
        let timeout = PollTimeout::try_from(DEADLINE.as_millis()).unwrap_or(PollTimeout::MAX);
        loop {
            let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut watched, timeout);
            let at = now();
            match ready {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Stop::broken("poll")(errno)),
            }
            self.0.read_events().map_err(Stop::broken("read inotify events"))?;
            return Ok(Some(at));
        }
    }
}
