//! A Btrfs on one device with everything once: sectors of 4 KiB, nodes of 16
//! KiB, each of its trees one leaf. include/uapi/linux/btrfs_tree.h and
//! fs/btrfs/accessors.h give the places; all numbers have the low byte first.

use super::{Piece, UUID, crc32c, put};

const SECTOR: u32 = 4096;
const NODE: usize = 16384;
const SUPER: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
/// Bytes of a stripe, however many devices there are.
const STRIPE: u64 = 64 << 10;
/// The only generation.
const BORN: u64 = 1;
/// Sums of every block, references of every kind, large nodes, long lists of
/// names, short items for tree blocks, no items for holes.
const FEATURES: u64 = 0x1 | 0x20 | 0x40 | 0x100 | 0x200;
const FOLDER: u32 = 0o40777;

/// A piece of the device that is given out: at the same address as on the device.
struct Chunk {
    kind: u64,
    at: u64,
    bytes: u64,
    /// Bytes of it that are used.
    used: u64,
}

/// The trees, by their objects' numbers, in the order of their leaves.
const CHUNKS: u64 = 3;
const ROOTS: u64 = 1;
const EXTENTS: u64 = 2;
const DEVICES: u64 = 4;
const FILES: u64 = 5;
const SUMS: u64 = 7;
/// Data on its way from one place to another; -9.
const RELOCATION: u64 = u64::MAX - 8;
/// Those with an item among the roots.
const ROOTED: [u64; 5] = [EXTENTS, DEVICES, FILES, SUMS, RELOCATION];

/// Where the leaf of a tree is.
fn leaf_at(tree: u64) -> u64 {
    match ROOTED.iter().position(|it| *it == tree) {
        _ if tree == CHUNKS => MIB,
        None => 5 * MIB,
        Some(place) => 5 * MIB + (place as u64 + 1) * NODE as u64,
    }
}

fn chunks(bytes: u64) -> [Chunk; 3] {
    const DATA: u64 = 1;
    const SYSTEM: u64 = 2;
    const METADATA: u64 = 4;
    let leaves = ROOTED.len() as u64 + 1;
    // What is left at the end may become chunks of any kind.
    let data = (bytes - 21 * MIB) / STRIPE * STRIPE / 2;
    [
        Chunk { kind: SYSTEM, at: MIB, bytes: 4 * MIB, used: NODE as u64 },
        Chunk { kind: METADATA, at: 5 * MIB, bytes: 16 * MIB, used: leaves * NODE as u64 },
        Chunk { kind: DATA, at: 21 * MIB, bytes: data, used: 0 },
    ]
}

/// Everything on it that is not zero.
pub(super) fn pieces(bytes: u64) -> Vec<Piece> {
    let chunks = chunks(bytes);
    let device = device(bytes, &chunks);
    let mut of_chunks = vec![item(1, 216, 1, &device)];
    of_chunks.extend(chunks.iter().map(|it| item(256, 228, it.at, &chunk(it))));
    let mut of_extents = Vec::new();
    for tree in [CHUNKS, ROOTS].into_iter().chain(ROOTED) {
        of_extents.push(item(leaf_at(tree), 169, 0, &extent(tree)));
    }
    of_extents.extend(chunks.iter().map(|it| item(it.at, 192, it.bytes, &block_group(it))));
    of_extents.sort_by_key(|it| it.key);
    let of_devices = chunks.iter().map(|it| item(1, 204, it.at, &device_extent(it)));
    let folder = [item(256, 1, 0, &inode(0)), item(256, 12, 256, &name_of_root())];
    let of_roots = ROOTED.iter().map(|it| item(*it, 132, 0, &root(*it)));
    let leaves = [
        leaf(CHUNKS, &of_chunks),
        leaf(ROOTS, &of_roots.collect::<Vec<_>>()),
        leaf(EXTENTS, &of_extents),
        leaf(DEVICES, &of_devices.collect::<Vec<_>>()),
        leaf(FILES, &folder),
        leaf(SUMS, &[]),
        leaf(RELOCATION, &folder),
    ];
    let mut pieces = vec![Piece { at: SUPER, bytes: superblock(bytes, &chunks, &device) }];
    pieces.extend(leaves);
    pieces
}

/// Numbers of 64 bits one after the other.
fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|it| it.to_le_bytes()).collect()
}

/// `bytes` with the sum of all that follows it at its place.
fn summed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes[32..]);
    put(&mut bytes, 0, sum);
    bytes
}

/// An item of a leaf: object, kind and offset, which order the leaf, and what it holds.
struct Item {
    key: (u64, u8, u64),
    holds: Vec<u8>,
}

fn item(object: u64, kind: u8, offset: u64, holds: &[u8]) -> Item {
    Item { key: (object, kind, offset), holds: holds.to_vec() }
}

fn key((object, kind, offset): (u64, u8, u64)) -> Vec<u8> {
    [&object.to_le_bytes()[..], &[kind], &offset.to_le_bytes()].concat()
}

