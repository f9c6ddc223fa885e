//! The machine's own kernel as a place to run, in a container or beside
//! everything else: whether and where it can be, which cases are safe there, and
//! how a stage comes about.
//!
//! It knows no case by name: which are safe the suites themselves say.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use cgauge_provision::{Rights, Tools};
use cgauge_record::StageKind;
use cgauge_stage::container::{
    self, Bounds, Container, Engine, Holder, Name, Settings, Trees, Way,
};

use crate::build::Binaries;
use crate::catalogue::Suite;
use crate::exit::{Exit, usage};
use crate::flags;
use crate::plan::Configuration;
use crate::pool;
use crate::prepare::{Common, Needs};

/// Processes and threads that a guest may have: four times what the largest bomb
/// is allowed by the limit under test.
const PIDS: u64 = 4096;

/// The life of the keeper, which outlives the run that started it.
pub fn keep() -> Result<Exit> {
    container::keep(std::io::stdin()).map_err(anyhow::Error::msg)?;
    Ok(Exit::Fine)
}

/// This machine, as far as it matters.
pub struct OwnKernel {
    trees: Trees,
    engines: Vec<Engine>,
    wanted: Option<Name>,
    rights: Rights,
    spare_bytes: u64,
    most_pids: u64,
}

impl OwnKernel {
    /// Looks around.
    pub fn look(flags: &flags::Run) -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let pids = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
        Self {
            trees: Trees::of_this_machine(),
            engines: Engine::find_all(&env::var_os("PATH").unwrap_or_default()),
            wanted: flags.engine.map(Into::into),
            rights: Tools::of_this_machine().rights(),
            spare_bytes: spare(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            most_pids: pids.iter().filter_map(|it| number(it)).min().unwrap_or(0),
        }
    }

    /// Leaves out the configurations that cannot be here, each with the reason.
    pub fn leave_out(&self, all: Vec<Configuration>) -> (Vec<Configuration>, Vec<String>) {
        let mut left_out = Vec::new();
        let mut possible = all;
        possible.retain(|it| match self.obstacle(it) {
            None => true,
            Some(why) => {
                left_out.push(format!("{} is left out: {why}", it.name()));
                false
            }
        });
        (possible, left_out)
    }

    fn obstacle(&self, it: &Configuration) -> Option<String> {
        if it.stage == StageKind::Vm {
            return None;
        }
        if !self.trees.have(it.hierarchy) {
            return Some(format!("the hierarchy of this machine is another ({})", self.trees));
        }
        if self.rights != Rights::Root {
            return Some("only root may make groups at the top of a hierarchy".to_owned());
        }
        if it.stage == StageKind::Container && self.engines().next().is_none() {
            let names = Name::ALL.map(Name::program).join(", ");
            return Some(match self.wanted {
                Some(name) => format!("{} is not here", name.program()),
                None => format!("no container engine is here: there would be {names}"),
            });
        }
        None
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter(|it| self.wanted.is_none_or(|wanted| it.name == wanted))
    }

    /// Makes the run's groups, and the root of its guests. What a dead run left is
    /// cleared away first.
    pub fn settle(
        self,
        common: &Common,
        binaries: &Binaries,
        say: &dyn Fn(&str),
    ) -> Result<Settled> {
        let roots: Vec<PathBuf> = self.trees.all().map(|it| it.root.clone()).collect();
        for name in container::sweep(&roots) {
            say(&format!("cleared away {name}, which a run that was killed had left"));
        }
        let program = env::current_exe().context("find this program")?;
        let holder = Arc::new(Holder::new(self.trees.clone(), &program, &common.work)?);
        // Only now there is somebody who removes it, whatever happens.
        let rootfs = common.work.join("rootfs");
        fill(&rootfs, binaries)?;
        Ok(Settled { machine: self, holder, rootfs })
    }
}

/// This machine with the run's groups on it.
pub struct Settled {
    machine: OwnKernel,
    holder: Arc<Holder>,
    rootfs: PathBuf,
}

