//! What a fork bomb writes down while it goes off, and the truth that follows
//! from it.
//!
//! Every task of the bomb writes to the same memory, one word an event, so the
//! order of the words is the order of the events. Everything that the bomb
//! reports is computed from them afterwards. It must not know how tasks are
//! made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use crate::series::Thinning;
use crate::truth;

/// How many points a series has at most, besides its last.
const POINTS: usize = 512;

/// Something that happened to a fork bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A task was made. Written once it exists.
    Started,
    /// A task is gone. Written before the kernel lets go of it, so that the
    /// tasks started and not gone are never more than the kernel counts.
    Gone,
    /// The kernel did not make a task.
    Refused(Errno),
}

/// The highest byte of a word is the event, the rest are nanoseconds: 2.2 years.
const TIME_BITS: u32 = 56;
const STARTED: u64 = 1;
const GONE: u64 = 2;
/// Added to an errno. Those that a fork can give are below 253.
const REFUSED: u64 = 3;

/// An event and when it happened, in nanoseconds since the bomb began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at_ns: u64,
    pub(crate) event: Event,
}

impl Entry {
    fn encode(self) -> u64 {
        let event = match self.event {
            Event::Started => STARTED,
            Event::Gone => GONE,
            Event::Refused(errno) => REFUSED + (errno as u64).min(0xff - REFUSED),
        };
        event << TIME_BITS | self.at_ns.min((1 << TIME_BITS) - 1)
    }

    /// `None` for a word that was never written.
    fn decode(word: u64) -> Option<Self> {
        let event = match word >> TIME_BITS {
            0 => return None,
            STARTED => Event::Started,
            GONE => Event::Gone,
            errno => Event::Refused(Errno::from_raw((errno - REFUSED) as i32)),
        };
        Some(Self { at_ns: word & ((1 << TIME_BITS) - 1), event })
    }
}

/// Appends entries to shared words, from any number of tasks at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journal<'a> {
    pub(crate) written: &'a AtomicU64,
    pub(crate) words: &'a [AtomicU64],
}

impl<'a> Journal<'a> {
    /// Appends an entry. One that there is no room for is lost: the caller
    /// makes room for all that can happen.
    pub(crate) fn write(self, entry: Entry) {
        let place = self.written.fetch_add(1, Ordering::AcqRel);
        if let Some(word) = usize::try_from(place).ok().and_then(|place| self.words.get(place)) {
            word.store(entry.encode(), Ordering::Release);
        }
    }

    /// What was written so far.
    pub(crate) fn entries(self) -> impl Iterator<Item = Entry> + 'a {
        let written = usize::try_from(self.written.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        let words = self.words.iter().take(written);
        words.filter_map(|word| Entry::decode(word.load(Ordering::Acquire)))
    }
}

