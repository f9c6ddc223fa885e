//! The HugeTLB controller on legacy hierarchies (cgroup-v1/hugetlb.rst): huge
//! pages of 2 MB, of which the machine sets some aside for the case.

mod counters;
mod limit;
mod pages;

use cgauge_lab::prelude::*;
use nix::sys::signal::Signal;

use pages::{Shared, Source, reserve, touch};

const LIMIT: &str = "hugetlb.2MB.limit_in_bytes";
const USAGE: &str = "hugetlb.2MB.usage_in_bytes";
const MOST: &str = "hugetlb.2MB.max_usage_in_bytes";
const FAILURES: &str = "hugetlb.2MB.failcnt";
const RESERVED_LIMIT: &str = "hugetlb.2MB.rsvd.limit_in_bytes";
const RESERVED: &str = "hugetlb.2MB.rsvd.usage_in_bytes";
const RESERVED_MOST: &str = "hugetlb.2MB.rsvd.max_usage_in_bytes";
const RESERVED_FAILURES: &str = "hugetlb.2MB.rsvd.failcnt";

/// How a process of `group` ends that touches `pages` pages, and how many it had.
fn take(group: &Group, pages: u64) -> Result<(String, u64), Stop> {
    let counted = Shared::new()?;
    let mut process = group.spawn(|| {
        if let Ok(start) = reserve(pages, Source::Unreserved) {
            touch(start, pages, counted);
        }
    })?;
    let end = match process.wait()? {
        Exit::Code(code) => format!("exit {code}"),
        Exit::Signal(Signal::SIGBUS) => "SIGBUS".to_owned(),
        Exit::Signal(signal) => signal.to_string(),
    };
    Ok((end, counted.get()))
}

/// A process of `group` that holds `pages` pages until it is killed.
fn hold(group: &Group, pages: u64) -> Result<Process<()>, Stop> {
    let counted = Shared::new()?;
    let ready = Gate::new()?;
    let process = group.spawn(|| {
        if let Ok(start) = reserve(pages, Source::Unreserved) {
            touch(start, pages, counted);
        }
        ready.open();
        loop {
            nix::unistd::pause();
        }
    })?;
    ready.pass();
    if counted.get() == pages {
        return Ok(process);
    }
    Err(Stop::Broken(format!("a process holds {} of {pages} huge pages", counted.get())))
}
