//! Pressure of a group (cgroup-v2.rst, "cpu.pressure", "memory.pressure" and
//! "io.pressure"; accounting/psi.rst), held against the arithmetic of loads that
//! know how long they stood still.
//!
//! That `cgroup.pressure` is not inherited, and what it takes, is in `core`.

mod averages;
mod stall;
mod totals;
mod trigger;
