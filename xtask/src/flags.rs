//! The command line: every command and flag, and what each means. Nothing else
//! is done here.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cgauge_provision::Userland;
use cgauge_record::{Clock, Driver, Hierarchy, StageKind};
use cgauge_reports::{Format, GateFormat};
use cgauge_stage::container::Name as Engine;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::gate::Percent;

/// Do cgroups on this kernel do what they promise, how exactly, how fast, and is
/// that worse than yesterday?
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Boot a kernel, run suites on it, report what held.
    Run(Run),
    /// The same for benchmarks: boot a kernel, time operations on it, report.
    Bench(Bench),
    /// Show suites and cases, and the requirements that each covers.
    List(List),
    /// Write the reports of a run again, or of several runs as a matrix.
    Report(Report),
    /// Show what changed from one run to another, record by record.
    Compare(Compare),
    /// Say whether a run is worse than another, with an exit code: 0 no, 3 yes.
    Gate(Gate),
    /// Print a run as one compact file, to be committed and gated against.
    Baseline(Baseline),
    /// Sweep what groups, limits and watchers cost, and say what a node carries.
    Capacity(Capacity),
    /// Repeat a run, and some of its cases alone, and say whether any record
    /// comes out different.
    Repeat(Repeat),
    /// Print one picture of a run as SVG.
    Plot(Plot),
    /// Print which interface files and keys runs asserted, as Markdown.
    Files(Files),
    /// Show or fetch kernels.
    Kernels(Kernels),
    /// Wait for the end of a run, then clear away what it left: started by runs
    /// themselves.
    #[command(hide = true)]
    Keeper,
    /// Say what this machine can do, and what is missing for the rest.
    Doctor,
    /// Run the project's own tests: unit tests, then short real runs in a VM.
    Test(Test),
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// Suites to run; all of them if none is named.
    #[arg(value_name = "SUITE")]
    pub suites: Vec<String>,
    /// A kernel to test, repeatable: debian:5.10, debian:6.1, debian:6.12,
    /// debian:6.12-rt, debian:sid, host, tree:DIR, PATH/bzImage[,modules=DIR].
    /// [default: debian:6.12, or host where apt is not to be had]
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Vec<String>,
    /// Hierarchies to test on. [default: the one that each suite is for]
    #[arg(long, value_delimiter = ',')]
    pub hierarchy: Vec<HierarchyFlag>,
    /// Who makes the groups. [default: cgroupfs, or the one that each named suite
    /// is for]
    #[arg(long, value_delimiter = ',')]
    pub driver: Vec<DriverFlag>,
    /// The Debian release that a guest with systemd boots: debian:bullseye,
    /// debian:bookworm, debian:trixie, debian:sid.
    #[arg(long, value_name = "RELEASE", value_delimiter = ',', default_value = "debian:bookworm")]
    pub userland: Vec<Userland>,
    /// Where the cases run.
    #[arg(long, value_delimiter = ',', default_value = "vm")]
    pub stage: Vec<StageFlag>,
    /// The clock of every figure: virtual counts the guest's instructions and
    /// repeats to the nanosecond, wall is real time. [default: virtual in a VM;
    /// elsewhere there is none but wall]
    #[arg(long)]
    pub clock: Option<ClockFlag>,
    /// With --stage container: the engine. [default: the first that works]
    #[arg(long, value_name = "NAME")]
    pub engine: Option<EngineFlag>,
    /// With --stage host: do not ask whether loads may run beside everything else.
    #[arg(long)]
    pub yes: bool,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "SUBSTRING")]
    pub case: Vec<String>,
    /// Only the cases that give the most for a total of under a minute.
    #[arg(long)]
    pub quick: bool,
    /// How many guests run side by side. [default: the machine's cores]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroU32>,
    /// Virtual CPUs, in place of what each suite asks for.
    #[arg(long, value_name = "N")]
    pub cpus: Option<NonZeroU32>,
    /// Memory of a guest, as 512M or 2G, in place of what each suite asks for.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Run only part M of N: every case is in exactly one part.
    #[arg(long, value_name = "M/N")]
    pub partition: Option<Partition>,
    /// The run directory. [default: a new one below target/cgauge/runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run again what failed, ended in error or never ran in this run.
    #[arg(long, value_name = "RUN")]
    pub rerun: Option<PathBuf>,
    /// How long a guest may be silent, in seconds of the host.
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub silence: Seconds,
    /// Benchmarks with this in their name are made slower by so much, as
    /// fork=1%: the proof that a gate finds it.
    #[arg(long, value_name = "SUBSTRING=PERCENT")]
    pub slow: Option<Slowed>,
}

