//! The machine that a guest runs on, and QEMU's command line for it.
//!
//! Pure: it knows neither files nor processes. On the virtual clock every source
//! of chance is closed here; each option says which one.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use cgauge_record::{Clock, Hierarchy};

/// Virtual nanoseconds of an instruction, as a power of two: 8 ns. A faster CPU
/// (a smaller shift) makes each virtual second cost more host time, a slower
/// one makes what runs on the guest's timers weigh too much.
const ICOUNT_SHIFT: u32 = 3;
/// The TSC counts virtual nanoseconds under an instruction-counted clock.
const VIRTUAL_TSC_KHZ: u64 = 1_000_000;

/// QEMU's machine model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Small and quick to boot; a kernel without ACPI or with odd timers may not
    /// come up on it.
    Microvm,
    /// A PC with everything.
    Q35,
}

impl Model {
    /// QEMU's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Microvm => "microvm",
            Self::Q35 => "q35",
        }
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// QEMU's translator.
    Tcg,
    /// The host's hardware.
    Kvm,
}

impl Accelerator {
    /// QEMU's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// What a suite needs of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Profile {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// A machine to boot a kernel on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program.
    pub qemu: PathBuf,
    /// Its version: part of what makes a saved guest.
    pub qemu_version: String,
    /// The machine model.
    pub model: Model,
    /// What executes it.
    pub accelerator: Accelerator,
    /// What its clock counts.
    pub clock: Clock,
    /// Its size.
    pub profile: Profile,
    /// The kernel image.
    pub kernel: PathBuf,
    /// SHA-256 of the kernel image.
    pub kernel_sha256: String,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// SHA-256 of the initramfs.
    pub initramfs_sha256: String,
    /// How the agent is to mount the controllers.
    pub hierarchy: Hierarchy,
    /// Further words for the kernel's command line.
    pub boot: Vec<String>,
    /// The TSC frequency that the guest sees when its clock is the wall's.
    pub host_tsc_khz: u64,
}

/// What a QEMU process is started for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// To boot and run a job.
    Boot,
    /// To boot, and to stop and be saved when the agent is ready. Its memory is
    /// this file.
    Save(&'a Path),
    /// To go on from a saved guest whose memory is this file, without changing it.
    Restore(&'a Path),
}

/// The files through which a QEMU process speaks.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// What the guest reads as its job.
    pub job: &'a Path,
    /// The programs that the job names, each with its name.
    pub programs: &'a [(&'a str, &'a Path)],
    /// Where the guest's messages go.
    pub records: &'a Path,
    /// Where the guest's console goes.
    pub console: &'a Path,
}

impl Machine {
    /// QEMU's arguments.
    #[must_use]
    pub fn arguments(&self, purpose: Purpose<'_>, files: Files<'_>) -> Vec<OsString> {
        let mut line = Arguments::default();
        line.flag("-nodefaults").flag("-no-user-config").flag("-no-reboot");
        line.option("-display", "none").option("-qmp", "stdio");
        self.processor(&mut line);
        self.memory(&mut line, purpose);
        line.path("-kernel", "", &self.kernel).path("-initrd", "", &self.initramfs);
        line.option("-append", self.kernel_command_line());
        line.path("-serial", "file:", files.console);
        line.path("-chardev", "file,id=records,path=", files.records);
        line.option("-device", "isa-debugcon,iobase=0xe9,chardev=records");
        line.option("-device", "isa-debug-exit,iobase=0xf4,iosize=4");
        line.path("-fw_cfg", "name=opt/cgauge/job,file=", files.job);
        for (name, path) in files.programs {
            line.path("-fw_cfg", &format!("name=opt/cgauge/suites/{name},file="), path);
        }
        line.option("-device", "pvpanic");
        match purpose {
            // The agent writes to pvpanic when it wants to be saved.
            Purpose::Save(_) => line.option("-action", "panic=pause"),
            // A kernel with a driver for it writes there when it panics.
            Purpose::Boot | Purpose::Restore(_) => line.option("-action", "panic=shutdown"),
        };
        if let Purpose::Restore(_) = purpose {
            line.flag("-S").option("-incoming", "defer");
        }
        line.0
    }

