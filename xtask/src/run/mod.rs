//! `run`: plan, boot, run, report.
//!
//! First the machines are made, then one queue of cases is worked off, both by
//! `--jobs` workers. The events file is the only truth: the reports are made
//! from it.

mod case;
mod journal;
mod progress;
mod rerun;

use std::collections::BTreeSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cgauge_provision::{Kernel, KernelSpec, Tools};
use cgauge_record::{CaseEnd, CaseStart, Event, KernelId, Planned, RunEnd, RunStart, SCHEMA};
use cgauge_reports::judge::{Finish, judge};
use cgauge_reports::{Format, terminal, write_into};
use cgauge_stage::vm::Vm;

use self::case::Bench;
use self::journal::Journal;
use self::progress::Progress;
use crate::build::{self, Binaries};
use crate::catalogue::{self, Kind, Suite};
use crate::ci;
use crate::exit::{Exit, usage};
use crate::flags;
use crate::ground::{self, Ground};
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
    for line in &left_out {
        eprintln!("{line}");
    }
    if configurations.is_empty() {
        return Err(usage("nothing is left to run"));
    }
    // Early, so that a bad --out fails before anything takes long.
    let target = workspace.join("target").join("cgauge");
    let id = run_id();
    let out = flags.out.clone().unwrap_or_else(|| target.join("runs").join(&id));
    let journal = Journal::create(&out).map_err(usage)?;

    let stop = ground::stop_on_signals()?;
    let say = |line: &str| eprintln!("{line}");
    let ground = Ground::prepare(&specs, &target, &stop, &say, |it| {
        explain_kernel(it, flags.kernel.is_empty())
    })?;
    let binaries = build::guest_binaries(workspace, &suites)?;
    let listed: Vec<_> = suites
        .iter()
        .map(|suite| (*suite, build::cases_of_suite(&binaries, &suite.name)))
        .collect();
    let cases = plan::cases(&listed, &flags).map_err(usage)?;
    let common = ground.common(flags.clock.into(), flags.silence.0);
    let mut units = Vec::new();
    for configuration in &configurations {
        let kernel = ground.kernels.iter().find(|it| it.spec.to_string() == configuration.kernel);
        let kernel = kernel.context("a configuration without its kernel")?;
        let mut cases = cases.clone();
        cases.retain(|case| {
            let of = |it: &&&Suite| it.name == case.suite;
            let runs = |it: &&Suite| plan::runs_on(it, configuration.hierarchy, &flags);
            suites.iter().find(of).is_some_and(runs)
        });
        if let Some(rerun) = &rerun {
            cases.retain(|it| rerun.wants(&configuration.name(), &it.suite, &it.name));
        }
        if let Some(only) = &wanted.only {
            cases.retain(|it| only.contains(&(it.suite.clone(), it.name.clone())));
        }
        units.push(Unit::new(configuration, kernel, cases, &suites, &flags)?);
    }
    if units.iter().all(|it| it.cases.is_empty()) {
        if wanted.only.is_some() {
            return Err(usage("none of these cases is there any more"));
        }
        eprintln!("nothing to run again: every case of that run passed or was skipped");
        return Ok(Measured { exit: Exit::Fine, out });
    }
    let repeated = match wanted.order {
        Order::Apart => 1,
        Order::Interleaved(rounds) => 2 * rounds.get() as usize,
    };
    let shared = Shared {
        journal,
        binaries,
        common,
        began,
        progress: Progress::new(units.iter().map(|it| it.cases.len() * repeated).sum()),
        slowed: flags.slow.clone(),
        run: out.file_name().map_or(id, |it| it.to_string_lossy().into_owned()),
        reached: AtomicU32::new(0),
    };
    let jobs = flags.jobs.map_or_else(pool::cores, NonZeroU32::get);
    let result = shared.run_all(&units, wanted.order, jobs);
    shared.progress.finish();
    drop(ground);
    result?;
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

fn run_id() -> String {
    let now = jiff::Timestamp::now();
    format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), std::process::id())
}

/// The suites that need the same, what they need, and the machine that offers it
/// once it is made.
struct Machine {
    suites: Vec<String>,
    needs: Needs,
    made: OnceLock<Result<Vm, String>>,
}

