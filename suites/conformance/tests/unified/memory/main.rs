//! The memory controller on the unified hierarchy (cgroup-v2.rst, "Memory").
