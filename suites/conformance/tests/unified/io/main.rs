//! The io controller on the unified hierarchy (cgroup-v2.rst, "IO").

mod accepted;
mod cost;
mod counters;
mod latency;
mod limits;
mod stat;
mod weights;
mod writeback;

use cgauge_lab::rates;