impl Settled {
    /// Makes the stage that offers `needs`.
    pub fn stage(
        &self,
        common: &Common,
        configuration: &Configuration,
        needs: &Needs,
        say: &dyn Fn(&str),
    ) -> Result<Container> {
        let machine = &self.machine;
        let bounds =
            Bounds { memory_bytes: needs.profile.memory_bytes, pids: PIDS, cpus: pool::cores() };
        let obstacle =
            container::obstacle(&machine.trees, bounds, machine.spare_bytes, machine.most_pids);
        if let Some(why) = obstacle {
            bail!("{why}");
        }
        let settings = |way| Settings {
            holder: Arc::clone(&self.holder),
            way,
            rootfs: self.rootfs.clone(),
            work: common.work.clone(),
            bounds,
            hierarchy: configuration.hierarchy,
            silence: common.silence,
            stop: Arc::clone(&common.stop),
        };
        if configuration.stage == StageKind::Host {
            return Ok(Container::prove(settings(Way::Bare))?);
        }
        let mut reasons = Vec::new();
        for engine in machine.engines() {
            match Container::prove(settings(Way::Engine(engine.clone()))) {
                Ok(stage) => return Ok(stage),
                Err(cgauge_stage::Error::Interrupted) => bail!("interrupted"),
                Err(error) => {
                    say(&format!("{engine} runs no container here: {error}"));
                    reasons.push(format!("{engine}: {error}"));
                }
            }
        }
        bail!("no engine runs a container here: {}", reasons.join("; "))
    }

    /// Clears the run's groups away; an error if something stays.
    pub fn leave(&self) -> Result<()> {
        self.holder.clear().map_err(anyhow::Error::msg)
    }
}

/// Makes the folder that is the root of every guest.
fn fill(root: &Path, binaries: &Binaries) -> Result<()> {
    for folder in ["bin", "suites", "proc", "sys", "dev", "tmp", "run"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut files = vec![("bin/cgauge-agent".to_owned(), &binaries.agent)];
    files.push(("bin/cgauge-workload".to_owned(), &binaries.workload));
    files.extend(binaries.suites.iter().map(|it| (format!("suites/{}", it.name), &it.path)));
    for (place, from) in files {
        let to = root.join(place);
        // A copy only where the two are on different disks.
        fs::hard_link(from, &to)
            .or_else(|_| fs::copy(from, &to).map(drop))
            .with_context(|| format!("put {} into {}", from.display(), root.display()))?;
    }
    Ok(())
}

/// Why a case does not run beside others on this kernel; nothing if it does.
pub fn why_not(suite: &Suite, case: &str, cpus: u32) -> Option<String> {
    let speaks_of = |name: &str| {
        let rest = case.strip_prefix(name);
        name == "*" || rest.is_some_and(|it| it.is_empty() || it.starts_with("::"))
    };
    let says = suite.needs.shared_kernel.iter().filter(|(name, _)| speaks_of(name));
    let Some((_, needed)) = says.max_by_key(|(name, _)| name.len()) else {
        return Some(format!("it needs a kernel of its own{}", what_for(suite)));
    };
    (*needed > cpus).then(|| format!("it needs {needed} CPUs, and this machine has {cpus}"))
}

/// What the suite asks of a machine that no other may share.
fn what_for(suite: &Suite) -> String {
    let needs = &suite.needs;
    let mut asks = Vec::new();
    if !needs.modules.is_empty() {
        let name = |it: &String| it.split(' ').next().unwrap_or_default().to_owned();
        let names: Vec<String> = needs.modules.iter().map(name).collect();
        asks.push(format!("the modules {}", names.join(", ")));
    }
    if needs.nodes > 1 {
        asks.push(format!("{} memory nodes", needs.nodes));
    }
    if !needs.boot.is_empty() {
        asks.push(format!("{} on the kernel's command line", needs.boot.join(" ")));
    }
    if asks.is_empty() { String::new() } else { format!(" (its suite: {})", asks.join("; ")) }
}

/// Asks whether loads may run beside everything else on this machine.
pub fn confirm(configurations: &[Configuration], flags: &flags::Run) -> Result<()> {
    if flags.yes || configurations.iter().all(|it| it.stage != StageKind::Host) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "--stage host runs loads as root beside everything else on this machine: \
             say --yes, or say it on a terminal",
        ));
    }
    eprint!(
        "Loads will run as root beside everything else on this machine, in groups of their own \
         with limits on memory, processes and CPU time. Go on? [y/N] "
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(usage("not confirmed")),
    }
}

