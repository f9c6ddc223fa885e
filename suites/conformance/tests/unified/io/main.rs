//! The io controller on the unified hierarchy (cgroup-v2.rst, "IO").
