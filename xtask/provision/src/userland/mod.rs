//! The userlands that a guest with systemd boots: a Debian release each, made by
//! mmdebstrap from the mirror that this machine's apt is set up with, and kept as
//! the archive that the kernel unpacks.
//!
//! Knows nothing of what is run in it.

mod pack;

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use self::pack::PackError;
use crate::Failed;
use crate::apt::sources::Mirrors;
use crate::cache::{Cache, CacheError, Scratch};
use crate::initramfs::InitramfsError;
use crate::install::install;
use crate::nearest::nearest;
use crate::tools::{Rights, ToolError, Tools};

/// The program, and Debian's package of it.
const PROGRAM: &str = "mmdebstrap";
/// What is put into a userland besides Debian's essential packages.
const PACKAGES: &str = "systemd,dbus";
/// Below a userland's directory in the cache.
const ARCHIVE: &str = "archive";
const DIGEST: &str = "archive.sha256";

/// A Debian release to boot, with the systemd that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Userland {
    /// Debian 11.
    Bullseye,
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
    /// The newest there is.
    Sid,
}

impl Userland {
    /// Every one, the oldest first.
    pub const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Sid];

    /// The release's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// The suite of its security updates.
    fn updates(self) -> Option<String> {
        (self != Self::Sid).then(|| format!("{}-security", self.name()))
    }
}

impl fmt::Display for Userland {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian:{}", self.name())
    }
}

/// The text names no userland.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown userland {text:?}{}: known are {}",
    suggestion.as_ref().map(|it| format!(" (did you mean {it}?)")).unwrap_or_default(),
    Userland::ALL.map(|it| it.to_string()).join(", ")
)]
pub struct ParseUserlandError {
    text: String,
    suggestion: Option<String>,
}

impl FromStr for Userland {
    type Err = ParseUserlandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix("debian:").unwrap_or(text);
        Self::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| ParseUserlandError {
            text: text.to_owned(),
            suggestion: nearest(name, Self::ALL.map(Self::name)).map(|it| format!("debian:{it}")),
        })
    }
}

/// A userland cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UserlandError {
    /// It is for the user to install the program.
    #[error(
        "{PROGRAM}, which makes the userland of a guest with systemd, is not installed: \
         install it with `{how}`"
    )]
    NotInstalled {
        /// The command, or where it is to be had.
        how: &'static str,
    },
    /// Ubuntu, for example.
    #[error("apt is set up with no Debian source on this machine, from which to make a userland")]
    NoDebianSource,
    /// A program failed, for want of a network for example.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// What was made does not fit into an archive.
    #[error("the userland that {PROGRAM} made: {0}")]
    Pack(#[from] PackError),
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] InitramfsError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A userland as the kernel unpacks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserlandImage {
    /// Which one.
    pub userland: Userland,
    /// The archive, plain: to unpack it would cost a guest more than to carry it.
    pub archive: PathBuf,
    /// SHA-256 of the archive.
    pub sha256: String,
}

impl UserlandImage {
    /// Finds `userland` in the cache, or makes it, which takes a minute.
    pub fn find_or_make(
        userland: Userland,
        cache: &Cache,
        tools: &Tools,
        say: &dyn Fn(&str),
    ) -> Result<Self, UserlandError> {
        let _lock = cache.lock(&format!("userland-{}", userland.name()), &|| {
            say(&format!("waiting for another process that makes the userland {userland}"));
        })?;
        let entry = entry(cache, userland);
        if let Some(found) = Self::read(userland, &entry) {
            return Ok(found);
        }
        let mirrors =
            Mirrors::configured(&tools.file("etc/apt"))?.ok_or(UserlandError::NoDebianSource)?;
        find_or_install(tools, say)?;
        say(&format!("{userland}: making a userland with systemd, which takes about a minute"));
        let scratch = cache.scratch()?;
        let tar = bootstrap(userland, &mirrors, tools, &scratch)?;
        let archive = pack::read(File::open(&tar).map_err(Failed::to("open", &tar))?)?.archive()?;
        let made = scratch.path().join("userland");
        fs::create_dir(&made).map_err(Failed::to("make", &made))?;
        let digest: String =
            Sha256::digest(&archive).iter().map(|it| format!("{it:02x}")).collect();
        for (name, bytes) in [(ARCHIVE, archive.as_slice()), (DIGEST, digest.as_bytes())] {
            let path = made.join(name);
            let write = File::create(&path).and_then(|mut it| it.write_all(bytes));
            write.map_err(Failed::to("write", &path))?;
        }
        cache.publish(&made, &entry)?;
        Ok(Self { userland, archive: entry.join(ARCHIVE), sha256: digest })
    }

    fn read(userland: Userland, entry: &Path) -> Option<Self> {
        let sha256 = fs::read_to_string(entry.join(DIGEST)).ok()?;
        let archive = entry.join(ARCHIVE);
        archive.is_file().then_some(Self { userland, archive, sha256 })
    }
}

/// Where the cache keeps a userland: another one for another recipe.
fn entry(cache: &Cache, userland: Userland) -> PathBuf {
    let recipe = format!("plain {PACKAGES} {:?}", pack::LEFT_OUT);
    let digest: String =
        Sha256::digest(recipe).iter().take(4).map(|it| format!("{it:02x}")).collect();
    cache.root().join("userlands").join(format!("debian-{}-{digest}", userland.name()))
}

fn find_or_install(tools: &Tools, say: &dyn Fn(&str)) -> Result<(), UserlandError> {
    if tools.find(PROGRAM).is_some() {
        return Ok(());
    }
    match tools.rights() {
        Rights::Root if tools.find("apt-get").is_some() => {
            say("mmdebstrap is not installed; installing it with apt-get");
            Ok(install(tools, PROGRAM, say)?)
        }
        Rights::Root => Err(UserlandError::NotInstalled { how: "apt-get install mmdebstrap" }),
        Rights::User => {
            Err(UserlandError::NotInstalled { how: "sudo apt-get install mmdebstrap uidmap" })
        }
    }
}

/// Makes the userland as a tar archive in the scratch directory.
fn bootstrap(
    userland: Userland,
    mirrors: &Mirrors,
    tools: &Tools,
    scratch: &Scratch,
) -> Result<PathBuf, UserlandError> {
    let sources = scratch.path().join("debian.sources");
    let text = mirrors.sources(userland.name(), userland.updates().as_deref());
    fs::write(&sources, text).map_err(Failed::to("write", &sources))?;
    let made = scratch.path().join("userland.tar");
    let mut arguments = vec![
        "--quiet".to_owned(),
        "--variant=essential".to_owned(),
        format!("--include={PACKAGES}"),
        "--architectures=amd64".to_owned(),
        "--format=tar".to_owned(),
        "--aptopt=Acquire::Retries \"3\"".to_owned(),
        // What is made is thrown away if the power fails.
        "--dpkgopt=force-unsafe-io".to_owned(),
    ];
    arguments.push(userland.name().to_owned());
    for path in [&made, &sources] {
        arguments.push(path.display().to_string());
    }
    tools.run(PROGRAM, arguments, scratch.path())?;
    Ok(made)
}

#[cfg(test)]
mod tests;
