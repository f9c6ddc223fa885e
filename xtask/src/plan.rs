//! From what the user asks for to what is run: which cases of which suites, on
//! which machines, in which order.
//!
//! Pure: no file is read and nothing is started here.

use std::collections::BTreeSet;

use cgauge_provision::{Userland, nearest};
use cgauge_record::{Clock, Driver, Hierarchy, StageKind};

use crate::catalogue::{Kind, Suite, When};
use crate::exit::UsageError;
use crate::flags::{Partition, Run};
use crate::userland;

/// How the machine's own kernel is named.
const OWN_KERNEL: &str = "host";

/// One case to run on every configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// The suite's name.
    pub suite: String,
    /// The case's full name.
    pub name: String,
    /// The promise that it checks.
    pub promise: String,
}

/// Suites with the names of the cases that their binaries list.
pub type Listed<'a> = [(&'a Suite, Vec<String>)];

/// The suites that a command line means; those of this `kind` if it names none.
pub fn suites<'a>(
    known: &'a [Suite],
    kind: Kind,
    wanted: &[String],
) -> Result<Vec<&'a Suite>, UsageError> {
    if wanted.is_empty() {
        let runs = |it: &&Suite| it.kind == kind && it.needs.when == When::Always;
        return Ok(known.iter().filter(runs).collect());
    }
    let find = |name: &String| {
        known.iter().find(|it| it.name == *name).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|it| it.name.as_str()).collect();
            UsageError(format!(
                "there is no suite {name:?}{}: there are {}",
                did_you_mean(name, names.iter().copied()),
                names.join(", ")
            ))
        })
    };
    // In the catalogue's order, whatever order they were named in.
    let wanted: Vec<&Suite> = wanted.iter().map(find).collect::<Result<_, _>>()?;
    Ok(known.iter().filter(|it| wanted.iter().any(|want| want.name == it.name)).collect())
}

/// The cases that a command line means.
pub fn cases(listed: &Listed<'_>, flags: &Run) -> Result<Vec<Case>, UsageError> {
    let mut chosen = Vec::new();
    for (suite, names) in listed {
        let cases = named(suite, names.clone(), &flags.case);
        chosen.extend(cases.into_iter().filter(|it| !flags.quick || suite.is_quick(&it.name)));
    }
    for wanted in &flags.case {
        if !listed.iter().any(|(_, names)| names.iter().any(|it| it.contains(wanted))) {
            return Err(no_such_case(wanted, listed));
        }
    }
    if chosen.is_empty() {
        let what = "no case is left to run: --quick and --case leave none in common";
        return Err(UsageError(what.to_owned()));
    }
    Ok(match flags.partition {
        Some(partition) => part_of(chosen, partition),
        None => chosen,
    })
}

/// The cases of `suite` among `names` that have one of `wanted` in their name;
/// all of them if nothing is wanted.
pub fn named(suite: &Suite, names: Vec<String>, wanted: &[String]) -> Vec<Case> {
    let matches = |name: &String| wanted.is_empty() || wanted.iter().any(|it| name.contains(it));
    let case = |name: String| {
        let promise = suite.function(&name).promise;
        Case { suite: suite.name.clone(), name, promise }
    };
    names.into_iter().filter(matches).map(case).collect()
}

fn no_such_case(wanted: &str, listed: &Listed<'_>) -> UsageError {
    let names = listed.iter().flat_map(|(_, names)| names.iter());
    // People name the function, seldom its module and parameters.
    let parts: BTreeSet<&str> = names.flat_map(|it| it.split("::")).collect();
    let hint = did_you_mean(wanted, parts);
    UsageError(format!(
        "no case of {} has {wanted:?} in its name{hint}: `cargo xtask list` shows them all",
        listed.iter().map(|(it, _)| it.name.as_str()).collect::<Vec<_>>().join(", ")
    ))
}

fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, names).map(|it| format!(" (did you mean {it}?)")).unwrap_or_default()
}

/// Every n-th case, so that each part has some of each suite.
fn part_of(cases: Vec<Case>, partition: Partition) -> Vec<Case> {
    let in_part = |index: usize| index as u64 % partition.of == partition.part - 1;
    cases.into_iter().enumerate().filter(|(index, _)| in_part(*index)).map(|(_, it)| it).collect()
}

/// What a kernel is tested with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The kernel as the user named it.
    pub kernel: String,
    /// How the controllers are mounted.
    pub hierarchy: Hierarchy,
    /// Who makes the groups.
    pub driver: Driver,
    /// What is booted where systemd makes them.
    pub userland: Option<Userland>,
    /// Where the cases run.
    pub stage: StageKind,
}

