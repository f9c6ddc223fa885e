//! The files of the smaller controllers: PIDs, cpusets, huge pages, misc, RDMA
//! and device memory.

use cgauge_lab::prelude::*;

use crate::row::{Needs, Row, key};

pub const PIDS: &[Row] = &[
    Row::new("pids.max", (5, 10))
        .writable()
        .default("max")
        .accepts(&[
            ("0", Some("0")),
            ("1", Some("1")),
            // PID_MAX_LIMIT of a 64-bit kernel.
            ("4194304", Some("4194304")),
            ("max", Some("max")),
            (" 7\n", Some("7")),
        ])
        .refuses(&[
            ("-1", "EINVAL"),
            ("4194305", "EINVAL"),
            ("many", "EINVAL"),
            ("maximum", "EINVAL"),
            ("1.5", "EINVAL"),
            ("7 8", "EINVAL"),
            ("\n", "EINVAL"),
            ("18446744073709551616", "ERANGE"),
        ])
        .promises(&[R045]),
    Row::new("pids.current", (5, 10)).default("0").promises(&[R135]),
    Row::new("pids.peak", (6, 1)).default("0").promises(&[R136]),
    Row::new("pids.events", (5, 10))
        .default("max 0")
        .keys(&[key("max")])
        .starts_at_zero()
        .promises(&[R137]),
    Row::new("pids.events.local", (6, 11))
        .default("max 0")
        .keys(&[key("max")])
        .starts_at_zero()
        .promises(&[R138]),
];

const SET: &[(&str, Option<&str>)] =
    &[("0", Some("0")), ("\n", Some("")), ("0-0", Some("0")), ("0,0\n", Some("0"))];
const NO_SET: &[(&str, &str)] = &[
    ("x", "EINVAL"),
    ("-1", "EINVAL"),
    ("1-0", "EINVAL"),
    ("0x0", "EINVAL"),
    ("1.5", "EINVAL"),
    // More than any kernel is built for.
    ("100000", "ERANGE"),
    ("18446744073709551616", "EOVERFLOW"),
];

pub const CPUSET: &[Row] = &[
    Row::new("cpuset.cpus", (5, 10))
        .writable()
        .default("")
        .accepts(SET)
        .refuses(NO_SET)
        .promises(&[R139]),
    Row::new("cpuset.cpus.effective", (5, 10)).root((5, 10)).promises(&[R139]),
    Row::new("cpuset.mems", (5, 10))
        .writable()
        .default("")
        .accepts(SET)
        .refuses(NO_SET)
        .promises(&[R142]),
    Row::new("cpuset.mems.effective", (5, 10)).root((5, 10)).promises(&[R142]),
    Row::new("cpuset.cpus.exclusive", (6, 7))
        .writable()
        .default("")
        .accepts(SET)
        .refuses(NO_SET)
        .promises(&[R143]),
    Row::new("cpuset.cpus.exclusive.effective", (6, 7)).default("").promises(&[R143]),
    Row::new("cpuset.cpus.isolated", (6, 7)).only_root().promises(&[R146]),
    Row::new("cpuset.cpus.partition", (5, 10))
        .writable()
        .default("member")
        .accepts(&[("member", Some("member")), ("member\n", Some("member"))])
        .refuses(&[
            ("1", "EINVAL"),
            ("roots", "EINVAL"),
            ("max", "EINVAL"),
            ("root invalid", "EINVAL"),
            ("\n", "EINVAL"),
        ])
        .promises(&[R144]),
];

const NO_PAGES: &[(&str, &str)] = &[
    ("-1", "EINVAL"),
    ("many", "EINVAL"),
    ("maximum", "EINVAL"),
    ("1.5", "EINVAL"),
    ("7 8", "EINVAL"),
];
const LOOSE_PAGES: &[&str] = &["\n", "18446744073709551615", "18446744073709551616"];

