//! Fetches Debian's kernels with apt, without root and without touching what
//! this machine's apt has set up: lists, packages and settings of its own live
//! in a scratch directory for as long as it takes.

mod packages;
pub(crate) mod sources;
mod version;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use self::packages::Build;
use self::sources::Mirrors;
use crate::Failed;
use crate::cache::{Cache, CacheError, Scratch};
use crate::kernel::Kernel;
use crate::spec::DebianKernel;
use crate::store::{self, GatherError};
use crate::tools::{ToolError, Tools};

/// When a kernel is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// If the cache does not have it.
    Missing,
    /// If Debian has a newer one than the cache.
    Newer,
}

/// A kernel cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a Debian, nor something like it.
    #[error("this machine has no apt: give a kernel with --kernel PATH/bzImage")]
    NoApt,
    /// Ubuntu, for example.
    #[error(
        "apt is set up with no Debian source on this machine: give a kernel with --kernel PATH/bzImage"
    )]
    NoDebianSource,
    /// The mirror is too small or too old.
    #[error("the mirror {uri} has no suite {suite}")]
    NoSuite {
        /// The mirror that this machine is set up with.
        uri: String,
        /// The suite that the kernel is in.
        suite: &'static str,
    },
    /// The suite does not have it.
    #[error("there is no package of it in {suite} on {uri}")]
    NoPackage {
        /// The mirror that this machine is set up with.
        uri: String,
        /// The suite that it should be in.
        suite: &'static str,
    },
    /// A program failed, for want of a network for example.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The package is not what it should be.
    #[error(transparent)]
    Package(#[from] GatherError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Fetches a kernel into the cache, if the time is right for it.
pub(crate) fn fetch(
    kernel: DebianKernel,
    when: When,
    cache: &Cache,
    tools: &Tools,
    say: &dyn Fn(&str),
) -> Result<Kernel, FetchError> {
    let _lock = cache.lock(&format!("kernel-{}", kernel.name()), &|| {
        say(&format!("waiting for another process that fetches {kernel}"));
    })?;
    let present = store::find(cache, kernel);
    if let (When::Missing, Some(present)) = (when, &present) {
        return Ok(present.kernel.clone());
    }
    let apt = Apt::set_up(kernel, cache.scratch()?, tools)?;
    say(&format!("{kernel}: reading the package lists of {}", apt.suite));
    let build = apt.newest(kernel)?;
    if let Some(present) = present.filter(|it| it.package_version == build.version) {
        return Ok(present.kernel);
    }
    let bytes: u64 = build.packages.iter().map(|it| it.size_bytes).sum();
    say(&format!("{kernel}: downloading {} ({} MB)", build.release, bytes.div_ceil(1_000_000)));
    apt.download(&build)?;
    say(&format!("{kernel}: unpacking"));
    let made = apt.unpack(&build)?;
    cache.publish(&made, &store::entry(cache, kernel))?;
    store::find(cache, kernel).map(|it| it.kernel).ok_or_else(|| {
        GatherError::Incomplete { release: build.release, lacks: "readable description" }.into()
    })
}

/// The files that an apt of our own works on.
struct Apt<'a> {
    tools: &'a Tools,
    scratch: Scratch,
    suite: &'static str,
    uri: String,
}

/// Settings that go beyond directories. `#clear` undoes what the machine's
/// configuration says: hooks would touch the machine's own caches.
const SETTINGS: &str = r#"
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
// A mirror out of reach is an error, not a reason to go on with nothing.
APT::Update::Error-Mode "any";
// apt as root hands downloads to a user of its own, who cannot read a cache
// below root's home. Signatures are checked all the same.
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"#;

