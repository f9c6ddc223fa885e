//! Memory nodes for a machine that has none to offer: an ACPI SRAT that the
//! kernel takes from the front of its initramfs.
//!
//! microvm has no table of nodes, and Debian's kernels are built without
//! `CONFIG_NUMA_EMU`, so that `numa=fake=` means nothing to them. All have
//! `CONFIG_ACPI_TABLE_UPGRADE` (Documentation/admin-guide/acpi/initrd_table_override.rst).
//! It knows nothing of suites.

use crate::initramfs::{Initramfs, InitramfsError, Mode};

/// Where the kernel looks for tables, in an archive that is not packed.
const PLACE: &str = "/kernel/firmware/acpi/srat.aml";
/// An entry counts.
const ENABLED: u32 = 1;

/// An archive to put before the initramfs: it shares out memory evenly among
/// `nodes` nodes.
///
/// Every processor is on the first: QEMU gives them all one cache, and a kernel
/// that finds a cache on two nodes complains (`topology_sane`).
///
/// # Errors
/// None in practice: the one path in it is sound.
pub fn node_table(cpus: u32, memory_bytes: u64, nodes: u32) -> Result<Vec<u8>, InitramfsError> {
    Initramfs::new().file(PLACE, srat(cpus, memory_bytes, nodes), Mode::DATA).finish()
}

/// The System Resource Affinity Table (ACPI 6.5, 5.2.16).
fn srat(cpus: u32, memory_bytes: u64, nodes: u32) -> Vec<u8> {
    let mut body = Vec::new();
    // Reserved, by ACPI's own account: 1, and eight bytes of 0.
    body.extend(1_u32.to_le_bytes());
    body.extend([0; 8]);
    // Whole megabytes: the kernel's memory blocks need no finer border.
    let share = ((memory_bytes >> 20) / u64::from(nodes)) << 20;
    for node in 0..nodes {
        let base = share * u64::from(node);
        let length = if node + 1 == nodes { memory_bytes - base } else { share };
        // 5.2.16.2, memory affinity.
        body.extend([1, 40]);
        body.extend(node.to_le_bytes());
        body.extend([0; 2]);
        body.extend(base.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend([0; 4]);
        body.extend(ENABLED.to_le_bytes());
        body.extend([0; 8]);
    }
    for cpu in 0..cpus {
        // 5.2.16.3, x2APIC affinity.
        body.extend([2, 24, 0, 0]);
        body.extend(0_u32.to_le_bytes());
        body.extend(cpu.to_le_bytes());
        body.extend(ENABLED.to_le_bytes());
        body.extend([0; 8]);
    }

    let mut table = Vec::from(*b"SRAT");
    table.extend(u32::try_from(36 + body.len()).unwrap_or(u32::MAX).to_le_bytes());
    // Revision 3, and the checksum, which follows below.
    table.extend([3, 0]);
    table.extend(b"CGAUGENODES   ");
    table.extend(1_u32.to_le_bytes());
    table.extend(b"CGAU");
    table.extend(1_u32.to_le_bytes());
    table.extend(body);
    let sum = table.iter().fold(0_u8, |sum, it| sum.wrapping_add(*it));
    table[9] = sum.wrapping_neg();
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound_and_shares_out_everything() {
        let table = srat(8, 512 << 20, 2);
        assert_eq!(table.len(), 36 + 12 + 2 * 40 + 8 * 24);
        assert_eq!(u32::from_le_bytes(table[4..8].try_into().unwrap()) as usize, table.len());
        assert_eq!(table.iter().fold(0_u8, |sum, it| sum.wrapping_add(*it)), 0);
        // The second node's memory begins where the first's ends.
        let second = &table[48 + 40..48 + 80];
        assert_eq!(second[2..6], 1_u32.to_le_bytes());
        assert_eq!(second[8..16], (256_u64 << 20).to_le_bytes());
        assert_eq!(second[16..24], (256_u64 << 20).to_le_bytes());
        let last = &table[table.len() - 24..];
        assert_eq!((last[4], last[8]), (0, 7));
    }

    #[test]
    fn an_odd_share_leaves_no_memory_out() {
        let table = srat(1, 100 << 20, 3);
        let length = |node: usize| {
            let entry = 48 + node * 40;
            u64::from_le_bytes(table[entry + 16..entry + 24].try_into().unwrap())
        };
        assert_eq!(length(0) + length(1) + length(2), 100 << 20);
    }
}