/// The files of huge pages of one size.
macro_rules! huge_pages {
    ($size:literal, $folder:literal, $accepts:expr) => {{
        const NEEDS: Needs =
            Needs::Path(concat!("/sys/kernel/mm/hugepages/", $folder), "CONFIG_HUGETLB_PAGE");
        const LIMIT: Row = Row::new("", (5, 10))
            .needs(NEEDS)
            .writable()
            .default("max")
            .accepts($accepts)
            .refuses(NO_PAGES)
            .loose(LOOSE_PAGES)
            .promises(&[R045]);
        const EVENTS: Row = Row::new("", (5, 10))
            .needs(NEEDS)
            .default("max 0")
            .keys(&[key("max")])
            .starts_at_zero()
            .promises(&[R151]);
        const USED: Row = Row::new("", (5, 10)).needs(NEEDS).default("0").promises(&[R150]);
        [
            Row { file: concat!("hugetlb.", $size, ".max"), ..LIMIT },
            Row { file: concat!("hugetlb.", $size, ".rsvd.max"), ..LIMIT }.undocumented(),
            Row { file: concat!("hugetlb.", $size, ".current"), ..USED },
            Row { file: concat!("hugetlb.", $size, ".rsvd.current"), ..USED }.undocumented(),
            Row { file: concat!("hugetlb.", $size, ".events"), ..EVENTS },
            Row { file: concat!("hugetlb.", $size, ".events.local"), ..EVENTS },
            Row { file: concat!("hugetlb.", $size, ".numa_stat"), ..Row::new("", (5, 17)) }
                .needs(NEEDS)
                .promises(&[R151]),
        ]
    }};
}

const OF_2MB: [Row; 7] = huge_pages!(
    "2MB",
    "hugepages-2048kB",
    &[
        ("0", Some("0")),
        ("2097151", Some("0")),
        ("2M", Some("2097152")),
        ("4194303", Some("2097152")),
        ("1G", Some("1073741824")),
        ("max", Some("max")),
        (" 6291456\n", Some("6291456")),
    ]
);
const OF_1GB: [Row; 7] = huge_pages!(
    "1GB",
    "hugepages-1048576kB",
    &[
        ("0", Some("0")),
        ("1073741823", Some("0")),
        ("1G", Some("1073741824")),
        ("2147483647", Some("1073741824")),
        ("max", Some("max")),
    ]
);
const OF_BOTH: [Row; 14] = {
    let mut rows = [OF_2MB[0]; 14];
    let mut at = 0;
    while at < 7 {
        rows[at] = OF_2MB[at];
        rows[at + 7] = OF_1GB[at];
        at += 1;
    }
    rows
};
pub const HUGETLB: &[Row] = &OF_BOTH;

pub const MISC: &[Row] = &[
    Row::new("misc.capacity", (5, 13)).only_root().promises(&[R152]),
    Row::new("misc.current", (5, 13)).root((6, 11)).promises(&[R152]),
    Row::new("misc.peak", (6, 11)).root((6, 11)).promises(&[R152]),
    Row::new("misc.max", (5, 13))
        .writable()
        .refuses(&[
            ("max", "EINVAL"),
            ("1", "EINVAL"),
            ("nosuch 1", "EINVAL"),
            ("nosuch max", "EINVAL"),
            ("\n", "EINVAL"),
        ])
        .promises(&[R152]),
    Row::new("misc.events", (5, 16)).promises(&[R152]),
    Row::new("misc.events.local", (6, 11)).promises(&[R152]),
];

pub const RDMA: &[Row] = &[
    Row::new("rdma.max", (5, 10))
        .writable()
        .refuses(&[
            ("nosuch hca_handle=2", "ENODEV"),
            ("nosuch hca_handle=max hca_object=max", "ENODEV"),
            ("nosuch hca_handle", "EINVAL"),
            ("nosuch hca_handle=-1", "EINVAL"),
            ("nosuch hca_thing=2", "EINVAL"),
            ("\n", "ENODEV"),
        ])
        .promises(&[R149]),
    Row::new("rdma.current", (5, 10)).promises(&[R149]),
    Row::new("rdma.peak", (7, 2)).promises(&[R149]),
    Row::new("rdma.events", (7, 2)).promises(&[R149]),
    Row::new("rdma.events.local", (7, 2)).promises(&[R149]),
];

/// Since 6.14, with a driver that hands out memory of its device.
pub const DMEM: &[Row] = &[
    Row::new("dmem.capacity", (6, 14)).only_root(),
    Row::new("dmem.current", (6, 14)),
    Row::new("dmem.min", (6, 14)).writable(),
    Row::new("dmem.low", (6, 14)).writable(),
    Row::new("dmem.max", (6, 14)).writable(),
];
