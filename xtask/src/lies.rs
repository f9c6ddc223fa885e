//! `test --lies`: proves that the checks can fail.
//!
//! Each case runs once honestly, to see which lies would change what it asks of
//! the kernel, and then under one of them after another, until each of its checks
//! has failed. A check that no lie turns is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use cgauge_record::{
    Check, Clock, Ending, Event, Hierarchy, Job, JobCase, Layer, Lie, Message, Verdict,
};
use cgauge_stage::Stage;

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags::Test;
use crate::ground::{self, Ground};
use crate::plan::{self, Case};
use crate::prepare::{self, Needs};
use crate::{build, catalogue, pool, run};

/// How long an honest case may take on the guest's clock.
const DEADLINE_MS: u64 = 120_000;
/// How much longer than honestly a case may take under a lie, which makes it wait
/// for what never comes: three notifications that are ten seconds late.
const PATIENCE_MS: u64 = 30_000;
/// How long a guest may be silent on the host's clock.
const SILENCE: Duration = Duration::from_secs(60);

/// A check as the source has it, whatever the parameters of the case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    what: String,
    file: String,
}

impl Name {
    fn of(check: &Check) -> Self {
        Self { what: check.what.clone(), file: check.file.clone() }
    }

    /// The file without a key in it.
    fn is_about(&self, file: &str) -> bool {
        self.file.split(':').next() == Some(file)
    }
}

/// What a case said and how it ended.
#[derive(Default)]
struct Heard {
    checks: Vec<Check>,
    ending: Option<Ending>,
    skipped: bool,
}

impl Heard {
    fn failed(&self) -> BTreeSet<Name> {
        self.checks.iter().filter(|it| it.implied() == Verdict::Fail).map(Name::of).collect()
    }
}

/// What became of a case under the lies.
struct Tried {
    case: Case,
    checks: usize,
    lies: usize,
    /// The checks that no lie turned.
    left: Vec<Check>,
    /// Why it could not be tried to its end.
    broken: Option<String>,
}

impl Tried {
    fn is_proved(&self) -> bool {
        self.broken.is_none() && self.left.iter().all(|it| !it.beyond_lies.is_empty())
    }
}

/// How many checks each lie has turned so far, in whichever case: what turned
/// many is told first.
type Score = Mutex<BTreeMap<Lie, usize>>;

/// Runs every case under lies, and lists the checks that none turned.
pub fn test(workspace: &Path, flags: &Test) -> Result<Exit> {
    let known = catalogue::read(workspace)?;
    let suites = plan::suites(&known, Kind::Conformance, &flags.suites).map_err(usage)?;
    let spec = flags.kernel.as_deref().unwrap_or(run::default_kernel());
    let spec = spec.parse().map_err(usage)?;
    let stop = ground::stop_on_signals()?;
    let say = |line: &str| eprintln!("{line}");
    let target = workspace.join("target").join("cgauge");
    let ground = Ground::prepare(&[spec], &target, &stop, &say, |it| {
        run::explain_kernel(it, flags.kernel.is_none())
    })?;
    let binaries = build::guest_binaries(workspace, &suites)?;
    let common = ground.common(Clock::Virtual, SILENCE);
    let kernel = ground.kernels.first().context("no kernel")?;

    let tried = Mutex::new(Vec::new());
    for suite in &suites {
        let needs = Needs::of(suite, None, None)?;
        let hierarchy = suite.needs.hierarchies.first().copied().unwrap_or(Hierarchy::Unified);
        let vm = prepare::machine(&common, kernel, hierarchy, &needs, &binaries, &say)?;
        let listed = build::cases_of_suite(&binaries, &suite.name);
        let cases = plan::named(suite, listed, &flags.case);
        let same =
            |a: &Case, b: &Case| suite.function_name(&a.name) == suite.function_name(&b.name);
        let functions: Vec<&[Case]> = cases.chunk_by(same).collect();
        // One function after another on each core; a lone one has all of them.
        let workers = pool::cores().min(functions.len().max(1) as u32);
        let trial = Trial {
            stage: &vm,
            cpus: needs.profile.cpus,
            side_by_side: (pool::cores() / workers).max(1) as usize,
            score: Score::default(),
        };
        pool::share(functions, workers, &stop, |_, cases| {
            let mut turned = BTreeSet::new();
            for case in cases {
                if let Some(it) = trial.of(case, &mut turned)? {
                    println!("{}", line(&it));
                    pool::locked(&tried).push(it);
                }
            }
            Ok(())
        })?;
    }
    let tried = tried.into_inner().unwrap_or_default();
    print!("{}", summary(&tried));
    let broken = tried.iter().any(|it| it.broken.is_some());
    Ok(match tried.iter().all(Tried::is_proved) {
        true => Exit::Fine,
        false if broken => Exit::Broken,
        false => Exit::Failure,
    })
}

