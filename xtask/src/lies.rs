//! `test --lies`: proves that the checks can fail.
//!
//! Each case runs once honestly, to see which lies would change what it asks of
//! the kernel, and then under them until each of its checks has failed: first
//! under all of a kind at once, about whatever files, then under one after another,
//! then under some pairs. A check that none turns is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use cgauge_provision::Userland;
use cgauge_record::{
    Asked, Check, Clock, Driver, Ending, Event, Hierarchy, Job, JobCase, Layer, Lie, Message, Told,
    Verdict,
};
use cgauge_stage::{GuestEnd, Stage};

use crate::catalogue::{Kind, Suite};
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

/// What became of a function's cases under the lies.
#[derive(Default)]
struct Tried {
    suite: String,
    function: String,
    cases: usize,
    /// The checks, by name, with why no lie turns each if that is said.
    checks: BTreeMap<Name, String>,
    /// Those that a lie turned, or the honest kernel.
    turned: BTreeSet<Name>,
    lies: usize,
    /// Why a case could not be tried to its end.
    broken: Option<String>,
}

impl Tried {
    /// The checks that no lie turned.
    fn left(&self) -> impl Iterator<Item = (&Name, &str)> {
        let left = self.checks.iter().filter(|(it, _)| !self.turned.contains(it));
        left.map(|(name, why)| (name, why.as_str()))
    }

    fn unexplained(&self) -> usize {
        self.left().filter(|(_, why)| why.is_empty()).count()
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
    let common = ground.common(Clock::Virtual, SILENCE);
    let binaries = build::guest_binaries(workspace, &suites)?.kept_in(&common.work)?;
    let with_systemd = |it: &Suite| it.needs.drivers.first() == Some(&Driver::Systemd);
    let userland = suites.iter().any(|it| with_systemd(it)).then_some(Userland::Bookworm);
    let userland = ground.userlands(userland, &say)?.pop();
    let kernel = ground.kernels.first().context("no kernel")?;

    let tried = Mutex::new(Vec::new());
    for suite in &suites {
        let mut needs = Needs::of(suite, None, None)?;
        needs.userland = userland.clone().filter(|_| with_systemd(suite));
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
            let function = suite.function_name(&cases[0].name).cloned().unwrap_or_default();
            let it = trial.of(function, cases)?;
            if it.cases > 0 {
                println!("{}", line(&it));
                pool::locked(&tried).push(it);
            }
            Ok(())
        })?;
    }
    let tried = tried.into_inner().unwrap_or_default();
    print!("{}", summary(&tried));
    Ok(if tried.iter().any(|it| it.broken.is_some()) {
        Exit::Broken
    } else if tried.iter().any(|it| it.unexplained() > 0) {
        Exit::Failure
    } else {
        Exit::Fine
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
    /// Tries the cases of one function, which differ in parameters alone: a check
    /// that failed in one of them is not tried in the others, nor one that no lie
    /// turned in the first and that says why.
    fn of(&self, function: String, cases: &[Case]) -> Result<Tried> {
        let suite = cases.first().map(|it| it.suite.clone()).unwrap_or_default();
        let mut tried = Tried { suite, function, ..Tried::default() };
        let mut in_vain = BTreeSet::new();
        for case in cases {
            let honest = self.ask(case, Layer::Trace, DEADLINE_MS, &mut tried.broken)?;
            if honest.skipped && honest.checks.is_empty() {
                continue;
            }
            tried.cases += 1;
            if honest.ending.is_none() && tried.broken.is_none() {
                tried.broken = Some(format!("the guest of {} was lost", case.name));
            }
            // What fails on the honest kernel has shown that it can.
            tried.turned.extend(honest.failed());
            let names: BTreeSet<Name> = honest.checks.iter().map(Name::of).collect();
            let of_case = honest.checks.iter().map(|it| (Name::of(it), it.beyond_lies.clone()));
            tried.checks.extend(of_case);
            let left = &(&names - &tried.turned) - &in_vain;
            self.turn(case, left, honest.ending.unwrap_or_default(), &mut tried)?;
            let explained = tried.left().filter(|(_, why)| !why.is_empty());
            in_vain.extend(explained.map(|(name, _)| name.clone()));
        }
        Ok(tried)
    }

    /// Tells lies until each of the checks that are `left` has failed, or no lie is left.
    fn turn(
        &self,
        case: &Case,
        mut left: BTreeSet<Name>,
        honest: Ending,
        tried: &mut Tried,
    ) -> Result<()> {
        let deadline = 3 * honest.elapsed_ns / 1_000_000 + PATIENCE_MS;
        let mut together = of_a_kind(&honest.lies);
        let mut pairs = pairs(&honest.lies);
        let mut untold = honest.lies;
        while !left.is_empty() {
            let now = if !together.is_empty() {
                together.drain(..self.side_by_side.min(together.len())).collect()
            } else if !untold.is_empty() {
                self.next(&mut untold, &left)
            } else if !pairs.is_empty() {
                pairs.drain(..self.side_by_side.min(pairs.len())).collect()
            } else {
                break;
            };
            tried.lies += now.len();
            for (lies, failed) in self.tell(case, now, deadline, &mut tried.broken)? {
                if let [lie] = &lies[..] {
                    let new = failed.difference(&tried.turned).count();
                    *pool::locked(&self.score).entry(lie.clone()).or_default() += new;
                }
                tried.turned.extend(failed);
            }
            left = &left - &tried.turned;
        }
        Ok(())
    }

    /// Takes the lies that promise most for the checks that are `left`: about
    /// their files, told with success before, of a kind that most checks see.
    fn next(&self, untold: &mut Vec<Lie>, left: &BTreeSet<Name>) -> Vec<Vec<Lie>> {
        let score = pool::locked(&self.score);
        let promise = |lie: &Lie| {
            let is_about = left.iter().any(|it| it.is_about(&lie.about.file));
            let turned = score.get(lie).copied().unwrap_or(0);
            let kind = lie.about.request.lies().iter().position(|it| *it == lie.told);
            (is_about, turned, std::cmp::Reverse(kind))
        };
        untold.sort_by_key(promise);
        let next = untold.split_off(untold.len().saturating_sub(self.side_by_side));
        next.into_iter().rev().map(|it| vec![it]).collect()
    }

    /// Runs the case under each set of lies, and says which checks each turned.
    fn tell(
        &self,
        case: &Case,
        lies: Vec<Vec<Lie>>,
        deadline: u64,
        broken: &mut Option<String>,
    ) -> Result<Vec<(Vec<Lie>, BTreeSet<Name>)>> {
        let tell = |lies: Vec<Lie>| {
            let mut broken = None;
            let heard = self.ask(case, Layer::Lies(lies.clone()), deadline, &mut broken);
            heard.map(|it| ((lies, it.failed()), broken))
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
                Ok(ran) if ran.end == GuestEnd::Interrupted => {
                    return Err(cgauge_stage::Error::Interrupted.into());
                }
                Ok(_) => return Ok(heard),
                Err(error @ cgauge_stage::Error::Interrupted) => return Err(error.into()),
                Err(error) => why = Some(error.to_string()),
            }
        }
        *broken = why;
        Ok(Heard::default())
    }
}

