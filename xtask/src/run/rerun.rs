//! `--rerun`: what an earlier run left to be done: what failed, ended in error
//! or never ran.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use cgauge_provision::Userland;
use cgauge_record::Outcome;
use cgauge_reports::Run;

use crate::exit::usage;
use crate::flags;

/// What is to be run again.
#[derive(Debug)]
pub struct Rerun {
    run: Run,
    /// Configuration, suite and case of what passed or was skipped.
    settled: BTreeSet<(String, String, String)>,
    /// The same of everything that the run meant to run.
    planned: BTreeSet<(String, String, String)>,
}

/// Reads an earlier run.
pub fn read(path: &Path) -> Result<Rerun> {
    let run = Run::read(path).map_err(usage)?;
    let mut settled = BTreeSet::new();
    let mut planned = BTreeSet::new();
    for configuration in &run.configurations {
        let config = &configuration.start.config;
        for case in &configuration.start.planned {
            planned.insert((config.clone(), case.suite.clone(), case.case.clone()));
        }
        for case in &configuration.cases {
            let key = (config.clone(), case.suite.clone(), case.case.clone());
            if matches!(case.outcome, Outcome::Pass | Outcome::Skip) {
                settled.insert(key.clone());
            }
            planned.insert(key);
        }
    }
    Ok(Rerun { run, settled, planned })
}

impl Rerun {
    /// Takes from the earlier run what the command line leaves open.
    pub fn complete(&self, flags: &mut flags::Run) {
        if flags.kernel.is_empty() {
            let specs = self.run.configurations.iter().map(|it| it.start.kernel_spec.clone());
            flags.kernel = specs.collect::<BTreeSet<_>>().into_iter().collect();
        }
        let starts = || self.run.configurations.iter().map(|it| &it.start);
        if flags.hierarchy.is_empty() {
            flags.hierarchy = starts().map(|it| it.hierarchy.into()).collect();
        }
        if flags.driver.is_empty() {
            flags.driver = starts().map(|it| it.driver.into()).collect();
            let userlands: BTreeSet<_> =
                starts().filter_map(|it| it.userland.parse::<Userland>().ok()).collect();
            if !userlands.is_empty() {
                flags.userland = userlands.into_iter().collect();
            }
        }
        if flags.suites.is_empty() {
            let suites = self.planned.iter().map(|(_, suite, _)| suite.clone());
            flags.suites = suites.collect::<BTreeSet<_>>().into_iter().collect();
        }
    }

    /// Whether the case was planned there and is not settled.
    pub fn wants(&self, config: &str, suite: &str, case: &str) -> bool {
        let key = (config.to_owned(), suite.to_owned(), case.to_owned());
        self.planned.contains(&key) && !self.settled.contains(&key)
    }
}
