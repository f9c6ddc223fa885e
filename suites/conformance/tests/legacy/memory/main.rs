//! The memory controller on legacy hierarchies (cgroup-v1/memory.rst). The
//! document calls itself outdated and sends its reader to the code, so that
//! bounds here name both.

mod charges;
mod counters;
mod limit;
mod notices;
mod oom;
mod pressure;
mod support;
