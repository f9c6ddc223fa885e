//! What has to be there before anything can run: kernels, QEMU, a place for the
//! files of running guests, and an ear for Ctrl-C.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use cgauge_provision::{
    Cache, Kernel, KernelError, KernelSpec, Qemu, Tools, Userland, UserlandImage,
};
use cgauge_record::Clock;

use crate::exit::{Exit, usage};
use crate::prepare::Common;
use crate::work;

/// What is there.
pub struct Ground {
    /// The kernels, in the order in which they were asked for.
    pub kernels: Vec<Kernel>,
    cache: Cache,
    qemu: Option<Qemu>,
    work: work::Folder,
    stop: Arc<AtomicBool>,
}

impl Ground {
    /// Finds it, or fetches and installs what can be.
    pub fn prepare(
        specs: &[KernelSpec],
        target: &Path,
        stop: &Arc<AtomicBool>,
        say: &dyn Fn(&str),
        explain: impl Fn(KernelError) -> anyhow::Error,
    ) -> Result<Self> {
        let tools = Tools::of_this_machine();
        let cache = Cache::open(Cache::place(|it| std::env::var_os(it))?)?;
        let kernels = specs
            .iter()
            .map(|it| cgauge_provision::resolve(it, &cache, &tools, say).map_err(&explain))
            .collect::<Result<_>>()?;
        // No kernel to boot, no VM.
        let qemu = match specs {
            [] => None,
            _ => Some(cgauge_provision::find_or_install(&tools, say)?),
        };
        let work = work::Folder::new(&target.join("work"));
        if qemu.is_some() {
            work.make()?;
        }
        Ok(Self { kernels, cache, qemu, work, stop: Arc::clone(stop) })
    }

    /// The userlands, made where the cache has none.
    pub fn userlands(
        &self,
        wanted: impl IntoIterator<Item = Userland>,
        say: &dyn Fn(&str),
    ) -> Result<Vec<UserlandImage>> {
        let tools = Tools::of_this_machine();
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        wanted
            .into_iter()
            .map(|it| UserlandImage::find_or_make(it, &self.cache, &tools, say).map_err(usage))
            .collect()
    }

    /// What every machine on it has in common.
    pub fn common(&self, clock: Clock, silence: Duration) -> Common {
        Common {
            qemu: self.qemu.clone(),
            cache: self.cache.root().to_path_buf(),
            work: self.work.path().to_path_buf(),
            clock,
            silence,
            stop: Arc::clone(&self.stop),
        }
    }
}

/// A flag that is set by Ctrl-C, SIGTERM and SIGHUP. A second one ends at once;
/// guests die with the thread that started them.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Exit::Broken.code()));
        }
        eprintln!("stopping; what is measured so far is kept (once more to stop at once)");
    })
    .context("watch for Ctrl-C")?;
    Ok(stop)
}