    fn processor(&self, line: &mut Arguments) {
        let cpus = self.profile.cpus;
        line.option("-smp", cpus.to_string());
        match (self.accelerator, self.clock) {
            (Accelerator::Kvm, _) => {
                line.option("-accel", "kvm").option("-cpu", "host");
            }
            (Accelerator::Tcg, Clock::Wall) => {
                line.option("-accel", "tcg,thread=multi").option("-cpu", "max");
            }
            (Accelerator::Tcg, Clock::Virtual) => {
                line.option("-accel", "tcg");
                // The clock counts instructions, and skips to the next timer when
                // every CPU is idle.
                line.option("-icount", format!("shift={ICOUNT_SHIFT},sleep=off,align=off"));
                // The date is the same in every run.
                line.option("-rtc", "clock=vm,base=2026-01-01");
                // What random numbers QEMU itself hands out.
                line.option("-seed", "42");
                // The host's own random numbers.
                line.option("-cpu", "max,-rdrand,-rdseed");
            }
        }
    }

    fn memory(&self, line: &mut Arguments, purpose: Purpose<'_>) {
        let bytes = self.profile.memory_bytes;
        line.option("-m", format!("{}k", bytes >> 10));
        let (file, share) = match purpose {
            Purpose::Boot => return self.model(line, ""),
            Purpose::Save(file) => (file, "on"),
            // Copy on write: the saved guest stays as it is.
            Purpose::Restore(file) => (file, "off"),
        };
        self.model(line, ",memory-backend=ram");
        let backend = format!("memory-backend-file,id=ram,size={bytes},share={share},mem-path=");
        line.path("-object", &backend, file);
    }

    fn model(&self, line: &mut Arguments, more: &str) {
        let options = match self.model {
            // Without an RTC the kernel spins for a second in its CMOS probe.
            Model::Microvm => "microvm,rtc=on",
            Model::Q35 => "q35",
        };
        line.option("-M", format!("{options}{more}"));
    }

    /// The kernel's command line.
    fn kernel_command_line(&self) -> String {
        // `panic=-1` with `-no-reboot` ends QEMU, at once by a triple fault: the
        // keyboard controller's way takes seconds where there is none. The
        // self-tests of the crypto code cost 0.8 s of a boot.
        let mut words = vec![
            "console=ttyS0".to_owned(),
            "loglevel=6".to_owned(),
            "panic=-1".to_owned(),
            "reboot=t".to_owned(),
            "cryptomgr.notests".to_owned(),
            format!("cgauge.hierarchy={}", Named(self.hierarchy)),
        ];
        let tsc_khz = match self.clock {
            Clock::Virtual => VIRTUAL_TSC_KHZ,
            Clock::Wall => self.host_tsc_khz,
        };
        if self.accelerator == Accelerator::Tcg {
            // microvm has only the PIT to calibrate the TSC by, and a boot on a
            // busy host can hang there.
            words.push(format!("tsc_early_khz={tsc_khz}"));
            // A guest with one CPU stops at one instruction; the agent brings the
            // others up when it has its job.
            words.push("maxcpus=1".to_owned());
        }
        if self.clock == Clock::Virtual {
            // The clocks of all CPUs are one. A kernel of before 6.5 that compares
            // them when a CPU comes online waits for ever: the two CPUs take turns.
            words.push("tsc=reliable".to_owned());
            if self.profile.cpus > 1 {
                // What an interrupt takes would hold the turns of all other CPUs.
                words.push("tsc=noirqtime".to_owned());
            }
            words.extend(
                ["nokaslr", "norandmaps", "random.trust_bootloader=off", "random.trust_cpu=off"]
                    .map(str::to_owned),
            );
        }
        words.extend(self.boot.iter().cloned());
        words.join(" ")
    }

