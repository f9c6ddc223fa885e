//! Finds QEMU, or installs it where that is ours to do, or says how.
//!
//! Does not run it but to ask for its version.

use std::fs;
use std::path::PathBuf;

use crate::Failed;
use crate::install::install;
use crate::tools::{Rights, ToolError, Tools};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";
/// Debian's package of it.
const PACKAGE: &str = "qemu-system-x86";

/// A QEMU that is there to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// Its path.
    pub path: PathBuf,
    /// Its version, with the package's if it says so: `7.2.22 (Debian 1:7.2+dfsg-7)`.
    pub version: String,
}

/// There is no QEMU to be had.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// It is for the user to install it.
    #[error("{PROGRAM} is not installed: {}", how.as_ref().map_or_else(
        || "install QEMU's system emulator for x86-64".to_owned(),
        |it| format!("install it with `{it}`"),
    ))]
    NotInstalled {
        /// The command for this system, if it is one that we know.
        how: Option<String>,
    },
    /// The installation failed.
    #[error("cannot install QEMU: {0}")]
    Installation(ToolError),
    /// It is there and does not tell its version.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// The program.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system refused.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// What is to be done where QEMU is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Remedy {
    /// Install Debian's package.
    Install,
    /// Say how, if known.
    Tell(Option<String>),
}

/// Finds QEMU on the search path. On Debian and Ubuntu root gets it installed;
/// what is done is said through `say`, a line at a time.
pub fn find_or_install(tools: &Tools, say: &dyn Fn(&str)) -> Result<Qemu, QemuError> {
    if let Some(path) = tools.find(PROGRAM) {
        return ask(tools, path);
    }
    let release = tools.file("etc/os-release");
    let release = fs::read_to_string(release).unwrap_or_default();
    let apt_get = tools.find("apt-get").is_some();
    match remedy(System::of(&release), tools.rights()) {
        Remedy::Install if apt_get => {
            say("QEMU is not installed; installing it with apt-get");
            install(tools, PACKAGE, say).map_err(QemuError::Installation)?;
        }
        Remedy::Install => return Err(QemuError::NotInstalled { how: None }),
        Remedy::Tell(how) => return Err(QemuError::NotInstalled { how }),
    }
    let path = tools.find(PROGRAM).ok_or(QemuError::NotInstalled { how: None })?;
    ask(tools, path)
}

fn ask(tools: &Tools, path: PathBuf) -> Result<Qemu, QemuError> {
    let unusable = |reason: String| QemuError::Unusable { path: path.clone(), reason };
    let printed = tools
        .run(PROGRAM, ["--version"], &tools.file(""))
        .map_err(|it| unusable(it.to_string()))?;
    let version = version(&printed).ok_or_else(|| unusable("it tells no version".to_owned()))?;
    Ok(Qemu { version, path })
}

/// Reads the first line of `--version`.
fn version(printed: &str) -> Option<String> {
    let version = printed.lines().next()?.split_once("version ")?.1.trim();
    version.starts_with(|it: char| it.is_ascii_digit()).then(|| version.to_owned())
}

/// The families of systems that name QEMU's package alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Debian,
    Fedora,
    Arch,
    Suse,
    Other,
}

impl System {
    /// Reads `/etc/os-release`: `ID`, else what it says it is like.
    fn of(os_release: &str) -> Self {
        let field = |name: &str| {
            let line = os_release.lines().find_map(|it| it.trim().strip_prefix(name));
            line.unwrap_or_default().trim_matches(['"', '\''])
        };
        let names = field("ID=").split_whitespace().chain(field("ID_LIKE=").split_whitespace());
        let known = |name| match name {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" => Some(Self::Arch),
            "suse" | "opensuse" | "sles" | "opensuse-leap" | "opensuse-tumbleweed" => {
                Some(Self::Suse)
            }
            _ => None,
        };
        names.into_iter().find_map(known).unwrap_or(Self::Other)
    }
}

