//! Groups to measure in: chains and crowds of them.

use cgauge_lab::{Group, Lab, Stop};

/// Groups below each other, each giving every controller to the next.
pub struct Chain(Vec<Group>);

impl Chain {
    /// So many groups below each other.
    pub fn new(lab: &Lab, depth: u32) -> Result<Self, Stop> {
        let mut groups = vec![lab.group("level-1")?];
        for level in 2..=depth {
            give_all(&groups[groups.len() - 1])?;
            let below = groups[groups.len() - 1].make(&format!("level-{level}"))?;
            groups.push(below);
        }
        give_all(&groups[groups.len() - 1])?;
        Ok(Self(groups))
    }

    /// The last one, which gives every controller to its children.
    #[must_use]
    pub fn deepest(&self) -> &Group {
        &self.0[self.0.len() - 1]
    }
}

/// Gives every controller of `group` to its children.
fn give_all(group: &Group) -> Result<(), Stop> {
    let controllers = group.line("cgroup.controllers")?;
    group.enable(&controllers)
}

/// Many groups beside each other.
pub struct Crowd {
    parent: Group,
    count: u32,
}

impl Crowd {
    /// So many empty groups, with every controller.
    pub fn new(lab: &Lab, count: u32) -> Result<Self, Stop> {
        let parent = lab.group("crowd")?;
        give_all(&parent)?;
        for nth in 0..count {
            // By directory: a handle each would hold as many descriptors open.
            parent.dir().make(&nth.to_string()).map_err(Stop::Refused)?;
        }
        Ok(Self { parent, count })
    }

    /// The group that they are all in.
    #[must_use]
    pub fn parent(&self) -> &Group {
        &self.parent
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }
}
