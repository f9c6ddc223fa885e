//! The pids controller on the unified hierarchy (cgroup-v2.rst, "PID").

mod bomb;
mod counting;
mod events;
mod limit;
