//! `run`: plan, boot, run, report.
//!
//! First the machines are made, then one queue of cases is worked off, both by
//! `--jobs` workers. The events file is the only truth: the reports are made
//! from it.

mod case;
mod journal;
mod place;
mod progress;
mod rerun;

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use cgauge_provision::{Kernel, KernelSpec, Tools, UserlandImage};
use cgauge_record::{
    CaseEnd, CaseStart, Clock, Ending, Event, KernelId, Planned, RunEnd, RunStart, SCHEMA,
    StageKind,
};
use cgauge_reports::judge::{Finish, judge};
use cgauge_reports::{Format, terminal, write_into};
use cgauge_stage::vm::Profile;

use self::case::Bench;
use self::journal::Journal;
use self::place::Place;
use self::progress::Progress;
use crate::build::{self, Binaries};
use crate::catalogue::{self, Kind, Suite};
use crate::ci;
use crate::exit::{Exit, usage};
use crate::flags;
use crate::ground::{self, Ground};
use crate::own_kernel::{self, OwnKernel, Settled};
use crate::plan::{self, Case, Configuration};
use crate::pool;
use crate::prepare::{self, Common, Needs};

/// The kernel that is tested where none is named.
const DEFAULT_KERNEL: &str = "debian:6.12";

/// Runs what `flags` ask for.
pub fn run(workspace: &Path, kind: Kind, flags: &flags::Run) -> Result<Exit> {
    measure(workspace, kind, flags, &Wanted::default()).map(|it| it.exit)
}

/// What is wanted of a run besides what its flags say.
#[derive(Debug, Default)]
pub struct Wanted {
    /// In which order cases and configurations come.
    pub order: Order,
    /// Suite and case of all that is to be run; everything if nothing is said.
    pub only: Option<BTreeSet<(String, String)>>,
}

/// In which order cases and configurations come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// One configuration after the other.
    #[default]
    Apart,
    /// Case by case, two configurations A and B as A B B A, so many times, so that
    /// what changes with time changes both alike.
    Interleaved(NonZeroU32),
}

/// What a run came to.
#[derive(Debug)]
pub struct Measured {
    /// What it says to the one that started it.
    pub exit: Exit,
    /// Its directory.
    pub out: PathBuf,
}

