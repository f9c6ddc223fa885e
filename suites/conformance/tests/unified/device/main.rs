//! Devices: what a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` lets through
//! (cgroup-v2.rst, "Device controller"). There are no interface files.

mod program;

use std::os::fd::OwnedFd;

use cgauge_lab::kernel;
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::unlink;

use program::{
    ALLOW_MULTI, ALLOW_OVERRIDE, BLOCK, CHAR, MKNOD, READ, Refuses, WRITE, attach, attached,
    detach, link,
};

const DENIED: &str =
    "cgroup-v2.rst, Device controller: \"If the program returns 0, the attempt fails with -EPERM\"";
const ALLOWED: &str = "cgroup-v2.rst, Device controller: \"otherwise it succeeds\"";

/// What a process asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Read(&'static str),
    Write(&'static str),
    Both(&'static str),
    /// Makes a node of this kind and numbers, and removes it again.
    Make(SFlag, u64, u64),
}

const NULL: &str = "/dev/null";
const ZERO: &str = "/dev/zero";
/// A node of a block device that nobody drives: an open that is allowed finds no device.
const NOBODY: &str = "/dev/cgauge-block";

impl Deed {
    fn done(self) -> Result<(), Errno> {
        kernel::call("open", || self.tried())
    }

    fn tried(self) -> Result<(), Errno> {
        let opened = |path: &str, flags| open(path, flags, Mode::empty()).map(drop);
        match self {
            Self::Read(path) => opened(path, OFlag::O_RDONLY),
            Self::Write(path) => opened(path, OFlag::O_WRONLY),
            Self::Both(path) => opened(path, OFlag::O_RDWR),
            Self::Make(kind, major, minor) => {
                let path = "/dev/cgauge-made";
                mknod(path, kind, Mode::S_IRUSR, makedev(major, minor))?;
                unlink(path)
            }
        }
    }

    fn answer(self) -> String {
        told(self.done())
    }

    /// What the kernel says to a process of `group` that does it.
    fn within(self, group: &Group) -> Result<String, Stop> {
        group.spawn(move || self.answer())?.finish()
    }
}

/// A device program's 0 is EPERM for exactly what it refuses: type, major, minor and access are told apart.
#[rstest]
#[case::everything(Refuses::default(), &[
    (Deed::Read(NULL), "EPERM"), (Deed::Write(NULL), "EPERM"), (Deed::Both(ZERO), "EPERM"),
    (Deed::Make(SFlag::S_IFCHR, 1, 3), "EPERM"), (Deed::Read(NOBODY), "EPERM"),
    (Deed::Make(SFlag::S_IFBLK, 42, 7), "EPERM"), (Deed::Make(SFlag::S_IFIFO, 0, 0), "ok"),
])]
#[case::one_minor(Refuses { kind: Some(CHAR), major: Some(1), minor: Some(3), access: None }, &[
    (Deed::Read(NULL), "EPERM"), (Deed::Write(NULL), "EPERM"), (Deed::Both(NULL), "EPERM"),
    (Deed::Read(ZERO), "ok"), (Deed::Both(ZERO), "ok"),
    (Deed::Make(SFlag::S_IFCHR, 1, 3), "EPERM"), (Deed::Make(SFlag::S_IFCHR, 1, 5), "ok"),
    (Deed::Make(SFlag::S_IFCHR, 2, 3), "ok"), (Deed::Make(SFlag::S_IFBLK, 1, 3), "ok"),
])]
#[case::one_major(Refuses { major: Some(1), ..Refuses::default() }, &[
    (Deed::Read(NULL), "EPERM"), (Deed::Read(ZERO), "EPERM"),
    (Deed::Make(SFlag::S_IFBLK, 1, 3), "EPERM"), (Deed::Make(SFlag::S_IFCHR, 5, 1), "ok"),
    (Deed::Read(NOBODY), "ENXIO"),
])]
#[case::block_devices(Refuses { kind: Some(BLOCK), ..Refuses::default() }, &[
    (Deed::Both(NULL), "ok"), (Deed::Read(NOBODY), "EPERM"),
    (Deed::Make(SFlag::S_IFBLK, 42, 7), "EPERM"), (Deed::Make(SFlag::S_IFCHR, 42, 7), "ok"),
])]
#[case::character_devices(Refuses { kind: Some(CHAR), ..Refuses::default() }, &[
    (Deed::Both(NULL), "EPERM"), (Deed::Read(NOBODY), "ENXIO"),
    (Deed::Make(SFlag::S_IFBLK, 42, 7), "ok"), (Deed::Make(SFlag::S_IFCHR, 42, 7), "EPERM"),
])]
#[case::reading(Refuses { access: Some(READ), ..Refuses::default() }, &[
    (Deed::Read(NULL), "EPERM"), (Deed::Write(NULL), "ok"), (Deed::Both(NULL), "EPERM"),
    (Deed::Make(SFlag::S_IFCHR, 1, 3), "ok"),
])]
#[case::writing(Refuses { access: Some(WRITE), ..Refuses::default() }, &[
    (Deed::Read(NULL), "ok"), (Deed::Write(NULL), "EPERM"), (Deed::Both(NULL), "EPERM"),
    (Deed::Make(SFlag::S_IFCHR, 1, 3), "ok"),
])]
#[case::making(Refuses { access: Some(MKNOD), ..Refuses::default() }, &[
    (Deed::Read(NULL), "ok"), (Deed::Both(NULL), "ok"),
    (Deed::Make(SFlag::S_IFCHR, 1, 3), "EPERM"), (Deed::Make(SFlag::S_IFBLK, 1, 3), "EPERM"),
])]
fn program_decides_on_type_numbers_and_access(
    lab: Lab,
    #[case] refuses: Refuses,
    #[case] expected: &[(Deed, &str)],
) -> Outcome {
    let _node = Node::new()?;
    let bounded = lab.group("bounded")?;
    let neighbour = lab.group("neighbour")?;
    let program = loaded(&lab, refuses)?;
    for (deed, _) in expected {
        let undriven = matches!(deed, Deed::Read(NOBODY));
        check(
            &lab,
            &format!("before the program: {deed:?}"),
            *deed,
            &bounded,
            if undriven {
                ("ENXIO", "no program, no refusal; nobody drives the device")
            } else {
                ("ok", "no program, no refusal")
            },
        )?;
    }
    attach(&bounded, &program, 0).map_err(Stop::broken("attach a program"))?;
    for (deed, answer) in expected {
        let why = match *answer {
            "EPERM" => DENIED,
            "ENXIO" => "the program lets it through, and then nobody drives the device",
            _ => ALLOWED,
        };
        check(&lab, &format!("under the program: {deed:?}"), *deed, &bounded, (answer, why))?;
    }
    check(&lab, "a neighbour's open", Deed::Both(NULL), &neighbour, ("ok", "it has no program"))?;

    detach(&bounded, &program).map_err(Stop::broken("detach a program"))?;
    for (deed, _) in expected.iter().filter(|(_, answer)| *answer == "EPERM") {
        let undriven = matches!(deed, Deed::Read(NOBODY));
        check(
            &lab,
            &format!("after the program: {deed:?}"),
            *deed,
            &bounded,
            if undriven {
                ("ENXIO", "the program is gone; nobody drives the device")
            } else {
                ("ok", "the program is gone, and its refusals with it")
            },
        )?;
    }
    Ok(())
}

