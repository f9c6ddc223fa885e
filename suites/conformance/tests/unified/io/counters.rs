//! What `io.stat` says of a device, and devices that several modules want.

use std::collections::BTreeMap;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::parse;
use cgauge_lab::prelude::*;

/// A line of `io.stat`; all zero where there is none, or nothing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
    pub dbytes: u64,
    pub dios: u64,
}

impl Counters {
    /// What the group's file says of the device.
    pub fn of(group: &Group, disk: &Disk) -> Result<Self, Stop> {
        let text = group.get("io.stat")?;
        let Some(line) = line_of(&text, disk) else { return Ok(Self::default()) };
        let lines = parse::nested_keyed(line).map_err(|it| Stop::Broken(it.to_string()))?;
        // What was held up from the first on has a line, and nothing in it.
        if lines.values().all(BTreeMap::is_empty) {
            return Ok(Self::default());
        }
        let number = |key: &str| {
            let value = lines.get(disk.number()).and_then(|it| it.get(key));
            value.and_then(|it| it.parse().ok()).ok_or_else(|| {
                Stop::Broken(format!("{line:?} of io.stat has no number behind {key}"))
            })
        };
        Ok(Self {
            rbytes: number("rbytes")?,
            wbytes: number("wbytes")?,
            rios: number("rios")?,
            wios: number("wios")?,
            dbytes: number("dbytes")?,
            dios: number("dios")?,
        })
    }

    /// What was added since; nothing where a counter has fallen.
    pub fn since(self, before: Self) -> Self {
        Self {
            rbytes: self.rbytes.saturating_sub(before.rbytes),
            wbytes: self.wbytes.saturating_sub(before.wbytes),
            rios: self.rios.saturating_sub(before.rios),
            wios: self.wios.saturating_sub(before.wios),
            dbytes: self.dbytes.saturating_sub(before.dbytes),
            dios: self.dios.saturating_sub(before.dios),
        }
    }
}

/// The line that a file with a line a device has for this one.
pub fn line_of<'a>(text: &'a str, disk: &Disk) -> Option<&'a str> {
    text.lines().find(|it| it.split(' ').next() == Some(disk.number()))
}

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// null_blk, with a timer a request.
    Null,
    /// scsi_debug, as the suite's needs set it up.
    Scsi,
}

impl Device {
    /// A device that does some thousand requests a second.
    pub fn fast(self, lab: &Lab) -> Result<Disk, Stop> {
        match self {
            Self::Null => lab.null_disk(NullDisk {
                completion: Duration::from_micros(200),
                depth: 8,
                ..NullDisk::default()
            }),
            Self::Scsi => lab.scsi_disk(),
        }
    }
}