/// Runs what `flags` and `wanted` ask for.
pub fn measure(
    workspace: &Path,
    kind: Kind,
    flags: &flags::Run,
    wanted: &Wanted,
) -> Result<Measured> {
    let began = Instant::now();
    let known = catalogue::read(workspace)?;
    let rerun = flags.rerun.as_deref().map(rerun::read).transpose()?;
    let mut flags = flags.clone();
    if let Some(rerun) = &rerun {
        rerun.complete(&mut flags);
    }
    let suites = plan::suites(&known, kind, &flags.suites).map_err(usage)?;
    let specs = kernel_specs(&flags)?;
    let names: Vec<String> = specs.iter().map(ToString::to_string).collect();
    let (configurations, left_out) = plan::configurations(&names, &suites, &flags);
    let own = OwnKernel::look(&flags);
    let (configurations, not_here) = own.leave_out(configurations);
    for line in left_out.iter().chain(&not_here) {
        eprintln!("{line}");
    }
    if configurations.is_empty() {
        return Err(usage("nothing is left to run"));
    }
    // What runs nowhere need not be built.
    let suites: Vec<&Suite> = suites
        .into_iter()
        .filter(|suite| configurations.iter().any(|it| plan::runs_in(suite, it, &flags)))
        .collect();
    own_kernel::confirm(&configurations, &flags)?;
    // Early, so that a bad --out fails before anything takes long.
    let target = workspace.join("target").join("cgauge");
    let out = flags.out.clone().unwrap_or_else(|| new_directory(workspace));
    let journal = Journal::create(&out).map_err(usage)?;

    let stop = ground::stop_on_signals()?;
    let say = |line: &str| eprintln!("{line}");
    let in_a_vm = |it: &KernelSpec| {
        let boots = |configuration: &Configuration| {
            configuration.stage == StageKind::Vm && configuration.kernel == it.to_string()
        };
        configurations.iter().any(boots)
    };
    let specs: Vec<KernelSpec> = specs.into_iter().filter(in_a_vm).collect();
    let ground = Ground::prepare(&specs, &target, &stop, &say, |it| {
        explain_kernel(it, flags.kernel.is_empty())
    })?;
    let clock = plan::clock(StageKind::Vm, &flags);
    let common = ground.common(clock, flags.silence.0);
    let mut binaries = build::guest_binaries(workspace, &suites)?;
    // Without a VM there is no folder yet: it is made once its keeper lives.
    if common.qemu.is_some() {
        binaries = binaries.kept_in(&common.work)?;
    }
    let userlands = ground.userlands(configurations.iter().filter_map(|it| it.userland), &say)?;
    let listed: Vec<_> = suites
        .iter()
        .map(|suite| (*suite, build::cases_of_suite(&binaries, &suite.name)))
        .collect();
    let cases = plan::cases(&listed, &flags).map_err(usage)?;
    let mut units = Vec::new();
    for configuration in &configurations {
        let kernel = ground.kernels.iter().find(|it| it.spec.to_string() == configuration.kernel);
        let mut cases = cases.clone();
        cases.retain(|case| {
            let of = |it: &&&Suite| it.name == case.suite;
            let runs = |it: &&Suite| plan::runs_in(it, configuration, &flags);
            suites.iter().find(of).is_some_and(runs)
        });
        if let Some(rerun) = &rerun {
            cases.retain(|it| rerun.wants(&configuration.name(), &it.suite, &it.name));
        }
        if let Some(only) = &wanted.only {
            cases.retain(|it| only.contains(&(it.suite.clone(), it.name.clone())));
        }
        // A configuration in which nothing is wanted is none.
        if !cases.is_empty() {
            let userland = userlands.iter().find(|it| Some(it.userland) == configuration.userland);
            units.push(Unit::new(configuration, kernel, userland, cases, &suites, &flags)?);
        }
    }
    if units.iter().all(|it| it.cases.is_empty() && it.unfit.is_empty()) {
        if wanted.only.is_some() {
            return Err(usage("none of these cases is there any more"));
        }
        eprintln!("nothing to run again: every case of that run passed or was skipped");
        return Ok(Measured { exit: Exit::Fine, out });
    }
    let needs_own =
        |it: &Unit<'_>| it.configuration.stage != StageKind::Vm && !it.machines.is_empty();
    let own = match units.iter().any(needs_own) {
        true => Some(own.settle(&common, &binaries, &say)?),
        false => None,
    };
    let jobs = match (flags.jobs, &own) {
        (Some(jobs), _) => jobs.get(),
        // On the wall clock they would take time from each other.
        (None, Some(_)) => 1,
        (None, None) => pool::cores(),
    };
    let repeated = match wanted.order {
        Order::Apart => 1,
        Order::Interleaved(rounds) => 2 * rounds.get() as usize,
    };
    let shared = Shared {
        journal,
        binaries,
        common,
        own,
        began,
        progress: Progress::new(units.iter().map(|it| it.cases.len() * repeated).sum()),
        slowed: flags.slow.clone(),
        run: out.file_name().map_or_else(run_id, |it| it.to_string_lossy().into_owned()),
        reached: AtomicU32::new(0),
    };
    let result = shared.run_all(&units, wanted.order, jobs);
    shared.progress.finish();
    let left = shared.own.as_ref().map_or(Ok(()), Settled::leave);
    drop(ground);
    result.and(left)?;
    let exit = report(&shared, &out)?;
    Ok(Measured { exit, out })
}

fn kernel_specs(flags: &flags::Run) -> Result<Vec<KernelSpec>> {
    let named = if flags.kernel.is_empty() {
        vec![default_kernel().to_owned()]
    } else {
        flags.kernel.clone()
    };
    named.iter().map(|it| it.parse().map_err(usage)).collect()
}

/// Debian's where apt can fetch it, else the kernel of this machine.
pub fn default_kernel() -> &'static str {
    if Tools::of_this_machine().find("apt-get").is_some() { DEFAULT_KERNEL } else { "host" }
}

/// An error of a kernel's is the user's to mend, and names the way out.
pub fn explain_kernel(error: cgauge_provision::KernelError, by_default: bool) -> anyhow::Error {
    if by_default {
        return usage(format!("{error}; or name a kernel that is here with --kernel PATH/bzImage"));
    }
    usage(error)
}

/// A run directory that there is not yet.
pub fn new_directory(workspace: &Path) -> PathBuf {
    workspace.join("target").join("cgauge").join("runs").join(run_id())
}

fn run_id() -> String {
    let now = jiff::Timestamp::now();
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), std::process::id())
}