/// What follows from the entries.
pub(crate) fn summarize(
    entries: impl Iterator<Item = Entry>,
    state: truth::State,
    deepest: u32,
) -> truth::ForkBomb {
    let (mut now_ns, mut successes, mut gone, mut refused, mut most_alive) = (0, 0_u64, 0, 0, 0);
    let mut failures = BTreeMap::<String, u64>::new();
    let mut alive_over_time = Thinning::new(POINTS);
    let mut refused_over_time = Thinning::new(POINTS);
    // How long the bomb took to what, and how many tasks it had made by then.
    let (mut last_start, mut first_refusal) = ((0, 0), None);

    alive_over_time.push(0, 0);
    refused_over_time.push(0, 0);
    for Entry { at_ns, event } in entries {
        // Two CPUs may look at the clock in one order and write in the other.
        now_ns = at_ns.max(now_ns);
        match event {
            Event::Started => {
                successes += 1;
                last_start = (now_ns, successes);
            }
            Event::Gone => gone += 1,
            Event::Refused(errno) => {
                refused += 1;
                *failures.entry(format!("{errno:?}")).or_default() += 1;
                first_refusal.get_or_insert((now_ns, successes));
                refused_over_time.push(now_ns, refused);
                continue;
            }
        }
        let alive = successes.saturating_sub(gone);
        most_alive = alive.max(most_alive);
        alive_over_time.push(now_ns, alive);
    }

    let (ns, forks) = first_refusal.unwrap_or(last_start);
    truth::ForkBomb {
        state,
        attempts: successes + refused,
        successes,
        failures,
        exits: gone,
        alive: successes.saturating_sub(gone),
        most_alive,
        deepest: u64::from(deepest),
        first_refusal_ns: first_refusal.map(|it| it.0),
        forks_per_second: truth::per_second(forks, ns),
        alive_over_time: alive_over_time.finish(),
        refused_over_time: refused_over_time.finish(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::truth::State;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Started),
            2 => Just(Event::Gone),
            1 => Just(Event::Refused(Errno::EAGAIN)),
            1 => Just(Event::Refused(Errno::ENOMEM)),
        ]
    }

    /// Events that can have happened: nothing is gone before it started.
    fn history() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::vec((0..5000u64, event()), 0..700).prop_map(|drawn| {
            let (mut at_ns, mut alive, mut entries) = (0, 0_u64, Vec::new());
            for (step, event) in drawn {
                at_ns += step;
                match event {
                    Event::Started => alive += 1,
                    Event::Gone if alive == 0 => continue,
                    Event::Gone => alive -= 1,
                    Event::Refused(_) => {}
                }
                entries.push(Entry { at_ns, event });
            }
            entries
        })
    }

    proptest! {
        // Histories are long: these are as many events as they need.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_journal_gives_back_what_was_written(entries in history()) {
            let words: Vec<AtomicU64> = entries.iter().map(|_| AtomicU64::new(0)).collect();
            let journal = Journal { written: &AtomicU64::new(0), words: &words };
            entries.iter().for_each(|entry| journal.write(*entry));
            prop_assert_eq!(journal.entries().collect::<Vec<_>>(), entries);
        }

        #[test]
        fn the_sums_add_up(entries in history()) {
            let truth = summarize(entries.iter().copied(), State::Over, 3);
            let failures: u64 = truth.failures.values().sum();
            prop_assert_eq!(truth.attempts, truth.successes + failures);
            prop_assert_eq!(truth.successes - truth.exits, truth.alive);
            prop_assert!(truth.most_alive >= truth.alive);
            prop_assert_eq!(truth.alive_over_time.points.last().unwrap().1, truth.alive);
            prop_assert_eq!(truth.refused_over_time.points.last().unwrap().1, failures);
            prop_assert_eq!(truth.first_refusal_ns.is_some(), failures > 0);
            prop_assert!(truth.alive_over_time.points.len() <= POINTS + 1);
        }
    }

    #[test]
    fn the_rate_is_taken_up_to_the_first_refusal() {
        let mut entries: Vec<Entry> =
            (1..=10).map(|n| Entry { at_ns: n * 1_000_000, event: Event::Started }).collect();
        let unlimited = summarize(entries.iter().copied(), State::Standing, 1);
        assert_eq!((unlimited.first_refusal_ns, unlimited.forks_per_second), (None, 1000.0));

        let refusal = Event::Refused(Errno::EAGAIN);
        entries.push(Entry { at_ns: 20_000_000, event: refusal });
        entries.push(Entry { at_ns: 90_000_000, event: refusal });
        let limited = summarize(entries.into_iter(), State::Standing, 1);
        assert_eq!(limited.first_refusal_ns, Some(20_000_000));
        assert_eq!(limited.forks_per_second, 500.0);
        assert_eq!(limited.failures, BTreeMap::from([("EAGAIN".to_owned(), 2)]));
    }

    #[test]
    fn times_never_run_backwards() {
        let started = |at_ns| Entry { at_ns, event: Event::Started };
        let truth = summarize([started(5), started(4), started(6)].into_iter(), State::Over, 1);
        assert_eq!(truth.alive_over_time.points, [(0, 0), (5, 1), (5, 2), (6, 3)]);
    }

    #[test]
    fn what_does_not_fit_is_lost_and_nothing_else() {
        let words = [AtomicU64::new(0)];
        let journal = Journal { written: &AtomicU64::new(0), words: &words };
        let first = Entry { at_ns: 1, event: Event::Started };
        journal.write(first);
        journal.write(Entry { at_ns: 2, event: Event::Gone });
        assert_eq!(journal.entries().collect::<Vec<_>>(), [first]);
    }
}
