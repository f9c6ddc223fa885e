//! From a kernel and a suite's needs to a machine that is ready: modules, the
//! initramfs, the VM.
//!
//! It knows nothing of cases.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cgauge_provision::{
    Cache, Initramfs, Kernel, Mode, ModuleError, Qemu, UserlandImage, node_table,
};
use cgauge_record::{Clock, Hierarchy};
use cgauge_stage::vm::{Accelerator, Machine, Model, Profile, Settings, Vm, choose};
use sha2::{Digest, Sha256};

use crate::build::Binaries;
use crate::catalogue::Suite;
use crate::flags::Size;
use crate::userland;

/// How long a kernel may take to boot. Under a translator on a busy machine a
/// boot takes 5 to 10 s.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);

/// What a suite's guest has to offer. Suites that need the same share a saved
/// guest; the suite itself comes with the job, so that a case finds the same
/// guest, down to its memory, whatever else is in the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The guest's size.
    pub profile: Profile,
    /// Kernel modules with their parameters, as the suite names them.
    pub modules: Vec<String>,
    /// Memory nodes.
    pub nodes: u32,
    /// Further words for the kernel's command line.
    pub boot: Vec<String>,
    /// What is booted below systemd; nothing where the agent is PID 1.
    pub userland: Option<UserlandImage>,
}

impl Needs {
    /// What `suite` asks for, where the command line asks for nothing else.
    pub fn of(suite: &Suite, cpus: Option<NonZeroU32>, memory: Option<Size>) -> Result<Self> {
        let memory_bytes = match memory {
            Some(size) => size.bytes,
            None => suite.needs.memory_bytes()?,
        };
        let cpus = cpus.map_or(suite.needs.cpus, NonZeroU32::get);
        Ok(Self {
            profile: Profile { cpus, memory_bytes },
            modules: suite.needs.modules.clone(),
            nodes: suite.needs.nodes,
            boot: suite.needs.boot.clone(),
            userland: None,
        })
    }
}

/// What every machine of a run has in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The program; none where no VM is asked for.
    pub qemu: Option<Qemu>,
    /// Where what is made once is kept.
    pub cache: PathBuf,
    /// Where running guests keep their files.
    pub work: PathBuf,
    /// The clock of the figures.
    pub clock: Clock,
    /// How long a guest may be silent.
    pub silence: Duration,
    /// Set when the user wants the run to stop.
    pub stop: Arc<AtomicBool>,
}

/// Makes the VM in which `kernel` offers `needs`.
pub fn machine(
    common: &Common,
    kernel: &Kernel,
    hierarchy: Hierarchy,
    needs: &Needs,
    binaries: &Binaries,
    say: &dyn Fn(&str),
) -> Result<Vm> {
    let modules = modules(kernel, &needs.modules, say)?;
    let initramfs = initramfs(&common.cache, binaries, needs, &modules)?;
    let qemu = common.qemu.as_ref().context("no QEMU")?;
    let machine = Machine {
        qemu: qemu.path.clone(),
        qemu_version: qemu.version.clone(),
        model: Model::Microvm,
        accelerator: Accelerator::Tcg,
        clock: common.clock,
        profile: needs.profile,
        kernel: kernel.image.clone(),
        kernel_sha256: kernel.image_sha256.clone(),
        initramfs: initramfs.path,
        initramfs_sha256: initramfs.sha256,
        hierarchy,
        boot: boot_words(needs, hierarchy),
        host_tsc_khz: match common.clock {
            Clock::Virtual => 0,
            Clock::Wall => tsc_khz(),
        },
    };
    let settings = Settings {
        cache: common.cache.clone(),
        work: common.work.clone(),
        programs: binaries.suites.iter().map(|it| (it.name.clone(), it.path.clone())).collect(),
        boot_deadline: BOOT_DEADLINE,
        silence: common.silence,
        stop: Arc::clone(&common.stop),
    };
    Ok(choose(&machine, &settings, say)?)
}

fn boot_words(needs: &Needs, hierarchy: Hierarchy) -> Vec<String> {
    let mut words = needs.boot.clone();
    if let Some(image) = &needs.userland {
        words.extend(userland::boot_words(image.userland, hierarchy));
    }
    words
}

