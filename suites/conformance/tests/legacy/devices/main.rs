//! The devices controller on legacy hierarchies (cgroup-v1/devices.rst): lists of
//! what is allowed or denied, asked when a device is opened or its node made.

mod deed;

use std::io::Write;

use cgauge_lab::kernel::errno_of;
use cgauge_lab::prelude::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{Uid, setuid};

use deed::{Deed, NOBODY, NULL, Node, ZERO, block, char};

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";
const LIST: &str = "devices.list";

/// What every deed here is tried on.
const DEEDS: [Deed; 13] = [
    Deed::Read(NULL),
    Deed::Write(NULL),
    Deed::Both(NULL),
    Deed::Both(ZERO),
    Deed::Read(NOBODY),
    char(1, 3),
    char(1, 5),
    char(2, 3),
    char(42, 7),
    block(1, 3),
    block(1, 5),
    block(42, 7),
    PIPE,
];
/// No device at all.
const PIPE: Deed = Deed::Make(SFlag::S_IFIFO, 0, 0);
const BEFORE: &str = "before any rule";

/// Does each deed in `group`, where exactly those in `denied` get EPERM.
fn expect(lab: &Lab, when: &str, group: &Group, denied: impl Fn(Deed) -> bool) -> Outcome {
    for deed in DEEDS {
        let (answer, why) = match denied(deed) {
            true => (
                "EPERM",
                "devices.rst, Description: \"track and enforce open and mknod restrictions on device files\"; security/device_cgroup.c answers EPERM",
            ),
            false => (deed.if_allowed(), "no rule speaks against it, and nobody drives block 42"),
        };
        let question = lab.enforcement(&format!("{deed:?} {when}"));
        let question = match deed {
            _ if when == BEFORE => question.beyond_lies("nothing was asked of the controller yet"),
            PIPE => question.beyond_lies("no rule is about it"),
            _ => question,
        };
        question.file(DENY).unit(Unit::Errno).observed(deed.within(group)?).equals(answer, why);
    }
    Ok(())
}

fn shows(lab: &Lab, what: &str, group: &Group, expected: &str, why: &str) -> Outcome {
    lab.interface(&format!("the list of {what}"))
        .file(LIST)
        .observed(group.get(LIST)?)
        .equals(expected, why);
    Ok(())
}

/// A denied device is EPERM for exactly what was denied, until it is allowed again: type, major, minor and access are told apart.
#[rstest]
#[case::one_minor("c 1:3 rwm", &[Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), char(1, 3)])]
#[case::one_major("c 1:* rwm", &[
    Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), Deed::Both(ZERO), char(1, 3), char(1, 5),
])]
#[case::one_minor_of_all("c *:3 rwm", &[
    Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), char(1, 3), char(2, 3),
])]
#[case::character_devices("c *:* rwm", &[
    Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), Deed::Both(ZERO),
    char(1, 3), char(1, 5), char(2, 3), char(42, 7),
])]
#[case::block_devices("b *:* rwm", &[Deed::Read(NOBODY), block(1, 3), block(1, 5), block(42, 7)])]
#[case::one_block_device("b 42:7 rm", &[Deed::Read(NOBODY), block(42, 7)])]
#[case::reading("c 1:3 r", &[Deed::Read(NULL), Deed::Both(NULL)])]
#[case::writing("c 1:3 w", &[Deed::Write(NULL), Deed::Both(NULL)])]
#[case::making("c 1:3 m", &[char(1, 3)])]
#[case::reading_and_making("c 1:3 mr", &[Deed::Read(NULL), Deed::Both(NULL), char(1, 3)])]
fn denied_is_denied_until_it_is_allowed(
    lab: Lab,
    #[case] rule: &str,
    #[case] denied: &[Deed],
) -> Outcome {
    let _node = Node::new()?;
    let root = lab.legacy("devices")?;
    let (group, neighbour) = (root.make("group")?, root.make("neighbour")?);
    expect(&lab, BEFORE, &group, |_| false)?;
    group.set(DENY, rule)?;
    expect(&lab, "once it is denied", &group, |it| denied.contains(&it))?;
    shows(
        &lab,
        "a group that allows all but something",
        &group,
        "a *:* rwm\n",
        "device_cgroup.c, devcgroup_seq_show: what is allowed by default is shown as a whole, without its exceptions",
    )?;
    expect(&lab, "in a neighbour", &neighbour, |_| false)?;
    group.set(ALLOW, rule)?;
    expect(&lab, "once it is allowed again", &group, |_| false)
}

