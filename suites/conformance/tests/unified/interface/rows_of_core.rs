//! The files that every group has, and those of pressure (cgroup-v2.rst, "Core
//! Interface Files").

use cgauge_lab::prelude::*;

use crate::row::{Key, Needs, Row, key, key_since};

pub const CORE: &[Row] = &[
    Row::new("cgroup.type", (5, 10))
        .writable()
        .default("domain")
        .accepts(&[("threaded", Some("threaded"))])
        .refuses(&[("domain", "EINVAL"), ("threads", "EINVAL"), ("1", "EINVAL")])
        .promises(&[R021]),
    Row::new("cgroup.procs", (5, 10))
        .root((5, 10))
        .writable()
        .default("")
        .refuses(&[
            ("-1", "EINVAL"),
            ("many", "EINVAL"),
            ("1 2", "EINVAL"),
            ("1.5", "EINVAL"),
            // PID_MAX_LIMIT of a 64-bit kernel: the first number that no process has.
            ("4194304", "ESRCH"),
        ])
        .delegated()
        .promises(&[R010, R042]),
    Row::new("cgroup.threads", (5, 10))
        .root((5, 10))
        .writable()
        .default("")
        .refuses(&[("-1", "EINVAL"), ("many", "EINVAL"), ("1 2", "EINVAL"), ("4194304", "ESRCH")])
        .delegated()
        .promises(&[R042]),
    Row::new("cgroup.controllers", (5, 10)).root((5, 10)).promises(&[R002]),
    Row::new("cgroup.subtree_control", (5, 10))
        .root((5, 10))
        .writable()
        .default("")
        .accepts(&[
            ("+pids", Some("pids")),
            ("+cpu", Some("cpu pids")),
            ("-pids +pids", Some("cpu pids")),
            ("-cpu -pids", Some("")),
            (" +pids  +cpu ", Some("cpu pids")),
            ("-pids", Some("cpu")),
        ])
        .refuses(&[
            ("cpu", "EINVAL"),
            ("+nosuch", "EINVAL"),
            ("-nosuch", "EINVAL"),
            ("+pids +nosuch", "EINVAL"),
            ("+", "EINVAL"),
            ("*", "EINVAL"),
        ])
        .delegated()
        .promises(&[R032, R033, R034, R042]),
    Row::new("cgroup.events", (5, 10))
        .default("populated 0\nfrozen 0")
        .keys(&[key("populated"), key("frozen")])
        .starts_at_zero()
        .promises(&[R029, R054]),
    Row::new("cgroup.max.descendants", (5, 10))
        .root((5, 10))
        .writable()
        .default("max")
        .accepts(LIMIT_OF_GROUPS)
        .refuses(NO_LIMIT_OF_GROUPS)
        .promises(&[R045, R049]),
    Row::new("cgroup.max.depth", (5, 10))
        .root((5, 10))
        .writable()
        .default("max")
        .accepts(LIMIT_OF_GROUPS)
        .refuses(NO_LIMIT_OF_GROUPS)
        .promises(&[R045, R050]),
    Row::new("cgroup.stat", (5, 10))
        .root((5, 10))
        .keys(&[
            key("nr_descendants"),
            key("nr_dying_descendants"),
            key_since("nr_subsys_cpu", (6, 12)),
            key_since("nr_dying_subsys_cpu", (6, 12)),
            key_since("nr_subsys_memory", (6, 12)),
            key_since("nr_dying_subsys_memory", (6, 12)),
            key_since("nr_subsys_pids", (6, 12)),
            key_since("nr_dying_subsys_pids", (6, 12)),
        ])
        .promises(&[R051, R052, R053]),
    Row::new("cgroup.stat.local", (6, 18))
        .default("frozen_usec 0")
        .keys(&[key_since("frozen_usec", (6, 18))])
        .starts_at_zero()
        .promises(&[R055]),
    Row::new("cgroup.freeze", (5, 10))
        .writable()
        .default("0")
        .accepts(&[("1", Some("1")), ("0", Some("0")), ("1\n", Some("1")), ("0\n", Some("0"))])
        .refuses(&[("2", "ERANGE"), ("-1", "ERANGE"), ("max", "EINVAL"), ("1 1", "EINVAL")])
        .promises(&[R058]),
    Row::new("cgroup.kill", (5, 14))
        .write_only()
        .accepts(&[("1", None)])
        .refuses(&[("0", "ERANGE"), ("2", "ERANGE"), ("-1", "ERANGE"), ("now", "EINVAL")])
        .promises(&[R058]),
    Row::new("cgroup.pressure", (6, 1))
        .root((6, 1))
        .needs(Needs::Path("/proc/pressure/cpu", "CONFIG_PSI"))
        .writable()
        .default("1")
        .accepts(&[("0", Some("0")), ("1", Some("1"))])
        .refuses(&[("2", "ERANGE"), ("-1", "ERANGE"), ("on", "EINVAL")])
        .promises(&[R061]),
];