/// The cases of one configuration, and the machines that they need.
struct Unit<'a> {
    configuration: &'a Configuration,
    kernel: &'a Kernel,
    cases: Vec<Case>,
    /// The machines that they run on, each made once.
    machines: Vec<Machine>,
}

impl<'a> Unit<'a> {
    fn new(
        configuration: &'a Configuration,
        kernel: &'a Kernel,
        cases: Vec<Case>,
        suites: &[&Suite],
        flags: &flags::Run,
    ) -> Result<Self> {
        let mut machines: Vec<Machine> = Vec::new();
        for suite in suites.iter().filter(|it| cases.iter().any(|case| case.suite == it.name)) {
            let needs = Needs::of(suite, flags.cpus, flags.memory)?;
            match machines.iter_mut().find(|it| it.needs == needs) {
                Some(machine) => machine.suites.push(suite.name.clone()),
                None => machines.push(Machine {
                    suites: vec![suite.name.clone()],
                    needs,
                    made: OnceLock::new(),
                }),
            }
        }
        Ok(Self { configuration, kernel, cases, machines })
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
            Some(Ok(vm)) => {
                let bench = Bench {
                    stage: vm,
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
            Some(Err(reason)) => self.not_booted(batch, reason, worker),
            None => Ok(()),
        }
    }

    fn make(&self, unit: &Unit<'_>, needs: &Needs) -> Result<Vm, String> {
        let say = |line: &str| self.progress.say(line);
        let made = prepare::machine(
            &self.common,
            unit.kernel,
            unit.configuration.hierarchy,
            needs,
            &self.binaries,
            &say,
        );
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

    /// Cases whose machine did not come up end in error, each by name.
    fn not_booted(&self, batch: &Batch<'_>, reason: &str, worker: u32) -> Result<()> {
        for case in batch.cases {
            let host_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let config = batch.unit.configuration.name();
            self.journal.write(&Event::CaseStart(CaseStart {
                config: config.clone(),
                suite: case.suite.clone(),
                case: case.name.clone(),
                promise: case.promise.clone(),
                host_ns,
                worker,
            }))?;
            let judgement = judge(&[], None, &Finish::BootFailed(reason.to_owned()));
            let end = CaseEnd {
                config,
                suite: case.suite.clone(),
                case: case.name.clone(),
                outcome: judgement.outcome,
                reason: judgement.reason,
                elapsed_ns: 0,
                host_elapsed_ns: 0,
                host_ns,
                evidence: Vec::new(),
            };
            self.progress.ended(&end);
            self.journal.end_case(&[], end)?;
        }
        Ok(())
    }

    fn start_of(&self, unit: &Unit<'_>) -> Result<RunStart> {
        let smallest = unit.machines.iter().map(|it| it.needs.profile).min();
        let profile = smallest.context("a configuration without a machine")?;
        let first = unit.machines.iter().find_map(|it| it.made.get()?.as_ref().ok());
        let planned =
            unit.cases.iter().map(|it| Planned { suite: it.suite.clone(), case: it.name.clone() });
        Ok(RunStart {
            schema: SCHEMA,
            run: self.run.clone(),
            harness: format!("cgauge {}", env!("CARGO_PKG_VERSION")),
            started: jiff::Timestamp::now().to_string(),
            stage: unit.configuration.stage,
            accel: first.map_or("tcg", |it| it.machine().accelerator.name()).to_owned(),
            clock: self.common.clock,
            hierarchy: unit.configuration.hierarchy,
            driver: unit.configuration.driver,
            kernel: KernelId {
                release: first.map_or(&unit.kernel.release, |it| &it.ready().release).clone(),
                version: first.map_or_else(String::new, |it| it.ready().version.clone()),
                config_sha256: unit.kernel.config_sha256()?.unwrap_or_default(),
            },
            qemu: self.common.qemu.version.clone(),
            cpus: profile.cpus,
            memory_bytes: profile.memory_bytes,
            config: unit.configuration.name(),
            kernel_spec: unit.configuration.kernel.clone(),
            machine: first.map_or("", |it| it.machine().model.name()).to_owned(),
            guest: first.map_or("", |it| if it.is_saved() { "saved" } else { "booted" }).to_owned(),
            host: crate::host::identity(self.common.clock),
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
        let booted = matches!(made, Some(Ok(vm)) if !vm.is_saved());
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