/// The modules to load, in order. One that this kernel does not have is said,
/// and the cases that need it skip.
fn modules(
    kernel: &Kernel,
    wanted: &[String],
    say: &dyn Fn(&str),
) -> Result<Vec<cgauge_provision::Module>> {
    let mut present = Vec::new();
    for name in wanted.iter().map(|it| name_of(it)) {
        match kernel.load_plan(&[name]) {
            Ok(_) => present.push(name),
            Err(error @ ModuleError::MissingModule { .. }) => say(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(kernel.load_plan(&present)?.modules)
}

/// A module's name, of `null_blk nr_devices=0`.
fn name_of(wanted: &str) -> &str {
    wanted.split_ascii_whitespace().next().unwrap_or_default()
}

/// The parameters that a suite gives to the module `name`.
fn parameters_of<'a>(name: &str, wanted: &'a [String]) -> &'a str {
    // A dash and an underscore are one letter in a module's name.
    let same = |it: &&String| name_of(it).replace('-', "_") == name.replace('-', "_");
    wanted.iter().find(same).map_or("", |it| it[name_of(it).len()..].trim())
}

struct Packed {
    path: PathBuf,
    sha256: String,
}

/// The initramfs with these binaries and modules, packed once.
fn initramfs(
    cache: &Path,
    binaries: &Binaries,
    needs: &Needs,
    modules: &[cgauge_provision::Module],
) -> Result<Packed> {
    let mut files = BTreeMap::new();
    let mut add = |place: String, path: &Path| -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        files.insert(place, bytes);
        Ok(())
    };
    let (agent, workload) = match &needs.userland {
        None => ("/init", "/bin/cgauge-workload"),
        Some(_) => (userland::AGENT, userland::WORKLOAD),
    };
    add(agent.to_owned(), &binaries.agent)?;
    add(workload.to_owned(), &binaries.workload)?;
    let mut digest = Sha256::new();
    for (place, bytes) in &files {
        digest.update(format!("{place} {}\n", bytes.len()));
        digest.update(bytes);
    }
    for module in modules {
        let parameters = parameters_of(&module.name, &needs.modules);
        digest.update(format!("{} {} {parameters}\n", module.name, module.bytes.len()));
        digest.update(&module.bytes);
    }
    if let Some(image) = &needs.userland {
        digest.update(&image.sha256);
        digest.update(format!("{:?}", userland::FILES));
    }
    // The kernel looks for tables in the first archive alone, and only if it is plain.
    let mut packed = Vec::new();
    if needs.nodes > 1 {
        packed = node_table(needs.profile.cpus, needs.profile.memory_bytes, needs.nodes)?;
        digest.update(&packed);
    }
    let sha256: String = digest.finalize().iter().map(|it| format!("{it:02x}")).collect();
    let cache = Cache::open(cache)?;
    let path = cache.root().join("initramfs").join(&sha256[..24]);
    if !path.exists() {
        let mut archive = Initramfs::new();
        match &needs.userland {
            None => {
                for folder in ["/proc", "/sys", "/tmp", "/run"] {
                    archive = archive.dir(folder);
                }
            }
            Some(image) => {
                archive = userland::files(archive);
                let bytes = fs::read(&image.archive)
                    .with_context(|| format!("read {}", image.archive.display()))?;
                packed.extend(bytes);
            }
        }
        for (place, bytes) in files {
            archive = archive.file(&place, bytes, Mode::EXECUTABLE);
        }
        for (index, module) in modules.iter().enumerate() {
            let place = format!("/modules/{index:03}-{}", module.name);
            let parameters = parameters_of(&module.name, &needs.modules);
            archive = archive.file(&format!("{place}.ko"), module.bytes.clone(), Mode::DATA).file(
                &format!("{place}.parameters"),
                parameters,
                Mode::DATA,
            );
        }
        let scratch = cache.scratch()?;
        let made = scratch.path().join("initramfs");
        packed.extend(archive.finish()?);
        fs::write(&made, packed).with_context(|| format!("write {}", made.display()))?;
        cache.publish(&made, &path)?;
    }
    Ok(Packed { path, sha256 })
}

/// How fast this machine's TSC counts: a free-running guest sees the same one,
/// and a wrong figure would make its clock run wrong.
fn tsc_khz() -> u64 {
    let read = || {
        // SAFETY: reads a register that every x86-64 has.
        unsafe { std::arch::x86_64::_rdtsc() }
    };
    let (from, began) = (read(), Instant::now());
    std::thread::sleep(Duration::from_millis(50));
    let (to, passed) = (read(), began.elapsed());
    // Ticks per nanosecond times a million is ticks per millisecond.
    let khz = u128::from(to - from) * 1_000_000 / passed.as_nanos().max(1);
    u64::try_from(khz).unwrap_or(0)
}
