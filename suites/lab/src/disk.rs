//! Block devices for cases: null_blk with timed completions, scsi_debug, and
//! what the block layer itself counts of a device.
//!
//! It knows no controller. What a kernel has no module for skips the case.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::Lab;
use crate::hierarchy::Mount;
use crate::stop::Stop;
use crate::time::{nanoseconds, wait_until};

/// How long a device may take to come up; its driver scans it first.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a sector of `/sys/block/X`, whatever the device's own are.
pub(crate) const SECTOR: u64 = 512;

/// A block device that is there for the case.
#[derive(Debug)]
pub struct Disk {
    name: String,
    number: String,
    owner: Owner,
}

/// Who takes it away.
#[derive(Debug)]
enum Owner {
    /// It was there before the case.
    Machine,
    /// configfs, by the folder of the device.
    Configuration { folder: PathBuf, _mount: Mount },
}

/// A null_blk device that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NullDisk {
    /// How large it is.
    pub megabytes: u64,
    /// How long each request takes.
    pub completion: Duration,
    /// Requests that it works on at once.
    pub depth: u32,
    /// Whether it keeps what is written, and knows discards.
    pub contents: bool,
}

impl Default for NullDisk {
    /// A thousand requests a second, one at a time, of any size.
    fn default() -> Self {
        Self { megabytes: 64, completion: Duration::from_millis(1), depth: 1, contents: false }
    }
}

/// What the block layer counts of a device, by itself and without any group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read.
    pub read_bytes: u64,
    /// Requests that read.
    pub reads: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests that wrote.
    pub writes: u64,
    /// Bytes discarded.
    pub discarded_bytes: u64,
    /// Requests that discarded.
    pub discards: u64,
}

impl Lab {
    /// Makes a null_blk device; it goes with the handle.
    pub fn null_disk(&self, wanted: NullDisk) -> Result<Disk, Stop> {
        // A kernel with null_blk built in has a device of its own from the start.
        let is_free = |it: &u32| {
            !mount_point(*it).exists() && !Path::new(&format!("/sys/block/nullb{it}")).exists()
        };
        let place = (0..64).find(is_free).unwrap_or(64);
        let name = format!("configfs-{place}");
        let Ok(mount) = Mount::new(&name, "configfs", "") else {
            return Err(self.skip("this kernel has no configfs, by which null_blk is set up"));
        };
        let devices = mount.path().join("nullb");
        if !devices.exists() {
            return Err(self.skip("this kernel has no null_blk with configfs"));
        }
        let folder = devices.join(format!("nullb{place}"));
        fs::create_dir(&folder)?;
        // From here on the handle takes away what there is.
        let mut disk = Disk {
            name: String::new(),
            number: String::new(),
            owner: Owner::Configuration { folder: folder.clone(), _mount: mount },
        };
        let contents = u8::from(wanted.contents).to_string();
        for (attribute, value) in [
            ("size", wanted.megabytes.to_string()),
            ("blocksize", "512".to_owned()),
            ("completion_nsec", nanoseconds(wanted.completion).to_string()),
            // Each request by a timer of its own.
            ("irqmode", "2".to_owned()),
            ("queue_mode", "2".to_owned()),
            ("submit_queues", "1".to_owned()),
            ("hw_queue_depth", wanted.depth.to_string()),
            ("memory_backed", contents.clone()),
            ("discard", contents),
            ("power", "1".to_owned()),
        ] {
            write(&folder.join(attribute), &value)?;
        }
        // Newer kernels call the device as the folder, older ones count.
        let index = fs::read_to_string(folder.join("index"))?;
        let names = [format!("nullb{place}"), format!("nullb{}", index.trim())];
        let is_there = |it: &&String| Path::new("/sys/block").join(it).exists();
        let name = names.iter().find(is_there).unwrap_or(&names[1]);
        disk.name.clone_from(name);
        disk.number = number_of(&disk.name)?;
        Ok(disk)
    }

