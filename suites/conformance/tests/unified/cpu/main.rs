//! The cpu controller on the unified hierarchy (cgroup-v2.rst, "CPU").
