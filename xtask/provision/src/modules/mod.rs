//! Which module files a guest has to load, and in which order.
//!
//! The dependencies are read out of the modules themselves, for `modules.dep` is
//! made at installation and is in no package. Module files are untrusted:
//! whatever they hold, the work is bounded. Nothing here loads anything.

mod modinfo;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::modinfo::ModInfo;
pub use self::unpack::MODULE_BYTES;
use crate::Failed;
use crate::nearest::nearest;

/// Where a kernel's modules are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modules {
    /// A directory like `/lib/modules/RELEASE`.
    Installed(PathBuf),
    /// A built kernel tree, with the list `modules.order` at its top.
    Built(PathBuf),
}

/// A module, ready for `init_module`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name as the kernel has it: with `_`, never `-`.
    pub name: String,
    /// The relocatable ELF file, unpacked.
    pub bytes: Vec<u8>,
}

/// What is to be loaded for the modules that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadPlan {
    /// In the order of loading: what a module needs comes before it.
    pub modules: Vec<Module>,
    /// Those asked for that are part of the kernel.
    pub built_in: Vec<String>,
    /// Those asked for of which nothing is known, as the kernel came without a
    /// list of its modules. They are taken to be part of it.
    pub assumed: Vec<String>,
}

/// The modules asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The kernel does not have it.
    #[error(
        "kernel {kernel} has no module {name}{}",
        suggestion.as_ref().map(|it| format!(" (did you mean {it}?)")).unwrap_or_default()
    )]
    MissingModule {
        /// What was asked for.
        name: String,
        /// The kernel's release.
        kernel: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// A module needs one that is not there.
    #[error("module {name} of kernel {kernel} needs {needs}, which is not among its modules")]
    MissingDependency {
        /// The module.
        name: String,
        /// What it needs.
        needs: String,
        /// The kernel's release.
        kernel: String,
    },
    /// Modules need each other.
    #[error("module {name} needs itself, by way of its dependencies")]
    Circle {
        /// One of them.
        name: String,
    },
    /// It is for another kernel.
    #[error(
        "{} is for kernel {found}, not {kernel}: give the modules of the same build",
        path.display()
    )]
    OtherKernel {
        /// The file.
        path: PathBuf,
        /// The release that it was built for.
        found: String,
        /// The kernel's release.
        kernel: String,
    },
    /// The file is damaged or no module.
    #[error("{} is no sound module: {reason}", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

impl Modules {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self {
            Self::Installed(directory) | Self::Built(directory) => directory,
        }
    }

    /// What to load so that all of `wanted` are there in the kernel `release`.
    /// In names `-` and `_` are the same.
    pub fn load_plan<S: AsRef<str>>(
        &self,
        release: &str,
        wanted: &[S],
    ) -> Result<LoadPlan, ModuleError> {
        let files = self.files()?;
        let mut walk = Walk {
            files: &files,
            release,
            under_way: Vec::new(),
            done: BTreeSet::new(),
            order: Vec::new(),
        };
        let built_in = self.built_in()?;
        let mut plan = LoadPlan::default();
        for name in wanted.iter().map(|it| canonical(it.as_ref())) {
            if files.contains_key(&name) {
                walk.load(&name)?;
            } else if built_in.contains(&name) {
                plan.built_in.push(name);
            } else {
                let known = files.keys().chain(&built_in).map(String::as_str);
                let suggestion = nearest(&name, known).map(str::to_owned);
                return Err(ModuleError::MissingModule {
                    name,
                    kernel: release.to_owned(),
                    suggestion,
                });
            }
        }
        plan.modules = walk.order;
        Ok(plan)
    }

    /// Every module file by its module's name.
    fn files(&self) -> Result<BTreeMap<String, PathBuf>, Failed> {
        let mut files = BTreeMap::new();
        let paths = match self {
            Self::Installed(directory) => {
                let mut paths = Vec::new();
                collect(directory, DEEPEST, &mut paths)?;
                // Of two files for one module the one in `updates` counts.
                paths.sort_by_key(|it| (!it.starts_with(directory.join("updates")), it.clone()));
                paths
            }
            Self::Built(directory) => {
                let list = directory.join("modules.order");
                // Newer kernels list the objects that the modules are made of.
                let file = |it: &String| directory.join(it).with_extension("ko");
                lines(&list)?.iter().map(file).collect()
            }
        };
        for path in paths {
            if let Some(name) = module_name(&path) {
                files.entry(name).or_insert(path);
            }
        }
        Ok(files)
    }

    /// The names of the modules that are part of the kernel, as far as it says.
    fn built_in(&self) -> Result<BTreeSet<String>, Failed> {
        let names = lines(&self.directory().join("modules.builtin"))?;
        Ok(names.iter().filter_map(|it| module_name(Path::new(it))).collect())
    }
}

/// The lines of a list, none if there is no such list.
fn lines(list: &Path) -> Result<Vec<String>, Failed> {
    match fs::read_to_string(list) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failed::to("read", list)(error)),
    }
}

/// No module lies deeper than this below its directory.
const DEEPEST: u32 = 16;

/// Adds all files below `directory`. Does not follow links: `build` and
/// `source` lead to whole kernel trees.
fn collect(directory: &Path, depth: u32, paths: &mut Vec<PathBuf>) -> Result<(), Failed> {
    for entry in fs::read_dir(directory).map_err(Failed::to("read the modules in", directory))? {
        let entry = entry.map_err(Failed::to("read", directory))?;
        let kind = entry.file_type().map_err(Failed::to("read", &entry.path()))?;
        if kind.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

/// The name of the module in a file, if its name is that of a module file.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let plain =
        [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|it| file.strip_suffix(it))?;
    Some(canonical(plain))
}

/// A module's name as the kernel has it.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// A walk along the dependencies, each module once.
struct Walk<'a> {
    files: &'a BTreeMap<String, PathBuf>,
    release: &'a str,
    /// From the module asked for down to the present one.
    under_way: Vec<String>,
    done: BTreeSet<String>,
    order: Vec<Module>,
}

impl Walk<'_> {
    /// Puts a module of [`Walk::files`] and all that it needs into the order.
    fn load(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.done.contains(name) {
            return Ok(());
        }
        let path = &self.files[name];
        let bytes = unpack::read(path, MODULE_BYTES)?;
        let info = ModInfo::of(&bytes)
            .map_err(|reason| ModuleError::Unsound { path: path.clone(), reason })?;
        if info.release.as_deref().is_some_and(|it| it != self.release) {
            return Err(ModuleError::OtherKernel {
                path: path.clone(),
                found: info.release.unwrap_or_default(),
                kernel: self.release.to_owned(),
            });
        }
        self.under_way.push(name.to_owned());
        for needed in &info.depends {
            if self.under_way.contains(needed) {
                return Err(ModuleError::Circle { name: needed.clone() });
            }
            if !self.files.contains_key(needed) {
                return Err(ModuleError::MissingDependency {
                    name: name.to_owned(),
                    needs: needed.clone(),
                    kernel: self.release.to_owned(),
                });
            }
            self.load(needed)?;
        }
        self.load_soft(&info.before)?;
        self.under_way.pop();
        self.done.insert(name.to_owned());
        self.order.push(Module { name: name.to_owned(), bytes });
        self.load_soft(&info.after)
    }

    /// The same for modules that are good to have: those that are not there,
    /// or are just about to be loaded, are passed over.
    fn load_soft(&mut self, names: &[String]) -> Result<(), ModuleError> {
        for name in names {
            if self.files.contains_key(name) && !self.under_way.contains(name) {
                self.load(name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