/// The only leaf of a tree: items from its head on, what they hold from its end.
fn leaf(tree: u64, items: &[Item]) -> Piece {
    const HEAD: usize = 101;
    const WRITTEN: u64 = 1;
    const MIXED_REFERENCES: u64 = 1 << 56;
    let mut it = vec![0; NODE];
    put(&mut it, 32, UUID);
    put(&mut it, 48, words(&[leaf_at(tree), WRITTEN | MIXED_REFERENCES]));
    put(&mut it, 64, UUID);
    put(&mut it, 80, words(&[BORN, tree]));
    put(&mut it, 96, (items.len() as u32).to_le_bytes());
    let mut end = NODE;
    for (item, at) in items.iter().zip((HEAD..).step_by(25)) {
        end -= item.holds.len();
        put(&mut it, end, &item.holds);
        put(&mut it, at, key(item.key));
        put(&mut it, at + 17, ((end - HEAD) as u32).to_le_bytes());
        put(&mut it, at + 21, (item.holds.len() as u32).to_le_bytes());
    }
    Piece { at: leaf_at(tree), bytes: summed(it) }
}

fn superblock(bytes: u64, chunks: &[Chunk], device: &[u8]) -> Vec<u8> {
    let mut it = vec![0; 4096];
    put(&mut it, 32, UUID);
    put(&mut it, 48, words(&[SUPER, 1]));
    put(&mut it, 64, b"_BHRfS_M");
    put(&mut it, 72, words(&[BORN, leaf_at(ROOTS), leaf_at(CHUNKS)]));
    let used = chunks.iter().map(|it| it.used).sum();
    // Bytes, those used, the folder of the roots, devices.
    put(&mut it, 112, words(&[bytes, used, 6, 1]));
    // The system's chunks are repeated here, for the others are found by them.
    let first = [key((256, 228, chunks[0].at)), chunk(&chunks[0])].concat();
    for (value, at) in [SECTOR, NODE as u32, NODE as u32, SECTOR, first.len() as u32]
        .iter()
        .zip((144..).step_by(4))
    {
        put(&mut it, at, value.to_le_bytes());
    }
    put(&mut it, 164, words(&[BORN, 0, 0, FEATURES]));
    put(&mut it, 201, device);
    put(&mut it, 811, first);
    summed(it)
}

/// `btrfs_dev_item`.
fn device(bytes: u64, chunks: &[Chunk]) -> Vec<u8> {
    let mut it = words(&[1, bytes, chunks.iter().map(|it| it.bytes).sum()]);
    it.extend([SECTOR; 3].iter().flat_map(|it| it.to_le_bytes()));
    it.extend(words(&[0, 0, 0]));
    it.extend([0; 6]); // group and speed
    it.extend(UUID);
    it.extend(UUID);
    it
}

/// `btrfs_chunk` with one stripe.
fn chunk(chunk: &Chunk) -> Vec<u8> {
    let mut it = words(&[chunk.bytes, EXTENTS, STRIPE, chunk.kind]);
    it.extend([STRIPE as u32, STRIPE as u32, SECTOR].iter().flat_map(|it| it.to_le_bytes()));
    it.extend([1, 0, 1, 0]); // stripes, and those within
    it.extend(words(&[1, chunk.at]));
    it.extend(UUID);
    it
}

/// `btrfs_dev_extent`.
fn device_extent(chunk: &Chunk) -> Vec<u8> {
    [&words(&[CHUNKS, 256, chunk.at, chunk.bytes])[..], &UUID].concat()
}

/// `btrfs_block_group_item`.
fn block_group(chunk: &Chunk) -> Vec<u8> {
    words(&[chunk.used, 256, chunk.kind])
}

/// `btrfs_extent_item` of a tree's leaf, with its only reference.
fn extent(tree: u64) -> Vec<u8> {
    const TREE_BLOCK: u64 = 2;
    [&words(&[1, BORN, TREE_BLOCK])[..], &[176], &tree.to_le_bytes()].concat()
}

/// `btrfs_inode_item` of a folder of so many bytes.
fn inode(bytes: u64) -> Vec<u8> {
    let mut it = words(&[BORN, BORN, bytes, bytes, 0]);
    it.extend([1, 0, 0, FOLDER].iter().flat_map(|it| it.to_le_bytes()));
    it.resize(160, 0);
    it
}

/// `btrfs_inode_ref` of a root, which is its own parent.
fn name_of_root() -> Vec<u8> {
    [&0_u64.to_le_bytes()[..], &2_u16.to_le_bytes(), b".."].concat()
}

/// `btrfs_root_item`.
fn root(tree: u64) -> Vec<u8> {
    let mut it = inode(NODE as u64);
    let of_files = tree == FILES || tree == RELOCATION;
    let folder = if of_files { 256 } else { 0 };
    it.extend(words(&[BORN, folder, leaf_at(tree), 0, NODE as u64, 0, 0]));
    it.extend(1_u32.to_le_bytes()); // references
    it.resize(it.len() + 19, 0); // how far its end has come, its height
    it.extend(words(&[BORN]));
    it.resize(439, 0);
    it
}