/// Where all is denied, exactly what is allowed goes through, and the list shows it.
#[rstest]
#[case::one_minor("c 1:3 rwm", &[Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), char(1, 3)])]
#[case::character_devices("c *:* rwm", &[
    Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), Deed::Both(ZERO),
    char(1, 3), char(1, 5), char(2, 3), char(42, 7),
])]
#[case::one_block_device("b 42:7 r", &[Deed::Read(NOBODY)])]
#[case::block_nodes("b *:* m", &[block(1, 3), block(1, 5), block(42, 7)])]
#[case::reading("c 1:3 r", &[Deed::Read(NULL)])]
#[case::writing("c 1:* w", &[Deed::Write(NULL)])]
#[case::reading_and_writing("c 1:* rw", &[
    Deed::Read(NULL), Deed::Write(NULL), Deed::Both(NULL), Deed::Both(ZERO),
])]
fn allowed_alone_goes_through(lab: Lab, #[case] rule: &str, #[case] allowed: &[Deed]) -> Outcome {
    let _node = Node::new()?;
    let group = lab.legacy("devices")?.make("group")?;
    group.set(DENY, "a")?;
    let nothing = |it: Deed| it != PIPE;
    expect(&lab, "once all is denied", &group, nothing)?;
    shows(&lab, "a group that denies all", &group, "", "nothing is allowed")?;
    group.set(ALLOW, rule)?;
    expect(&lab, "beside what is allowed", &group, |it| nothing(it) && !allowed.contains(&it))?;
    shows(
        &lab,
        "a group that allows one thing",
        &group,
        &format!("{rule}\n"),
        "devices.rst: devices.list shows a type, major and minor, and access, in the form in which they are written",
    )?;
    group.set(DENY, rule)?;
    expect(&lab, "once it is denied again", &group, nothing)?;
    shows(&lab, "a group that denies all again", &group, "", "the one exception was taken back")?;
    group.set(ALLOW, "a")?;
    expect(&lab, "once all is allowed", &group, |_| false)?;
    shows(&lab, "a group that allows all", &group, "a *:* rwm\n", "all is allowed")
}

/// Rules for the same device add up, and part of a rule may be taken back.
#[rstest]
fn rules_add_up(lab: Lab) -> Outcome {
    let group = lab.legacy("devices")?.make("group")?;
    group.set(DENY, "a")?;
    for (file, rule, shown, why) in [
        (ALLOW, "c 1:3 r", "c 1:3 r\n", "one rule"),
        (ALLOW, "c 1:3 m", "c 1:3 rm\n", "dev_exception_add(): access to the same device adds up"),
        (ALLOW, "b 8:* w", "c 1:3 rm\nb 8:* w\n", "another device is another rule"),
        (ALLOW, "c 1:* w", "c 1:3 rm\nb 8:* w\nc 1:* w\n", "all minors are another rule than one"),
        (DENY, "c 1:3 r", "c 1:3 m\nb 8:* w\nc 1:* w\n", "dev_exception_rm(): what is left stays"),
        (DENY, "c 1:5 w", "c 1:3 m\nb 8:* w\nc 1:* w\n", "a rule goes by its own numbers alone"),
        (DENY, "c 1:3 rwm", "b 8:* w\nc 1:* w\n", "nothing is left of it"),
    ] {
        group.set(file, rule)?;
        lab.interface(&format!("the list after {rule:?} was written to {file}"))
            .file(LIST)
            .observed(group.get(LIST)?)
            .equals(shown, why);
    }
    lab.enforcement("writing to a device that a rule for all minors allows")
        .file(ALLOW)
        .unit(Unit::Errno)
        .observed(Deed::Write(ZERO).within(&group)?)
        .equals("ok", "c 1:* w is left");
    Ok(())
}

