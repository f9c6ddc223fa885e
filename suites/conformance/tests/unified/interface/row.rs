//! A row of the table of interface files: where a file is, since when, what it
//! shows first, what it takes and what it refuses.
//!
//! A row says what is promised, not what a kernel did; what is promised nowhere
//! is `loose`, and only written down.

use std::path::Path;

use cgauge_record::Requirement;

/// A kernel's release, as 6.12.
pub type Version = cgauge_lab::machine::Release;

/// What a file, or a key, needs of the kernel besides its controller, and how
/// that can be seen without looking at the file.
#[derive(Clone, Copy, Debug)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// An option that makes this path, too.
    Path(&'static str, &'static str),
    /// An option that makes this file of a group, or of the root, too.
    Sibling(&'static str, &'static str),
    /// An option that compiles this function in (`/proc/kallsyms`).
    Symbol(&'static str, &'static str),
}

impl Needs {
    /// The option's name, for a reader.
    pub fn option(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Path(_, it) | Self::Sibling(_, it) | Self::Symbol(_, it) => it,
        }
    }
}

/// A key of a keyed file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub since: Version,
    pub needs: Needs,
}

/// A key that every kernel of the table has.
pub const fn key(name: &'static str) -> Key {
    key_since(name, (5, 10))
}

/// A key that came later.
pub const fn key_since(name: &'static str, since: Version) -> Key {
    Key { name, since, needs: Needs::Nothing }
}

impl Key {
    /// The key needs more than its file.
    pub const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }
}

/// One interface file.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub file: &'static str,
    /// Since when groups other than the root have it.
    pub in_groups: Option<Version>,
    /// Since when the root has it.
    pub in_root: Option<Version>,
    pub needs: Needs,
    pub mode: u32,
    /// Since when it can be written, if not from its beginning.
    pub writable_since: Option<Version>,
    /// What a new group shows, without the end of the last line.
    pub default: Option<&'static str>,
    /// What it takes, and what it shows then; no text where that is no promise.
    pub accepts: &'static [(&'static str, Option<&'static str>)],
    /// What it refuses, and with which errno.
    pub refuses: &'static [(&'static str, &'static str)],
    /// What kernels answer in ways that no document promises.
    pub loose: &'static [&'static str],
    pub keys: &'static [Key],
    /// Every key begins at 0.
    pub from_zero: bool,
    /// Whether a delegatee may write it: `/sys/kernel/cgroup/delegate`.
    pub delegated: bool,
    /// Whether cgroup-v2.rst names it.
    pub documented: bool,
    pub promises: &'static [Requirement],
}

impl Row {
    /// A file that can only be read, in every group but the root.
    pub const fn new(file: &'static str, since: Version) -> Self {
        Self {
            file,
            in_groups: Some(since),
            in_root: None,
            needs: Needs::Nothing,
            mode: 0o444,
            writable_since: None,
            default: None,
            accepts: &[],
            refuses: &[],
            loose: &[],
            keys: &[],
            from_zero: false,
            delegated: false,
            documented: true,
            promises: &[],
        }
    }

    /// The root has it, too.
    pub const fn root(mut self, since: Version) -> Self {
        self.in_root = Some(since);
        self
    }

    /// Only the root has it.
    pub const fn only_root(mut self) -> Self {
        self.in_root = self.in_groups;
        self.in_groups = None;
        self
    }

    pub const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// It can be read and written.
    pub const fn writable(mut self) -> Self {
        self.mode = 0o644;
        self
    }

    /// It can be written only since this release.
    pub const fn writable_since(mut self, since: Version) -> Self {
        self.writable_since = Some(since);
        self
    }

    /// It can only be written.
    pub const fn write_only(mut self) -> Self {
        self.mode = 0o200;
        self
    }

    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    pub const fn accepts(
        mut self,
        values: &'static [(&'static str, Option<&'static str>)],
    ) -> Self {
        self.accepts = values;
        self
    }

    pub const fn refuses(mut self, values: &'static [(&'static str, &'static str)]) -> Self {
        self.refuses = values;
        self
    }

