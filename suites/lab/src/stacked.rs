//! Block devices on top of others: loop, device mapper, md. By their ioctls,
//! for there are no programs in the guest.
//!
//! It knows no controller. What a kernel has no module for skips the case.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{c_int, c_ulong, ioctl};

use crate::case::Lab;
use crate::disk::{Disk, SECTOR, write};
use crate::stop::Stop;
use crate::time::wait_until;

/// How long a device's node may take to appear.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands on top of another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// loop.
    Loop,
    /// Device mapper with one linear target.
    Mapper,
    /// md, level 0, without superblocks.
    Md,
}

/// A stacked device; taken apart when it goes out of scope.
#[derive(Debug)]
pub struct Stacked {
    disk: Disk,
    kind: Kind,
    /// What its last ioctl is sent to.
    control: File,
}

impl Stacked {
    /// The device.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Lab {
    /// Puts a device of this kind on top of `lower`.
    pub fn stacked(&self, kind: Kind, lower: &Disk) -> Result<Stacked, Stop> {
        match kind {
            Kind::Loop => self.loop_on(lower),
            Kind::Mapper => self.mapper_on(lower),
            Kind::Md => self.md_on(lower),
        }
    }

    fn loop_on(&self, lower: &Disk) -> Result<Stacked, Stop> {
        const SET_FD: c_ulong = 0x4c00;
        const SET_DIRECT_IO: c_ulong = 0x4c08;
        const GET_FREE: c_ulong = 0x4c82;
        let Ok(control) = open("/dev/loop-control") else {
            return Err(self.skip("this kernel has no loop devices"));
        };
        // SAFETY: takes no argument.
        let number = Errno::result(unsafe { ioctl(control.as_raw_fd(), GET_FREE) })
            .map_err(Stop::broken("find a free loop device"))?;
        let device = open(&format!("/dev/loop{number}"))?;
        let below = open(&lower.path().display().to_string())?;
        // SAFETY: takes a descriptor.
        Errno::result(unsafe { ioctl(device.as_raw_fd(), SET_FD, below.as_raw_fd()) })
            .map_err(Stop::broken("set up a loop device"))?;
        let disk = Disk::of_the_machine(&format!("loop{number}"))?;
        let stacked = Stacked { disk, kind: Kind::Loop, control: device };
        // Past the page cache below: each request goes down as it is.
        // SAFETY: takes an integer.
        Errno::result(unsafe { ioctl(stacked.control.as_raw_fd(), SET_DIRECT_IO, 1_u64) })
            .map_err(Stop::broken("make a loop device direct"))?;
        Ok(stacked)
    }

    fn mapper_on(&self, lower: &Disk) -> Result<Stacked, Stop> {
        let Ok(control) = open("/dev/mapper/control") else {
            return Err(self.skip("this kernel has no device mapper"));
        };
        let made = Order::new(&[]).send(&control, mapper::CREATE)?;
        let number = made.device();
        let sectors = lower.bytes()? / SECTOR;
        Order::new(&mapper::linear(sectors, lower.number())).send(&control, mapper::LOAD)?;
        // To resume is to suspend without the flag.
        Order::new(&[]).send(&control, mapper::SUSPEND)?;
        let disk = Disk::of_the_machine(&format!("dm-{}", number & 0xff))?;
        Ok(Stacked { disk, kind: Kind::Mapper, control })
    }

