//! A check as a report keeps it. A run has many and their words repeat, so each
//! text is held once. It must not judge anything.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use cgauge_record::{Check, CheckKind, Quantity, Requirement, Unit, Verdict};

/// The most texts that are remembered at a time: a file in which none repeats must
/// not cost twice.
const MOST_WORDS: usize = 1 << 16;

/// One assertion of a case: [`Check`] without the names of its case, and with the
/// verdict that its numbers imply.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// The promises of the kernel that it tests.
    pub requirements: Arc<[Requirement]>,
    /// The sort of promise.
    pub kind: CheckKind,
    /// What was observed, as a noun phrase.
    pub what: Arc<str>,
    /// The interface file, or empty where it is none.
    pub file: Arc<str>,
    /// The unit of every quantity here.
    pub unit: Unit,
    /// What the kernel did.
    pub observed: Quantity,
    /// The least that the promise allows.
    pub at_least: Option<Quantity>,
    /// The most that the promise allows.
    pub at_most: Option<Quantity>,
    /// The only value that the promise allows.
    pub equals: Option<Quantity>,
    /// Where the bound comes from.
    pub bound_reason: Arc<str>,
    /// Why no lie about the cgroup files could make it fail; empty for nearly all.
    pub beyond_lies: Arc<str>,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl CheckReport {
    /// A check as it stands, its texts untouched.
    pub(crate) fn of(check: &Check) -> Self {
        Self::new(check.clone(), &mut Words::default())
    }

    /// Packs a check, taking texts that came before from `words`.
    pub(super) fn new(it: Check, words: &mut Words) -> Self {
        Self {
            verdict: it.implied(),
            requirements: words.lists.once(&it.requirements),
            kind: it.kind,
            what: words.texts.once(&it.what),
            file: words.texts.once(&it.file),
            unit: it.unit,
            observed: it.observed,
            at_least: it.at_least,
            at_most: it.at_most,
            equals: it.equals,
            bound_reason: words.texts.once(&it.bound_reason),
            beyond_lies: words.texts.once(&it.beyond_lies),
        }
    }

    /// The record again, under no names.
    pub(crate) fn record(&self) -> Check {
        Check {
            config: String::new(),
            suite: String::new(),
            case: String::new(),
            requirements: self.requirements.to_vec(),
            kind: self.kind,
            what: self.what.as_ref().to_owned(),
            file: self.file.as_ref().to_owned(),
            unit: self.unit,
            observed: self.observed.clone(),
            at_least: self.at_least.clone(),
            at_most: self.at_most.clone(),
            equals: self.equals.clone(),
            bound_reason: self.bound_reason.as_ref().to_owned(),
            beyond_lies: self.beyond_lies.as_ref().to_owned(),
            verdict: self.verdict,
        }
    }
}

/// The texts and lists of requirements that came before.
#[derive(Debug, Default)]
pub(super) struct Words {
    texts: Known<str>,
    lists: Known<[Requirement]>,
}

#[derive(Debug)]
struct Known<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for Known<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> Known<T> {
    /// The one copy of it.
    fn once<'a>(&mut self, it: &'a T) -> Arc<T>
    where
        Arc<T>: From<&'a T>,
    {
        if let Some(known) = self.0.get(it) {
            return Arc::clone(known);
        }
        if self.0.len() >= MOST_WORDS {
            self.0.clear();
        }
        let new = Arc::from(it);
        self.0.insert(Arc::clone(&new));
        new
    }
}
