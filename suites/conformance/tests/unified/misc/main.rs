//! The misc controller on the unified hierarchy (cgroup-v2.rst, "Misc").
