//! net_cls and net_prio on legacy hierarchies (cgroup-v1/net_cls.rst and
//! net_prio.rst): marks of a group that its sockets' packets carry.
//!
//! The witnesses are rules of nf_tables: each counts the packets that it fits.

mod class;
mod priority;

use cgauge_lab::datagrams::DATAGRAMS;
use cgauge_lab::netfilter::{By, Hook, Rule};
use cgauge_lab::prelude::*;

/// Rules that count on the same hook, each by a mark of its own.
struct Counters<const N: usize> {
    rules: [Rule; N],
    before: [u64; N],
}

impl<const N: usize> Counters<N> {
    fn new(lab: &Lab, hook: Hook, by: &[By; N]) -> Result<Self, Stop> {
        let rules: Vec<Rule> =
            by.iter().map(|it| lab.counts_packets(hook, it)).collect::<Result<_, _>>()?;
        let rules = rules.try_into().map_err(|_| Stop::Broken("a rule is missing".to_owned()))?;
        Ok(Self { rules, before: [0; N] })
    }

    /// What each has counted since the last look, in turns of a sender.
    fn turns(&mut self) -> Result<String, Stop> {
        let mut turns = Vec::new();
        for (rule, before) in self.rules.iter().zip(&mut self.before) {
            let packets = rule.packets()?;
            let new = packets - *before;
            *before = packets;
            turns.push(match new % DATAGRAMS {
                0 => (new / DATAGRAMS).to_string(),
                _ => format!("{new}/{DATAGRAMS}"),
            });
        }
        Ok(turns.join(" "))
    }
}