    pub const fn loose(mut self, values: &'static [&'static str]) -> Self {
        self.loose = values;
        self
    }

    pub const fn keys(mut self, keys: &'static [Key]) -> Self {
        self.keys = keys;
        self
    }

    pub const fn starts_at_zero(mut self) -> Self {
        self.from_zero = true;
        self
    }

    pub const fn delegated(mut self) -> Self {
        self.delegated = true;
        self
    }

    pub const fn undocumented(mut self) -> Self {
        self.documented = false;
        self
    }

    pub const fn promises(mut self, promises: &'static [Requirement]) -> Self {
        self.promises = promises;
        self
    }

    /// Those of `wanted` that the file is about.
    pub fn among(&self, wanted: impl IntoIterator<Item = Requirement>) -> Vec<Requirement> {
        wanted.into_iter().filter(|it| self.promises.contains(it)).collect()
    }

    /// Its permissions on this kernel.
    pub fn mode_on(&self, release: Version) -> u32 {
        match self.writable_since {
            Some(since) if release >= since => 0o644,
            _ => self.mode,
        }
    }

    /// Whether a reader may read it.
    pub fn is_readable(&self) -> bool {
        self.mode & 0o444 != 0
    }
}

/// The files of one controller, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Core,
    Pressure,
    Cpu,
    Memory,
    Io,
    Pids,
    Cpuset,
    Hugetlb,
    Misc,
    Rdma,
    Dmem,
}

impl Subject {
    pub const ALL: [Self; 11] = [
        Self::Core,
        Self::Pressure,
        Self::Cpu,
        Self::Memory,
        Self::Io,
        Self::Pids,
        Self::Cpuset,
        Self::Hugetlb,
        Self::Misc,
        Self::Rdma,
        Self::Dmem,
    ];

    /// The controller whose files these are.
    pub fn controller(self) -> Option<&'static str> {
        Some(match self {
            Self::Core | Self::Pressure => return None,
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
            Self::Cpuset => "cpuset",
            Self::Hugetlb => "hugetlb",
            Self::Misc => "misc",
            Self::Rdma => "rdma",
            Self::Dmem => "dmem",
        })
    }

    /// Whether a group inside a threaded subtree shows them.
    pub fn is_threaded(self) -> bool {
        matches!(self, Self::Core | Self::Pressure | Self::Cpu | Self::Pids | Self::Cpuset)
    }

    /// Whose file this is by its name; what fits nobody is the core's.
    pub fn of(file: &str) -> Self {
        if file.ends_with(".pressure") && file != "cgroup.pressure" {
            return Self::Pressure;
        }
        let prefix = file.split('.').next();
        let fits = |it: &Self| it.controller().is_some() && it.controller() == prefix;
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Core)
    }

    /// The table's rows.
    pub fn rows(self) -> &'static [Row] {
        match self {
            Self::Core => crate::rows_of_core::CORE,
            Self::Pressure => crate::rows_of_core::PRESSURE,
            Self::Cpu => crate::rows_of_cpu::CPU,
            Self::Memory => crate::rows_of_memory::MEMORY,
            Self::Io => crate::rows_of_io::IO,
            Self::Pids => crate::rows_of_others::PIDS,
            Self::Cpuset => crate::rows_of_others::CPUSET,
            Self::Hugetlb => crate::rows_of_others::HUGETLB,
            Self::Misc => crate::rows_of_others::MISC,
            Self::Rdma => crate::rows_of_others::RDMA,
            Self::Dmem => crate::rows_of_others::DMEM,
        }
    }
}

/// Whether the kernel has what is needed, seen elsewhere than in the file.
pub fn is_met(needs: Needs, siblings: &[String]) -> bool {
    match needs {
        Needs::Nothing => true,
        Needs::Path(path, _) => Path::new(path).exists(),
        Needs::Sibling(file, _) => siblings.iter().any(|it| it == file),
        Needs::Symbol(function, _) => {
            let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
            symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(function))
        }
    }
}
