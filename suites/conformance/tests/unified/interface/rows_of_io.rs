//! The files of the I/O controller (cgroup-v2.rst, "IO Interface Files"); what
//! they say of a device is in `devices`.

use cgauge_lab::prelude::*;

use crate::row::{Needs, Row};

const COST: &str = "CONFIG_BLK_CGROUP_IOCOST";

pub const IO: &[Row] = &[
    Row::new("io.stat", (5, 10)).root((5, 10)).default("").promises(&[R116]),
    Row::new("io.max", (5, 10))
        .needs(Needs::Symbol("tg_set_limit", "CONFIG_BLK_DEV_THROTTLING"))
        .writable()
        .default("")
        .refuses(&[
            ("max", "EINVAL"),
            ("1048576", "EINVAL"),
            ("default", "EINVAL"),
            ("default 100", "EINVAL"),
            ("\n", "EINVAL"),
            ("4095:1 rbps=1048576", "ENODEV"),
        ])
        .promises(&[R119]),
    Row::new("io.weight", (5, 10))
        .needs(Needs::Sibling("io.cost.qos", COST))
        .writable()
        .default("default 100")
        .accepts(&[
            ("1", Some("default 1")),
            ("default 250", Some("default 250")),
            ("10000", Some("default 10000")),
            ("default 1", Some("default 1")),
            ("100\n", Some("default 100")),
        ])
        .refuses(&[
            ("0", "EINVAL"),
            ("10001", "EINVAL"),
            ("-1", "EINVAL"),
            ("max", "EINVAL"),
            ("default", "EINVAL"),
            ("default 0", "EINVAL"),
            ("default 10001", "EINVAL"),
            ("\n", "EINVAL"),
            ("4095:1 300", "ENODEV"),
        ])
        .loose(&["7 8", "1.5", "1K"])
        .promises(&[R044, R047]),
    Row::new("io.bfq.weight", (5, 10))
        .needs(Needs::Path("/sys/module/bfq", "CONFIG_BFQ_GROUP_IOSCHED"))
        .writable()
        .default("default 100")
        .accepts(&[
            ("1", Some("default 1")),
            ("250", Some("default 250")),
            ("default 999", Some("default 999")),
            ("1000", Some("default 1000")),
            ("100\n", Some("default 100")),
        ])
        .refuses(&[
            ("0", "ERANGE"),
            ("1001", "ERANGE"),
            ("10000", "ERANGE"),
            ("-1", "EINVAL"),
            ("max", "EINVAL"),
            ("default", "EINVAL"),
            ("default 0", "ERANGE"),
            ("7 8", "EINVAL"),
            ("1.5", "EINVAL"),
            ("4095:1 300", "ENODEV"),
        ])
        .loose(&["\n", "0x10"])
        .undocumented()
        .promises(&[R044, R047]),
    Row::new("io.latency", (5, 10))
        .needs(Needs::Symbol("iolatency_set_limit", "CONFIG_BLK_CGROUP_IOLATENCY"))
        .writable()
        .default("")
        .refuses(&[
            ("75000", "EINVAL"),
            ("target=75000", "EINVAL"),
            ("4095:1 target=75000", "ENODEV"),
        ])
        .promises(&[R129]),
    Row::new("io.prio.class", (5, 14))
        .needs(Needs::Symbol("ioprio_set_prio_policy", "CONFIG_BLK_CGROUP_IOPRIO"))
        .writable()
        .default("no-change")
        .accepts(&[("idle", Some("idle")), ("no-change", Some("no-change"))])
        .refuses(&[("0", "EINVAL"), ("best", "EINVAL")])
        .promises(&[R131]),
    Row::new("io.cost.qos", (5, 10))
        .only_root()
        .needs(Needs::Sibling("io.weight", COST))
        .writable()
        .promises(&[R124]),
    Row::new("io.cost.model", (5, 10))
        .only_root()
        .needs(Needs::Sibling("io.weight", COST))
        .writable()
        .promises(&[R124]),
];
