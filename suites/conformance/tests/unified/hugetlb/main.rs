//! The hugetlb controller on the unified hierarchy (cgroup-v2.rst, "HugeTLB").