    fn md_on(&self, lower: &Disk) -> Result<Stacked, Stop> {
        let new_array = Path::new("/sys/module/md_mod/parameters/new_array");
        if !new_array.exists() || !Path::new("/sys/module/raid0").exists() {
            return Err(self.skip("this kernel has no md with level 0"));
        }
        write(new_array, "md7")?;
        wait_until(PATIENCE, || Path::new("/dev/md7").exists());
        let control = open("/dev/md7")?;
        let (major, minor) = lower.number().split_once(':').unwrap_or_default();
        let (major, minor) = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
        // mdu_array_info_t of linux/raid/md_u.h.
        let mut array: [c_int; 18] = [0; 18];
        (array[6], array[7], array[9]) = (1, 1, 1); // disks, of the array, no superblock
        array[17] = 64 << 10; // bytes of a chunk
        // mdu_disk_info_t: number, device, place, active and in sync.
        let disk: [c_int; 5] = [0, major, minor, 0, 6];
        let fd = control.as_raw_fd();
        // SAFETY: each takes a pointer to the struct whose size is in its number.
        unsafe {
            Errno::result(ioctl(fd, 0x4048_0923, array.as_ptr()))
                .map_err(Stop::broken("describe an md array"))?;
            Errno::result(ioctl(fd, 0x4014_0921, disk.as_ptr()))
                .map_err(Stop::broken("give a disk to an md array"))?;
            Errno::result(ioctl(fd, 0x400c_0930, std::ptr::null::<c_int>()))
                .map_err(Stop::broken("start an md array"))?;
        }
        let stacked = Stacked { disk: Disk::of_the_machine("md7")?, kind: Kind::Md, control };
        // Whoever opens it first has it scanned for partitions, and is charged for it.
        open("/dev/md7")?;
        Ok(stacked)
    }
}

impl Drop for Stacked {
    fn drop(&mut self) {
        const CLEAR_FD: c_ulong = 0x4c01;
        const STOP_ARRAY: c_ulong = 0x0932;
        let fd = self.control.as_raw_fd();
        match self.kind {
            // What will not go ends with the machine.
            // SAFETY: takes no argument.
            Kind::Loop => drop(Errno::result(unsafe { ioctl(fd, CLEAR_FD) })),
            Kind::Mapper => drop(Order::new(&[]).send(&self.control, mapper::REMOVE)),
            // SAFETY: takes no argument.
            Kind::Md => drop(Errno::result(unsafe { ioctl(fd, STOP_ARRAY) })),
        }
    }
}

fn open(path: &str) -> Result<File, Stop> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|why| Stop::Broken(format!("open {path}: {why}")))
}

/// The device mapper's ioctls, linux/dm-ioctl.h.
mod mapper {
    /// `DM_DEV_CREATE`.
    pub(super) const CREATE: u64 = 3;
    /// `DM_DEV_REMOVE`.
    pub(super) const REMOVE: u64 = 4;
    /// `DM_DEV_SUSPEND`.
    pub(super) const SUSPEND: u64 = 6;
    /// `DM_TABLE_LOAD`.
    pub(super) const LOAD: u64 = 9;

    /// A table of one linear target: `struct dm_target_spec` and its arguments.
    pub(super) fn linear(sectors: u64, device: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(0_u64.to_ne_bytes());
        bytes.extend(sectors.to_ne_bytes());
        bytes.extend([0; 8]); // status, next
        let mut name = *b"linear\0\0\0\0\0\0\0\0\0\0";
        bytes.extend(name.iter_mut().map(|it| *it));
        bytes.extend(format!("{device} 0\0").bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

/// `struct dm_ioctl` and what follows it.
struct Order(Vec<u8>);

impl Order {
    const HEAD: usize = 312;

    fn new(table: &[u8]) -> Self {
        let size = u32::try_from(Self::HEAD + table.len()).unwrap_or(u32::MAX);
        let mut bytes = vec![0; Self::HEAD];
        bytes[0..4].copy_from_slice(&4_u32.to_ne_bytes());
        bytes[12..16].copy_from_slice(&size.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(Self::HEAD as u32).to_ne_bytes());
        bytes[20..24].copy_from_slice(&u32::from(!table.is_empty()).to_ne_bytes());
        bytes[48..54].copy_from_slice(b"cgauge");
        bytes.extend(table);
        Self(bytes)
    }

    fn send(mut self, control: &File, command: u64) -> Result<Self, Stop> {
        // _IOWR(0xfd, command, struct dm_ioctl)
        let request = (3 << 30) | ((Self::HEAD as u64) << 16) | (0xfd << 8) | command;
        // SAFETY: the kernel reads and writes as many bytes as the head says.
        let result = unsafe { ioctl(control.as_raw_fd(), request, self.0.as_mut_ptr()) };
        Errno::result(result).map_err(Stop::broken("set up the device mapper"))?;
        Ok(self)
    }

    /// The number of the device that was made, as the kernel packs it.
    fn device(&self) -> u64 {
        self.0[40..48].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
