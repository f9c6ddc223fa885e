//! Options of the hierarchy's mount (cgroup-v2.rst, "Mounting"), changed for a
//! while.
//!
//! They hold for the whole machine, so that only a case with a kernel of its
//! own may change them.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::case::Lab;
use crate::kernel::{self, Refusal, Request};
use crate::stop::Stop;

/// The hierarchy with other options; it has its old ones again once this goes
/// out of scope.
#[derive(Debug)]
pub struct Remounted {
    point: PathBuf,
    before: String,
}

impl Lab {
    /// Where the hierarchy is mounted.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        self.root().dir().path().parent().map(PathBuf::from).unwrap_or_default()
    }

    /// The hierarchy's options as its mount shows them, joined by commas.
    pub fn mount_options(&self) -> Result<String, Stop> {
        let point = self.mount_point();
        let table = kernel::text("/proc/self/mountinfo")?;
        options_of(&table, &point.display().to_string())
            .ok_or_else(|| Stop::Broken(format!("{} is no mount point", point.display())))
    }

    /// Remounts the hierarchy with `options` and no others. The inner error is
    /// the kernel's refusal, `EINVAL` for an option that it does not know.
    pub fn remount(&self, options: &str) -> Result<Result<Remounted, Refusal>, Stop> {
        let point = self.mount_point();
        let before = self.mount_options()?;
        Ok(match kernel::call("remount", || remount(&point, options)) {
            Ok(()) => Ok(Remounted { point, before }),
            Err(errno) => {
                Err(Refusal { request: Request::Mount(options.to_owned()), path: point, errno })
            }
        })
    }
}

impl Drop for Remounted {
    fn drop(&mut self) {
        // It took the same options before.
        let _ = remount(&self.point, &self.before);
    }
}

fn remount(point: &PathBuf, options: &str) -> Result<(), Errno> {
    // Those of the mount itself, as the agent made it.
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(None::<&str>, point, None::<&str>, MsFlags::MS_REMOUNT | quiet, Some(options))
}

/// The hierarchy's own options in a `mountinfo`, without `rw`.
fn options_of(table: &str, point: &str) -> Option<String> {
    let of_point = |line: &&str| line.split(' ').nth(4) == Some(point);
    // A later mount hides an earlier one.
    let line = table.lines().rev().find(of_point)?;
    let options = line.rsplit(' ').next()?.split(',').filter(|it| *it != "rw");
    Some(options.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_last_mount_there() {
        let table = "23 1 0:21 / /sys rw,nosuid - sysfs sysfs rw\n\
            30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        assert_eq!(options_of(table, "/sys/fs/cgroup").unwrap(), "nsdelegate,memory_recursiveprot");
        assert_eq!(options_of(table, "/sys").unwrap(), "");
        assert_eq!(options_of(table, "/proc"), None);
    }
}
