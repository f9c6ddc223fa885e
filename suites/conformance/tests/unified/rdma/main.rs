//! The rdma controller on the unified hierarchy (cgroup-v2.rst, "RDMA").