/// A child begins as its parent is, is never allowed more, and loses what its parent loses; it gets nothing back by itself.
#[rstest]
fn child_has_no_more_than_its_parent(lab: Lab) -> Outcome {
    let top = lab.legacy("devices")?.make("top")?;
    top.set(DENY, "a")?;
    for rule in ["c 1:3 rw", "c 1:5 rw", "b 8:* rm"] {
        top.set(ALLOW, rule)?;
    }
    let child = top.make("child")?;
    let grandchild = child.make("grandchild")?;
    let all = "c 1:3 rw\nc 1:5 rw\nb 8:* rm\n";
    for (who, group) in [("a new child", &child), ("a new grandchild", &grandchild)] {
        shows(
            &lab,
            who,
            group,
            all,
            "devices.rst, Description: \"A child device cgroup gets a copy of the parent\"",
        )?;
    }
    for (rule, answer, why) in [
        ("c 1:3 r", "ok", "the parent has it"),
        ("c 1:3 m", "EPERM", "the parent has no m"),
        ("c 1:7 r", "EPERM", "another minor"),
        ("c 1:* r", "EPERM", "more minors than the parent has"),
        ("b 8:1 m", "ok", "one of the parent's minors"),
        ("b 8:1 w", "EPERM", "the parent has no w"),
        ("a", "EPERM", "the parent has not all"),
    ] {
        lab.hierarchy(&format!("the answer to allowing a child {rule:?}: {why}"))
            .file(ALLOW)
            .answered(&grandchild.try_set(ALLOW, rule))
            .equals(answer, "devices.rst: \"A child cgroup can never receive a device access which is denied by its parent\"");
    }
    for (file, answer) in [(ALLOW, "EINVAL"), (DENY, "EINVAL")] {
        lab.hierarchy("the answer to a change of everything, with a child there")
            .file(file)
            .answered(&top.try_set(file, "a"))
            .equals(answer, "devices.rst, Hierarchy: to write \"a\" \"will not be possible once the device cgroups has children\"");
    }

    // What the parent loses, all below lose.
    let lost = "devices.rst, Hierarchy: all children \"will have that entry removed from their whitelist and all the locally set whitelist entries will be re-evaluated\": what would be more than the parent has goes, the rest stays";
    for (rule, of_top, of_grandchild) in [
        ("c 1:3 w", "c 1:3 r\nc 1:5 rw\nb 8:* rm\n", "c 1:3 r\nc 1:5 rw\nb 8:* rm\nb 8:1 m\n"),
        ("c 1:3 r", "c 1:5 rw\nb 8:* rm\n", "c 1:5 rw\nb 8:* rm\nb 8:1 m\n"),
        // One of its minors was the grandchild's alone.
        ("b 8:* m", "c 1:5 rw\nb 8:* r\n", "c 1:5 rw\nb 8:* r\n"),
    ] {
        top.set(DENY, rule)?;
        let groups = [
            ("the parent", &top, of_top),
            ("the child", &child, of_top),
            ("the grandchild", &grandchild, of_grandchild),
        ];
        for (who, group, shown) in groups {
            shows(&lab, &format!("{who} once the parent has lost {rule:?}"), group, shown, lost)?;
        }
    }
    for (deed, answer) in [
        (Deed::Read(NULL), "EPERM"),
        (Deed::Write(NULL), "EPERM"),
        (block(8, 1), "EPERM"),
        (Deed::Both(ZERO), "ok"),
    ] {
        lab.enforcement(&format!("{deed:?} in the grandchild after it"))
            .file(DENY)
            .unit(Unit::Errno)
            .observed(deed.within(&grandchild)?)
            .equals(answer, "what was deleted is denied, what is left is allowed");
    }
    top.set(ALLOW, "c 1:3 r")?;
    lab.hierarchy("Read of /dev/null in the grandchild once the parent has it again")
        .file(ALLOW)
        .unit(Unit::Errno)
        .observed(Deed::Read(NULL).within(&grandchild)?)
        .equals(
            "EPERM",
            "devices.rst, Hierarchy: \"new whitelist entries will not be propagated\"",
        );
    Ok(())
}