    /// The device of scsi_debug, which the suite's needs have loaded.
    pub fn scsi_disk(&self) -> Result<Disk, Stop> {
        if !Path::new("/sys/module/scsi_debug").exists() {
            return Err(self.skip("this kernel has no scsi_debug"));
        }
        let found = || {
            let entries = fs::read_dir("/sys/block").ok()?;
            let names = entries.filter_map(|it| it.ok()?.file_name().into_string().ok());
            // The only SCSI disk of a guest that has no other.
            names.filter(|it| it.starts_with("sd")).min()
        };
        wait_until(PATIENCE, || found().is_some());
        let name = found().ok_or_else(|| Stop::Broken("scsi_debug shows no disk".to_owned()))?;
        Disk::of_the_machine(&name)
    }
}

impl Disk {
    /// The device `name` of `/sys/block`, which is there already.
    pub(crate) fn of_the_machine(name: &str) -> Result<Self, Stop> {
        Ok(Self { name: name.to_owned(), number: number_of(name)?, owner: Owner::Machine })
    }

    /// Its node.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// `MAJOR:MINOR`, as the io controller's files name it.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Chooses its scheduler; skips the case if the kernel has none of that name.
    pub fn schedule(&self, lab: &Lab, scheduler: &str) -> Result<(), Stop> {
        let offered = self.queue("scheduler")?;
        // The one in force stands in brackets.
        if offered.split_ascii_whitespace().all(|it| it.trim_matches(['[', ']']) != scheduler) {
            return Err(lab.skip(&format!("this kernel has no scheduler {scheduler}")));
        }
        self.set_queue("scheduler", scheduler)
    }

    /// Sets a file of the device's queue.
    pub fn set_queue(&self, file: &str, value: &str) -> Result<(), Stop> {
        write(&self.folder().join("queue").join(file), value)
    }

    /// What a file of the device's queue holds.
    pub fn queue(&self, file: &str) -> Result<String, Stop> {
        Ok(fs::read_to_string(self.folder().join("queue").join(file))?.trim_end().to_owned())
    }

    /// How large it is.
    pub fn bytes(&self) -> Result<u64, Stop> {
        let text = fs::read_to_string(self.folder().join("size"))?;
        let sectors: Result<u64, _> = text.trim_end().parse();
        let sectors = sectors.map_err(|_| Stop::Broken(format!("{}/size: {text:?}", self.name)))?;
        Ok(sectors * SECTOR)
    }

    /// What the device has done since it came up.
    pub fn traffic(&self) -> Result<Traffic, Stop> {
        let text = fs::read_to_string(self.folder().join("stat"))?;
        traffic(&text).ok_or_else(|| Stop::Broken(format!("{}/stat holds {text:?}", self.name)))
    }

    fn folder(&self) -> PathBuf {
        Path::new("/sys/block").join(&self.name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        match &self.owner {
            Owner::Machine => {}
            Owner::Configuration { folder, .. } => {
                // Something may still hold it; the machine ends with the case.
                let _ = fs::write(folder.join("power"), "0");
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

/// Writes a file that is none of a group, in one piece.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Stop> {
    fs::write(path, value)
        .map_err(|why| Stop::Broken(format!("write {value:?} to {}: {why}", path.display())))
}

fn mount_point(place: u32) -> PathBuf {
    std::env::temp_dir().join(format!("configfs-{place}"))
}

fn number_of(name: &str) -> Result<String, Stop> {
    let path = format!("/sys/block/{name}/dev");
    let number =
        fs::read_to_string(&path).map_err(|why| Stop::Broken(format!("read {path}: {why}")))?;
    Ok(number.trim_end().to_owned())
}

/// `/sys/block/X/stat`, Documentation/block/stat.rst.
fn traffic(text: &str) -> Option<Traffic> {
    let fields: Vec<u64> =
        text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Traffic {
        reads: *fields.first()?,
        read_bytes: fields.get(2)? * SECTOR,
        writes: *fields.get(4)?,
        written_bytes: fields.get(6)? * SECTOR,
        discards: *fields.get(11)?,
        discarded_bytes: fields.get(13)? * SECTOR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_in_bytes() {
        let text = " 7 1 56 4 3 2 24 9 0 13 13 5 0 40 1 0 0\n";
        let expected = Traffic {
            reads: 7,
            read_bytes: 56 * 512,
            writes: 3,
            written_bytes: 24 * 512,
            discards: 5,
            discarded_bytes: 40 * 512,
        };
        assert_eq!(traffic(text), Some(expected));
        assert_eq!(traffic("1 2 3"), None);
    }
}
