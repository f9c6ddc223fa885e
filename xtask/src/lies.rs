//! `test --lies`: proves that the checks can fail.
//!
//! Each case runs once honestly, to see what it asks of the kernel, and then
//! under one lie after another about just that, until each of its checks has
//! failed. A check that no lie turns is listed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result};
use cgauge_record::{
    Check, Clock, Ending, Event, Hierarchy, Job, JobCase, Layer, Lie, Message, Touch, Verdict,
};
use cgauge_stage::Stage;

use crate::catalogue::Kind;
use crate::exit::{Exit, usage};
use crate::flags::Test;
use crate::ground::{self, Ground};
use crate::plan::{self, Case};
use crate::prepare::{self, Needs};
use crate::{build, catalogue, pool, run};

/// How long a case may take on the guest's clock: a lie makes it wait for what
/// never comes.
const DEADLINE_MS: u64 = 120_000;
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
}

/// What a case said and how it ended.
#[derive(Default)]
struct Heard {
    checks: Vec<Check>,
    ending: Option<Ending>,
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
}

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
    let with_systemd = |it: &Suite| it.needs.drivers.first() == Some(&Driver::Systemd);
    let userland = suites.iter().any(|it| with_systemd(it)).then_some(Userland::Bookworm);
    let userland = ground.userlands(userland, &say)?.pop();
    let common = ground.common(Clock::Virtual, SILENCE);
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
        pool::share(functions, pool::cores(), &stop, |_, cases| {
            let mut turned = BTreeSet::new();
            for case in cases {
                if let Some(it) = try_case(&vm, needs.profile.cpus, case, &mut turned)? {
                    println!("{}", line(&it));
                    pool::locked(&tried).push(it);
                }
            }
            Ok(())
        })?;
    }
    let tried = tried.into_inner().unwrap_or_default();
    print!("{}", summary(&tried));
    let any = tried.iter().any(|it| it.left.iter().any(|check| check.beyond_lies.is_empty()));
    Ok(if any { Exit::Failure } else { Exit::Fine })
}

/// Tries the checks that are not among those `turned` already, with the same
/// function's other parameters. `None` for a case that cannot run on this kernel.
fn try_case(
    stage: &dyn Stage,
    cpus: u32,
    case: &Case,
    turned: &mut BTreeSet<Name>,
) -> Result<Option<Tried>> {
    let ask = |layer| ask(stage, cpus, case, layer);
    let honest = ask(Layer::Trace)?;
    let Some(ending) = &honest.ending else {
        return Ok(None);
    };
    // What fails on the honest kernel has shown that it can.
    let mut left: BTreeSet<Name> = honest.checks.iter().map(Name::of).collect();
    let checks = left.len();
    let mut lies = 0;
    turned.extend(honest.failed());
    left = &left - turned;
    for lie in lies_about(&ending.touched, &left) {
        if left.is_empty() {
            break;
        }
        lies += 1;
        turned.extend(ask(Layer::Lie(lie))?.failed());
        left = &left - turned;
    }
    let mut left: Vec<Check> =
        honest.checks.into_iter().filter(|it| left.contains(&Name::of(it))).collect();
    left.dedup_by_key(|it| Name::of(it));
    Ok(Some(Tried { case: case.clone(), checks, lies, left }))
}

/// Every lie about what the case asked, those about the files of its checks first.
fn lies_about(touched: &[Touch], checks: &BTreeSet<Name>) -> Vec<Lie> {
    let mut lies: Vec<Lie> = touched
        .iter()
        .flat_map(|about| {
            about.request.lies().iter().map(|told| Lie { about: about.clone(), told: *told })
        })
        .collect();
    let is_about = |lie: &Lie| checks.iter().any(|it| it.file == lie.about.file);
    let rank = |lie: &Lie| lie.about.request.lies().iter().position(|it| *it == lie.told);
    lies.sort_by_key(|it| (!is_about(it), rank(it)));
    lies
}

fn ask(stage: &dyn Stage, cpus: u32, case: &Case, layer: Layer) -> Result<Heard> {
    let job = Job {
        cpus,
        cases: vec![JobCase {
            suite: case.suite.clone(),
            case: case.name.clone(),
            deadline_ms: DEADLINE_MS,
            layer,
        }],
    };
    let mut heard = Heard::default();
    let mut skipped = false;
    // However the guest ends: what was said before is what counts.
    stage.run(&job, &mut |message| match message {
        Message::Record(event) => {
            if let Event::Check(check) = *event {
                heard.checks.push(check);
            }
        }
        Message::Skip { .. } => skipped = true,
        Message::End(ending) => heard.ending = Some(ending),
        _ => {}
    })?;
    if skipped && heard.checks.is_empty() {
        heard.ending = None;
    }
    Ok(heard)
}

fn line(tried: &Tried) -> String {
    let Tried { case, checks, lies, left } = tried;
    let mut line = format!("{} {}: {checks} checks, {lies} lies", case.suite, case.name);
    for check in left {
        let word = if check.beyond_lies.is_empty() { "NOT TURNED" } else { "explained" };
        // Writing to a string cannot fail.
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
    use cgauge_record::{Asked, CheckKind, Quantity, Told, Unit};
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
            let touched = vec![Touch { request: Asked::Read, file: "a.file".into() }];
            hear(Message::End(Ending { touched, ..Ending::default() }));
            Ok(Ran { end: GuestEnd::Done, console: Vec::new() })
        }
    }

    #[test]
    fn a_check_that_cannot_fail_is_found() {
        let case = Case { suite: "s".into(), name: "c".into(), promise: String::new() };
        let tried = try_case(&OneFile, 1, &case, &mut BTreeSet::new()).unwrap().unwrap();
        let left: Vec<&str> = tried.left.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(left, ["cannot fail"]);
        insta::assert_snapshot!(line(&tried) + "\n" + &summary(&[tried]), @r"
        s c: 2 checks, 5 lies
          NOT TURNED  cannot fail (a.file) 
        1 cases, 2 checks, 5 lies; no lie turned 1 checks, of which 0 are explained
        ");
    }
}
