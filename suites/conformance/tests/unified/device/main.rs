//! The device controller on the unified hierarchy (cgroup-v2.rst, "Device controller").
