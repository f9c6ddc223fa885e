//! `net_prio.ifpriomap`: the priority that packets have which leave by an
//! interface.

use std::collections::BTreeSet;

use cgauge_lab::datagrams::Sender;
use cgauge_lab::netfilter::{By, Hook};
use cgauge_lab::prelude::*;

use crate::Counters;

const MAP: &str = "net_prio.ifpriomap";
const INDEX: &str = "net_prio.prioidx";

const RULE: &str = "net_prio.rst: \"a map of the priorities assigned to traffic originating from processes in this group and egressing the system on various interfaces\"; an application may choose its own by SO_PRIORITY";

/// The counters of priority 5, 3, and all, where packets come in: the priority
/// is given when they have gone out.
fn counters(lab: &Lab) -> Result<Counters<3>, Stop> {
    Counters::new(lab, Hook::Input, &[By::Priority(5), By::Priority(3), By::Nothing])
}

fn check(lab: &Lab, what: &str, counters: &mut Counters<3>, expected: &str) -> Outcome {
    lab.enforcement(&format!("turns counted for priority 5, 3, and in all, {what}"))
        .covers([S15])
        .file(MAP)
        .observed(counters.turns()?)
        .equals(expected, RULE);
    Ok(())
}

/// Packets have the priority that their sender's group has for the interface; a priority of the socket's own comes first.
#[rstest]
fn packets_have_the_priority_of_the_group(lab: Lab) -> Outcome {
    let root = lab.legacy("net_prio")?;
    let mut counters = counters(&lab)?;
    let (one, other, none) = (root.make("one")?, root.make("other")?, root.make("none")?);
    one.set(MAP, "lo 5")?;
    other.set(MAP, "lo 3")?;
    let below = one.make("below")?;
    for (what, group, own, expected) in [
        ("sent by a group without one", &none, None, "0 0 1"),
        ("sent by one with 5", &one, None, "1 0 1"),
        ("sent by one with 3", &other, None, "0 1 1"),
        ("sent by a child of the one with 5", &below, None, "1 0 1"),
        ("sent by one with 5 from a socket with 3", &one, Some(3), "0 1 1"),
        ("sent by one without from a socket with 3", &none, Some(3), "0 1 1"),
    ] {
        let sender = Sender::with_priority(group, own)?;
        counters.turns()?;
        sender.send()?;
        check(&lab, what, &mut counters, expected)?;
    }
    Ok(())
}

/// A socket that is open follows its process's move, and a change of its group's map.
#[rstest]
fn open_socket_follows_its_process_and_group(lab: Lab) -> Outcome {
    let root = lab.legacy("net_prio")?;
    let mut counters = counters(&lab)?;
    let (one, other, none) = (root.make("one")?, root.make("other")?, root.make("none")?);
    one.set(MAP, "lo 5")?;
    other.set(MAP, "lo 3")?;
    let sender = Sender::start(&none)?;
    counters.turns()?;
    for (what, to, expected) in [
        ("before a move", &none, "0 0 1"),
        ("after a move to one with 5", &one, "1 0 1"),
        ("after a move to one with 3", &other, "0 1 1"),
        ("after a move back", &none, "0 0 1"),
    ] {
        to.admit(sender.process.pid())?;
        sender.send()?;
        check(&lab, what, &mut counters, expected)?;
    }
    for (priority, expected) in [(5, "1 0 1"), (3, "0 1 1"), (0, "0 0 1")] {
        none.set(MAP, format!("lo {priority}"))?;
        sender.send()?;
        check(&lab, &format!("once its group has {priority}"), &mut counters, expected)?;
    }
    Ok(())
}

/// The map has a line for each interface, takes one at a time, and is copied by a new child; each group has a number of its own.
#[rstest]
fn map_reads_back(lab: Lab) -> Outcome {
    let root = lab.legacy("net_prio")?;
    let (group, other) = (root.make("group")?, root.make("other")?);
    let without = |text: String| -> String {
        // A kernel may bring further interfaces along.
        text.lines().filter(|it| it.starts_with("lo ")).collect::<Vec<_>>().join("\n")
    };
    for (written, answer, shown) in [
        ("", "ok", "lo 0"),
        ("lo 7", "ok", "lo 7"),
        ("lo 4294967295", "ok", "lo 4294967295"),
        ("nowhere 1", "ENODEV", "lo 4294967295"),
        ("lo", "EINVAL", "lo 4294967295"),
        ("lo high", "EINVAL", "lo 4294967295"),
        ("lo 0", "ok", "lo 0"),
        ("lo 6", "ok", "lo 6"),
    ] {
        if !written.is_empty() {
            lab.interface(&format!("the answer to {written:?}"))
                .covers([S15])
                .file(MAP)
                .answered(&group.try_set(MAP, written))
                .equals(answer, "net_prio.rst: tuples \"in the form <ifname priority>\", of an interface that is there");
        }
        lab.interface(&format!("the line of lo after {written:?}"))
            .covers([S15])
            .file(MAP)
            .observed(without(group.get(MAP)?))
            .equals(
                shown,
                "0 is the default, what is accepted holds, and what is refused changes nothing",
            );
    }
    let child = group.make("child")?;
    group.set(MAP, "lo 1")?;
    for (who, group, expected) in [
        ("a child", &child, "lo 6"),
        ("the group", &group, "lo 1"),
        ("a neighbour", &other, "lo 0"),
    ] {
        lab.interface(&format!("the line of lo in {who} in the end"))
            .covers([S15])
            .file(MAP)
            .observed(without(group.get(MAP)?))
            .equals(expected, "net/core/netprio_cgroup.c, cgrp_css_online: a child begins with its parent's map, and keeps it");
    }
    let indices = [root, &group, &other, &child].map(|it| it.number(INDEX));
    let indices = indices.into_iter().collect::<Result<BTreeSet<_>, _>>()?;
    lab.interface("different numbers of four groups")
        .covers([S15])
        .file(INDEX)
        .unit(Unit::Count)
        .observed(indices.len())
        .equals(4, "net_prio.rst, net_prio.prioidx: \"a unique integer value that the kernel uses as an internal representation of this cgroup\"");
    lab.interface("the answer to a write to the number")
        .covers([S15])
        .file(INDEX)
        .answered(&group.try_set(INDEX, 1))
        .equals("EINVAL", "net_prio.rst: \"This file is read-only\"");
    Ok(())
}
