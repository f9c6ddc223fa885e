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
    /// Notifications for each cause.
    pub least: u64,
    pub most: u64,
    /// Why it is so many.
    pub reason: &'a str,
    /// Ticks that the cause itself may take.
    pub ticks: u32,
    /// How often the rate limit may hold it back, for what comes just before it.
    pub held_back: u32,
}

impl Plan<'_> {
    /// Causes enough for the watchers together to be told many times.
    fn rounds(&self) -> u32 {
        match self.watchers {
            // A kill costs as much as many other causes.
            1 if self.held_back > 0 => 5,
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
        let mut caused = Vec::new();
        for round in 0..self.rounds() {
            caused.push(cause.happen()?);
            // Not a whole number of ticks, so that the causes meet the tick anywhere.
            pause(QUIET + Duration::from_micros(137) * round);
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
        let causes = u64::try_from(wanted).unwrap_or(u64::MAX);
        lab.notification(&format!("notifications that the watchers got, summed: {name}"))
            .covers(self.covers.iter().copied())
            .file(file)
            .unit(Unit::Events)
            .observed(notices)
            .between(causes * self.least, causes * self.most, self.reason);
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
        let own = tick()? * (1 + self.ticks) + held_back()? * self.held_back;
        let reason = if self.held_back > 0 {
            "CGROUP_FILE_NOTIFY_MIN_INTV, DIV_ROUND_UP(HZ, 100) ticks, the one that has begun and one of the timer, holds it back for the max just before, and again where the tries to reclaim before the kill are longer than that"
        } else {
            "cgroup_file_notify() tells at once after a quiet time; a tick is the most that the CPU stays with who caused it, and one more is for what a read of 128 pages takes, four for 16 tries to reclaim in vain"
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
