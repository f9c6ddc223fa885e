//! Causes far apart, watchers, and the checks that every one was told of, soon.

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{nanoseconds, now, pause};
use cgauge_record::Requirement;

use crate::causes::{Cause, Caused, QUIET};
use crate::watchers::{Report, Watchers, held_back};

/// The shortest that a wake-up can take, in nanoseconds: what is less was told
/// of before it was caused.
pub const SHORTEST: u64 = 1000;
/// Why that is so.
const LEAST: &str =
    "a system call, a wake-up and a switch are some hundred instructions: no less than 1 us";

/// How a kind of cause is told of.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What happens, for the names of what is measured.
    pub name: &'a str,
    /// The promises.
    pub covers: &'a [Requirement],
    /// How many watchers there are.
    pub watchers: usize,
    pub mechanism: Mechanism,
    /// Notifications for each cause, besides those of one that lasts.
    pub each: u64,
    /// Why it is so many.
    pub reason: &'a str,
    /// When in the course of a cause what is waited for comes.
    pub comes: Comes,
}

/// When in the course of a cause what is waited for comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// With its first event, after a quiet time: it is told at once.
    First,
    /// With its last event: the rate limit may hold it back for those before it.
    Last,
}

/// The least time between two notifications (kernel/cgroup/cgroup.c,
/// CGROUP_FILE_NOTIFY_MIN_INTV).
const APART: Duration = Duration::from_millis(10);

impl Plan<'_> {
    /// Causes enough for the watchers together to be told many times.
    fn rounds(&self) -> u32 {
        match self.watchers {
            // A kill costs as much as many other causes.
            1 if self.comes == Comes::Last => 5,
            1 => 10,
            2..=10 => 5,
            _ => 2,
        }
    }

    /// Has `cause` happen, each time after a quiet time, and checks what the
    /// watchers were told.
    pub fn run(&self, lab: &Lab, mut cause: impl Cause) -> Outcome {
        let place = cause.place();
        // What the making of the cause had held back is told before anybody watches.
        pause(QUIET);
        let watchers =
            Watchers::of_file(lab, self.watchers, cause.watched(), place, self.mechanism)?;
        pause(QUIET);
        let before = watchers.cpu()?;
        pause(QUIET);
        let waiting = watchers.cpu()? - before;
        // The watchers run one after the other, and each is to have read before the
        // next cause: 2 ms are twice what one takes.
        let quiet = QUIET + Duration::from_millis(2) * u32::try_from(self.watchers).unwrap_or(0);
        let mut caused = Vec::new();
        for round in 0..self.rounds() {
            caused.push(cause.happen()?);
            // Not a whole number of ticks, so that the causes meet the tick anywhere.
            pause(quiet + Duration::from_micros(137) * round);
        }
        let reports = watchers.reports()?;
        self.check_told(lab, place.0, &caused, &reports)?;
        lab.performance(&format!("CPU time of the watchers while nothing happens: {}", self.name))
            .covers(self.covers.iter().copied())
            .file(place.0)
            .beyond_lies("the watchers' own clocks, while no request is made")
            .took(waiting)
            .equals(0, "they sleep until they are told");
        Ok(())
    }

    fn check_told(&self, lab: &Lab, file: &str, caused: &[Caused], reports: &[Report]) -> Outcome {
        let name = self.name;
        let (mut all, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for (index, it) in caused.iter().enumerate() {
            let end = caused.get(index + 1).map_or_else(now, |it| it.at);
            let told: Vec<_> = reports
                .iter()
                .filter_map(|report| report.first(&(it.at..end), |value| it.becomes.is(value)))
                .map(|at| at - it.at)
                .collect();
            first.extend(told.iter().min());
            last.extend(told.iter().max());
            all.extend(told);
        }
        lab.latencies(&format!("from cause to wake-up: {name}"), &all);
        if reports.len() > 1 {
            lab.latencies(&format!("from cause to the first watcher: {name}"), &first);
            lab.latencies(&format!("from cause to the last watcher: {name}"), &last);
        }
        let wanted = caused.len() * reports.len();
        lab.notification(&format!("causes that the watchers were told of, summed: {name}"))
            .covers(self.covers.iter().copied())
            .file(file)
            .unit(Unit::Events)
            .observed(all.len())
            .equals(wanted, "cgroup-v2.rst: a change of the file notifies, and each watcher waits apart; the next cause is its deadline");
        let notices: usize = reports.iter().map(|it| it.notices.len()).sum();
        let watchers = u64::try_from(reports.len()).unwrap_or(u64::MAX);
        // Of one that lasts another is told after each 10 ms for which there is
        // still something to tell, and what comes after the last of these.
        let further = |it: &&Caused| !it.lasts.is_zero();
        let further: u128 = caused
            .iter()
            .filter(further)
            .map(|it| it.lasts.as_nanos() / APART.as_nanos() + 1)
            .sum();
        let least = self.each * u64::try_from(wanted).unwrap_or(u64::MAX);
        let most = least + watchers * u64::try_from(further).unwrap_or(u64::MAX);
        lab.notification(&format!("notifications that the watchers got, summed: {name}"))
            .covers(self.covers.iter().copied())
            .file(file)
            .unit(Unit::Events)
            .observed(notices)
            .between(least, most, self.reason);
        let cpu: Duration = reports.iter().map(|it| it.cpu).sum();
        let each = nanoseconds(cpu) / u64::try_from(notices.max(1)).unwrap_or(u64::MAX);
        lab.value(
            &format!("CPU time of a watcher for each notification: {name}"),
            Unit::Nanoseconds,
            each,
            Lower,
        );
        // One CPU: the last watcher runs when all others have.
        let others = nanoseconds(cpu) / u64::try_from(caused.len().max(1)).unwrap_or(u64::MAX) * 2;
        let lasts = caused.iter().map(|it| it.lasts).max().unwrap_or_default();
        let (own, reason) = match self.comes {
            Comes::First => (
                tick()? + lasts.min(tick()?),
                "cgroup_file_notify() tells at once after a quiet time; a tick is the most that the CPU stays with who caused it, and one more if it goes on for so long",
            ),
            Comes::Last => (
                tick()? + lasts + held_back()?,
                "it comes by when the process is reaped; CGROUP_FILE_NOTIFY_MIN_INTV, DIV_ROUND_UP(HZ, 100) ticks, the one that has begun and one of the timer, holds it back for the events before it, and a tick is the most that the CPU stays with somebody else",
            ),
        };
        let longest = if all.len() == wanted { all.iter().max().copied() } else { None };
        lab.notification(&format!("longest time from cause to wake-up: {name}"))
            .covers(self.covers.iter().copied())
            .file(file)
            .took(longest.unwrap_or(Duration::from_secs(60)))
            .between(SHORTEST, nanoseconds(own) + others, &format!("{reason}; then the watchers run one after the other on the one CPU: what they use for one cause by their own clocks, and as much of the kernel to wake them; {LEAST}"));
        Ok(())
    }
}
