//! The run in one sentence, the same one at the head of every output. It must
//! not know any output format, nor what an exit code is.

use cgauge_record::{ALL, RunEnd};

use crate::run::Run;

/// How the run stands as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every case that ran passed.
    Held,
    /// The kernel broke its word at least once.
    Broken,
    /// No case failed, and at least one could not be judged: error or noise.
    Undecided,
    /// Nothing was tested.
    Untested,
}

impl Standing {
    /// One word for it, and it stands beside its colour everywhere.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "PASS",
            Self::Broken => "FAIL",
            Self::Undecided => "UNDECIDED",
            Self::Untested => "NOTHING TESTED",
        }
    }
}

/// The standing of a run and the sentence that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it stands.
    pub standing: Standing,
    /// One sentence.
    pub sentence: String,
}

impl Verdict {
    /// The verdict on a run.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let end = &run.end;
        let judged = end.passed + end.failed;
        let kernels = kernels(run);
        let never_ran: usize = run.configurations.iter().map(|it| it.never_ran.len()).sum();
        let unfinished = end.interrupted || never_ran > 0;
        let standing = if end.failed > 0 {
            Standing::Broken
        } else if end.errors + end.inconclusive > 0 || (unfinished && judged > 0) {
            Standing::Undecided
        } else if judged == 0 {
            Standing::Untested
        } else {
            Standing::Held
        };
        let sentence = match standing {
            Standing::Held => {
                format!("{kernels} kept every promise that was checked in {}", cases(judged))
            }
            Standing::Broken => {
                format!("{kernels} broke promises in {} of {}", end.failed, cases(judged))
            }
            Standing::Undecided if judged == 0 => {
                format!("nothing can be said of {kernels}: no case ran to its end")
            }
            Standing::Undecided => format!(
                "{kernels} kept every promise in {}, but {} could not be decided",
                cases(judged),
                undecided(end)
            ),
            Standing::Untested => format!("no promise of {kernels} was checked"),
        };
        let missing = match (end.interrupted, never_ran) {
            (false, 0) => String::new(),
            (true, 0) => "; the run was stopped before its end".to_owned(),
            (_, missing) => format!("; {} of the plan never ran", cases(missing as u64)),
        };
        let mut sentence = format!("{sentence}{missing}.");
        sentence[..1].make_ascii_uppercase();
        Self { standing, sentence }
    }
}

/// `12 passed, 1 failed, 2 skipped, 0 errors`, with the undecided where there are any.
pub(crate) fn counts(end: &RunEnd) -> String {
    let errors = if end.errors == 1 { "error" } else { "errors" };
    let inconclusive = match end.inconclusive {
        0 => String::new(),
        it => format!(", {it} inconclusive"),
    };
    format!(
        "{} passed, {} failed, {} skipped, {} {errors}{inconclusive}",
        end.passed, end.failed, end.skipped, end.errors
    )
}

/// `covered 7 of 214 requirements`.
pub(crate) fn coverage(end: &RunEnd) -> String {
    format!("covered {} of {ALL} requirements", end.requirements_covered)
}

fn kernels(run: &Run) -> String {
    let mut releases: Vec<&str> = Vec::new();
    for configuration in &run.configurations {
        let release = configuration.start.kernel.release.as_str();
        if !releases.contains(&release) {
            releases.push(release);
        }
    }
    match releases.as_slice() {
        [] => "the kernel".to_owned(),
        [""] => "the kernel".to_owned(),
        [only] => format!("Linux {only}"),
        [first @ .., last] if first.len() < 4 => format!("Linux {} and {last}", first.join(", ")),
        many => format!("{} kernels", many.len()),
    }
}

fn cases(count: u64) -> String {
    if count == 1 { "one case".to_owned() } else { format!("{count} cases") }
}

fn undecided(end: &RunEnd) -> String {
    match end.errors + end.inconclusive {
        0 => "the rest".to_owned(),
        1 => "one more".to_owned(),
        many => format!("{many} more"),
    }
}