const LIMIT_OF_GROUPS: &[(&str, Option<&str>)] = &[
    ("0", Some("0")),
    ("1", Some("1")),
    ("2147483646", Some("2147483646")),
    ("max", Some("max")),
    (" 7\n", Some("7")),
];
const NO_LIMIT_OF_GROUPS: &[(&str, &str)] = &[
    ("-1", "ERANGE"),
    ("2147483648", "ERANGE"),
    ("many", "EINVAL"),
    ("maximum", "EINVAL"),
    ("1.5", "EINVAL"),
    ("7 8", "EINVAL"),
    ("\n", "EINVAL"),
];

const PSI: Needs = Needs::Path("/proc/pressure/cpu", "CONFIG_PSI");
const STALLS: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0";
/// A trigger: a stall of so many microseconds in a window of so many. Files do
/// not show it.
const TRIGGERS: &[(&str, Option<&str>)] =
    &[("some 150000 1000000", None), ("full 1 500000", None), ("some 10000000 10000000", None)];
const NO_TRIGGERS: &[(&str, &str)] = &[
    ("0", "EINVAL"),
    ("some", "EINVAL"),
    ("most 150000 1000000", "EINVAL"),
    ("some 0 1000000", "EINVAL"),
    ("some 1000001 1000000", "EINVAL"),
    ("some 150000 10000001", "EINVAL"),
];

const SOME_AND_FULL: &[Key] = &[key("some"), key("full")];

const fn pressure(file: &'static str) -> Row {
    Row::new(file, (5, 10))
        .root((5, 10))
        .needs(PSI)
        .writable()
        .default(STALLS)
        .accepts(TRIGGERS)
        .refuses(NO_TRIGGERS)
        // The least window was 500 ms before 6.4.
        .loose(&["some 150000 499999", "full 1 2"])
        .keys(SOME_AND_FULL)
}

pub const PRESSURE: &[Row] = &[
    Row {
        // 5.10 shows no stall of everybody: no CPU is idle while somebody wants one.
        default: None,
        keys: &[key("some"), key_since("full", (5, 13))],
        accepts: &[("some 150000 1000000", None), ("some 10000000 10000000", None)],
        ..pressure("cpu.pressure")
    }
    .promises(&[R081]),
    pressure("memory.pressure").promises(&[R113]),
    pressure("io.pressure").promises(&[R126]),
    Row {
        in_groups: Some((6, 1)),
        in_root: Some((6, 1)),
        needs: Needs::Path("/proc/pressure/irq", "CONFIG_IRQ_TIME_ACCOUNTING"),
        default: Some("full avg10=0.00 avg60=0.00 avg300=0.00 total=0"),
        keys: &[key_since("full", (6, 1))],
        accepts: &[("full 150000 1000000", None)],
        ..pressure("irq.pressure")
    }
    .promises(&[R062]),
];