/// Where all is allowed, what the parent denies is denied below, to groups made before and after, and a child cannot allow it.
#[rstest]
fn denial_reaches_all_below(lab: Lab) -> Outcome {
    let root = lab.legacy("devices")?;
    let top = root.make("top")?;
    let early = top.make("early")?;
    let strict = top.make("strict")?;
    strict.set(DENY, "a")?;
    strict.set(ALLOW, "c 1:3 rwm")?;
    strict.set(ALLOW, "c 1:5 rwm")?;
    top.set(DENY, "c 1:3 rw")?;
    let late = early.make("late")?;
    for (who, group) in
        [("the group", &top), ("a child", &early), ("a new one", &late), ("a strict one", &strict)]
    {
        for (deed, answer) in [(Deed::Read(NULL), "EPERM"), (Deed::Both(ZERO), "ok")] {
            lab.hierarchy(&format!("{deed:?} in {who} below the denial"))
                .file(DENY)
                .unit(Unit::Errno)
                .observed(deed.within(group)?)
                .equals(answer, "devices.rst, Hierarchy: \"a cgroup never has more access permissions than its parent\"");
        }
    }
    for (who, group) in [("a child that allows all else", &early), ("a strict child", &strict)] {
        lab.hierarchy(&format!("the answer to allowing it to {who}"))
            .file(ALLOW)
            .answered(&group.try_set(ALLOW, "c 1:3 r"))
            .equals("EPERM", "device_cgroup.c, parent_has_perm and parent_allows_removal");
    }

    let (ready, moved) = (Gate::new()?, Gate::new()?);
    let outside = root.make("outside")?;
    let mover = outside.spawn(|| {
        // Open before it moves: the rules are asked at an open, not at a write.
        let held = nix::fcntl::open(NULL, OFlag::O_WRONLY, Mode::empty());
        ready.open();
        moved.pass();
        let written = held.map(|it| nix::unistd::write(&it, b"x").unwrap_or(0)).unwrap_or(0);
        (Deed::Read(NULL).answer(), written)
    })?;
    ready.pass();
    late.admit(mover.pid())?;
    moved.open();
    let (answer, written) = mover.finish()?;
    lab.enforcement("an open by a process that moved in")
        .file("cgroup.procs")
        .unit(Unit::Errno)
        .observed(answer)
        .equals("EPERM", "the rules are those of the group that it is in now");
    lab.enforcement("bytes that it writes to what it had open before")
        .unit(Unit::Bytes)
        .beyond_lies("the device was opened before the rules that a lie could be about")
        .observed(written)
        .equals(1, "a device is asked for when it is opened, and not again");
    Ok(())
}

/// What is no rule is refused and changes nothing, and so is a rule by one without privilege.
#[rstest]
fn rules_are_checked(lab: Lab) -> Outcome {
    let root = lab.legacy("devices")?;
    let group = root.make("group")?;
    shows(
        &lab,
        "a new group",
        &group,
        "a *:* rwm\n",
        "the root allows all, and a child begins as its parent is",
    )?;
    group.set(DENY, "a")?;
    group.set(ALLOW, "c 1:3 rw")?;
    for refused in
        ["", "d 1:3 r", "c", "c 1", "c 1:", "c 1:3", "c x:3 r", "c 1:y r", "c 1:3 x", "c 1:3 rwx"]
    {
        for file in [ALLOW, DENY] {
            let answer = group.try_set(file, refused);
            let expected = if refused.is_empty() { "ok" } else { "EINVAL" };
            lab.interface(&format!("the answer to {refused:?}"))
                .file(file)
                .answered(&answer)
                .equals(expected, "devices.rst: an entry has a type, a, b or c, a major and minor number or *, and access out of r, w and m; an empty write is none");
        }
    }
    shows(
        &lab,
        "the group after what was refused",
        &group,
        "c 1:3 rw\n",
        "a refused write changes nothing",
    )?;
    for (file, what) in [(ALLOW, "read of what allows"), (DENY, "read of what denies")] {
        lab.interface(&format!("the answer to a {what}"))
            .file(file)
            .answered(&group.try_get(file))
            .equals("EINVAL", "the file has no read method");
    }
    let opened = group.dir().open_file(ALLOW, OFlag::O_WRONLY).map_err(Stop::Refused)?;
    let answer = group
        .spawn(|| {
            let mut opened = opened;
            let answer = setuid(Uid::from_raw(65_534))
                .and_then(|()| opened.write(b"c 1:5 r").map_err(|it| errno_of(&it)));
            answer.map_or_else(|it| format!("{it:?}"), |_| "ok".to_owned())
        })?
        .finish()?;
    lab.delegation("the answer to a rule by one without CAP_SYS_ADMIN, through a descriptor that root opened")
        .file(ALLOW)
        .unit(Unit::Errno)
        .observed(answer)
        .equals(format!("{:?}", Errno::EPERM), "devices.rst, Security: \"CAP_SYS_ADMIN is needed to modify the whitelist\"; devcgroup_update_access() asks for it at each write");
    Ok(())
}
