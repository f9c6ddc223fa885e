//! The cpuset controller on the unified hierarchy (cgroup-v2.rst, "Cpuset").