/// Flags of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// What `run` takes as well.
    #[command(flatten)]
    pub run: Run,
    /// Measure this kernel too, benchmark by benchmark in the order A B B A, and
    /// say whether the one named with --kernel is worse, with the exit code of
    /// `gate`.
    #[arg(long, value_name = "KERNEL")]
    pub against: Option<String>,
    /// With --against: the least worsening that is a regression, as 2%. [default:
    /// 0.5% on the virtual clock, 10% on the wall clock]
    #[arg(long, value_name = "PERCENT", requires = "against")]
    pub threshold: Option<Percent>,
    /// With --against: end with 4 where noise leaves something undecided.
    #[arg(long, requires = "against")]
    pub strict: bool,
}

impl Run {
    /// Every case of the suites that are named, in a VM on the virtual clock.
    pub fn on_the_virtual_clock() -> Self {
        Self {
            suites: Vec::new(),
            kernel: Vec::new(),
            hierarchy: Vec::new(),
            driver: vec![DriverFlag::Cgroupfs],
            userland: Vec::new(),
            stage: vec![StageFlag::Vm],
            clock: Some(ClockFlag::Virtual),
            engine: None,
            yes: false,
            case: Vec::new(),
            quick: false,
            jobs: None,
            cpus: None,
            memory: None,
            partition: None,
            out: None,
            rerun: None,
            slow: None,
            silence: Seconds(Duration::from_secs(120)),
        }
    }
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// One JSON document in place of a table.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Run directories, or their events.jsonl.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// What to write: html, junit, ktap, kcidb, markdown, json, csv, annotations.
    /// [default: html,junit,ktap,markdown]
    #[arg(long, value_delimiter = ',')]
    pub format: Vec<Format>,
    /// Where to write. [default: the run's own directory, if it is one run]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Flags of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The run to start from: its directory or its events.jsonl.
    pub base: PathBuf,
    /// The run to look at.
    pub new: PathBuf,
}

/// Flags of `gate`.
#[derive(Debug, Args)]
pub struct Gate {
    /// What to judge by: a run directory, its events.jsonl, or a baseline.
    pub base: PathBuf,
    /// What to judge, likewise; or --kernel, to measure it now.
    #[arg(required_unless_present = "kernel", conflicts_with = "kernel")]
    pub new: Option<PathBuf>,
    /// Measure what the base measured on this kernel, then judge it: ends with 0
    /// or 3, and with 125 where there is nothing to judge, for `git bisect run`.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,
    /// With --kernel: how many guests run side by side. [default: the machine's
    /// cores]
    #[arg(long, value_name = "N", requires = "kernel")]
    pub jobs: Option<NonZeroU32>,
    /// With --kernel: the run directory. [default: a new one below
    /// target/cgauge/runs]
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub out: Option<PathBuf>,
    /// The least worsening that is a regression, as 2%. [default: 0.5% on the
    /// virtual clock, 10% on the wall clock]
    #[arg(long, value_name = "PERCENT")]
    pub threshold: Option<Percent>,
    /// End with 4 where noise leaves something undecided.
    #[arg(long)]
    pub strict: bool,
    /// Compare even what cannot be compared, and say so.
    #[arg(long)]
    pub allow_mismatch: bool,
    /// Leave out the cases that the new run never meant to run.
    #[arg(long)]
    pub subset: bool,
    /// text, markdown or json.
    #[arg(long, default_value = "text")]
    pub format: GateFormat,
}