/// The memory that can be had without swapping, of `/proc/meminfo`.
fn spare(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cgauge_record::{Driver, Hierarchy};

    use super::*;
    use crate::catalogue::{Kind, Needs as Asked, When};

    fn suite(modules: &[&str], nodes: u32, shared: &[(&str, u32)]) -> Suite {
        Suite {
            name: "legacy-memory".into(),
            kind: Kind::Conformance,
            package: "cgauge-conformance",
            needs: Asked {
                cpus: 1,
                memory: "512M".into(),
                modules: modules.iter().map(|it| (*it).into()).collect(),
                nodes,
                boot: Vec::new(),
                hierarchies: vec![Hierarchy::Legacy],
                drivers: vec![Driver::Cgroupfs],
                quick: Vec::new(),
                shared_kernel: shared.iter().map(|(name, cpus)| ((*name).into(), *cpus)).collect(),
                when: When::Always,
            },
            functions: BTreeMap::new(),
        }
    }

    #[test]
    fn a_case_runs_beside_others_only_if_its_suite_says_so() {
        let suite = suite(&["zram num_devices=1"], 2, &[("limit::holds", 1), ("notices", 4)]);
        for case in ["limit::holds", "limit::holds::case_1"] {
            assert_eq!(why_not(&suite, case, 2), None, "{case}");
        }
        let told = |case: &str| why_not(&suite, case, 2).unwrap();
        insta::assert_snapshot!(told("limit::holds_more"), @"it needs a kernel of its own (its suite: the modules zram; 2 memory nodes)");
        insta::assert_snapshot!(told("notices::threshold::case_1"), @"it needs 4 CPUs, and this machine has 2");
        assert_eq!(why_not(&suite, "notices::threshold::case_1", 4), None);
    }

    #[test]
    fn what_cannot_be_here_is_left_out_with_the_reason() {
        let here = |rights, engines: &[Name]| OwnKernel {
            trees: Trees::read("1 1 0:9 / /c/pids rw - cgroup cgroup rw,pids\n", "pids\t8\t1\t1\n"),
            engines: engines
                .iter()
                .map(|name| Engine {
                    name: *name,
                    program: "/x".into(),
                    version: String::new(),
                    runtime: None,
                })
                .collect(),
            wanted: None,
            rights,
            spare_bytes: 0,
            most_pids: 0,
        };
        let configuration = |hierarchy, stage| Configuration {
            kernel: "host".into(),
            hierarchy,
            driver: Driver::Cgroupfs,
            userland: None,
            stage,
        };
        let told = |own: &OwnKernel, hierarchy, stage| {
            own.leave_out(vec![configuration(hierarchy, stage)]).1.join("\n")
        };
        let (legacy, unified) = (Hierarchy::Legacy, Hierarchy::Unified);
        let able = here(Rights::Root, &[Name::Runc]);
        assert_eq!(told(&able, legacy, StageKind::Container), "");
        assert_eq!(told(&here(Rights::User, &[]), unified, StageKind::Vm), "");
        insta::assert_snapshot!(told(&able, unified, StageKind::Container), @"host/unified/cgroupfs/container is left out: the hierarchy of this machine is another (legacy, with pids)");
        insta::assert_snapshot!(told(&here(Rights::User, &[]), legacy, StageKind::Host), @"host/legacy/cgroupfs/host is left out: only root may make groups at the top of a hierarchy");
        insta::assert_snapshot!(told(&here(Rights::Root, &[]), legacy, StageKind::Container), @"host/legacy/cgroupfs/container is left out: no container engine is here: there would be runc, crun, podman");
        let other = OwnKernel { wanted: Some(Name::Crun), ..able };
        insta::assert_snapshot!(told(&other, legacy, StageKind::Container), @"host/legacy/cgroupfs/container is left out: crun is not here");
    }

    #[test]
    fn memory_to_spare_is_read() {
        assert_eq!(spare("MemTotal:  9 kB\nMemAvailable:   2048 kB\n"), 2 << 20);
        assert_eq!(spare(""), 0);
    }
}