/// Where cases are tried, and what was learnt from those before.
struct Trial<'a> {
    stage: &'a dyn Stage,
    cpus: u32,
    /// Lies that are told at the same time, each in its own guest.
    side_by_side: usize,
    score: Score,
}

impl Trial<'_> {
    /// Tries the checks that are not among those `turned` already, with the same
    /// function's other parameters. `None` for a case that cannot run on this kernel.
    fn of(&self, case: &Case, turned: &mut BTreeSet<Name>) -> Result<Option<Tried>> {
        let mut broken = None;
        let honest = self.ask(case, Layer::Trace, DEADLINE_MS, &mut broken)?;
        if honest.skipped && honest.checks.is_empty() {
            return Ok(None);
        }
        let ending = honest.ending.clone().unwrap_or_default();
        if honest.ending.is_none() {
            broken.get_or_insert("the honest guest did not come to its end".to_owned());
        }
        // What fails on the honest kernel has shown that it can.
        turned.extend(honest.failed());
        let all: BTreeSet<Name> = honest.checks.iter().map(Name::of).collect();
        let mut left = &all - turned;
        let mut untold = ending.lies;
        let mut lies = 0;
        let deadline = 3 * ending.elapsed_ns / 1_000_000 + PATIENCE_MS;
        while !left.is_empty() && !untold.is_empty() {
            let now = self.next(&mut untold, &left);
            lies += now.len();
            for (lie, failed) in self.tell(case, now, deadline, &mut broken)? {
                let new = failed.difference(turned).count();
                *pool::locked(&self.score).entry(lie).or_default() += new;
                turned.extend(failed);
            }
            left = &left - turned;
        }
        let mut left: Vec<Check> =
            honest.checks.into_iter().filter(|it| left.contains(&Name::of(it))).collect();
        left.sort_by_key(Name::of);
        left.dedup_by_key(|it| Name::of(it));
        Ok(Some(Tried { case: case.clone(), checks: all.len(), lies, left, broken }))
    }

    /// Takes the lies that promise most for the checks that are `left`: about
    /// their files, told with success before, of a kind that most checks see.
    fn next(&self, untold: &mut Vec<Lie>, left: &BTreeSet<Name>) -> Vec<Lie> {
        let score = pool::locked(&self.score);
        let promise = |lie: &Lie| {
            let is_about = left.iter().any(|it| it.is_about(&lie.about.file));
            let turned = score.get(lie).copied().unwrap_or(0);
            let kind = lie.about.request.lies().iter().position(|it| *it == lie.told);
            (is_about, turned, std::cmp::Reverse(kind))
        };
        untold.sort_by_key(promise);
        untold.split_off(untold.len().saturating_sub(self.side_by_side))
    }

    /// Runs the case under each of the lies, and says which checks each turned.
    fn tell(
        &self,
        case: &Case,
        lies: Vec<Lie>,
        deadline: u64,
        broken: &mut Option<String>,
    ) -> Result<Vec<(Lie, BTreeSet<Name>)>> {
        let tell = |lie: Lie| {
            let mut broken = None;
            let heard = self.ask(case, Layer::Lie(lie.clone()), deadline, &mut broken);
            heard.map(|it| ((lie, it.failed()), broken))
        };
        let told: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                lies.into_iter().map(|lie| scope.spawn(move || tell(lie))).collect();
            threads.into_iter().map(|it| it.join()).collect()
        });
        let mut failed = Vec::new();
        for answer in told {
            let (it, why) = answer.unwrap_or_else(|it| std::panic::resume_unwind(it))?;
            *broken = broken.take().or(why);
            failed.push(it);
        }
        Ok(failed)
    }

    /// Runs the case under this layer. Twice, if the first guest did not start: a
    /// pass takes thousands of them.
    fn ask(
        &self,
        case: &Case,
        layer: Layer,
        deadline_ms: u64,
        broken: &mut Option<String>,
    ) -> Result<Heard> {
        let (suite, name) = (case.suite.clone(), case.name.clone());
        let job =
            Job { cpus: self.cpus, cases: vec![JobCase { suite, case: name, deadline_ms, layer }] };
        let mut why = None;
        for _ in 0..2 {
            let mut heard = Heard::default();
            // However the guest ends: what was said before is what counts.
            let ran = self.stage.run(&job, &mut |message| match message {
                Message::Record(event) => {
                    if let Event::Check(check) = *event {
                        heard.checks.push(check);
                    }
                }
                Message::Skip { .. } => heard.skipped = true,
                Message::End(ending) => heard.ending = Some(ending),
                _ => {}
            });
            match ran {
                Ok(_) => return Ok(heard),
                Err(error @ cgauge_stage::Error::Interrupted) => return Err(error.into()),
                Err(error) => why = Some(error.to_string()),
            }
        }
        *broken = why;
        Ok(Heard::default())
    }
}