/// A program holds for every group below, made before it or after, and for a process from the moment that it moves in.
#[rstest]
fn program_holds_for_all_below(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let early = top.make("early")?;
    let program = loaded(&lab, null())?;
    attach(&top, &program, ALLOW_MULTI).map_err(Stop::broken("attach a program"))?;
    let late = early.make("late")?;
    for (role, group) in [("the group", &top), ("a child", &early), ("a new grandchild", &late)] {
        let what = format!("an open by a process of {role}");
        check(&lab, &what, Deed::Read(NULL), group, ("EPERM", DENIED))?;
    }

    let outside = lab.group("outside")?;
    let (ready, moved) = (Gate::new()?, Gate::new()?);
    let mover = outside.spawn(|| {
        // Open before it moves: the program is asked at an open, not at a write.
        let held = open(NULL, OFlag::O_WRONLY, Mode::empty());
        ready.open();
        moved.pass();
        let write = |it: &OwnedFd| nix::unistd::write(it, b"x").map(drop);
        let written = held.and_then(|it| kernel::call("write", || write(&it)));
        (Deed::Read(NULL).answer(), told(written))
    })?;
    ready.pass();
    late.admit(mover.pid())?;
    moved.open();
    let (answer, written) = mover.finish()?;
    lab.enforcement("an open by a process that moved in")
        .covers([R148])
        .unit(Unit::Errno)
        .observed(answer)
        .equals("EPERM", DENIED);
    lab.enforcement("a write to what it had open before")
        .covers([R148])
        .unit(Unit::Errno)
        .observed(written)
        .equals("ok", "security/device_cgroup.c is asked when a device is opened or its node made");
    Ok(())
}