    /// Everything that makes a saved guest what it is, as text.
    #[must_use]
    pub fn identity(&self) -> String {
        let nowhere = Path::new("");
        let files = Files { job: nowhere, programs: &[], records: nowhere, console: nowhere };
        let placed = Self {
            qemu: PathBuf::new(),
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            ..self.clone()
        };
        let arguments = placed.arguments(Purpose::Save(nowhere), files);
        format!(
            "{arguments:?} {} {} {}",
            self.qemu_version, self.kernel_sha256, self.initramfs_sha256
        )
    }
}

struct Named(Hierarchy);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Hierarchy::Unified => "unified",
            Hierarchy::Legacy => "legacy",
            Hierarchy::Hybrid => "hybrid",
        })
    }
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }

    /// An option that ends in a path. QEMU splits options at commas; a comma
    /// that belongs to the path is doubled.
    fn path(&mut self, name: &str, before: &str, path: &Path) -> &mut Self {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut value = before.as_bytes().to_vec();
        let splits = !before.is_empty() && before != "file:";
        for byte in path.as_os_str().as_bytes() {
            value.push(*byte);
            if splits && *byte == b',' {
                value.push(b',');
            }
        }
        self.option(name, OsString::from_vec(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(clock: Clock, model: Model) -> Machine {
        Machine {
            qemu: "/bin/qemu".into(),
            qemu_version: "7.2.22".into(),
            model,
            accelerator: Accelerator::Tcg,
            clock,
            profile: Profile { cpus: 4, memory_bytes: 512 << 20 },
            kernel: "/k/vmlinuz".into(),
            kernel_sha256: "aa".into(),
            initramfs: "/k/initramfs".into(),
            initramfs_sha256: "bb".into(),
            hierarchy: Hierarchy::Unified,
            boot: vec!["numa=fake=2".into()],
            host_tsc_khz: 2_300_000,
        }
    }

    fn line(machine: &Machine, purpose: Purpose<'_>) -> String {
        let [job, records, console] = ["/r/job", "/r,1/records", "/r/console"].map(Path::new);
        let programs = [("pids", Path::new("/b/pids"))];
        let files = Files { job, programs: &programs, records, console };
        let arguments = machine.arguments(purpose, files);
        arguments.iter().map(|it| it.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_virtual_clock_closes_every_source_of_chance() {
        let line =
            line(&machine(Clock::Virtual, Model::Microvm), Purpose::Restore(Path::new("/g/ram")));
        for word in [
            "-icount shift=3,sleep=off,align=off",
            "clock=vm",
            "-seed 42",
            "-rdrand",
            "nokaslr",
            "norandmaps",
            "tsc_early_khz=1000000",
            "share=off",
            "-S -incoming defer",
            "rtc=on,memory-backend=ram",
        ] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }

    #[test]
    fn the_wall_clock_takes_the_hosts_tsc() {
        let line = line(&machine(Clock::Wall, Model::Q35), Purpose::Boot);
        assert!(line.contains("tsc_early_khz=2300000") && line.contains("-M q35 "), "{line}");
        assert!(!line.contains("icount") && !line.contains("-incoming"), "{line}");
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_an_option() {
        let line = line(&machine(Clock::Wall, Model::Q35), Purpose::Boot);
        assert!(line.contains("path=/r,,1/records"), "{line}");
    }

    #[test]
    fn a_saved_guest_is_the_same_wherever_its_files_lie() {
        let here = machine(Clock::Virtual, Model::Microvm);
        let there = Machine { kernel: "/other/vmlinuz".into(), ..here.clone() };
        assert_eq!(here.identity(), there.identity());
        let other = Machine { kernel_sha256: "cc".into(), ..here.clone() };
        assert_ne!(here.identity(), other.identity());
        let bigger = Machine { profile: Profile { cpus: 8, ..here.profile }, ..here.clone() };
        assert_ne!(here.identity(), bigger.identity());
    }
}
