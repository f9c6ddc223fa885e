//! Fetched kernels as the cache keeps them: a directory each, with the image,
//! the configuration, the modules and a description.
//!
//! Knows nothing of where a kernel came from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::cache::{Cache, size_bytes};
use crate::image::{self, ImageError};
use crate::kernel::{Kernel, sha256};
use crate::modules::Modules;
use crate::spec::{DebianKernel, KernelSpec};

/// A kernel that need not be fetched any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedKernel {
    /// The kernel and where its files are.
    pub kernel: Kernel,
    /// The version of the package that it came in.
    pub package_version: String,
    /// What it takes on the disk.
    pub size_bytes: u64,
}

/// The description beside the files; written last.
#[derive(Serialize, Deserialize)]
struct Description {
    release: String,
    package_version: String,
    image_sha256: String,
    /// Of all files but this one.
    size_bytes: u64,
}

const IMAGE: &str = "vmlinuz";
const CONFIG: &str = "config";
const MODULES: &str = "modules";
const DESCRIPTION: &str = "kernel.json";

/// Every kernel that the cache holds whole.
#[must_use]
pub fn cached(cache: &Cache) -> Vec<CachedKernel> {
    DebianKernel::ALL.into_iter().filter_map(|it| find(cache, it)).collect()
}

/// Where the cache keeps a kernel.
pub(crate) fn entry(cache: &Cache, kernel: DebianKernel) -> PathBuf {
    cache.root().join("kernels").join(format!("debian-{}", kernel.name()))
}

/// One kernel, unless the cache lacks it or someone took parts of it away.
pub(crate) fn find(cache: &Cache, kernel: DebianKernel) -> Option<CachedKernel> {
    let directory = entry(cache, kernel);
    let text = fs::read(directory.join(DESCRIPTION)).ok()?;
    let description: Description = serde_json::from_slice(&text).ok()?;
    // After a loss of power files may be there with nothing in them. To have
    // the disk take them all before the entry is made would cost seconds.
    let size_bytes = size_bytes(&directory).saturating_sub(text.len() as u64);
    if size_bytes != description.size_bytes {
        return None;
    }
    let image = directory.join(IMAGE);
    let modules = directory.join(MODULES);
    Some(CachedKernel {
        size_bytes,
        package_version: description.package_version,
        kernel: Kernel {
            spec: KernelSpec::Debian(kernel),
            release: description.release,
            image,
            image_sha256: description.image_sha256,
            modules: modules.is_dir().then_some(Modules::Installed(modules)),
            config: Some(directory.join(CONFIG)).filter(|it| it.exists()),
        },
    })
}

/// An unpacked kernel package cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// It lacks something.
    #[error("the package of {release} has no {lacks}")]
    Incomplete {
        /// The kernel's release.
        release: String,
        /// What is not in it.
        lacks: &'static str,
    },
    /// The image in it is none.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image in it is of another release than its name says.
    #[error("the package of {release} has an image of {found}")]
    OtherRelease {
        /// What the package is named for.
        release: String,
        /// What the image says.
        found: String,
    },
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// Moves what is kept out of an unpacked package at `root` into the new
/// directory `made`, ready to be published as an entry.
pub(crate) fn gather(
    root: &Path,
    release: &str,
    package_version: &str,
    made: &Path,
) -> Result<(), GatherError> {
    // Where a kernel is one package, and where it is three.
    let modules = ["lib/modules", "usr/lib/modules"].map(|it| root.join(it).join(release));
    let places =
        |name: &str| [root.join("boot").join(format!("{name}-{release}")), modules[1].join(name)];
    let take = |name: &str, places: [PathBuf; 2], lacks| {
        let from = places
            .into_iter()
            .find(|it| it.exists())
            .ok_or_else(|| GatherError::Incomplete { release: release.to_owned(), lacks })?;
        fs::rename(&from, made.join(name)).map_err(Failed::to("move", &from))?;
        Ok::<_, GatherError>(())
    };
    fs::create_dir(made).map_err(Failed::to("make", made))?;
    take(IMAGE, places("vmlinuz"), "kernel image")?;
    take(CONFIG, places("config"), "configuration")?;
    take(MODULES, modules.clone(), "modules")?;
    let image = made.join(IMAGE);
    let found = image::check(&image)?.release;
    if found != release {
        return Err(GatherError::OtherRelease { release: release.to_owned(), found });
    }
    let description = Description {
        release: found,
        package_version: package_version.to_owned(),
        image_sha256: sha256(&image)?,
        size_bytes: size_bytes(made),
    };
    let path = made.join(DESCRIPTION);
    serde_json::to_vec_pretty(&description)
        .map_err(io::Error::from)
        .and_then(|text| fs::write(&path, text))
        .map_err(Failed::to("write", &path))?;
    Ok(())
}