/// The lies that leave a case going, all of a kind in one guest: so one guest
/// does for many checks. A kind of one lie is for the single ones to tell.
fn of_a_kind(lies: &[Lie]) -> Vec<Vec<Lie>> {
    use Asked::{Call, Read, Start, Watch, Write};
    use Told::{
        Accepted, Doubled, Frozen, Ignored, OffByOne, OnParent, OtherErrno, Scaled, Stuck,
        Swallowed, Swapped, Unfounded,
    };
    let kinds = [
        (Read, Scaled),
        (Write, Ignored),
        (Read, Swapped),
        (Write, OtherErrno),
        (Read, Frozen),
        (Call, Ignored),
        (Read, OffByOne),
        (Read, OnParent),
        (Write, Accepted),
        (Write, Doubled),
        (Write, Stuck),
        (Call, OtherErrno),
        (Watch, Swallowed),
        (Watch, Unfounded),
        (Start, Ignored),
    ];
    let of = |(request, told)| {
        let is_one = |it: &&Lie| it.about.request == request && it.told == told;
        lies.iter().filter(is_one).cloned().collect::<Vec<_>>()
    };
    kinds.into_iter().map(of).filter(|it| it.len() > 1).collect()
}

/// What a case waits for is often told by another file than what it has asked for:
/// a request that is not done, and a state that says it is.
fn pairs(lies: &[Lie]) -> Vec<Vec<Lie>> {
    let about = |request: Asked, told: Told| {
        let touched: BTreeSet<_> =
            lies.iter().map(|it| &it.about).filter(|it| it.request == request).collect();
        touched.into_iter().map(move |it| Lie { about: it.clone(), told }).collect::<Vec<_>>()
    };
    let mut pairs = Vec::new();
    for not_done in about(Asked::Write, Told::Ignored) {
        for shown in about(Asked::Read, Told::Swapped) {
            pairs.push(vec![not_done.clone(), shown]);
        }
    }
    pairs
}

fn line(tried: &Tried) -> String {
    let Tried { suite, function, cases, checks, lies, broken, .. } = tried;
    let checks = checks.len();
    let mut line = format!("{suite} {function}: {cases} cases, {checks} checks, {lies} lies");
    // Writing to a string cannot fail.
    if let Some(why) = broken {
        let _ = write!(line, "\n  NOT TRIED to its end: {why}");
    }
    for (check, why) in tried.left() {
        let word = if why.is_empty() { "NOT TURNED" } else { "explained" };
        let _ = write!(line, "\n  {word}  {} ({}) {why}", check.what, check.file);
    }
    line
}

fn summary(tried: &[Tried]) -> String {
    let sum = |of: fn(&Tried) -> usize| tried.iter().map(of).sum::<usize>();
    let (left, unexplained) = (sum(|it| it.left().count()), sum(Tried::unexplained));
    format!(
        "{} cases, {} checks, {} lies; no lie turned {left} checks, of which {} are explained\n",
        sum(|it| it.cases),
        sum(|it| it.checks.len()),
        sum(|it| it.lies),
        left - unexplained
    )
}

#[cfg(test)]
mod tests {
    use cgauge_record::{Asked, CheckKind, Quantity, Told, Touch, Unit};
    use cgauge_stage::{Error, Ran};

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
                Layer::Lies(it) if it[0].told == Told::Scaled && it[0].about.file == "a.file");
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
        let tried = trial.of("f".into(), &[case]).unwrap();
        let left: Vec<&str> = tried.left().map(|(it, _)| it.what.as_str()).collect();
        assert_eq!(left, ["cannot fail"]);
        insta::assert_snapshot!(line(&tried) + "\n" + &summary(&[tried]), @r"
        s f: 1 cases, 2 checks, 3 lies
          NOT TURNED  cannot fail (a.file) 
        1 cases, 2 checks, 3 lies; no lie turned 1 checks, of which 0 are explained
        ");
    }
}
