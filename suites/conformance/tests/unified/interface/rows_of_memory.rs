//! The files of the memory controller (cgroup-v2.rst, "Memory Interface Files").

use cgauge_lab::prelude::*;

use crate::row::{Key, Needs, Row, key, key_since};

const SWAP: Needs = Needs::Path("/proc/swaps", "CONFIG_SWAP");
const ZSWAP: Needs = Needs::Path("/sys/module/zswap", "CONFIG_ZSWAP");
const THP: Needs =
    Needs::Path("/sys/kernel/mm/transparent_hugepage", "CONFIG_TRANSPARENT_HUGEPAGE");
const BALANCING: Needs = Needs::Path("/proc/sys/kernel/numa_balancing", "CONFIG_NUMA_BALANCING");
const NUMA: Needs = Needs::Path("/sys/devices/system/node/node0", "CONFIG_NUMA");

/// Bytes, kept in whole pages. The document has what is no whole page "rounded
/// up"; every kernel cuts it off.
const BYTES: &[(&str, Option<&str>)] = &[
    ("0", Some("0")),
    ("4095", Some("0")),
    ("4096", Some("4096")),
    ("4097", Some("4096")),
    ("8191", Some("4096")),
    ("10000", Some("8192")),
    ("64K", Some("65536")),
    ("3M", Some("3145728")),
    ("1g", Some("1073741824")),
    ("max", Some("max")),
    (" 1048576\n", Some("1048576")),
];
const NO_BYTES: &[(&str, &str)] = &[
    ("-1", "EINVAL"),
    ("many", "EINVAL"),
    ("maximum", "EINVAL"),
    ("1.5", "EINVAL"),
    ("7 8", "EINVAL"),
    ("4096 max", "EINVAL"),
];
/// What the parser of sizes makes of nothing and of too much.
const LOOSE_BYTES: &[&str] = &["\n", "0x10000", "18446744073709551615", "18446744073709551616"];

const fn bytes(file: &'static str, since: (u32, u32), default: &'static str) -> Row {
    Row::new(file, since)
        .writable()
        .default(default)
        .accepts(BYTES)
        .refuses(NO_BYTES)
        .loose(LOOSE_BYTES)
        .promises(&[R045, R082])
}

const fn flag(file: &'static str, since: (u32, u32), default: &'static str) -> Row {
    Row::new(file, since)
        .writable()
        .default(default)
        .accepts(&[("1", Some("1")), ("0", Some("0")), ("1\n", Some("1")), ("0\n", Some("0"))])
        .refuses(&[
            ("2", "EINVAL"),
            ("-1", "EINVAL"),
            ("max", "EINVAL"),
            ("1 1", "EINVAL"),
            ("\n", "EINVAL"),
            ("18446744073709551616", "ERANGE"),
        ])
}

const EVENTS: &[Key] = &[
    key("low"),
    key("high"),
    key("max"),
    key("oom"),
    key("oom_kill"),
    key_since("oom_group_kill", (5, 17)),
    key_since("sock_throttled", (7, 2)),
];

pub const MEMORY: &[Row] = &[
    Row::new("memory.current", (5, 10)).default("0").promises(&[R083]),
    bytes("memory.min", (5, 10), "0"),
    bytes("memory.low", (5, 10), "0"),
    bytes("memory.high", (5, 10), "max"),
    bytes("memory.max", (5, 10), "max"),
    Row::new("memory.reclaim", (5, 19))
        .root((5, 19))
        .write_only()
        // Nothing is asked for, so nothing is missing.
        .accepts(&[("0", None), ("0K", None)])
        .refuses(&[("-1", "EINVAL"), ("many", "EINVAL"), ("7 8", "EINVAL"), ("1M", "EAGAIN")])
        .loose(&["\n", "max", "18446744073709551616", "1M swappiness=60"])
        .delegated()
        .promises(&[R042, R094]),
    Row::new("memory.peak", (5, 19)).writable_since((6, 12)).promises(&[R097]),
    flag("memory.oom.group", (5, 10), "0").delegated().promises(&[R042, R098]),
    Row::new("memory.events", (5, 10)).keys(EVENTS).starts_at_zero().promises(&[R101]),
    Row::new("memory.events.local", (5, 10)).keys(EVENTS).starts_at_zero().promises(&[R102]),
    Row::new("memory.stat", (5, 10)).root((5, 10)).keys(STAT).promises(&[R107]),
    Row::new("memory.numa_stat", (5, 10))
        .root((5, 10))
        .needs(NUMA)
        .keys(NUMA_STAT)
        .promises(&[R108]),
    Row::new("memory.swap.current", (5, 10)).needs(SWAP).default("0").promises(&[R109]),
    bytes("memory.swap.high", (5, 10), "max").needs(SWAP),
    bytes("memory.swap.max", (5, 10), "max").needs(SWAP),
    Row::new("memory.swap.peak", (6, 5))
        .writable_since((6, 12))
        .needs(SWAP)
        .default("0")
        .promises(&[R097]),
    Row::new("memory.swap.events", (5, 10))
        .needs(SWAP)
        .default("high 0\nmax 0\nfail 0")
        .keys(&[key("high"), key("max"), key("fail")])
        .starts_at_zero()
        .promises(&[R111]),
    Row::new("memory.zswap.current", (5, 19)).needs(ZSWAP).default("0").promises(&[R112]),
    bytes("memory.zswap.max", (5, 19), "max").needs(ZSWAP),
    flag("memory.zswap.writeback", (6, 8), "1").root((6, 8)).needs(ZSWAP).promises(&[R112]),
];

