//! `kernels`: what can be had, what is in the cache, and how it gets there.

use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, Result};
use cgauge_provision::{
    BuildError, Cache, CachedKernel, DebianKernel, KernelSpec, Tools, When, build,
};

use crate::exit::{Exit, usage};
use crate::flags::{Kernels, KernelsCommand};
use crate::pool;

/// Shows, fetches or builds kernels.
pub fn kernels(workspace: &Path, flags: &Kernels) -> Result<Exit> {
    let cache = Cache::open(Cache::place(|it| std::env::var_os(it))?)?;
    match &flags.command {
        None | Some(KernelsCommand::List) => print!("{}", table(&cgauge_provision::cached(&cache))),
        Some(KernelsCommand::Fetch { kernels }) => fetch(kernels, &cache)?,
        Some(KernelsCommand::Build { source, into, jobs }) => {
            return build_tree(workspace, source, into.as_deref(), *jobs);
        }
    }
    Ok(Exit::Fine)
}

fn build_tree(
    workspace: &Path,
    source: &Path,
    into: Option<&Path>,
    jobs: Option<NonZeroU32>,
) -> Result<Exit> {
    // make is started in the source tree: a relative path would lead elsewhere.
    let source =
        source.canonicalize().map_err(|it| usage(format!("{}: {it}", source.display())))?;
    let into = match into {
        Some(into) => std::path::absolute(into).context("the working directory is gone")?,
        None => {
            let name = source.file_name().unwrap_or_default();
            workspace.join("target").join("cgauge").join("kernels").join(name)
        }
    };
    let jobs = jobs.or(NonZeroU32::new(pool::cores())).unwrap_or(NonZeroU32::MIN);
    match build(&source, &into, jobs, &Tools::of_this_machine()) {
        Ok(()) => {
            println!("--kernel tree:{}", into.display());
            Ok(Exit::Fine)
        }
        Err(error @ BuildError::DoesNotBuild { .. }) => {
            eprintln!("{error}");
            Ok(Exit::NothingTested)
        }
        Err(error @ (BuildError::NoSource(_) | BuildError::Missing(_))) => Err(usage(error)),
        Err(error) => Err(error.into()),
    }
}

fn fetch(names: &[String], cache: &Cache) -> Result<()> {
    let specs: Vec<KernelSpec> =
        names.iter().map(|it| it.parse().map_err(usage)).collect::<Result<_>>()?;
    let tools = Tools::of_this_machine();
    let say = |line: &str| eprintln!("{line}");
    for spec in &specs {
        let kernel = match spec {
            KernelSpec::Debian(kernel) => {
                cgauge_provision::fetch(*kernel, When::Newer, cache, &tools, &say)?
            }
            // Nothing to fetch: look whether it is there and whole.
            other => cgauge_provision::resolve(other, cache, &tools, &say)?,
        };
        println!("{spec}: {}", kernel.release);
    }
    Ok(())
}

fn table(cached: &[CachedKernel]) -> String {
    let mut text = format!("{:<16} {:>8}  release\n", "kernel", "size");
    for kernel in DebianKernel::ALL {
        let spec = KernelSpec::Debian(kernel);
        text += &match cached.iter().find(|it| it.kernel.spec == spec) {
            Some(it) => {
                let megabytes = it.size_bytes.div_ceil(1_000_000);
                let size = format!("{megabytes} MB");
                format!(
                    "{:<16} {size:>8}  {} ({})\n",
                    spec.to_string(),
                    it.kernel.release,
                    it.package_version
                )
            }
            None => format!("{:<16} {:>8}  not fetched\n", spec.to_string(), "-"),
        };
    }
    text + "host, tree:DIR and PATH/bzImage[,modules=DIR] are used where they are.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_shown_with_what_the_cache_has_of_it() {
        let kernel = cgauge_provision::Kernel {
            spec: KernelSpec::Debian(DebianKernel::V6_12),
            release: "6.12.117+deb12-cloud-amd64".into(),
            image: "/c/vmlinuz".into(),
            image_sha256: String::new(),
            modules: None,
            config: None,
        };
        let cached =
            CachedKernel { kernel, package_version: "6.12.117-1".into(), size_bytes: 36_500_001 };
        insta::assert_snapshot!(table(&[cached]), @"
        kernel               size  release
        debian:5.10             -  not fetched
        debian:6.1              -  not fetched
        debian:6.12         37 MB  6.12.117+deb12-cloud-amd64 (6.12.117-1)
        debian:6.12-rt          -  not fetched
        debian:sid              -  not fetched
        host, tree:DIR and PATH/bzImage[,modules=DIR] are used where they are.
        ");
    }
}
