//! Packets told by the unified group of their socket: xt_cgroup with a path, and
//! nf_tables with the group's number. There are no interface files.

use std::os::unix::fs::MetadataExt;

use cgauge_lab::datagrams::{DATAGRAMS, Sender};
use cgauge_lab::netfilter::{By, Hook, Rule};
use cgauge_lab::prelude::*;

/// The path of a group below the root of the unified hierarchy.
fn path_of(lab: &Lab, group: &Group) -> String {
    let whole = lab.root().dir().path().parent().unwrap_or(lab.root().dir().path());
    let path = group.dir().path();
    format!("/{}", path.strip_prefix(whole).unwrap_or(path).display())
}

/// How a rule names a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Path,
    Number,
}

impl Naming {
    fn of(self, lab: &Lab, group: &Group) -> Result<By, Stop> {
        let path = path_of(lab, group);
        Ok(match self {
            Self::Path => By::XtPath(path),
            Self::Number => By::Ancestor {
                level: u32::try_from(path.split('/').count() - 1).unwrap_or(u32::MAX),
                id: std::fs::metadata(group.dir().path())?.ino(),
            },
        })
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Path => {
                "iptables-extensions(8), cgroup, --path: it matches packets of sockets of \"the specified cgroup2 path or its descendants\""
            }
            Self::Number => {
                "net/netfilter/nft_socket.c: the ancestor of the socket's group at the level is compared"
            }
        }
    }
}

/// What a rule counts while each of some senders takes a turn: one digit each.
fn seen(rule: &Rule, senders: &[&Sender]) -> Result<String, Stop> {
    let mut seen = Vec::new();
    for sender in senders {
        let before = rule.packets()?;
        sender.send()?;
        seen.push((rule.packets()? - before).to_string());
    }
    Ok(seen.join(" "))
}

/// A rule with a group's path or number fits the packets of that group's sockets and of all below it, and of nobody else's.
#[rstest]
fn rule_fits_the_group_and_all_below(
    lab: Lab,
    #[values(Naming::Path, Naming::Number)] naming: Naming,
) -> Outcome {
    let top = lab.group("top")?;
    let (leaf, other) = (top.make("leaf")?, top.make("other")?);
    let neighbour = lab.group("neighbour")?;
    let groups = [&top, &leaf, &other, &neighbour];
    let senders = groups.map(Sender::start).into_iter().collect::<Result<Vec<_>, _>>()?;
    let senders: Vec<&Sender> = senders.iter().collect();
    for (who, group, fits) in [
        ("the top", &top, [true, true, true, false]),
        ("its leaf", &leaf, [false, true, false, false]),
        ("its other child", &other, [false, false, true, false]),
        ("a neighbour", &neighbour, [false, false, false, true]),
        ("the parent of all", lab.root(), [true; 4]),
    ] {
        let rule = lab.counts_packets(Hook::Output, &naming.of(&lab, group)?)?;
        let expected = fits.map(|it| if it { DATAGRAMS } else { 0 }.to_string());
        lab.enforcement(&format!(
            "packets that a rule for {who} counts when the top, its leaf, its other child and a neighbour send {DATAGRAMS} each"
        ))
        .covers([S15])
        .observed(seen(&rule, &senders)?)
        .equals(expected.join(" "), naming.rule());
    }
    Ok(())
}

/// A socket belongs to the group in which it was opened, wherever its process goes; what is opened after the move belongs to the new one.
#[rstest]
fn socket_stays_with_the_group_that_it_was_opened_in(
    lab: Lab,
    #[values(Naming::Path, Naming::Number)] naming: Naming,
) -> Outcome {
    let (one, other) = (lab.group("one")?, lab.group("other")?);
    let of_one = lab.counts_packets(Hook::Output, &naming.of(&lab, &one)?)?;
    let of_other = lab.counts_packets(Hook::Output, &naming.of(&lab, &other)?)?;
    let sender = Sender::start(&one)?;
    other.admit(sender.process.pid())?;
    let opened_there = Sender::start(&other)?;
    for (who, rule, expected) in
        [("the first group", &of_one, "5 0"), ("the second", &of_other, "0 5")]
    {
        lab.enforcement(&format!("packets counted for {who}, of a process that came from the first with its socket and of one of the second"))
            .covers([S15])
            .file("cgroup.procs")
            .beyond_lies("a socket that stays does so wherever its process is said to be")
            .observed(seen(rule, &[&sender, &opened_there])?)
            .equals(expected, "kernel/cgroup/cgroup.c, cgroup_sk_alloc: a socket has the group of the process that opened it, from then on");
    }
    Ok(())
}

/// A path that no group has is refused.
#[rstest]
fn path_without_a_group_is_refused(lab: Lab) -> Outcome {
    let group = lab.group("group")?;
    // The kernel has what the rule needs.
    lab.counts_packets(Hook::Output, &Naming::Path.of(&lab, &group)?)?;
    let nowhere = By::XtPath(format!("{}/nowhere", path_of(&lab, &group)));
    lab.interface("the answer to a rule with a path that is not there")
        .covers([S15])
        .beyond_lies("the answer is that of nf_tables, not of a file of the group")
        .returned(&Rule::new(Hook::Output, &nowhere))
        .equals("EINVAL", "net/netfilter/xt_cgroup.c, cgroup_mt_check_v2: the group is looked up when the rule is made, and an \"invalid path\" is no rule");
    Ok(())
}
