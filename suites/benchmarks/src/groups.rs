//! Groups to measure in: nests and crowds of them.

use cgauge_lab::{Group, Lab, Stop};

/// What stands between an operation and the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// No controller is enabled where the operation runs.
    Absent,
    /// Every controller is enabled, and none limits.
    Present,
    /// The controllers have limits, all above what is used.
    Limiting,
}

impl Controllers {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Absent, Self::Present, Self::Limiting];

    /// As in a benchmark's name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "controllers_absent",
            Self::Present => "controllers_present",
            Self::Limiting => "controllers_limiting",
        }
    }
}

/// Groups in each other.
pub struct Nest {
    groups: Vec<Group>,
    controllers: Controllers,
}

impl Nest {
    /// So many groups in each other. Where controllers are absent the whole
    /// hierarchy has to have been relieved of them before.
    pub fn new(lab: &Lab, controllers: Controllers, depth: u32) -> Result<Self, Stop> {
        let mut nest = Self { groups: vec![lab.group("level-1")?], controllers };
        nest.limit()?;
        for level in 2..=depth {
            let below = nest.give()?.make(&format!("level-{level}"))?;
            nest.groups.push(below);
            nest.limit()?;
        }
        Ok(nest)
    }

    /// The innermost one.
    #[must_use]
    pub fn innermost(&self) -> &Group {
        &self.groups[self.groups.len() - 1]
    }

    /// The innermost one, once it gives its controllers to its children.
    pub fn give(&self) -> Result<&Group, Stop> {
        let innermost = self.innermost();
        if self.controllers != Controllers::Absent {
            give_all(innermost)?;
        }
        Ok(innermost)
    }

    /// Gives the controllers that work on threads to the innermost one's threaded
    /// children.
    pub fn give_what_threads_take(&self) -> Result<(), Stop> {
        if self.controllers == Controllers::Absent {
            return Ok(());
        }
        let innermost = self.innermost();
        let offered = innermost.line("cgroup.controllers")?;
        let threaded = ["cpu", "cpuset", "perf_event", "pids"];
        let both = offered.split_ascii_whitespace().filter(|it| threaded.contains(it));
        innermost.enable(&both.collect::<Vec<_>>().join(" "))
    }

    fn limit(&self) -> Result<(), Stop> {
        if self.controllers == Controllers::Limiting {
            for (file, limit) in
                [("cpu.max", "200000 100000"), ("memory.max", "256M"), ("pids.max", "1000")]
            {
                self.innermost().set(file, limit)?;
            }
        }
        Ok(())
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
