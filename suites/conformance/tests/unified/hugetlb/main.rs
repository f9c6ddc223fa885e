//! The HugeTLB controller (cgroup-v2.rst, "HugeTLB"): huge pages of 2 MB, of
//! which the machine sets some aside for the case.

mod barred;
mod limit;
mod pages;
mod usage;

/// The controller is there since 5.6.
const CURRENT: &str = "hugetlb.2MB.current";
const MAX: &str = "hugetlb.2MB.max";
const EVENTS: &str = "hugetlb.2MB.events";
const LOCAL: &str = "hugetlb.2MB.events.local";
const NUMA: &str = "hugetlb.2MB.numa_stat";
const RESERVED: &str = "hugetlb.2MB.rsvd.current";
const RESERVED_MAX: &str = "hugetlb.2MB.rsvd.max";