const STAT: &[Key] = &[
    key("anon"),
    key("file"),
    key_since("kernel", (5, 18)),
    key("kernel_stack"),
    key_since("pagetables", (5, 11)),
    key_since("sec_pagetables", (6, 1)),
    key("percpu"),
    key("sock"),
    key_since("vmalloc", (5, 18)),
    key("shmem"),
    key_since("zswap", (5, 19)).needs(ZSWAP),
    key_since("zswapped", (5, 19)).needs(ZSWAP),
    key_since("zswap_incomp", (7, 2)).needs(ZSWAP),
    key("file_mapped"),
    key("file_dirty"),
    key("file_writeback"),
    key_since("swapcached", (5, 12)).needs(SWAP),
    key("anon_thp").needs(THP),
    key_since("file_thp", (5, 11)).needs(THP),
    key_since("shmem_thp", (5, 11)).needs(THP),
    key("inactive_anon"),
    key("active_anon"),
    key("inactive_file"),
    key("active_file"),
    key("unevictable"),
    key("slab_reclaimable"),
    key("slab_unreclaimable"),
    key("slab"),
    key("workingset_refault_anon"),
    key("workingset_refault_file"),
    key("workingset_activate_anon"),
    key("workingset_activate_file"),
    key("workingset_restore_anon"),
    key("workingset_restore_file"),
    key("workingset_nodereclaim"),
    key_since("pgdemote_kswapd", (6, 12)),
    key_since("pgdemote_direct", (6, 12)),
    key_since("pgdemote_khugepaged", (6, 12)),
    key_since("pgdemote_proactive", (7, 2)),
    key_since("pgpromote_success", (6, 12)).needs(BALANCING),
    key("pgscan"),
    key("pgsteal"),
    key_since("pgscan_kswapd", (6, 1)),
    key_since("pgscan_direct", (6, 1)),
    key_since("pgscan_khugepaged", (6, 12)),
    key_since("pgscan_proactive", (7, 2)),
    key_since("pgsteal_kswapd", (6, 1)),
    key_since("pgsteal_direct", (6, 1)),
    key_since("pgsteal_khugepaged", (6, 12)),
    key_since("pgsteal_proactive", (7, 2)),
    key_since("pswpin", (7, 2)).needs(SWAP),
    key_since("pswpout", (7, 2)).needs(SWAP),
    key("pgfault"),
    key("pgmajfault"),
    key("pgrefill"),
    key("pgactivate"),
    key("pgdeactivate"),
    key("pglazyfree"),
    key("pglazyfreed"),
    key_since("swpin_zero", (6, 12)).needs(SWAP),
    key_since("swpout_zero", (6, 12)).needs(SWAP),
    key_since("zswpin", (6, 1)).needs(ZSWAP),
    key_since("zswpout", (6, 1)).needs(ZSWAP),
    key_since("zswpwb", (6, 8)).needs(ZSWAP),
    key("thp_fault_alloc").needs(THP),
    key("thp_collapse_alloc").needs(THP),
    key_since("thp_swpout", (6, 12)).needs(THP),
    key_since("thp_swpout_fallback", (6, 12)).needs(THP),
    key_since("numa_pages_migrated", (6, 12)).needs(BALANCING),
    key_since("numa_pte_updates", (6, 12)).needs(BALANCING),
    key_since("numa_hint_faults", (6, 12)).needs(BALANCING),
];

const NUMA_STAT: &[Key] = &[
    key("anon"),
    key("file"),
    key("kernel_stack"),
    key_since("pagetables", (5, 11)),
    key_since("sec_pagetables", (6, 1)),
    key("shmem"),
    key("file_mapped"),
    key("file_dirty"),
    key("file_writeback"),
    key_since("swapcached", (5, 12)).needs(SWAP),
    key("anon_thp").needs(THP),
    key_since("file_thp", (5, 11)).needs(THP),
    key_since("shmem_thp", (5, 11)).needs(THP),
    key("inactive_anon"),
    key("active_anon"),
    key("inactive_file"),
    key("active_file"),
    key("unevictable"),
    key("slab_reclaimable"),
    key("slab_unreclaimable"),
    key("workingset_refault_anon"),
    key("workingset_refault_file"),
    key("workingset_activate_anon"),
    key("workingset_activate_file"),
    key("workingset_restore_anon"),
    key("workingset_restore_file"),
    key("workingset_nodereclaim"),
    key_since("pgdemote_kswapd", (6, 12)),
    key_since("pgdemote_direct", (6, 12)),
    key_since("pgdemote_khugepaged", (6, 12)),
    key_since("pgpromote_success", (6, 12)).needs(BALANCING),
    key_since("vmalloc", (7, 2)),
    key_since("hugetlb", (7, 2)),
    key_since("pgdemote_proactive", (7, 2)),
    key_since("pgscan_kswapd", (7, 2)),
    key_since("pgscan_direct", (7, 2)),
    key_since("pgscan_khugepaged", (7, 2)),
    key_since("pgscan_proactive", (7, 2)),
    key_since("pgsteal_kswapd", (7, 2)),
    key_since("pgsteal_direct", (7, 2)),
    key_since("pgsteal_khugepaged", (7, 2)),
    key_since("pgsteal_proactive", (7, 2)),
    key_since("pgrefill", (7, 2)),
];
