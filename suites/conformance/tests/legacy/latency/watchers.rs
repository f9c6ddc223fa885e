//! Watchers, each a process of its own with an eventfd of its own, and the checks
//! that every one was told of every cause, soon.
//!
//! It knows no cause.

use cgauge_lab::eventfd::{CONTROL, Notifier};
use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds};
use cgauge_record::Requirement;

/// Without a notification for so long a watcher ends: longer than any two causes
/// are apart, and than it takes to start a hundred watchers.
const END: Duration = Duration::from_secs(10);
/// The shortest that a wake-up can take, in nanoseconds.
const SHORTEST: u64 = 1000;

/// Skips the case where the kernel has no notifications.
pub fn needs_notices(lab: &Lab, group: &Group) -> Outcome {
    if group.has(CONTROL)? {
        return Ok(());
    }
    Err(lab.skip("this kernel has no cgroup.event_control (not with CONFIG_PREEMPT_RT)"))
}

/// When a watcher was woken and how often in all, and its CPU time; or why it
/// could not watch.
type Told = Result<(Vec<u64>, u64), String>;

/// Watchers at work.
pub struct Watchers {
    processes: Vec<Process<Told>>,
    _home: Group,
}

impl Watchers {
    /// Starts watchers of `file` with these arguments, and waits until each watches.
    pub fn start(
        lab: &Lab,
        count: usize,
        group: &Group,
        (file, arguments): (&str, &str),
    ) -> Result<Self, Stop> {
        let home = lab.legacy("memory")?.make("watchers")?;
        let ready = Gate::new()?;
        let watch = || -> Told {
            let notifier = Notifier::new(group, file, arguments);
            ready.open();
            let notifier = notifier.map_err(|it| format!("{it:?}"))?;
            let (mut times, began) = (Vec::new(), cpu_time());
            while let Some(notice) = notifier.next(END).map_err(|it| format!("{it:?}"))? {
                times.push(nanoseconds(notice.at));
            }
            Ok((times, nanoseconds(cpu_time() - began)))
        };
        let processes: Vec<_> = (0..count).map(|_| home.spawn(watch)).collect::<Result<_, _>>()?;
        processes.iter().for_each(|_| ready.pass());
        Ok(Self { processes, _home: home })
    }

    /// Waits until they have ended, and checks what they were told of the causes.
    /// `lasts` is how long a cause goes on before what is told of has happened.
    pub fn check(
        self,
        lab: &Lab,
        name: &str,
        (file, covers): (&str, Requirement),
        causes: &[Duration],
        lasts: Duration,
    ) -> Outcome {
        let count = self.processes.len();
        let (mut times, mut cpu) = (Vec::new(), 0);
        for process in self.processes {
            let (told, used) = process.finish()?.map_err(Stop::Broken)?;
            cpu += used;
            for (nth, cause) in causes.iter().enumerate() {
                let end = causes.get(nth + 1).map_or(u64::MAX, |it| nanoseconds(*it));
                let first = told.iter().find(|it| (nanoseconds(*cause)..end).contains(*it));
                times.extend(first.map(|it| Duration::from_nanos(*it) - *cause));
            }
        }
        lab.latencies(&format!("from cause to wake-up: {name}"), &times);
        let wanted = causes.len() * count;
        lab.notification(&format!("causes that the watchers were told of, summed: {name}"))
            .covers([covers])
            .file(file)
            .unit(Unit::Events)
            .observed(times.len())
            .equals(wanted, "memory.rst: each registered eventfd is signalled; the next cause is its deadline, and after the last ten seconds");
        lab.value(
            &format!("CPU time of a watcher for each cause: {name}"),
            Unit::Nanoseconds,
            cpu / wanted.max(1) as u64,
            Lower,
        );
        // One CPU: the last watcher runs when all others have.
        let others = cpu / causes.len().max(1) as u64 * 2;
        let longest = if times.len() == wanted { times.iter().max().copied() } else { None };
        lab.notification(&format!("longest time from cause to wake-up: {name}"))
            .covers([covers])
            .file(file)
            .took(longest.unwrap_or(Duration::from_secs(60)))
            .between(
                SHORTEST,
                nanoseconds(lasts + tick()? * 2) + others,
                "what the cause itself takes; a tick until the kernel's worker runs, and one that the CPU stays with who caused it; then the watchers run one after the other: what they use for one cause by their own clocks, and as much of the kernel to wake them",
            );
        Ok(())
    }
}
