//! The memory controller on the unified hierarchy (cgroup-v2.rst, "Memory").

mod current;
mod events;
mod high;
mod limit;
mod oom;
mod ownership;
mod peak;
mod pressure;
mod protection;
mod reclaim;
mod stat_kernel;
mod stat_reclaim;
mod stat_user;
mod support;
mod swap;
