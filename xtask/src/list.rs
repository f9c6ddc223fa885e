//! `list`: suites, cases, and the requirements that each covers.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::build;
use crate::catalogue::{self, Suite, When};
use crate::exit::Exit;
use crate::flags::List;

#[derive(Serialize)]
struct Listing {
    suites: Vec<ListedSuite>,
}

#[derive(Serialize)]
struct ListedSuite {
    suite: String,
    cpus: u32,
    memory_bytes: u64,
    modules: Vec<String>,
    cases: Vec<ListedCase>,
}

#[derive(Serialize)]
struct ListedCase {
    case: String,
    promise: String,
    requirements: Vec<String>,
    quick: bool,
}

/// Shows what there is to run.
pub fn list(workspace: &Path, flags: &List) -> Result<Exit> {
    let known = catalogue::read(workspace)?;
    let suites: Vec<&Suite> = known.iter().filter(|it| it.needs.when == When::Always).collect();
    let binaries = build::guest_binaries(workspace, &suites)?;
    let listed = suites.iter().zip(&binaries.suites).map(|(suite, binary)| {
        Ok(ListedSuite {
            suite: suite.name.clone(),
            cpus: suite.needs.cpus,
            memory_bytes: suite.needs.memory_bytes()?,
            modules: suite.needs.modules.clone(),
            cases: binary.cases.iter().map(|it| listed_case(suite, it)).collect(),
        })
    });
    let listing = Listing { suites: listed.collect::<Result<_>>()? };
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&listing)?);
    } else {
        print!("{}", table(&listing));
    }
    Ok(Exit::Fine)
}

fn listed_case(suite: &Suite, case: &str) -> ListedCase {
    let function = suite.function(case);
    ListedCase {
        case: case.to_owned(),
        promise: function.promise,
        requirements: function.requirements.iter().map(ToString::to_string).collect(),
        quick: suite.is_quick(case),
    }
}

fn table(listing: &Listing) -> String {
    let mut text = String::new();
    for suite in &listing.suites {
        text += &format!("{}: {} cases\n", suite.suite, suite.cases.len());
        for case in &suite.cases {
            text += &format!("  {} [{}]\n", case.case, case.requirements.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_suites_cases_and_requirements() {
        let case = ListedCase {
            case: "limit::fork_fails".into(),
            promise: "A fork above the limit fails.".into(),
            requirements: vec!["R132".into(), "S13".into()],
            quick: true,
        };
        let suite = ListedSuite {
            suite: "pids".into(),
            cpus: 1,
            memory_bytes: 1 << 29,
            modules: Vec::new(),
            cases: vec![case],
        };
        insta::assert_snapshot!(table(&Listing { suites: vec![suite] }), @"
        pids: 1 cases
          limit::fork_fails [R132 S13]
        ");
    }
}
