//! Watchers, each a process of its own, that note what they are told and when.
//!
//! It knows no cause.

use std::ops::Range;

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};

/// Without a notification for so long a watcher ends: longer than any two causes
/// are apart (a process above memory.high is slowed by 2 s at most, two stalls are
/// 2.5 s apart), and that much longer that the first of a hundred watchers does
/// not end while the last ones are still being started.
pub const END: Duration = Duration::from_secs(10);

/// A notification, as one watcher got it.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// When the watcher ran again.
    pub at: Duration,
    /// What the watched key held then; none if it was not there.
    pub value: Option<u64>,
}

/// What one watcher has to tell.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every notification in turn.
    pub notices: Vec<Notice>,
    /// CPU time that it took to wait for them and to read the file at each.
    pub cpu: Duration,
}

impl Report {
    /// The first notification in `times` whose value is as `wanted` says.
    pub fn first(
        &self,
        times: &Range<Duration>,
        wanted: impl Fn(Option<u64>) -> bool,
    ) -> Option<Duration> {
        let found = self.notices.iter().find(|it| times.contains(&it.at) && wanted(it.value));
        found.map(|it| it.at)
    }
}

/// How a report comes out of its process: times and values, the CPU time, or why
/// there is none.
pub type Told = Result<(Vec<(u64, Option<u64>)>, u64), String>;

/// Watchers at work. They end by themselves once there is quiet.
#[derive(Debug)]
pub struct Watchers {
    // The processes end before their group goes.
    processes: Vec<Process<Told>>,
    _home: Group,
}

impl Watchers {
    /// Starts watchers of `key` in `file` of `group`, and waits until each watches.
    pub fn of_file(
        lab: &Lab,
        count: usize,
        group: &Group,
        (file, key): (&str, &str),
        mechanism: Mechanism,
    ) -> Result<Self, Stop> {
        Self::start(lab, count, |ready| {
            let watch = Watch::new(group, file, mechanism);
            ready.open();
            let mut watch = watch.map_err(|it| format!("{it:?}"))?;
            collect(|| {
                let wake = watch.next(END).map_err(|it| format!("{it:?}"))?;
                Ok(wake.map(|it| (it.at, value(&it.text, key))))
            })
        })
    }

    /// Starts processes outside the watched groups that each do `body`, and waits
    /// until every one has opened the gate that it is given.
    pub fn start(lab: &Lab, count: usize, body: impl Fn(&Gate) -> Told) -> Result<Self, Stop> {
        let home = lab.group("watchers")?;
        let ready = Gate::new()?;
        let mut processes = Vec::with_capacity(count);
        for _ in 0..count {
            processes.push(home.spawn(|| body(&ready))?);
        }
        processes.iter().for_each(|_| ready.pass());
        Ok(Self { processes, _home: home })
    }

    /// CPU time that they have used up to now, by their own clocks.
    pub fn cpu(&self) -> Result<Duration, Stop> {
        let clock = |it: &Process<Told>| -> nix::Result<Duration> {
            let clock: ClockId = clock_getcpuclockid(it.pid())?;
            clock_gettime(clock).map(Duration::from)
        };
        let times: nix::Result<Vec<Duration>> = self.processes.iter().map(clock).collect();
        Ok(times.map_err(Stop::broken("read a process's clock"))?.iter().sum())
    }

    /// Waits until they have ended, and takes what they have to tell.
    pub fn reports(self) -> Result<Vec<Report>, Stop> {
        let report = |process: Process<Told>| {
            let (notices, cpu) = process.finish()?.map_err(Stop::Broken)?;
            let notice =
                |(at, value): (u64, Option<u64>)| Notice { at: Duration::from_nanos(at), value };
            Ok(Report {
                notices: notices.into_iter().map(notice).collect(),
                cpu: Duration::from_nanos(cpu),
            })
        };
        self.processes.into_iter().map(report).collect()
    }
}

/// Notes notifications until `next` has none.
pub fn collect(mut next: impl FnMut() -> Result<Option<(Duration, Option<u64>)>, String>) -> Told {
    let mut notices = Vec::new();
    let began = cpu_time();
    while let Some((at, value)) = next()? {
        notices.push((nanoseconds(at), value));
    }
    Ok((notices, nanoseconds(cpu_time() - began)))
}

/// The number behind `key`; without one, whether the file holds another word than
/// `member`, as a partition's does.
fn value(text: &str, key: &str) -> Option<u64> {
    if key.is_empty() {
        return Some(u64::from(text.trim_end() != "member"));
    }
    text.lines().find_map(|it| it.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// How long the kernel's rate limit may hold a notification back: its
/// `DIV_ROUND_UP(HZ, 100)` ticks, the one that has begun, and one of its timer.
pub fn held_back() -> Result<Duration, Stop> {
    let tick = tick()?;
    let ticks = Duration::from_millis(10).as_nanos().div_ceil(tick.as_nanos().max(1));
    Ok(tick * (u32::try_from(ticks).unwrap_or(u32::MAX) + 2))
}
