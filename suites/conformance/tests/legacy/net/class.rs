//! `net_cls.classid`: the class that the packets of a group's sockets have.

use cgauge_lab::datagrams::Sender;
use cgauge_lab::netfilter::{By, Hook};
use cgauge_lab::prelude::*;

use crate::Counters;

const FILE: &str = "net_cls.classid";
/// 10:1 and 10:2 as tc names them.
const ONE: u32 = 0x0010_0001;
const OTHER: u32 = 0x0010_0002;

const RULE: &str = "net_cls.rst: the controller \"provides an interface to tag network packets with a class identifier (classid)\": each packet that is sent counts under its socket's, and under no other";

/// The counters of class one, the other, one by xt_cgroup, and all.
fn counters(lab: &Lab) -> Result<Counters<4>, Stop> {
    let by = [By::Class(ONE), By::Class(OTHER), By::XtClass(ONE), By::Nothing];
    Counters::new(lab, Hook::Output, &by)
}

fn check(lab: &Lab, what: &str, counters: &mut Counters<4>, expected: &str) -> Outcome {
    lab.enforcement(&format!(
        "turns counted for class one, the other, one by xt_cgroup, and in all, {what}"
    ))
    .covers([S15])
    .file(FILE)
    .observed(counters.turns()?)
    .equals(expected, RULE);
    Ok(())
}

/// Packets have the class of their sender's group, a new group that of its parent.
#[rstest]
fn packets_have_the_class_of_the_group(lab: Lab) -> Outcome {
    let root = lab.legacy("net_cls")?;
    let mut counters = counters(&lab)?;
    let (one, other, none) = (root.make("one")?, root.make("other")?, root.make("none")?);
    one.set(FILE, format!("{ONE:#x}"))?;
    other.set(FILE, OTHER)?;
    let below = one.make("below")?;
    for (what, group, expected) in [
        ("sent by a group without a class", &none, "0 0 0 1"),
        ("sent by one", &one, "1 0 1 1"),
        ("sent by the other", &other, "0 1 0 1"),
        ("sent by a child of one", &below, "1 0 1 1"),
    ] {
        let sender = Sender::start(group)?;
        counters.turns()?;
        sender.send()?;
        check(&lab, what, &mut counters, expected)?;
    }
    below.set(FILE, OTHER)?;
    let (of_parent, of_child) = (Sender::start(&one)?, Sender::start(&below)?);
    counters.turns()?;
    of_parent.send()?;
    check(&lab, "sent by one, whose child has another", &mut counters, "1 0 1 1")?;
    of_child.send()?;
    check(&lab, "sent by that child", &mut counters, "0 1 0 1")
}

/// A socket that is open follows: its process's move, and a new class of its group.
#[rstest]
fn open_socket_follows_its_process_and_group(lab: Lab) -> Outcome {
    let root = lab.legacy("net_cls")?;
    let mut counters = counters(&lab)?;
    let (one, other, none) = (root.make("one")?, root.make("other")?, root.make("none")?);
    one.set(FILE, ONE)?;
    other.set(FILE, OTHER)?;
    let (sender, stays) = (Sender::start(&none)?, Sender::start(&none)?);
    counters.turns()?;
    for (what, to, expected) in [
        ("before a move", &none, "0 0 0 1"),
        ("after a move to one", &one, "1 0 1 1"),
        ("after a move to the other", &other, "0 1 0 1"),
        ("after a move back", &none, "0 0 0 1"),
    ] {
        to.admit(sender.process.pid())?;
        sender.send()?;
        check(&lab, what, &mut counters, expected)?;
    }
    for (class, expected) in [(ONE, "1 0 1 1"), (OTHER, "0 1 0 1"), (0, "0 0 0 1")] {
        none.set(FILE, class)?;
        sender.send()?;
        check(&lab, &format!("once its group's class is {class:#x}"), &mut counters, expected)?;
    }
    none.set(FILE, ONE)?;
    stays.send()?;
    check(&lab, "of a process that was there all along", &mut counters, "1 0 1 1")
}

/// A class is a number, in decimal or hexadecimal, and shown in decimal; a group begins with its parent's.
#[rstest]
fn class_reads_back(lab: Lab) -> Outcome {
    let root = lab.legacy("net_cls")?;
    let group = root.make("group")?;
    for (written, answer, shown) in [
        ("", "ok", "0"),
        ("0x100001", "ok", "1048577"),
        ("7", "ok", "7"),
        ("4294967295", "ok", "4294967295"),
        ("10:1", "EINVAL", "4294967295"),
        ("-1", "EINVAL", "4294967295"),
        ("one", "EINVAL", "4294967295"),
    ] {
        if !written.is_empty() {
            lab.interface(&format!("the answer to {written:?}"))
                .covers([S15])
                .file(FILE)
                .answered(&group.try_set(FILE, written))
                .equals(answer, "net_cls.rst: \"The format for these identifiers is 0xAAAABBBB\", a number of 32 bits");
        }
        lab.interface(&format!("the class after {written:?}"))
            .covers([S15])
            .file(FILE)
            .observed(group.line(FILE)?)
            .equals(shown, "net_cls.rst: \"Reading net_cls.classid yields a decimal result\"; 0 is the default");
    }
    let child = group.make("child")?;
    group.set(FILE, 1)?;
    for (who, group, expected) in [
        ("a child made before", &child, "4294967295"),
        ("a child made after", &group.make("later")?, "1"),
    ] {
        lab.interface(&format!("the class of {who} a change of its parent's"))
            .covers([S15])
            .file(FILE)
            .observed(group.line(FILE)?)
            .equals(expected, "net/core/netclassid_cgroup.c, cgrp_css_online: a group begins with its parent's class, and keeps it");
    }
    Ok(())
}