/// Where several programs are allowed, what one refuses is refused, whatever order they came in.
#[rstest]
fn any_of_several_programs_refuses(lab: Lab, #[values(false, true)] reversed: bool) -> Outcome {
    let group = lab.group("group")?;
    let child = group.make("child")?;
    let mut programs = [("null", loaded(&lab, null())?), ("zero", loaded(&lab, minor(5))?)];
    if reversed {
        programs.reverse();
    }
    for (_, program) in &programs {
        attach(&group, program, ALLOW_MULTI).map_err(Stop::broken("attach a program"))?;
    }
    let below = loaded(&lab, minor(7))?;
    attach(&child, &below, ALLOW_MULTI).map_err(Stop::broken("attach a program"))?;
    lab.interface("programs attached to the group")
        .covers([R148])
        .unit(Unit::Count)
        .observed(attached(&group).map_err(Stop::broken("query programs"))?)
        .equals(2, "BPF_F_ALLOW_MULTI: each attach adds one");
    for (path, in_group, in_child) in [
        (NULL, "EPERM", "EPERM"),
        (ZERO, "EPERM", "EPERM"),
        ("/dev/full", "ok", "EPERM"),
        ("/dev/urandom", "ok", "ok"),
    ] {
        for (role, group, answer) in [("group", &group, in_group), ("child", &child, in_child)] {
            let why = "every program must return 1: the group's own and those above it";
            let what = format!("an open of {path} by a process of the {role}");
            check(&lab, &what, Deed::Read(path), group, (answer, why))?;
        }
    }

    // The first goes: only the other's word counts.
    let (gone, program) = &programs[0];
    detach(&group, program).map_err(Stop::broken("detach a program"))?;
    for (name, path) in [("null", NULL), ("zero", ZERO)] {
        let answer = if name == *gone { "ok" } else { "EPERM" };
        let what = format!("an open of {path} after the program against {gone} has gone");
        let why = "only the programs that are left are asked";
        check(&lab, &what, Deed::Read(path), &child, (answer, why))?;
    }
    Ok(())
}

