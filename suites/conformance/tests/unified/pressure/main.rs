//! Pressure stall information on the unified hierarchy (cgroup-v2.rst, "pressure files").
