//! From the name of a kernel to its files.
//!
//! Knows where kernels are found, not how they are fetched or booted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::apt::{self, FetchError, When};
use crate::cache::Cache;
use crate::image::{self, ImageError};
use crate::modules::{LoadPlan, ModuleError, Modules};
use crate::spec::{DebianKernel, KernelSpec};
use crate::store;
use crate::tools::Tools;
use crate::Failed;

/// A kernel that is there to be booted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// How it was named.
    pub spec: KernelSpec,
    /// `uname -r`, read out of the image.
    pub release: String,
    /// The bzImage.
    pub image: PathBuf,
    /// SHA-256 of the image, in hexadecimal.
    pub image_sha256: String,
    /// Its modules, if it came with any.
    pub modules: Option<Modules>,
    /// The configuration that it was built with, if it came with it.
    pub config: Option<PathBuf>,
}

/// A kernel cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Its image is none.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It cannot be fetched.
    #[error("cannot fetch {kernel}: {source}")]
    Fetch {
        /// The kernel.
        kernel: DebianKernel,
        /// Why not.
        source: FetchError,
    },
    /// This machine keeps no image of the kernel that it runs.
    #[error(
        "the image of the running kernel {release} is not on this machine (looked for {}): \
         give one with --kernel PATH/bzImage",
        looked_for.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(" and ")
    )]
    NoHostImage {
        /// `uname -r`.
        release: String,
        /// Where it would have been.
        looked_for: Vec<PathBuf>,
    },
    /// The tree was not built.
    #[error("{} is no built kernel tree: it has no arch/x86/boot/bzImage (run make there)", .directory.display())]
    NotBuilt {
        /// The tree.
        directory: PathBuf,
    },
    /// The modules are not where they were said to be.
    #[error("{} is no directory of modules", .directory.display())]
    NoModules {
        /// The directory that was given.
        directory: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

impl Kernel {
    /// SHA-256 of the configuration, in hexadecimal, if there is one.
    pub fn config_sha256(&self) -> Result<Option<String>, KernelError> {
        Ok(self.config.as_deref().map(sha256).transpose()?)
    }

    /// What to load so that all modules of `wanted` are there. Of a kernel that
    /// came without modules every one is taken to be built in.
    pub fn load_plan<S: AsRef<str>>(&self, wanted: &[S]) -> Result<LoadPlan, ModuleError> {
        match &self.modules {
            Some(modules) => modules.load_plan(&self.release, wanted),
            None => {
                let assumed = wanted.iter().map(|it| it.as_ref().to_owned()).collect();
                Ok(LoadPlan { assumed, ..LoadPlan::default() })
            }
        }
    }
}

/// Finds a kernel; one of Debian's is fetched if the cache does not have it.
/// What takes long is said through `say`, a line at a time.
pub fn resolve(
    spec: &KernelSpec,
    cache: &Cache,
    tools: &Tools,
    say: &dyn Fn(&str),
) -> Result<Kernel, KernelError> {
    match spec {
        KernelSpec::Debian(debian) => match store::find(cache, *debian) {
            Some(stored) => Ok(stored.kernel),
            None => fetch(*debian, When::Missing, cache, tools, say),
        },
        KernelSpec::Host => host(tools),
        KernelSpec::Tree(directory) => tree(spec, directory),
        KernelSpec::Image { image, modules } => {
            let modules = modules.clone().map(|directory| {
                if directory.is_dir() {
                    Ok(Modules::Installed(directory))
                } else {
                    Err(KernelError::NoModules { directory })
                }
            });
            with_image(spec, image, modules.transpose()?, beside(image))
        }
    }
}

/// Fetches one of Debian's kernels into the cache, in place of the one there.
/// A download that breaks off leaves the cache as it was.
pub fn fetch(
    kernel: DebianKernel,
    when: When,
    cache: &Cache,
    tools: &Tools,
    say: &dyn Fn(&str),
) -> Result<Kernel, KernelError> {
    apt::fetch(kernel, when, cache, tools, say)
        .map_err(|source| KernelError::Fetch { kernel, source })
}

/// The kernel that this machine runs.
fn host(tools: &Tools) -> Result<Kernel, KernelError> {
    let path = tools.file("proc/sys/kernel/osrelease");
    let release = fs::read_to_string(&path).map_err(Failed::to("read", &path))?;
    let release = release.trim();
    let modules = tools.file("lib/modules").join(release);
    let places = [
        tools.file(&format!("boot/vmlinuz-{release}")),
        tools.file(&format!("usr/lib/modules/{release}/vmlinuz")),
    ];
    let Some(image) = places.iter().find(|it| it.exists()) else {
        return Err(KernelError::NoHostImage {
            release: release.to_owned(),
            looked_for: places.to_vec(),
        });
    };
    let config = [tools.file(&format!("boot/config-{release}")), modules.join("config")]
        .into_iter()
        .find(|it| it.exists());
    let modules = modules.is_dir().then_some(Modules::Installed(modules));
    with_image(&KernelSpec::Host, image, modules, config)
}

/// A tree in which `make` was run.
fn tree(spec: &KernelSpec, directory: &Path) -> Result<Kernel, KernelError> {
    let image = directory.join("arch/x86/boot/bzImage");
    if !image.exists() {
        return Err(KernelError::NotBuilt { directory: directory.to_owned() });
    }
    let modules = directory
        .join("modules.order")
        .exists()
        .then(|| Modules::Built(directory.to_owned()));
    let config = Some(directory.join(".config")).filter(|it| it.exists());
    with_image(spec, &image, modules, config)
}

/// The configuration `config-X` that lies beside a `vmlinuz-X`.
fn beside(image: &Path) -> Option<PathBuf> {
    let release = image.file_name()?.to_str()?.strip_prefix("vmlinuz-")?;
    Some(image.with_file_name(format!("config-{release}"))).filter(|it| it.exists())
}

fn with_image(
    spec: &KernelSpec,
    image: &Path,
    modules: Option<Modules>,
    config: Option<PathBuf>,
) -> Result<Kernel, KernelError> {
    Ok(Kernel {
        spec: spec.clone(),
        release: image::check(image)?.release,
        image: image.to_owned(),
        image_sha256: sha256(image)?,
        modules,
        config,
    })
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, Failed> {
    let mut file = File::open(path).map_err(Failed::to("open", path))?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).map_err(Failed::to("read", path))?;
    Ok(format!("{:x}", hash.finalize()))
}