/// How a program was attached above says what may be attached below: nothing, one in its place, or one beside it.
#[rstest]
#[case::alone(0, "EPERM", "EPERM", "ok")]
#[case::to_be_replaced(ALLOW_OVERRIDE, "ok", "ok", "EPERM")]
#[case::beside_others(ALLOW_MULTI, "ok", "EPERM", "EPERM")]
fn flags_decide_on_programs_below(
    lab: Lab,
    #[case] flags: u32,
    #[case] attaching: &str,
    #[case] null_below: &str,
    #[case] zero_below: &str,
) -> Outcome {
    let top = lab.group("top")?;
    let child = top.make("child")?;
    let (above, below) = (loaded(&lab, null())?, loaded(&lab, minor(5))?);
    attach(&top, &above, flags).map_err(Stop::broken("attach a program"))?;
    let below_flags = if flags == ALLOW_MULTI { ALLOW_MULTI } else { 0 };
    lab.interface("the answer to a program below")
        .covers([R148])
        .returned(&attach(&child, &below, below_flags))
        .equals(attaching, "include/uapi/linux/bpf.h: without a flag no program is allowed below; BPF_F_ALLOW_OVERRIDE lets one below take its place, BPF_F_ALLOW_MULTI lets it run beside");
    let why = "only with BPF_F_ALLOW_MULTI do both run; with BPF_F_ALLOW_OVERRIDE the lower alone";
    check(&lab, "what the upper program refuses", Deed::Read(NULL), &child, (null_below, why))?;
    check(&lab, "what the lower program refuses", Deed::Read(ZERO), &child, (zero_below, why))?;
    check(&lab, "the upper group itself", Deed::Read(NULL), &top, ("EPERM", DENIED))?;
    Ok(())
}

/// A program that hangs on a link goes when the link is closed, and one on a group when the group is removed.
#[rstest]
fn program_goes_with_what_holds_it(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    let program = loaded(&lab, null())?;
    let held = match link(&group, &program) {
        Ok(held) => held,
        Err(Errno::EINVAL) => {
            return Err(lab.skip("this kernel has no BPF links to groups (since 5.7)"));
        }
        Err(errno) => return Err(Stop::broken("make a link")(errno)),
    };
    check(&lab, "an open while the link is there", Deed::Read(NULL), &group, ("EPERM", DENIED))?;
    drop(held);
    let why = "the link held the program, and nothing holds the link";
    check(&lab, "an open after the link was closed", Deed::Read(NULL), &group, ("ok", why))?;
    lab.interface("the answer to detaching what is not attached")
        .covers([R148])
        .returned(&detach(&group, &program))
        .equals("ENOENT", "kernel/bpf/cgroup.c, find_detach_entry: no such program here");
    Ok(())
}

/// An answer for a reader: `ok`, or the errno's name.
fn told(answer: Result<(), Errno>) -> String {
    answer.map_or_else(|errno| format!("{errno:?}"), |()| "ok".to_owned())
}

fn null() -> Refuses {
    minor(3)
}

/// One of the kernel's memory devices.
fn minor(minor: u32) -> Refuses {
    Refuses { kind: Some(CHAR), major: Some(1), minor: Some(minor), access: None }
}

fn loaded(lab: &Lab, refuses: Refuses) -> Result<OwnedFd, Stop> {
    match refuses.load() {
        Ok(program) => Ok(program),
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            Err(lab.skip("this kernel has no device programs (CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_CGROUP_DEVICE)"))
        }
        Err(errno) => Err(Stop::broken("load a program")(errno)),
    }
}

fn check(lab: &Lab, what: &str, deed: Deed, group: &Group, (answer, why): (&str, &str)) -> Outcome {
    let observed = deed.within(group)?;
    lab.enforcement(what).covers([R148]).unit(Unit::Errno).observed(observed).equals(answer, why);
    Ok(())
}

/// The node of a block device that nobody drives; removed when it goes out of scope.
struct Node;

impl Node {
    fn new() -> Result<Self, Stop> {
        // A number for examples (Documentation/admin-guide/devices.txt, block 42).
        mknod(NOBODY, SFlag::S_IFBLK, Mode::S_IRUSR, makedev(42, 7))
            .map_err(Stop::broken("make a node"))?;
        Ok(Self)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = unlink(NOBODY);
    }
}
