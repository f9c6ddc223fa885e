//! From the kernel's first process to a machine that cases can run on: mounts,
//! modules, the rest of the CPUs.
//!
//! It knows no case. What it cannot do it says in one sentence, for a guest has
//! nobody to ask.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};

use crate::trees::{self, Tree};

/// Where the initramfs keeps the modules to load, named so that their sorted
/// order is the order of their dependencies, each beside its parameters.
const MODULES: &str = "/modules";

/// What stopped the machine from coming up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system would not mount.
    #[error("mount {kind} on {target}: {errno}")]
    Mount {
        /// The file system's type.
        kind: &'static str,
        /// Where.
        target: String,
        /// The kernel's answer.
        errno: nix::errno::Errno,
    },
    /// A kernel module would not load.
    #[error("load the module {name}: {errno}")]
    Module {
        /// The module's file.
        name: String,
        /// The kernel's answer.
        errno: nix::errno::Errno,
    },
    /// systemd did not come to rest.
    #[error("systemd was still busy half a minute after its boot")]
    Restless,
    /// A group of systemd's making.
    #[error(transparent)]
    Group(#[from] cgauge_lab::kernel::Refusal),
    /// A hierarchy that this agent does not mount.
    #[error("this agent does not mount a {0:?} hierarchy")]
    Hierarchy(String),
    /// A file or folder of the guest.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// What went wrong.
        source: io::Error,
    },
}

pub(crate) fn file(path: impl AsRef<Path>, source: io::Error) -> Error {
    Error::File { path: path.as_ref().display().to_string(), source }
}

/// Mounts what every process expects, loads the modules, and mounts the
/// hierarchies that the kernel's command line asks for.
pub fn come_up() -> Result<Vec<Tree>, Error> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at("proc", "/proc", quiet, None)?;
    mount_at("sysfs", "/sys", quiet, None)?;
    mount_at("devtmpfs", "/dev", MsFlags::MS_NOSUID, Some("mode=0755"))?;
    mount_at("tmpfs", "/tmp", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777"))?;
    mount_at("tmpfs", "/run", quiet, Some("mode=0755"))?;
    load_modules()?;
    trees::mount_all(&hierarchy()?)
}

/// The value of `cgauge.hierarchy=` on the kernel's command line.
fn hierarchy() -> Result<String, Error> {
    let path = "/proc/cmdline";
    let line = fs::read_to_string(path).map_err(|source| file(path, source))?;
    let mut words = line.split_ascii_whitespace();
    Ok(words.find_map(|it| it.strip_prefix("cgauge.hierarchy=")).unwrap_or("unified").to_owned())
}

/// Mounts a file system on a folder, which is made if it is not there.
pub fn mount_at(
    kind: &'static str,
    target: &str,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), Error> {
    fs::create_dir_all(target).map_err(|source| file(target, source))?;
    mount(Some(kind), target, Some(kind), flags, data).map_err(|errno| Error::Mount {
        kind,
        target: target.to_owned(),
        errno,
    })
}

/// Loads the modules of the initramfs, in the order of their names.
pub fn load_modules() -> Result<(), Error> {
    let Ok(folder) = fs::read_dir(MODULES) else {
        return Ok(());
    };
    let mut paths: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|it| it.extension().is_some_and(|it| it == "ko"));
    paths.sort();
    for path in paths {
        let module = fs::File::open(&path).map_err(|source| file(&path, source))?;
        // What is in the file is text without a NUL byte; an empty one loads as well.
        let parameters = fs::read(path.with_extension("parameters")).unwrap_or_default();
        let parameters = CString::new(parameters).unwrap_or_default();
        match finit_module(&module, &parameters, ModuleInitFlags::empty()) {
            // Built in, or loaded by another's request already.
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(errno) => {
                return Err(Error::Module { name: path.display().to_string(), errno });
            }
        }
        // Its text is in the kernel now; the file only fills memory.
        fs::remove_file(&path).map_err(|source| file(&path, source))?;
    }
    Ok(())
}

/// Brings CPUs online until `wanted` are.
///
/// A guest is saved with one CPU running, so that it stops at one instruction;
/// the rest join when the job says how many.
pub fn bring_up_cpus(wanted: u32) -> Result<(), Error> {
    for cpu in 1..wanted {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
        if fs::read_to_string(&path).is_ok_and(|it| it.trim() == "1") {
            continue;
        }
        fs::write(&path, "1").map_err(|source| file(&path, source))?;
    }
    Ok(())
}
