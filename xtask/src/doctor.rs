//! `doctor`: what this machine can do, and what is missing for the rest, with
//! the command that mends it.
//!
//! It looks and changes nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use cgauge_provision::{Cache, Rights, Tools};
use cgauge_stage::container::{Engine, Name, Trees, why_unbounded};

use crate::exit::Exit;

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It is there: what it is.
    There(String),
    /// It is not, and nothing works without it: how to mend it.
    Missing(String),
    /// It is not, and something is lost by that: what, and how to mend it.
    Without(String),
}

/// Says what it found; [`Exit::Broken`] if nothing can be tested here.
pub fn doctor() -> Result<Exit> {
    let tools = Tools::of_this_machine();
    let findings = [
        Finding { what: "QEMU", state: qemu(&tools) },
        Finding { what: "Debian kernels", state: apt(&tools) },
        Finding { what: "systemd userlands", state: mmdebstrap(&tools) },
        Finding { what: "static C library", state: static_libc() },
        Finding { what: "cache", state: cache() },
        Finding { what: "KVM", state: kvm() },
        Finding { what: "cores", state: cores() },
        Finding { what: "container engines", state: engines(&tools) },
        Finding { what: "hierarchy", state: hierarchy() },
    ];
    print!("{}", table(&findings));
    let broken = findings.iter().any(|it| matches!(it.state, State::Missing(_)));
    Ok(if broken { Exit::Broken } else { Exit::Fine })
}

fn table(findings: &[Finding]) -> String {
    let line = |it: &Finding| {
        let (mark, text) = match &it.state {
            State::There(text) => ("ok", text),
            State::Missing(text) => ("MISSING", text),
            State::Without(text) => ("without", text),
        };
        format!("{mark:<8} {:<17} {text}\n", it.what)
    };
    findings.iter().map(line).collect()
}

fn qemu(tools: &Tools) -> State {
    match tools.find("qemu-system-x86_64") {
        Some(path) => State::There(path.display().to_string()),
        None => State::Missing(
            "`cargo xtask run` installs it on Debian and Ubuntu as root; else: apt-get install \
             qemu-system-x86, dnf install qemu-system-x86-core, pacman -S qemu-system-x86 or \
             zypper install qemu-x86"
                .to_owned(),
        ),
    }
}

fn apt(tools: &Tools) -> State {
    if tools.find("apt-get").is_some() && tools.find("dpkg-deb").is_some() {
        State::There("apt-get fetches them into the cache, without root".to_owned())
    } else {
        State::Without(
            "no apt here: name kernels with --kernel PATH/bzImage or tree:DIR".to_owned(),
        )
    }
}

fn mmdebstrap(tools: &Tools) -> State {
    match tools.find("mmdebstrap") {
        Some(path) => State::There(path.display().to_string()),
        None => State::Without(
            "--driver systemd needs mmdebstrap, which it installs on Debian as root; else: \
             apt-get install mmdebstrap uidmap"
                .to_owned(),
        ),
    }
}

fn static_libc() -> State {
    let asked = Command::new("cc").arg("-print-file-name=libc.a").stderr(Stdio::null()).output();
    let answer = asked.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    match answer {
        Ok(path) if Path::new(&path).is_absolute() => State::There(path),
        Ok(_) => {
            State::Missing("apt-get install libc6-dev, or dnf install glibc-static".to_owned())
        }
        Err(_) => State::Missing("no C linker: apt-get install gcc libc6-dev".to_owned()),
    }
}

fn cache() -> State {
    let opened = Cache::place(|it| std::env::var_os(it)).and_then(Cache::open);
    match opened {
        Ok(cache) => State::There(cache.root().display().to_string()),
        Err(error) => State::Missing(error.to_string()),
    }
}

fn kvm() -> State {
    // That it opens says nothing: `run --clock wall` tries it with a deadline.
    match std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => State::There(
            "/dev/kvm opens; --clock wall boots on it to see whether it works".to_owned(),
        ),
        Err(error) => State::Without(format!(
            "/dev/kvm: {error}; the virtual clock needs none, --clock wall runs translated and slower"
        )),
    }
}

fn engines(tools: &Tools) -> State {
    let found = Engine::find_all(&std::env::var_os("PATH").unwrap_or_default());
    let names = Name::ALL.map(Name::program).join(" or ");
    let mend = format!("--stage container needs {names}: apt-get install runc, dnf install runc");
    if found.is_empty() {
        return State::Without(mend);
    }
    let shown = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match tools.rights() {
        Rights::Root => {
            State::There(format!("{shown}; --stage container takes the first that works"))
        }
        Rights::User => State::Without(format!("{shown}; --stage container needs root")),
    }
}

fn hierarchy() -> State {
    let trees = Trees::of_this_machine();
    match why_unbounded(&trees) {
        None => State::There(format!("{trees}: --stage container and host can bound loads")),
        Some(why) => State::Without(format!("--stage container and host: {why}")),
    }
}

fn cores() -> State {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    State::There(format!("{cores}, so many guests run side by side unless --jobs says otherwise"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_mends_it() {
        let findings = [
            Finding { what: "QEMU", state: State::There("/usr/bin/qemu-system-x86_64".into()) },
            Finding {
                what: "static C library",
                state: State::Missing("apt-get install libc6-dev".into()),
            },
            Finding { what: "KVM", state: State::Without("/dev/kvm: No such file".into()) },
        ];
        insta::assert_snapshot!(table(&findings), @"
        ok       QEMU              /usr/bin/qemu-system-x86_64
        MISSING  static C library  apt-get install libc6-dev
        without  KVM               /dev/kvm: No such file
        ");
    }
}