impl Configuration {
    /// The name that the events carry.
    pub fn name(&self) -> String {
        let lower = |it: &dyn std::fmt::Debug| format!("{it:?}").to_lowercase();
        let driver = match self.userland {
            Some(userland) => format!("{}@{userland}", lower(&self.driver)),
            None => lower(&self.driver),
        };
        [self.kernel.clone(), lower(&self.hierarchy), driver, lower(&self.stage)].join("/")
    }
}

/// The product of what the user named; without what cannot be, with the reason.
pub fn configurations(
    kernels: &[String],
    suites: &[&Suite],
    flags: &Run,
) -> (Vec<Configuration>, Vec<String>) {
    let mut possible = Vec::new();
    let mut left_out = Vec::new();
    for stage in flags.stage.iter().map(|it| StageKind::from(*it)) {
        for kernel in kernels_of(stage, kernels, flags) {
            for hierarchy in hierarchies(suites, flags) {
                for (driver, userland) in drivers(suites, flags) {
                    let it = Configuration {
                        kernel: kernel.clone(),
                        hierarchy,
                        driver,
                        userland,
                        stage,
                    };
                    match obstacle(&it, suites, flags) {
                        None => possible.push(it),
                        Some(why) => left_out.push(format!("{} is left out: {why}", it.name())),
                    }
                }
            }
        }
    }
    (possible, left_out)
}

/// The kernels that the user named; outside a VM the machine's own if none is.
fn kernels_of(stage: StageKind, kernels: &[String], flags: &Run) -> Vec<String> {
    if stage != StageKind::Vm && flags.kernel.is_empty() {
        return vec![OWN_KERNEL.to_owned()];
    }
    kernels.to_vec()
}

/// The clock that figures of this stage are taken by.
pub fn clock(stage: StageKind, flags: &Run) -> Clock {
    match flags.clock {
        Some(clock) => clock.into(),
        None if stage == StageKind::Vm => Clock::Virtual,
        None => Clock::Wall,
    }
}

/// The hierarchies that the user named, else those that the suites are for.
fn hierarchies(suites: &[&Suite], flags: &Run) -> Vec<Hierarchy> {
    let named = flags.hierarchy.iter().map(|it| (*it).into());
    let own = suites.iter().filter_map(|it| it.needs.hierarchies.first().copied());
    let mut wanted: Vec<Hierarchy> = if named.len() > 0 { named.collect() } else { own.collect() };
    wanted.sort();
    wanted.dedup();
    wanted
}

/// The drivers that the user named, with the userlands of those that boot one;
/// else those that the named suites are for: without a name none runs on systemd.
fn drivers(suites: &[&Suite], flags: &Run) -> Vec<(Driver, Option<Userland>)> {
    let named = flags.driver.iter().map(|it| (*it).into());
    let own = suites.iter().filter_map(|it| it.needs.drivers.first().copied());
    let mut wanted: Vec<Driver> = match (named.len(), flags.suites.is_empty()) {
        (1.., _) => named.collect(),
        (0, true) => vec![Driver::Cgroupfs],
        (0, false) => own.collect(),
    };
    wanted.sort();
    wanted.dedup();
    let with_userlands = |driver| match driver {
        Driver::Cgroupfs => vec![(driver, None)],
        Driver::Systemd => flags.userland.iter().map(|it| (driver, Some(*it))).collect(),
    };
    wanted.into_iter().flat_map(with_userlands).collect()
}

/// Whether `suite` runs in the configuration: on a hierarchy and with a driver that
/// it is for and that the user named; the first that it is for if none was named.
pub fn runs_in(suite: &Suite, it: &Configuration, flags: &Run) -> bool {
    runs_on(suite, it.hierarchy, flags) && runs_with(suite, it.driver, flags)
}

fn runs_on(suite: &Suite, hierarchy: Hierarchy, flags: &Run) -> bool {
    fits(&suite.needs.hierarchies, hierarchy, flags.hierarchy.is_empty())
}

fn runs_with(suite: &Suite, driver: Driver, flags: &Run) -> bool {
    fits(&suite.needs.drivers, driver, flags.driver.is_empty())
}

fn fits<T: PartialEq>(fit: &[T], wanted: T, nobody_says: bool) -> bool {
    if nobody_says { fit.first() == Some(&wanted) } else { fit.contains(&wanted) }
}