/// Flags of `baseline`.
#[derive(Debug, Args)]
pub struct Baseline {
    /// The run: its directory or its events.jsonl.
    pub run: PathBuf,
}

/// Flags of `capacity`.
#[derive(Debug, Args)]
pub struct Capacity {
    /// A TOML file of a node and its services: say whether they fit.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// The kernel, as for `run`.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,
    /// Fewer places of each sweep.
    #[arg(long)]
    pub quick: bool,
    /// Measure nothing: take the sweeps of this run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["kernel", "quick", "jobs", "cpus", "memory"])]
    pub run: Option<PathBuf>,
    /// How many guests run side by side. [default: the machine's cores]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroU32>,
    /// Virtual CPUs of the guest.
    #[arg(long, value_name = "N")]
    pub cpus: Option<NonZeroU32>,
    /// Memory of the guest, as 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Where the run and its report go. [default: a new run directory, or that of --run]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Flags of `plot`.
#[derive(Debug, Args)]
pub struct Plot {
    /// The run: its directory or its events.jsonl.
    #[arg(required_unless_present = "readme")]
    pub run: Option<PathBuf>,
    /// A part of the case's name; a picture of several cases has none.
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    pub case: String,
    /// The name of the series or histogram, or the title of a picture of several
    /// cases.
    #[arg(long, value_name = "NAME", required_unless_present = "readme")]
    pub metric: Option<String>,
    /// Write the pictures of the README to docs/; without a run, run what they
    /// show first.
    #[arg(long, conflicts_with_all = ["case", "metric"])]
    pub readme: bool,
}

/// Flags of `files`.
#[derive(Debug, Args)]
pub struct Files {
    /// Run directories, or their events.jsonl.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
}

/// Flags of `repeat`.
#[derive(Debug, Args)]
pub struct Repeat {
    /// Suites to run; all of them if none is named.
    #[arg(value_name = "SUITE")]
    pub suites: Vec<String>,
    /// How many runs there are in all.
    #[arg(long, value_name = "N", default_value = "2")]
    pub times: u32,
    /// How many cases are run alone.
    #[arg(long, value_name = "N", default_value = "0")]
    pub alone: usize,
    /// Only cases whose name contains this.
    #[arg(long, value_name = "SUBSTRING")]
    pub case: Vec<String>,
    /// Only the cases that `run --quick` takes.
    #[arg(long)]
    pub quick: bool,
    /// How many further runs have one benchmark made slower, each another: the
    /// gate has to find it, and nothing else.
    #[arg(long, value_name = "N", default_value = "0")]
    pub slowed: usize,
    /// By how much.
    #[arg(long, value_name = "PERCENT", default_value = "1%")]
    pub slow: Percent,
}

/// Flags of `kernels`.
#[derive(Debug, Args)]
pub struct Kernels {
    /// What to do with them; `list` if nothing is said.
    #[command(subcommand)]
    pub command: Option<KernelsCommand>,
}

/// The commands of `kernels`.
#[derive(Debug, Subcommand)]
pub enum KernelsCommand {
    /// What can be had and what is in the cache.
    List,
    /// Fetch kernels, or newer builds of what is in the cache.
    Fetch {
        /// As for `run --kernel`.
        #[arg(required = true, value_name = "KERNEL")]
        kernels: Vec<String>,
    },
    /// Build a kernel's source tree with what the suites test, for
    /// `run --kernel tree:DIR`. Ends with 125 where the tree does not build, which
    /// `git bisect run` takes as a skip.
    Build {
        /// The source tree.
        source: PathBuf,
        /// Where the built tree goes. [default: below target/cgauge/kernels]
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
        /// How many files to compile side by side. [default: the machine's cores]
        #[arg(long, value_name = "N")]
        jobs: Option<NonZeroU32>,
    },
}

/// Flags of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Only what needs no VM.
    #[arg(long)]
    pub unit: bool,
    /// Only this: run every case under a kernel that lies, and list each check
    /// that no lie makes fail.
    #[arg(long, conflicts_with = "unit")]
    pub lies: bool,
    /// With --lies: the suites; all of them if none is named.
    #[arg(value_name = "SUITE", requires = "lies")]
    pub suites: Vec<String>,
    /// With --lies: only the cases with this in their name, repeatable.
    #[arg(long, value_name = "CASE", requires = "lies")]
    pub case: Vec<String>,
    /// With --lies: the kernel.
    #[arg(long, value_name = "KERNEL", requires = "lies")]
    pub kernel: Option<String>,
}

