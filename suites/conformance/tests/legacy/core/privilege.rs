//! Who may name the release agent, which is run with all capabilities.

use std::io::Write;

use cgauge_lab::kernel::{Dir, Refusal, errno_of};
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, setuid};

use crate::agent::{Agent, FILE, script};
use crate::{ANY, text, whole};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// Root of the machine.
    Root,
    /// Root of a user namespace of its own, and of the machine's by its number alone.
    RootOfANamespace,
    /// Root of the machine without CAP_SYS_ADMIN.
    RootWithoutTheCapability,
    /// Another user.
    Nobody,
}

impl Asker {
    fn becomes(self) -> Result<(), Errno> {
        match self {
            Self::Root => Ok(()),
            Self::RootOfANamespace => unshare(CloneFlags::CLONE_NEWUSER),
            Self::RootWithoutTheCapability => drop_capability(),
            Self::Nobody => setuid(Uid::from_raw(65_534)),
        }
    }
}

/// Takes CAP_SYS_ADMIN from the calling process, and leaves it all others.
fn drop_capability() -> Result<(), Errno> {
    /// `_LINUX_CAPABILITY_VERSION_3`
    const VERSION: u32 = 0x2008_0522;
    const SYS_ADMIN: u32 = 21;
    let header = [VERSION, 0];
    // Effective, permitted, inheritable, of 32 capabilities and of 32 more.
    let mut sets = [0_u32; 6];
    // SAFETY: the kernel reads two numbers and writes six.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    sets[0] &= !(1 << SYS_ADMIN);
    sets[1] &= !(1 << SYS_ADMIN);
    // SAFETY: the kernel reads both.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
        .map(drop)
}

/// The agent runs with all capabilities, so that naming it needs CAP_SYS_ADMIN of the machine (CVE-2022-0492: root of a user namespace could).
#[rstest]
#[case::root(Asker::Root, "ok")]
#[case::root_of_a_namespace(Asker::RootOfANamespace, "EPERM")]
#[case::root_without_the_capability(Asker::RootWithoutTheCapability, "EPERM")]
#[case::nobody(Asker::Nobody, "EACCES")]
fn bug_26_agent_is_named_by_the_privileged_alone(
    lab: Lab,
    #[case] asker: Asker,
    #[case] expected: &str,
) -> Outcome {
    let root = lab.legacy(ANY)?;
    let agent = Agent::of_the_hierarchy(root)?;
    let whole = whole(root)?;
    let named = whole.read(FILE).map_err(Stop::Refused)?;
    let other = script("other")?.display().to_string();
    let group = root.make("group")?;
    let answer = group
        .spawn(|| {
            let write = |_| whole.write(FILE, &other).map_err(|it: Refusal| it.errno);
            text(asker.becomes().and_then(write))
        })?
        .finish()?;
    lab.delegation("the answer to naming another agent")
        .covers([R184])
        .file(FILE)
        .unit(Unit::Errno)
        .observed(answer)
        .equals(expected, "kernel/cgroup/cgroup-v1.c, cgroup_release_agent_write: the agent is \"called with all capabilities\", so that capabilities are required to set it; the file is root's, mode 0644");
    lab.delegation("the agent after it")
        .covers([R184])
        .file(FILE)
        .observed(whole.read(FILE).map_err(Stop::Refused)?)
        .equals(
            if expected == "ok" { format!("{other}\n") } else { named },
            "what was refused changes nothing",
        );
    if expected != "ok" {
        group.set("notify_on_release", 1)?;
        group.sleeper()?.end()?;
        lab.delegation("what the first agent is run for after it")
            .covers([R184, R183])
            .file("notify_on_release")
            .observed(agent.told(1))
            .equals(agent.path_of(&group), "it is the agent still");
    }
    Ok(())
}

/// It is who opened the file that has to be privileged: a descriptor that was handed out goes by its opener.
#[rstest]
#[case::opened_by_root(Asker::Root, "ok")]
#[case::opened_by_root_of_a_namespace(Asker::RootOfANamespace, "EPERM")]
fn bug_26_opener_is_asked_for_privilege(
    lab: Lab,
    #[case] opener: Asker,
    #[case] expected: &str,
) -> Outcome {
    let root = lab.legacy(ANY)?;
    let whole = whole(root)?;
    let opened_by_root = whole.open_file(FILE, OFlag::O_WRONLY).map_err(Stop::Refused)?;
    let answer = root
        .make("group")?
        .spawn(|| {
            let write = || -> Result<(), Errno> {
                Asker::RootOfANamespace.becomes()?;
                let mut file = match opener {
                    Asker::Root => opened_by_root,
                    _ => whole.open_file(FILE, OFlag::O_WRONLY).map_err(|it| it.errno)?,
                };
                file.write(b"/nowhere\n").map(drop).map_err(|it| errno_of(&it))
            };
            text(write())
        })?
        .finish()?;
    lab.delegation("the answer to a write by root of a namespace")
        .covers([R184])
        .file(FILE)
        .unit(Unit::Errno)
        .observed(answer)
        .equals(
            expected,
            "cgroup_release_agent_write() asks file_ns_capable(): the one who opened it",
        );
    Ok(())
}

/// From within a user namespace no mount and no remount names an agent.
#[rstest]
fn bug_26_mount_option_needs_privilege(lab: Lab) -> Outcome {
    lab.legacy(ANY)?;
    let hierarchy = Mount::new("named", "cgroup", "none,name=cgauge").map_err(Stop::Refused)?;
    let target = std::env::temp_dir().join("inside");
    std::fs::create_dir(&target)?;
    let group = lab.legacy(ANY)?.make("group")?;
    let answers = group
        .spawn(|| {
            let mounted = |flags, options: &str| {
                text(mount(Some("none"), &target, Some("cgroup"), flags, Some(options)))
            };
            let inside =
                CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
            [
                text(unshare(inside)),
                mounted(MsFlags::empty(), "none,name=cgauge,release_agent=/nowhere"),
                mounted(MsFlags::empty(), "none,name=cgauge"),
                mounted(MsFlags::MS_REMOUNT, "none,name=cgauge,release_agent=/nowhere"),
            ]
        })?
        .finish()?;
    let refused = "kernel/cgroup/cgroup-v1.c, cgroup1_parse_param: \"Setting release_agent not allowed\" outside the first user namespace";
    for ((what, expected, why), answer) in [
        ("entering namespaces of its own", "ok", "root may"),
        ("a mount with the option", "EINVAL", refused),
        ("a mount without it", "ok", "the hierarchy is there, and seen from the namespace's root"),
        ("a remount with the option", "EINVAL", refused),
    ]
    .into_iter()
    .zip(answers)
    {
        lab.delegation(&format!("the answer to {what}"))
            .covers([R184])
            .file(FILE)
            .unit(Unit::Errno)
            .beyond_lies("the answer is that of mount(2), not of a file of the group")
            .observed(answer)
            .equals(expected, why);
    }
    let root = Dir::open(hierarchy.path()).map_err(Stop::Refused)?;
    lab.delegation("the agent of the hierarchy after it")
        .covers([R184])
        .file(FILE)
        .observed(root.read(FILE).map_err(Stop::Refused)?)
        .equals("\n", "none was named");
    drop((root, hierarchy));
    std::fs::remove_dir(&target)?;
    Ok(())
}