fn obstacle(it: &Configuration, suites: &[&Suite], flags: &Run) -> Option<&'static str> {
    if !suites.iter().any(|suite| runs_on(suite, it.hierarchy, flags)) {
        return Some("none of the suites is for this hierarchy");
    }
    if !suites.iter().any(|suite| runs_with(suite, it.driver, flags)) {
        return Some("none of the suites is for this driver");
    }
    if !suites.iter().any(|suite| runs_in(suite, it, flags)) {
        return Some("none of the suites is for this hierarchy with this driver");
    }
    if let Some(userland) = it.userland
        && !userland::mounts(userland, it.hierarchy)
    {
        return Some("its systemd mounts no legacy hierarchies any more (since 258)");
    }
    if it.stage == StageKind::Vm {
        return None;
    }
    if it.kernel != OWN_KERNEL {
        return Some("outside a VM there is this machine's kernel only (--kernel host)");
    }
    if clock(it.stage, flags) == Clock::Virtual {
        return Some("the virtual clock is a VM's (--stage vm); elsewhere there is the wall clock");
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::Needs;
    use crate::flags::{Cli, Command};

    fn flags(line: &str) -> Run {
        let words = ["xtask", "run"].into_iter().chain(line.split_ascii_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn suite(name: &str, quick: &[&str], when: When) -> Suite {
        let quick = quick.iter().map(|it| (*it).to_owned()).collect();
        let needs = Needs {
            cpus: 1,
            memory: "64M".into(),
            modules: vec![],
            nodes: 1,
            boot: vec![],
            hierarchies: vec![Hierarchy::Unified],
            drivers: vec![Driver::Cgroupfs],
            quick,
            shared_kernel: [].into(),
            when,
        };
        let (kind, package) = (Kind::Conformance, "cgauge-conformance");
        Suite { name: name.into(), kind, package, needs, functions: [].into() }
    }

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|it| (*it).to_owned()).collect()
    }

    fn chosen(line: &str) -> Result<Vec<String>, String> {
        let (core, pids) =
            (suite("core", &["kill"], When::Always), suite("pids", &[], When::Always));
        let listed =
            [(&core, names(&["kill::a", "stat::b"])), (&pids, names(&["limit::c::case_1"]))];
        let chosen = cases(&listed, &flags(line)).map_err(|it| it.0)?;
        Ok(chosen.into_iter().map(|it| it.name).collect())
    }

    #[test]
    fn cases_are_chosen_by_name_quickness_and_part() {
        for (line, expected) in [
            ("", vec!["kill::a", "stat::b", "limit::c::case_1"]),
            ("--quick", vec!["kill::a", "limit::c::case_1"]),
            ("--case stat", vec!["stat::b"]),
            ("--partition 2/2", vec!["stat::b"]),
        ] {
            assert_eq!(chosen(line).unwrap(), expected, "{line}");
        }
        insta::assert_snapshot!(chosen("--case lim_it").unwrap_err(), @r#"no case of core, pids has "lim_it" in its name (did you mean limit?): `cargo xtask list` shows them all"#);
        insta::assert_snapshot!(chosen("--quick --case stat").unwrap_err(), @"no case is left to run: --quick and --case leave none in common");
    }

    #[test]
    fn suites_that_test_the_harness_run_only_by_name() {
        let known = [suite("pids", &[], When::Always), suite("hostile", &[], When::Named)];
        let named = |wanted: &[&str]| {
            let found = suites(&known, Kind::Conformance, &names(wanted)).map_err(|it| it.0)?;
            Ok::<_, String>(found.iter().map(|it| it.name.clone()).collect::<Vec<_>>())
        };
        assert_eq!(named(&[]).unwrap(), ["pids"]);
        assert_eq!(named(&["hostile"]).unwrap(), ["hostile"]);
        insta::assert_snapshot!(named(&["pid"]).unwrap_err(), @r#"there is no suite "pid" (did you mean pids?): there are pids, hostile"#);
    }

    #[test]
    fn what_cannot_be_is_left_out_with_the_reason() {
        let unified = suite("pids", &[], When::Always);
        let (possible, left_out) = configurations(
            &names(&["debian:6.1"]),
            &[&unified],
            &flags("--hierarchy unified,legacy"),
        );
        assert_eq!(possible[0].name(), "debian:6.1/unified/cgroupfs/vm");
        insta::assert_snapshot!(left_out.join("\n"), @"debian:6.1/legacy/cgroupfs/vm is left out: none of the suites is for this hierarchy");
    }

    #[test]
    fn outside_a_vm_there_is_the_machines_kernel_and_the_wall_clock() {
        let unified = suite("pids", &[], When::Always);
        let told = |line: &str, kernels: &[&str]| {
            let (possible, left_out) = configurations(&names(kernels), &[&unified], &flags(line));
            let names = possible
                .iter()
                .map(|it| format!("{} {:?}", it.name(), clock(it.stage, &flags(line))));
            names.chain(left_out).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(told("--stage vm,container", &["debian:6.12"]), @"
        debian:6.12/unified/cgroupfs/vm Virtual
        host/unified/cgroupfs/container Wall
        ");
        insta::assert_snapshot!(told("--stage host --clock virtual", &["debian:6.12"]), @"host/unified/cgroupfs/host is left out: the virtual clock is a VM's (--stage vm); elsewhere there is the wall clock");
        insta::assert_snapshot!(told("--stage container --kernel debian:6.1 --kernel host", &["debian:6.1", "host"]), @"
        host/unified/cgroupfs/container Wall
        debian:6.1/unified/cgroupfs/container is left out: outside a VM there is this machine's kernel only (--kernel host)
        ");
    }

    #[test]
    fn a_suite_runs_on_its_own_hierarchy_unless_another_is_named() {
        let unified = suite("pids", &[], When::Always);
        let mut old = suite("blkio", &[], When::Always);
        old.needs.hierarchies = vec![Hierarchy::Legacy, Hierarchy::Hybrid];
        let on = |line: &str| {
            let (found, _) = configurations(&names(&["k"]), &[&unified, &old], &flags(line));
            let suites = |it: &Configuration| {
                let mut text = format!("{:?}", it.hierarchy);
                for suite in [&unified, &old] {
                    if runs_in(suite, it, &flags(line)) {
                        text += &format!(" {}", suite.name);
                    }
                }
                text
            };
            found.iter().map(suites).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(on(""), "Unified pids, Legacy blkio");
        assert_eq!(on("--hierarchy hybrid"), "Hybrid blkio");
        assert_eq!(on("--hierarchy unified"), "Unified pids");
    }

    #[test]
    fn systemd_makes_the_groups_where_it_or_its_suites_are_named() {
        let pids = suite("pids", &[], When::Always);
        let (mut units, mut both) =
            (suite("units", &[], When::Always), suite("both", &[], When::Always));
        units.needs.drivers = vec![Driver::Systemd];
        both.needs.drivers = vec![Driver::Cgroupfs, Driver::Systemd];
        let all = [&pids, &units, &both];
        let planned = |line: &str| {
            let flags = flags(line);
            let named = |it: &&&Suite| flags.suites.is_empty() || flags.suites.contains(&it.name);
            let suites: Vec<&Suite> = all.iter().filter(named).copied().collect();
            let (found, left_out) = configurations(&names(&["k"]), &suites, &flags);
            let one = |it: &Configuration| {
                let of_it = suites.iter().filter(|suite| runs_in(suite, it, &flags));
                let of_it: Vec<_> = of_it.map(|it| it.name.as_str()).collect();
                format!("{}: {}", it.name(), of_it.join(" "))
            };
            found.iter().map(one).chain(left_out).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(planned(""), @"k/unified/cgroupfs/vm: pids both");
        insta::assert_snapshot!(planned("units"), @"k/unified/systemd@debian:bookworm/vm: units");
        insta::assert_snapshot!(planned("--driver cgroupfs,systemd"), @r"
        k/unified/cgroupfs/vm: pids both
        k/unified/systemd@debian:bookworm/vm: units both
        ");
        insta::assert_snapshot!(planned("both --driver systemd --userland debian:sid,bullseye"), @r"
        k/unified/systemd@debian:sid/vm: both
        k/unified/systemd@debian:bullseye/vm: both
        ");
        insta::assert_snapshot!(planned("pids --driver systemd"), @"k/unified/systemd@debian:bookworm/vm is left out: none of the suites is for this driver");
        both.needs.hierarchies = vec![Hierarchy::Unified, Hierarchy::Hybrid];
        let flags = flags("--driver systemd --hierarchy hybrid --userland trixie,sid");
        let (found, left_out) = configurations(&names(&["k"]), &[&both], &flags);
        assert_eq!(found[0].name(), "k/hybrid/systemd@debian:trixie/vm");
        insta::assert_snapshot!(left_out.join("\n"), @"k/hybrid/systemd@debian:sid/vm is left out: its systemd mounts no legacy hierarchies any more (since 258)");
    }

    proptest! {
        #[test]
        fn parts_are_a_partition(count in 0usize..60, of in 1u64..9) {
            let case = |index: usize| Case { suite: "s".into(), name: index.to_string(), promise: String::new() };
            let all: Vec<_> = (0..count).map(case).collect();
            let mut together: Vec<_> =
                (1..=of).flat_map(|part| part_of(all.clone(), Partition { part, of })).collect();
            together.sort_by_key(|it| it.name.parse::<usize>().unwrap());
            prop_assert_eq!(together, all);
        }
    }
}
