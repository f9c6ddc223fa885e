//! The guest's binaries: built by cargo, static, and asked for their cases.
//!
//! It knows how they are built, not what is in them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cgauge_record::GuestBinary;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::catalogue::{Kind, Suite};

/// Static binaries that run where there is no library. At a fixed address, for
/// to relocate one costs a translated guest 6 ms of the 38 that a small case takes.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// A package that is built by itself: what it depends on shall not decide with which
/// features, and so into which bytes, the others' dependencies are built.
const APART: &str = "cgauge-systemd";

/// What goes into a guest.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// PID 1.
    pub agent: PathBuf,
    /// The loads.
    pub workload: PathBuf,
    /// A suite each.
    pub suites: Vec<SuiteBinary>,
}

impl Binaries {
    /// The same with the suites' programs copied into `folder`: they are read for
    /// each case, and another build may take their place while a run goes on.
    pub fn kept_in(mut self, folder: &Path) -> Result<Self> {
        for suite in &mut self.suites {
            let kept = folder.join(&suite.name);
            std::fs::copy(&suite.path, &kept)
                .with_context(|| format!("copy {} to {}", suite.path.display(), kept.display()))?;
            suite.path = kept;
        }
        Ok(self)
    }

    /// The name and digest of each.
    pub fn digests(&self) -> Result<Vec<GuestBinary>> {
        let agent = [("agent", &self.agent), ("workload", &self.workload)];
        let all =
            agent.into_iter().chain(self.suites.iter().map(|it| (it.name.as_str(), &it.path)));
        let digest = |(name, path): (&str, &PathBuf)| {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let digest = Sha256::digest(&bytes);
            let sha256 = digest.iter().map(|it| format!("{it:02x}")).collect();
            Ok(GuestBinary { name: name.to_owned(), sha256 })
        };
        all.map(digest).collect()
    }
}

/// A suite's test binary and the cases in it.
#[derive(Clone, Debug)]
pub struct SuiteBinary {
    /// The suite's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The full names of its cases, in its own order.
    pub cases: Vec<String>,
}

#[derive(Deserialize)]
struct CargoMessage {
    executable: Option<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
}

/// Builds the agent, the loads and the named suites.
pub fn guest_binaries(workspace: &Path, suites: &[&Suite]) -> Result<Binaries> {
    let agent = ["-p", "cgauge-agent", "-p", "cgauge-workloads"];
    let mut arguments = agent.map(str::to_owned).to_vec();
    arguments.extend(["--bin", "cgauge-agent", "--bin", "cgauge-workload"].map(str::to_owned));
    let (apart, together): (Vec<&Suite>, _) = suites.iter().partition(|it| it.package == APART);
    arguments.extend(targets(&together));
    let mut built = cargo(workspace, &arguments)?;
    if !apart.is_empty() {
        built.extend(cargo(workspace, &targets(&apart))?);
    }
    let path_of = |name: &str| {
        let found = built.iter().find(|(it, _)| it == name).map(|(_, path)| path.clone());
        found.with_context(|| format!("cargo built no {name}"))
    };
    let suites = suites.iter().map(|suite| {
        let path = path_of(&suite.name)?;
        Ok(SuiteBinary { name: suite.name.clone(), cases: cases_of(&path)?, path })
    });
    Ok(Binaries {
        agent: path_of("cgauge-agent")?,
        workload: path_of("cgauge-workload")?,
        suites: suites.collect::<Result<_>>()?,
    })
}

/// Cargo's words for these suites.
fn targets(suites: &[&Suite]) -> Vec<String> {
    let mut words = Vec::new();
    for of_package in suites.chunk_by(|a, b| a.package == b.package) {
        let package = of_package[0].package;
        words.extend(["-p", package, "--features", &format!("{package}/stage")].map(str::to_owned));
        for suite in of_package {
            let target = match suite.kind {
                Kind::Conformance => "--test",
                Kind::Benchmarks => "--bench",
            };
            words.extend([target, &suite.name].map(str::to_owned));
        }
    }
    words
}

/// Builds static binaries, and says what was built.
fn cargo(workspace: &Path, arguments: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace)
        .args(["build", "--profile", "guest", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .args(arguments)
        // Naming the target keeps the flag off build scripts and macros.
        .env("RUSTFLAGS", STATIC)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!(
            "the guest's binaries do not build (see above); linking them statically needs the \
             C library's static form: libc6-dev on Debian, glibc-static on Fedora"
        );
    }
    Ok(executables(&output.stdout))
}

/// The cases of one suite among the binaries.
pub fn cases_of_suite(binaries: &Binaries, suite: &str) -> Vec<String> {
    let found = binaries.suites.iter().find(|it| it.name == suite);
    found.map(|it| it.cases.clone()).unwrap_or_default()
}

/// The executables that cargo speaks of, by their target's name.
fn executables(messages: &[u8]) -> Vec<(String, PathBuf)> {
    let lines = messages.split(|it| *it == b'\n');
    let parsed = lines.filter_map(|line| serde_json::from_slice::<CargoMessage>(line).ok());
    parsed.filter_map(|it| Some((it.target?.name, it.executable?))).collect()
}

/// The names of a test binary's cases, as it lists them itself.
fn cases_of(binary: &Path) -> Result<Vec<String>> {
    let output = Command::new(binary)
        .args(["--list", "--format", "terse"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    let text = String::from_utf8(output.stdout).context("a case's name is no UTF-8")?;
    Ok(text.lines().filter_map(|it| it.strip_suffix(": test")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"lab","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"pids","kind":["test"]},"executable":"/t/pids-1"}
{"reason":"build-finished","success":true}
not json"#;
        assert_eq!(executables(messages), [("pids".to_owned(), PathBuf::from("/t/pids-1"))]);
    }
}
