//! Every interface file that the kernel shows on the unified hierarchy (cgroup-v2.rst, "Core Interface Files").