impl<'a> Apt<'a> {
    fn set_up(
        kernel: DebianKernel,
        scratch: Scratch,
        tools: &'a Tools,
    ) -> Result<Self, FetchError> {
        if ["apt-get", "apt-cache", "dpkg-deb"].iter().any(|it| tools.find(it).is_none()) {
            return Err(FetchError::NoApt);
        }
        let mirrors =
            Mirrors::configured(&tools.file("etc/apt"))?.ok_or(FetchError::NoDebianSource)?;
        let (suite, updates) = suites(kernel);
        let write = |name: &str, text: &str| {
            let path = scratch.path().join(name);
            fs::write(&path, text).map_err(Failed::to("write", &path))
        };
        write("debian.sources", &mirrors.sources(suite, updates))?;
        write("apt.conf", SETTINGS)?;
        for name in ["lists/partial", "archives/partial", "debs", "root"] {
            let path = scratch.path().join(name);
            fs::create_dir_all(&path).map_err(Failed::to("make", &path))?;
        }
        Ok(Self { tools, scratch, suite, uri: mirrors.archive.uri })
    }

    /// Runs one of apt's programs on our files.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, ToolError> {
        let scratch = self.scratch.path();
        let mut all: Vec<OsString> = vec!["-c".into(), scratch.join("apt.conf").into()];
        for (name, value) in [
            ("Dir::Etc::sourcelist", "debian.sources"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "."),
            ("Dir::Cache::archives", "archives"),
        ] {
            let mut option = OsString::from(format!("{name}="));
            option.push(scratch.join(value));
            all.extend(["-o".into(), option]);
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            "Dir::Etc::preferences=/dev/null",
            "Dir::Etc::preferencesparts=-",
            "Dir::State::status=/dev/null",
        ] {
            all.extend(["-o".into(), option.into()]);
        }
        all.extend(arguments.iter().map(OsString::from));
        self.tools.run(program, all, &scratch.join("debs"))
    }

    /// Asks the mirror for the newest build of a kernel.
    fn newest(&self, kernel: DebianKernel) -> Result<Build, FetchError> {
        self.run("apt-get", &["update"]).map_err(|error| match error {
            ToolError::Failed { complaint, .. } if complaint.contains("have a Release file") => {
                FetchError::NoSuite { uri: self.uri.clone(), suite: self.suite }
            }
            other => other.into(),
        })?;
        let pattern = packages::pattern(kernel);
        let records = self.run("apt-cache", &["search", "--full", "--names-only", &pattern])?;
        packages::newest(kernel, &packages::parse(&records))
            .ok_or_else(|| FetchError::NoPackage { uri: self.uri.clone(), suite: self.suite })
    }

    fn download(&self, build: &Build) -> Result<(), FetchError> {
        let names: Vec<_> =
            build.packages.iter().map(|it| format!("{}={}", it.name, it.version)).collect();
        let mut arguments = vec!["download"];
        arguments.extend(names.iter().map(String::as_str));
        self.run("apt-get", &arguments)?;
        Ok(())
    }

    /// Makes the cache's entry, within the scratch directory.
    fn unpack(&self, build: &Build) -> Result<PathBuf, FetchError> {
        let root = self.scratch.path().join("root");
        let debs = self.scratch.path().join("debs");
        for entry in fs::read_dir(&debs).map_err(Failed::to("read", &debs))? {
            let deb = entry.map_err(Failed::to("read", &debs))?.path();
            let arguments = [OsString::from("-x"), deb.into(), root.clone().into()];
            self.tools.run("dpkg-deb", arguments, &debs)?;
        }
        let made = self.scratch.path().join("kernel");
        store::gather(&root, &build.release, &build.version, &made)?;
        Ok(made)
    }
}

/// The suite that has a kernel, and the one with its security updates.
fn suites(kernel: DebianKernel) -> (&'static str, Option<&'static str>) {
    match kernel {
        DebianKernel::V5_10 => ("bullseye", Some("bullseye-security")),
        DebianKernel::V6_1 | DebianKernel::V6_12 | DebianKernel::V6_12Rt => {
            ("bookworm", Some("bookworm-security"))
        }
        DebianKernel::Sid => ("sid", None),
    }
}

#[cfg(test)]
mod tests;
