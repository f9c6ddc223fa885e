//! The cpuset controller (cgroup-v2.rst, "Cpuset") on eight CPUs and two memory
//! nodes.

mod cpus;
mod effective;
mod exclusive;
mod hotplug;
mod isolated;
mod memory;
mod partition;
mod placement;
mod remote;

const CPUS: &str = "cpuset.cpus";
const EFFECTIVE: &str = "cpuset.cpus.effective";
const EXCLUSIVE: &str = "cpuset.cpus.exclusive";
const EXCLUSIVE_EFFECTIVE: &str = "cpuset.cpus.exclusive.effective";
const MEMS: &str = "cpuset.mems";
const MEMS_EFFECTIVE: &str = "cpuset.mems.effective";
const PARTITION: &str = "cpuset.cpus.partition";
/// When the files of exclusive sets came, and remote partitions with them.
const SINCE_REMOTE: &str = "since 6.7, with remote partitions";