macro_rules! flag_of {
    ($flag:ident => $of:ident { $($variant:ident),* }) => {
        #[doc = concat!("`", stringify!($of), "` as a flag's value.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        pub enum $flag {
            $(#[doc = concat!("`", stringify!($variant), "`.")] $variant),*
        }

        impl From<$flag> for $of {
            fn from(it: $flag) -> Self {
                match it { $($flag::$variant => Self::$variant),* }
            }
        }

        impl From<$of> for $flag {
            fn from(it: $of) -> Self {
                match it { $($of::$variant => Self::$variant),* }
            }
        }
    };
}
flag_of!(HierarchyFlag => Hierarchy { Unified, Legacy, Hybrid });
flag_of!(EngineFlag => Engine { Runc, Crun, Podman });
flag_of!(DriverFlag => Driver { Cgroupfs, Systemd });
flag_of!(StageFlag => StageKind { Vm, Container, Host });
flag_of!(ClockFlag => Clock { Virtual, Wall });

/// Benchmarks that are to be made slower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slowed {
    /// What their names contain.
    pub name: String,
    /// By how many thousandths.
    pub thousandths: u32,
}

impl FromStr for Slowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} names no slowdown: write it as fork=1%");
        let (name, percent) = text.rsplit_once('=').ok_or_else(wrong)?;
        let share = percent.parse::<Percent>()?.share;
        Ok(Self { name: name.to_owned(), thousandths: (share * 1000.0).round() as u32 })
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In bytes.
    pub bytes: u64,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write it as 512M or 2G");
        let unit = text.char_indices().next_back().ok_or_else(wrong)?;
        let shift = match unit.1 {
            'K' | 'k' => 10,
            'M' | 'm' => 20,
            'G' | 'g' => 30,
            _ => return Err(wrong()),
        };
        let count: u64 = text[..unit.0].parse().map_err(|_| wrong())?;
        let bytes = count.checked_mul(1 << shift).filter(|it| *it > 0).ok_or_else(wrong)?;
        Ok(Self { bytes })
    }
}

/// Part M of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which part, from 1.
    pub part: u64,
    /// Of how many.
    pub of: u64,
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(part, of)| {
            let it = Self { part: part.parse().ok()?, of: of.parse().ok()? };
            (1..=it.of).contains(&it.part).then_some(it)
        });
        parsed.ok_or_else(|| format!("{text:?} is no part: write 1/4 to 4/4"))
    }
}

/// A time in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(seconds @ 1..=86_400) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(format!("{text:?} is no number of seconds from 1 to 86400")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!("512M".parse(), Ok(Size { bytes: 512 << 20 }));
        for text in ["", "M", "512", "0M", "-1M", "1T", "99999999999999G", "½M"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn slowdowns() {
        let slowed = Slowed { name: "a=b".into(), thousandths: 15 };
        assert_eq!("a=b=1.5%".parse(), Ok(slowed));
        for text in ["fork", "fork=", "fork=much"] {
            assert!(text.parse::<Slowed>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn partitions() {
        assert_eq!("2/4".parse(), Ok(Partition { part: 2, of: 4 }));
        for text in ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3"] {
            assert!(text.parse::<Partition>().is_err(), "{text:?}");
        }
    }
}
