//! The perf_event controller on the unified hierarchy (cgroup-v2.rst, "perf_event").