fn line(tried: &Tried) -> String {
    let Tried { case, checks, lies, left, broken } = tried;
    let mut line = format!("{} {}: {checks} checks, {lies} lies", case.suite, case.name);
    // Writing to a string cannot fail.
    if let Some(why) = broken {
        let _ = write!(line, "\n  NOT TRIED to its end: {why}");
    }
    for check in left {
        let word = if check.beyond_lies.is_empty() { "NOT TURNED" } else { "explained" };
        let _ = write!(line, "\n  {word}  {} ({}) {}", check.what, check.file, check.beyond_lies);
    }
    line
}

fn summary(tried: &[Tried]) -> String {
    let sum = |of: fn(&Tried) -> usize| tried.iter().map(of).sum::<usize>();
    let left = |it: &Tried| it.left.iter().filter(|it| it.beyond_lies.is_empty()).count();
    let unexplained: usize = tried.iter().map(left).sum();
    format!(
        "{} cases, {} checks, {} lies; no lie turned {} checks, of which {} are explained\n",
        tried.len(),
        sum(|it| it.checks),
        sum(|it| it.lies),
        sum(|it| it.left.len()),
        sum(|it| it.left.len()) - unexplained
    )
}

#[cfg(test)]
mod tests {
    use cgauge_record::{Asked, CheckKind, Quantity, Told, Touch, Unit};
    use cgauge_stage::{Error, GuestEnd, Ran};

    use super::*;

    /// A stage whose case reads one file: it shows 800, of which one check asks
    /// and the other does not.
    struct OneFile;

    fn check(what: &str, observed: u64) -> Message {
        Message::Record(Box::new(Event::Check(Check {
            config: String::new(),
            suite: "s".into(),
            case: "c".into(),
            requirements: Vec::new(),
            kind: CheckKind::Accounting,
            what: what.into(),
            file: "a.file".into(),
            unit: Unit::Bytes,
            observed: Quantity::from(observed),
            at_least: None,
            at_most: None,
            equals: Some(Quantity::from(800u64)),
            bound_reason: String::new(),
            beyond_lies: String::new(),
            verdict: Verdict::Pass,
        })))
    }

    impl Stage for OneFile {
        fn run(&self, job: &Job, hear: &mut dyn FnMut(Message)) -> Result<Ran, Error> {
            let scaled = matches!(&job.cases[0].layer,
                Layer::Lie(it) if it.told == Told::Scaled && it.about.file == "a.file");
            hear(check("can fail", if scaled { 700 } else { 800 }));
            hear(check("cannot fail", 800));
            let about = Touch { request: Asked::Read, file: "a.file".into() };
            let lies = [Told::Scaled, Told::Swapped, Told::Empty]
                .map(|told| Lie { about: about.clone(), told })
                .to_vec();
            hear(Message::End(Ending { lies, ..Ending::default() }));
            Ok(Ran { end: GuestEnd::Done, console: Vec::new() })
        }
    }

    #[test]
    fn a_check_that_cannot_fail_is_found() {
        let case = Case { suite: "s".into(), name: "c".into(), promise: String::new() };
        let trial = Trial { stage: &OneFile, cpus: 1, side_by_side: 2, score: Score::default() };
        let tried = trial.of(&case, &mut BTreeSet::new()).unwrap().unwrap();
        let left: Vec<&str> = tried.left.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(left, ["cannot fail"]);
        insta::assert_snapshot!(line(&tried) + "\n" + &summary(&[tried]), @r"
        s c: 2 checks, 3 lies
          NOT TURNED  cannot fail (a.file) 
        1 cases, 2 checks, 3 lies; no lie turned 1 checks, of which 0 are explained
        ");
    }
}