/// The suites that need the same, what they need, and the machine that offers it
/// once it is made.
struct Machine {
    suites: Vec<String>,
    needs: Needs,
    made: OnceLock<Result<Place, String>>,
}

/// The cases of one configuration, and the machines that they need.
struct Unit<'a> {
    configuration: &'a Configuration,
    /// The kernel that is booted; none on the machine's own.
    kernel: Option<&'a Kernel>,
    cases: Vec<Case>,
    /// Cases that this configuration is not for, each with the reason.
    unfit: Vec<(Case, String)>,
    /// The machines that they run on, each made once.
    machines: Vec<Machine>,
}

impl<'a> Unit<'a> {
    fn new(
        configuration: &'a Configuration,
        kernel: Option<&'a Kernel>,
        userland: Option<&UserlandImage>,
        cases: Vec<Case>,
        suites: &[&Suite],
        flags: &flags::Run,
    ) -> Result<Self> {
        let mut unfit = Vec::new();
        let mut fit = cases;
        if configuration.stage != StageKind::Vm {
            fit.retain(|case| {
                let suite = suites.iter().find(|it| it.name == case.suite);
                let why = suite.and_then(|it| own_kernel::why_not(it, &case.name, pool::cores()));
                unfit.extend(why.iter().map(|why| (case.clone(), why.clone())));
                why.is_none()
            });
        }
        let cases = fit;
        let mut machines: Vec<Machine> = Vec::new();
        for suite in suites.iter().filter(|it| cases.iter().any(|case| case.suite == it.name)) {
            let mut needs = Needs::of(suite, flags.cpus, flags.memory)?;
            needs.userland = userland.cloned();
            match machines.iter_mut().find(|it| it.needs == needs) {
                Some(machine) => machine.suites.push(suite.name.clone()),
                None => machines.push(Machine {
                    suites: vec![suite.name.clone()],
                    needs,
                    made: OnceLock::new(),
                }),
            }
        }
        Ok(Self { configuration, kernel, cases, unfit, machines })
    }

    fn machine(&self, suite: &str) -> Option<&Machine> {
        self.machines.iter().find(|it| it.suites.iter().any(|it| it == suite))
    }
}

/// What all workers share.
struct Shared {
    journal: Journal,
    binaries: Binaries,
    common: Common,
    /// The machine's own kernel, if something runs there.
    own: Option<Settled>,
    began: Instant,
    progress: Progress,
    run: String,
    slowed: Option<flags::Slowed>,
    /// Machines that came up.
    reached: AtomicU32,
}

