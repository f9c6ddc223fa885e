//! A unit of systemd's: made over D-Bus, its group, and its end.

use cgauge_lab::kernel::Dir;
use cgauge_lab::{Group, Lab, Stop};
use nix::unistd::Pid;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::bus::{Refused, Systemd};

/// Where the unified hierarchy is mounted on a machine of systemd's.
const HIERARCHY: &str = "/sys/fs/cgroup";

/// A property of a unit: its D-Bus name and value.
pub type Property<'a> = (&'a str, Variant<'a>);

/// A unit that was made for the case. It is stopped when it goes out of scope.
#[derive(Debug)]
pub struct Started<'a> {
    systemd: &'a Systemd,
    name: String,
    group: Group,
    /// Slices that nobody asked for by name, which came with the unit and stay without
    /// it: the nearest first, each with its group's path.
    came_along: Vec<(String, String)>,
}

impl Systemd {
    /// Makes a slice.
    pub fn slice(
        &self,
        lab: &Lab,
        name: &str,
        properties: &[Property<'_>],
    ) -> Result<Started<'_>, Stop> {
        self.start(lab, name, properties)
    }

    /// Makes a scope of processes that are there already.
    pub fn scope(
        &self,
        lab: &Lab,
        name: &str,
        pids: &[Pid],
        properties: &[Property<'_>],
    ) -> Result<Started<'_>, Stop> {
        let pids: Vec<u32> = pids.iter().map(|it| it.as_raw().cast_unsigned()).collect();
        let mut all = vec![("PIDs", Variant::from(pids))];
        all.extend(copied(properties)?);
        self.start(lab, name, &all)
    }

    /// Makes a service that runs a command.
    pub fn service(
        &self,
        lab: &Lab,
        name: &str,
        command: &[&str],
        properties: &[Property<'_>],
    ) -> Result<Started<'_>, Stop> {
        let command: Vec<String> = command.iter().map(|it| (*it).to_owned()).collect();
        let program = command.first().cloned().unwrap_or_default();
        let mut all = vec![
            ("ExecStart", Variant::from(vec![(program, command, false)])),
            // Started when its program is: its group is its user's by then.
            ("Type", Variant::from("exec")),
            // A guest boots without what most services wait for.
            ("DefaultDependencies", Variant::from(false)),
            ("StandardOutput", Variant::from("null")),
        ];
        all.extend(copied(properties)?);
        self.start(lab, name, &all)
    }

    /// Starts a unit that unit files or drop-ins describe, or that is known by its name.
    pub fn from_file(&self, lab: &Lab, name: &str) -> Result<Started<'_>, Stop> {
        self.try_start_file(name)?;
        self.started(lab, name)
    }

    /// Asks for a unit that unit files describe; for a case about the answer.
    pub fn try_start_file(&self, name: &str) -> Result<(), Refused> {
        self.job("StartUnit", &(name, "fail"))
    }

    /// Asks for a unit that is not there yet; for a case about the answer.
    pub fn try_start(&self, name: &str, properties: &[Property<'_>]) -> Result<(), Refused> {
        let mut all = copied(properties)?;
        // What has failed is forgotten as well once it is stopped.
        all.push(("CollectMode", Variant::from("inactive-or-failed")));
        let auxiliary: Vec<(&str, Vec<Property<'_>>)> = Vec::new();
        self.job("StartTransientUnit", &(name, "fail", all, auxiliary))
    }

    fn start(
        &self,
        lab: &Lab,
        name: &str,
        properties: &[Property<'_>],
    ) -> Result<Started<'_>, Stop> {
        self.try_start(name, properties)?;
        self.started(lab, name)
    }

    fn started(&self, lab: &Lab, name: &str) -> Result<Started<'_>, Stop> {
        let group = self.found(lab, name)?;
        self.note(name);
        Ok(Started {
            systemd: self,
            name: name.to_owned(),
            group,
            came_along: self.slices_above(name),
        })
    }

    fn slices_above(&self, unit: &str) -> Vec<(String, String)> {
        let mut above: Vec<(String, String)> = Vec::new();
        loop {
            let below = above.last().map_or(unit, |it| it.0.as_str());
            let slice: String = self.property_of(below, "Slice").unwrap_or_default();
            if !self.came_along(&slice) {
                return above;
            }
            let path = self.control_group(&slice).unwrap_or_default();
            above.push((slice, path));
        }
    }

    /// The group of a unit that is there already.
    pub fn found(&self, lab: &Lab, unit: &str) -> Result<Group, Stop> {
        lab.group_of_another(format!("{HIERARCHY}{}", self.control_group(unit)?))
    }

    /// The path of a unit's group below the hierarchy's root, as systemd tells it.
    pub fn control_group(&self, unit: &str) -> Result<String, Refused> {
        self.property_of(unit, "ControlGroup")
    }

    /// A property that systemd knows of a unit.
    pub fn property_of<T: TryFrom<OwnedVariant>>(
        &self,
        unit: &str,
        name: &str,
    ) -> Result<T, Refused> {
        let path: OwnedObjectPath = self.ask("GetUnit", &unit)?;
        let interface = match unit.rsplit_once('.') {
            Some((_, "slice")) => "org.freedesktop.systemd1.Slice",
            Some((_, "scope")) => "org.freedesktop.systemd1.Scope",
            _ => "org.freedesktop.systemd1.Service",
        };
        self.property(path.as_str(), interface, name)
    }
}

impl Started<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The path of its group below the hierarchy's root.
    #[must_use]
    pub fn path(&self) -> String {
        let path = self.group.dir().path().display().to_string();
        path.strip_prefix(HIERARCHY).unwrap_or(&path).to_owned()
    }

    /// Moves further processes into it.
    pub fn attach(&self, pids: &[Pid]) -> Result<(), Refused> {
        let pids: Vec<u32> = pids.iter().map(|it| it.as_raw().cast_unsigned()).collect();
        self.systemd.ask("AttachProcessesToUnit", &(self.name.as_str(), "", pids))
    }

    /// Changes its properties, until the next boot.
    pub fn set(&self, properties: &[Property<'_>]) -> Result<(), Refused> {
        self.systemd.set(&self.name, properties)
    }

    /// A property that systemd knows of it.
    pub fn property<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Result<T, Refused> {
        self.systemd.property_of(&self.name, name)
    }

    /// Stops it now.
    pub fn stop(&self) -> Result<(), Refused> {
        self.systemd.job("StopUnit", &(self.name.as_str(), "replace"))
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        // Gone already, or found and named by the agent.
        let _ = self.stop();
        for (slice, path) in &self.came_along {
            let used = Dir::open(format!("{HIERARCHY}{path}")).and_then(|it| it.children());
            if used.is_ok_and(|it| !it.is_empty()) {
                break;
            }
            // One that lives no longer than what is in it has gone by itself.
            let _ = self.systemd.job("StopUnit", &(slice.as_str(), "replace"));
        }
    }
}

fn copied<'a>(properties: &'a [Property<'_>]) -> Result<Vec<Property<'a>>, Refused> {
    let one = |(name, value): &'a Property<'_>| Ok((*name, value.try_clone()?));
    properties
        .iter()
        .map(one)
        .collect::<zbus::Result<_>>()
        .map_err(|it| Refused { name: "a property".to_owned(), message: it.to_string() })
}