fn remedy(system: System, rights: Rights) -> Remedy {
    let command = match system {
        System::Debian if rights == Rights::Root => return Remedy::Install,
        System::Debian => "apt-get install --no-install-recommends qemu-system-x86",
        System::Fedora => "dnf install qemu-system-x86-core",
        System::Arch => "pacman -S qemu-system-x86",
        System::Suse => "zypper install qemu-x86",
        System::Other => return Remedy::Tell(None),
    };
    Remedy::Tell(Some(match rights {
        Rights::Root => command.to_owned(),
        Rights::User => format!("sudo {command}"),
    }))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::tools::tests::script;

    #[test]
    fn each_system_has_its_command() {
        for (release, system) in [
            ("PRETTY_NAME=\"Debian\"\nID=debian\n", System::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", System::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", System::Fedora),
            ("ID=endeavouros\nID_LIKE=arch\n", System::Arch),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", System::Suse),
            ("VERSION_ID=1\nID=nixos\n", System::Other),
            ("", System::Other),
        ] {
            assert_eq!(System::of(release), system, "{release}");
        }
        assert_eq!(remedy(System::Debian, Rights::Root), Remedy::Install);
        let told = |system, rights| match remedy(system, rights) {
            Remedy::Tell(how) => QemuError::NotInstalled { how }.to_string(),
            Remedy::Install => panic!("only root on Debian has it installed"),
        };
        insta::assert_snapshot!(told(System::Debian, Rights::User), @"qemu-system-x86_64 is not installed: install it with `sudo apt-get install --no-install-recommends qemu-system-x86`");
        insta::assert_snapshot!(told(System::Fedora, Rights::Root), @"qemu-system-x86_64 is not installed: install it with `dnf install qemu-system-x86-core`");
        insta::assert_snapshot!(told(System::Arch, Rights::User), @"qemu-system-x86_64 is not installed: install it with `sudo pacman -S qemu-system-x86`");
        insta::assert_snapshot!(told(System::Suse, Rights::User), @"qemu-system-x86_64 is not installed: install it with `sudo zypper install qemu-x86`");
        insta::assert_snapshot!(told(System::Other, Rights::Root), @"qemu-system-x86_64 is not installed: install QEMU's system emulator for x86-64");
    }

    #[test]
    fn the_version_is_read_with_the_packages() {
        let printed = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright\n";
        assert_eq!(version(printed).as_deref(), Some("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"));
        assert_eq!(version("QEMU emulator version 9.1.0\n").as_deref(), Some("9.1.0"));
        assert_eq!(version(""), None);
        assert_eq!(version("version control"), None);
    }

    /// A Debian with an apt-get that writes down how it is called and, once it
    /// has lists, installs a QEMU.
    fn debian() -> (tempfile::TempDir, Tools) {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("var/lib/apt/lists")).unwrap();
        fs::write(root.path().join("etc/os-release"), "ID=debian\n").unwrap();
        script(
            &bin,
            "apt-get",
            "lists=var/lib/apt/lists\n\
             case $1 in\n\
             update) : > $lists/fresh_Packages;;\n\
             install) test -e $lists/fresh_Packages || { echo 'E: 404' >&2; exit 100; }\n\
             printf '#!/bin/sh\\necho QEMU emulator version 9.2.1\\n' > bin/qemu-system-x86_64\n\
             /bin/chmod +x bin/qemu-system-x86_64;;\n\
             esac",
        );
        let tools = Tools::new(&bin, root.path(), Rights::Root);
        (root, tools)
    }

    fn installed(tools: &Tools) -> (Result<Qemu, QemuError>, String) {
        let said = RefCell::new(String::new());
        let found = find_or_install(tools, &|line| {
            said.borrow_mut().push_str(line);
            said.borrow_mut().push('\n');
        });
        (found, said.into_inner())
    }

    #[test]
    fn root_on_a_debian_without_lists_gets_it_installed() {
        let (root, tools) = debian();
        let (found, said) = installed(&tools);
        let path = root.path().join("bin/qemu-system-x86_64");
        assert_eq!(found.unwrap(), Qemu { path, version: "9.2.1".to_owned() });
        insta::assert_snapshot!(said, @r"
        QEMU is not installed; installing it with apt-get
        running apt-get update
        running apt-get install -y --no-install-recommends qemu-system-x86
        ");
        assert_eq!(installed(&tools).1, "", "what is there is not installed again");
    }

    #[test]
    fn old_lists_are_renewed() {
        let (root, tools) = debian();
        fs::write(root.path().join("var/lib/apt/lists/old_Packages.lz4"), "").unwrap();
        let (found, said) = installed(&tools);
        assert!(found.is_ok());
        assert_eq!(said.matches("install -y").count(), 2);
    }

    #[test]
    fn a_broken_qemu_is_named() {
        let (root, tools) = debian();
        script(&root.path().join("bin"), PROGRAM, "echo no libpixman >&2; exit 127");
        let message = installed(&tools).0.unwrap_err().to_string();
        let message = message.replace(root.path().to_str().unwrap(), "");
        insta::assert_snapshot!(message, @"cannot use /bin/qemu-system-x86_64: qemu-system-x86_64 failed: no libpixman");
    }
}