impl Shared {
    fn run_all(&self, units: &[Unit<'_>], order: Order, jobs: u32) -> Result<()> {
        let machines = units.iter().flat_map(|unit| unit.machines.iter().map(move |it| (unit, it)));
        pool::share(machines.collect(), jobs, &self.common.stop, |_, (unit, machine)| {
            machine.made.get_or_init(|| self.make(unit, &machine.needs));
            Ok(())
        })?;
        for unit in units {
            self.journal.write(&Event::RunStart(self.start_of(unit)?))?;
            self.skip_unfit(unit)?;
        }
        let batches = match order {
            Order::Apart => batches(units),
            Order::Interleaved(rounds) => interleaved(units, rounds)?,
        };
        pool::share(batches, jobs, &self.common.stop, |worker, batch| self.work(worker, &batch))?;
        let end = RunEnd { interrupted: self.stopped(), ..self.journal.counts() };
        self.journal.write(&Event::RunEnd(end))
    }

    fn stopped(&self) -> bool {
        self.common.stop.load(Ordering::Relaxed)
    }

    fn work(&self, worker: u32, batch: &Batch<'_>) -> Result<()> {
        let Some(machine) = batch.unit.machine(&batch.cases[0].suite) else {
            return Ok(());
        };
        match machine.made.get() {
            Some(Ok(place)) => {
                let bench = Bench {
                    stage: place.stage(),
                    config: &batch.unit.configuration.name(),
                    cpus: machine.needs.profile.cpus,
                    slowed: self.slowed.as_ref(),
                    journal: &self.journal,
                    began: self.began,
                    worker,
                    ended: &|end| self.progress.ended(end),
                    started: &|case| self.progress.started(case),
                };
                case::run(&bench, batch.cases)
            }
            Some(Err(reason)) => {
                let finish = Finish::BootFailed(reason.clone());
                let config = batch.unit.configuration.name();
                for case in batch.cases {
                    let end = self.not_started(&config, case, None, &finish, worker)?;
                    self.progress.ended(&end);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn make(&self, unit: &Unit<'_>, needs: &Needs) -> Result<Place, String> {
        let say = |line: &str| self.progress.say(line);
        let (common, binaries) = (&self.common, &self.binaries);
        let hierarchy = unit.configuration.hierarchy;
        let made = match (unit.kernel, &self.own) {
            (Some(kernel), _) => {
                prepare::machine(common, kernel, hierarchy, needs, binaries, &say).map(Place::Vm)
            }
            (None, Some(own)) => own.stage(common, unit.configuration, needs, &say).map(Place::Own),
            (None, None) => Err(anyhow::anyhow!("a configuration without its kernel")),
        };
        if made.is_ok() {
            self.reached.fetch_add(1, Ordering::Relaxed);
        }
        made.map_err(|error| {
            let boot = format!("{}.boot", unit.configuration.name());
            use cgauge_stage::Error::{Mute, NotReady};
            if let Some(NotReady { console, .. } | Mute { console, .. }) = error.downcast_ref() {
                self.journal.console(&boot, "boot", console);
            }
            format!("{error:#}")
        })
    }

    /// What this configuration is not for is skipped, each case by name.
    fn skip_unfit(&self, unit: &Unit<'_>) -> Result<()> {
        let config = unit.configuration.name();
        let finish = Finish::Ended(Ending { exit_code: Some(0), ..Ending::default() });
        for cases in unit.unfit.chunk_by(|a, b| (&a.0.suite, &a.1) == (&b.0.suite, &b.1)) {
            let (case, why) = &cases[0];
            for (case, why) in cases {
                self.not_started(&config, case, Some(why), &finish, 0)?;
            }
            // One line for many: the events name each.
            let line = format!("{}: {} cases are skipped: {why}", case.suite, cases.len());
            self.progress.say(&line);
        }
        Ok(())
    }

    /// The record of a case that no stage saw.
    fn not_started(
        &self,
        config: &str,
        case: &Case,
        skip: Option<&str>,
        finish: &Finish,
        worker: u32,
    ) -> Result<CaseEnd> {
        let host_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.journal.write(&Event::CaseStart(CaseStart {
            config: config.to_owned(),
            suite: case.suite.clone(),
            case: case.name.clone(),
            promise: case.promise.clone(),
            host_ns,
            worker,
        }))?;
        let judgement = judge(&[], skip, finish);
        let end = CaseEnd {
            config: config.to_owned(),
            suite: case.suite.clone(),
            case: case.name.clone(),
            outcome: judgement.outcome,
            reason: judgement.reason,
            elapsed_ns: 0,
            host_elapsed_ns: 0,
            host_ns,
            evidence: Vec::new(),
        };
        self.journal.end_case(&[], end.clone())?;
        Ok(end)
    }

    fn start_of(&self, unit: &Unit<'_>) -> Result<RunStart> {
        let smallest = unit.machines.iter().map(|it| it.needs.profile).min();
        let own = unit.configuration.stage != StageKind::Vm;
        let cpus = |it: Profile| if own { pool::cores() } else { it.cpus };
        let first = unit.machines.iter().find_map(|it| it.made.get()?.as_ref().ok());
        let clock = if own { Clock::Wall } else { self.common.clock };
        let all = unit.cases.iter().chain(unit.unfit.iter().map(|(it, _)| it));
        let planned = all.map(|it| Planned { suite: it.suite.clone(), case: it.name.clone() });
        let config_sha256 = unit.kernel.map(Kernel::config_sha256).transpose()?.flatten();
        Ok(RunStart {
            schema: SCHEMA,
            run: self.run.clone(),
            harness: format!("cgauge {}", env!("CARGO_PKG_VERSION")),
            started: jiff::Timestamp::now().to_string(),
            stage: unit.configuration.stage,
            accel: first.map_or("tcg", Place::accel).to_owned(),
            clock,
            hierarchy: unit.configuration.hierarchy,
            driver: unit.configuration.driver,
            userland: unit.configuration.userland.map_or_else(String::new, |it| it.to_string()),
            kernel: KernelId {
                release: match first {
                    Some(place) => place.ready().release.clone(),
                    None => unit.kernel.map(|it| it.release.clone()).unwrap_or_default(),
                },
                version: first.map_or_else(String::new, |it| it.ready().version.clone()),
                config_sha256: config_sha256.unwrap_or_default(),
            },
            qemu: match &self.common.qemu {
                Some(qemu) if !own => qemu.version.clone(),
                _ => String::new(),
            },
            cpus: smallest.map_or(0, cpus),
            memory_bytes: smallest.map_or(0, |it| it.memory_bytes),
            config: unit.configuration.name(),
            kernel_spec: unit.configuration.kernel.clone(),
            machine: first.map_or("", Place::machine).to_owned(),
            guest: first.map_or("", Place::guest).to_owned(),
            host: crate::host::identity(clock),
            binaries: self.binaries.digests()?,
            planned: planned.collect(),
        })
    }
}

/// What a worker takes at a time: cases of one suite that share a guest.
#[derive(Clone, Copy)]
struct Batch<'a> {
    unit: &'a Unit<'a>,
    cases: &'a [Case],
}

/// One case at a time where it gets a guest of its own; a whole suite where a
/// guest has to be booted for it.
fn batches<'a>(units: &'a [Unit<'a>]) -> Vec<Batch<'a>> {
    let of_suite = |unit: &'a Unit<'a>, cases: &'a [Case]| {
        let made = unit.machine(&cases[0].suite).and_then(|it| it.made.get());
        let booted = matches!(made, Some(Ok(place)) if place.is_slow());
        let each = if booted { cases.len() } else { 1 };
        cases.chunks(each).map(move |cases| Batch { unit, cases })
    };
    let suites = units.iter().flat_map(|unit| {
        unit.cases.chunk_by(|a, b| a.suite == b.suite).map(move |cases| (unit, cases))
    });
    suites.flat_map(|(unit, cases)| of_suite(unit, cases)).collect()
}

/// The batches of two units that run the same, each as A B B A, `rounds` times.
fn interleaved<'a>(units: &'a [Unit<'a>], rounds: NonZeroU32) -> Result<Vec<Batch<'a>>> {
    if units.len() != 2 {
        bail!("two kernels are held against each other, not {}", units.len());
    }
    let (a, b) = (batches(&units[..1]), batches(&units[1..]));
    if a.len() != b.len() {
        bail!("one of the kernels runs from a saved guest and the other does not");
    }
    let quartets = a
        .into_iter()
        .zip(b)
        .flat_map(|(a, b)| std::iter::repeat_n([a, b, b, a], rounds.get() as usize).flatten());
    Ok(quartets.collect())
}

/// Writes the reports, says what went wrong, and finds the exit code.
fn report(shared: &Shared, out: &Path) -> Result<Exit> {
    let run = cgauge_reports::Run::read(out)?;
    write_into(&run, out, &Format::OF_EVERY_RUN)?;
    let mut stdout = std::io::stdout().lock();
    terminal::write(&run, shared.progress.colour(), &mut stdout)?;
    ci::tell(&run, |it| std::env::var_os(it), &mut stdout)?;
    writeln!(stdout, "report: {}", shown(&out.join(Format::Html.file_name())).display())?;
    Ok(exit_of(&run.end, shared.reached.load(Ordering::Relaxed)))
}

fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
}

/// What a run says to the one that started it. `reached` counts the machines
/// that came up.
fn exit_of(end: &RunEnd, reached: u32) -> Exit {
    match end {
        RunEnd { failed: 1.., .. } => Exit::Failure,
        RunEnd { interrupted: true, .. } => Exit::Broken,
        _ if reached == 0 => Exit::NothingTested,
        RunEnd { errors: 1.., .. } => Exit::Broken,
        RunEnd { passed: 0, .. } => Exit::NothingTested,
        _ => Exit::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_a_wrong_kernel_from_a_broken_harness() {
        let counts = |passed, failed, skipped, errors| RunEnd {
            passed,
            failed,
            skipped,
            errors,
            ..RunEnd::default()
        };
        for (end, reached, code) in [
            (counts(3, 0, 1, 0), 1, 0),
            (counts(3, 1, 0, 1), 1, 1),
            (counts(3, 0, 0, 1), 1, 5),
            (counts(0, 0, 2, 0), 1, 125),
            (counts(0, 0, 0, 9), 0, 125),
            (counts(0, 0, 0, 1), 1, 5),
            (RunEnd { interrupted: true, ..counts(3, 0, 0, 0) }, 1, 5),
        ] {
            assert_eq!(exit_of(&end, reached).code(), code, "{end:?}");
        }
    }
}
