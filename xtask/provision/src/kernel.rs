//! From the name of a kernel to its files.
//!
//! Knows where kernels are found, not how they are fetched or booted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Failed;
use crate::apt::{self, FetchError, When};
use crate::cache::Cache;
use crate::image::{self, ImageError};
use crate::modules::{LoadPlan, ModuleError, Modules};
use crate::spec::{DebianKernel, KernelSpec};
use crate::store;
use crate::tools::Tools;

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
            let mut kernel = with_image(spec, image, None, beside(image))?;
            if let Some(directory) = modules {
                kernel.modules =
                    Some(Modules::Installed(modules_below(directory, &kernel.release)?));
            }
            Ok(kernel)
        }
    }
}

/// The directory with a release's modules, for whoever gives the one above it
/// or the `INSTALL_MOD_PATH` of the kernel's makefile.
fn modules_below(directory: &Path, release: &str) -> Result<PathBuf, KernelError> {
    let places = [
        directory.join("lib/modules").join(release),
        directory.join(release),
        directory.to_owned(),
    ];
    let found = places.into_iter().find(|it| it.is_dir());
    found.ok_or_else(|| KernelError::NoModules { directory: directory.to_owned() })
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
    // Without either it was built with no support for modules.
    let lists = ["modules.order", "modules.builtin"];
    let modules = lists
        .iter()
        .any(|it| directory.join(it).exists())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::bz_image;
    use crate::tools::Rights;

    const RELEASE: &str = "6.9.0-test";

    /// A machine with these files, of which those named like kernels are.
    fn machine(files: &[&str]) -> (tempfile::TempDir, Tools) {
        let root = tempfile::tempdir().unwrap();
        for name in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let kernel = name.contains("vmlinuz") || name.contains("bzImage");
            let content =
                if kernel { bz_image(RELEASE) } else { format!("{RELEASE}\n").into_bytes() };
            fs::write(path, content).unwrap();
        }
        let tools = Tools::new("", root.path(), Rights::User);
        (root, tools)
    }

    /// Resolves a name in which `DIR` is the machine's root, and gives
    /// everything back with it.
    fn resolved(machine: &(tempfile::TempDir, Tools), text: &str) -> Result<String, String> {
        let root = machine.0.path().to_str().unwrap();
        let cache = Cache::open(machine.0.path().join("cache")).unwrap();
        let spec = text.replace("DIR", root).parse().unwrap();
        let silent = |line: &str| panic!("{line}");
        resolve(&spec, &cache, &machine.1, &silent)
            .map(|it| {
                format!("{} {:?} {:?} {:?}", it.release, it.image, it.modules, it.config)
                    .replace(root, "DIR")
            })
            .map_err(|it| it.to_string().replace(root, "DIR"))
    }

    #[test]
    fn the_running_kernel_is_found_in_either_place() {
        let release = "proc/sys/kernel/osrelease";
        let debian = machine(&[
            release,
            "boot/vmlinuz-6.9.0-test",
            "boot/config-6.9.0-test",
            "lib/modules/6.9.0-test/modules.order",
        ]);
        insta::assert_snapshot!(resolved(&debian, "host").unwrap(), @r#"6.9.0-test "DIR/boot/vmlinuz-6.9.0-test" Some(Installed("DIR/lib/modules/6.9.0-test")) Some("DIR/boot/config-6.9.0-test")"#);
        let arch = machine(&[release, "usr/lib/modules/6.9.0-test/vmlinuz"]);
        insta::assert_snapshot!(resolved(&arch, "host").unwrap(), @r#"6.9.0-test "DIR/usr/lib/modules/6.9.0-test/vmlinuz" None None"#);
        let container = machine(&[release]);
        insta::assert_snapshot!(resolved(&container, "host").unwrap_err(), @"the image of the running kernel 6.9.0-test is not on this machine (looked for DIR/boot/vmlinuz-6.9.0-test and DIR/usr/lib/modules/6.9.0-test/vmlinuz): give one with --kernel PATH/bzImage");
    }

    #[test]
    fn a_path_comes_with_the_modules_that_were_given() {
        let machine = machine(&[
            "vmlinuz-x",
            "config-x",
            "mods/lib/modules/6.9.0-test/modules.order",
            "text",
        ]);
        insta::assert_snapshot!(resolved(&machine, "DIR/vmlinuz-x").unwrap(), @r#"6.9.0-test "DIR/vmlinuz-x" None Some("DIR/config-x")"#);
        let below = r#"Some(Installed("DIR/mods/lib/modules/6.9.0-test"))"#;
        for given in ["mods", "mods/lib/modules", "mods/lib/modules/6.9.0-test"] {
            let kernel = resolved(&machine, &format!("DIR/vmlinuz-x,modules=DIR/{given}")).unwrap();
            assert!(kernel.contains(below), "{kernel}");
        }
        insta::assert_snapshot!(resolved(&machine, "DIR/vmlinuz-x,modules=DIR/mod").unwrap_err(), @"DIR/mod is no directory of modules");
        insta::assert_snapshot!(resolved(&machine, "DIR/text").unwrap_err(), @"DIR/text is no bzImage: this is a text file");
    }

    #[test]
    fn a_tree_has_to_be_built() {
        let machine =
            machine(&["a/arch/x86/boot/bzImage", "a/.config", "a/modules.builtin", "b/Makefile"]);
        insta::assert_snapshot!(resolved(&machine, "tree:DIR/a").unwrap(), @r#"6.9.0-test "DIR/a/arch/x86/boot/bzImage" Some(Built("DIR/a")) Some("DIR/a/.config")"#);
        insta::assert_snapshot!(resolved(&machine, "tree:DIR/b").unwrap_err(), @"DIR/b is no built kernel tree: it has no arch/x86/boot/bzImage (run make there)");
    }

    #[test]
    fn hashes_are_those_of_the_content() {
        let machine = machine(&["vmlinuz-x", "config-x"]);
        let spec = KernelSpec::Image { image: machine.0.path().join("vmlinuz-x"), modules: None };
        let cache = Cache::open(machine.0.path().join("cache")).unwrap();
        let kernel = resolve(&spec, &cache, &machine.1, &|_| ()).unwrap();
        // sha256sum of "6.9.0-test\n".
        assert_eq!(
            kernel.config_sha256().unwrap().unwrap(),
            "1fc8d0c59dc261a82f467653b5d41df2681612313228c72711a13eef1f52b3fe"
        );
        assert_eq!(kernel.image_sha256, sha256(&kernel.image).unwrap());
        let plan = kernel.load_plan(&["virtio_console"]).unwrap();
        assert_eq!(plan.assumed, ["virtio_console"]);
    }
}
