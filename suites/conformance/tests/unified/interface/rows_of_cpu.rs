//! The files of the CPU controller (cgroup-v2.rst, "CPU Interface Files").

use cgauge_lab::prelude::*;

use crate::row::{Needs, Row, key, key_since};

pub const CPU: &[Row] = &[
    Row::new("cpu.stat", (5, 10))
        .root((5, 10))
        .keys(&[
            key("usage_usec"),
            key("user_usec"),
            key("system_usec"),
            key_since("nice_usec", (6, 12)),
            key("nr_periods"),
            key("nr_throttled"),
            key("throttled_usec"),
            key_since("nr_bursts", (6, 1)),
            key_since("burst_usec", (6, 1)),
        ])
        .starts_at_zero()
        .promises(&[R063]),
    Row::new("cpu.stat.local", (6, 6))
        .root((6, 6))
        .default("throttled_usec 0")
        .keys(&[key_since("throttled_usec", (6, 6))])
        .starts_at_zero()
        .undocumented()
        .promises(&[R063]),
    Row::new("cpu.weight", (5, 10))
        .writable()
        .default("100")
        .accepts(&[
            ("1", Some("1")),
            ("2", Some("2")),
            ("99", Some("99")),
            ("101", Some("101")),
            ("9999", Some("9999")),
            ("10000", Some("10000")),
            ("100\n", Some("100")),
        ])
        .refuses(&[
            ("0", "ERANGE"),
            ("10001", "ERANGE"),
            ("-1", "EINVAL"),
            ("max", "EINVAL"),
            ("1.5", "EINVAL"),
            ("7 8", "EINVAL"),
            ("\n", "EINVAL"),
            ("18446744073709551616", "ERANGE"),
        ])
        .promises(&[R044]),
    Row::new("cpu.weight.nice", (5, 10))
        .writable()
        .default("0")
        .accepts(&[("-20", Some("-20")), ("-1", Some("-1")), ("0", Some("0")), ("19", Some("19"))])
        .refuses(&[("-21", "ERANGE"), ("20", "ERANGE"), ("max", "EINVAL"), ("1.5", "EINVAL")])
        .promises(&[R044, R071]),
    Row::new("cpu.max", (5, 10))
        .writable()
        .default("max 100000")
        .accepts(&[
            ("max", Some("max 100000")),
            ("50000", Some("50000 100000")),
            ("150000 200000", Some("150000 200000")),
            ("30000", Some("30000 200000")),
            ("max", Some("max 200000")),
            // The least of both, and the longest period.
            ("1000 1000", Some("1000 1000")),
            ("max 1000000", Some("max 1000000")),
            ("20000 100000\n", Some("20000 100000")),
        ])
        .refuses(&[
            ("0", "EINVAL"),
            ("999", "EINVAL"),
            ("-1", "EINVAL"),
            ("1000 999", "EINVAL"),
            ("max 1000001", "EINVAL"),
            ("max 0", "EINVAL"),
            ("half", "EINVAL"),
            ("maximum", "EINVAL"),
            ("\n", "EINVAL"),
        ])
        .loose(&["max x", "18446744073709551615", "18446744073709551616", "50000 100000 7"])
        .promises(&[R045, R074]),
    Row::new("cpu.max.burst", (5, 14))
        .writable()
        .default("0")
        .accepts(&[("1", Some("1")), ("50000", Some("50000")), ("0\n", Some("0"))])
        .refuses(&[
            ("-1", "EINVAL"),
            ("max", "EINVAL"),
            ("1.5", "EINVAL"),
            ("\n", "EINVAL"),
            ("18446744073709551615", "EINVAL"),
            ("18446744073709551616", "ERANGE"),
        ])
        .promises(&[R077]),
    Row::new("cpu.idle", (5, 15))
        .writable()
        .default("0")
        .accepts(&[("1", Some("1")), ("0", Some("0")), ("1\n", Some("1")), ("0\n", Some("0"))])
        .refuses(&[("2", "EINVAL"), ("-1", "EINVAL"), ("max", "EINVAL"), ("\n", "EINVAL")])
        .promises(&[R070, R079]),
    Row::new("cpu.uclamp.min", (5, 10))
        .needs(UCLAMP)
        .writable()
        // The document says "0".
        .default("0.00")
        .accepts(PERCENT)
        .refuses(NO_PERCENT)
        .loose(&["7 8", "0x10", "1K", "1.005"])
        .promises(&[R080]),
    Row::new("cpu.uclamp.max", (5, 10))
        .needs(UCLAMP)
        .writable()
        .default("max")
        .accepts(PERCENT)
        .refuses(NO_PERCENT)
        .loose(&["7 8", "0x10", "1K", "1.005"])
        .promises(&[R045, R080]),
];

const UCLAMP: Needs = Needs::Symbol("cpu_uclamp_min_write", "CONFIG_UCLAMP_TASK_GROUP");
const PERCENT: &[(&str, Option<&str>)] = &[
    ("0", Some("0.00")),
    ("12.34", Some("12.34")),
    ("1.5", Some("1.50")),
    ("99.9", Some("99.90")),
    ("100", Some("max")),
    ("50\n", Some("50.00")),
    ("max", Some("max")),
];
const NO_PERCENT: &[(&str, &str)] = &[
    ("100.01", "ERANGE"),
    ("101", "ERANGE"),
    ("-1", "ERANGE"),
    ("half", "EINVAL"),
    ("maximum", "EINVAL"),
    ("\n", "EINVAL"),
];
