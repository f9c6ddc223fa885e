//! An XFS, version 5, with one allocation group: blocks of 4 KiB, inodes of 512
//! bytes, a log of zeroes. fs/xfs/libxfs/xfs_format.h gives the places; all
//! numbers but the sums have the high byte first.

use super::{Piece, UUID, crc32c, put};

const BLOCK: u32 = 4096;
const SECTOR: u32 = 512;
const INODE: u32 = 512;
const INODES_A_BLOCK: u32 = BLOCK / INODE;
/// Inodes come in chunks of this many.
const CHUNK: u32 = 64;
/// Roots of the trees: free space by place and by size, inodes.
const BY_PLACE: u32 = 1;
const BY_SIZE: u32 = 2;
const INODE_TREE: u32 = 3;
/// Where the only chunk of inodes is, and the log, in blocks.
const INODES: u32 = 8;
const LOG: u32 = INODES + CHUNK / INODES_A_BLOCK;
/// 16 MiB: more than the largest transaction asks for.
const LOG_BLOCKS: u32 = 4096;
const FREE: u32 = LOG + LOG_BLOCKS;
/// The root folder, and two files for a real-time part that is not there.
const ROOT: u32 = INODES * INODES_A_BLOCK;
const USED_INODES: u32 = 3;
/// No block, no inode.
const NULL: u32 = u32::MAX;

/// Everything on it that is not zero.
pub(super) fn pieces(bytes: u64) -> Vec<Piece> {
    let blocks = u32::try_from(bytes / u64::from(BLOCK)).unwrap_or(NULL);
    let extent = [FREE, blocks - FREE].map(u32::to_be_bytes).concat();
    let chunk = [
        &ROOT.to_be_bytes()[..],
        &(CHUNK - USED_INODES).to_be_bytes(),
        // A bit for each that is free.
        &(u64::MAX << USED_INODES).to_be_bytes(),
    ]
    .concat();
    let mut pieces = vec![
        piece(0, superblock(blocks)),
        piece(SECTOR, free_space(blocks)),
        piece(2 * SECTOR, inode_space(blocks)),
        piece(3 * SECTOR, free_list()),
        piece(BY_PLACE * BLOCK, leaf(b"AB3B", BY_PLACE, &extent)),
        piece(BY_SIZE * BLOCK, leaf(b"AB3C", BY_SIZE, &extent)),
        piece(INODE_TREE * BLOCK, leaf(b"IAB3", INODE_TREE, &chunk)),
    ];
    pieces.extend((0..CHUNK).map(|it| piece(INODES * BLOCK + it * INODE, inode(it))));
    pieces
}

fn piece(at: u32, bytes: Vec<u8>) -> Piece {
    Piece { at: at.into(), bytes }
}

/// Puts 32-bit numbers one after the other.
fn put32s(bytes: &mut [u8], at: usize, values: &[u32]) {
    for (value, place) in values.iter().zip((at..).step_by(4)) {
        put(bytes, place, value.to_be_bytes());
    }
}

fn put64(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, u64::from(value).to_be_bytes());
}

/// `bytes` with their sum at a place of theirs that was zero.
fn summed(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = crc32c(&bytes);
    put(&mut bytes, at, sum);
    bytes
}

fn superblock(blocks: u32) -> Vec<u8> {
    let mut it = vec![0; SECTOR as usize];
    put(&mut it, 0, b"XFSB");
    put32s(&mut it, 4, &[BLOCK]);
    put64(&mut it, 8, blocks);
    put(&mut it, 32, UUID);
    put64(&mut it, 48, LOG);
    put64(&mut it, 56, ROOT);
    put64(&mut it, 64, ROOT + 1); // the bitmap of the real-time part
    put64(&mut it, 72, ROOT + 2); // and its summary
    // Blocks of a real-time extent, of a group; groups; blocks of the bitmap, of the log.
    put32s(&mut it, 80, &[1, blocks, 1, 0, LOG_BLOCKS]);
    // Version 5, links, aligned inodes, log 2, extent flags, folders 2, more bits.
    put(&mut it, 100, 0xb4a5_u16.to_be_bytes());
    put(&mut it, 102, (SECTOR as u16).to_be_bytes());
    put(&mut it, 104, (INODE as u16).to_be_bytes());
    put(&mut it, 106, (INODES_A_BLOCK as u16).to_be_bytes());
    let logarithms = [BLOCK, SECTOR, INODE, INODES_A_BLOCK, blocks.next_power_of_two()];
    put(&mut it, 120, logarithms.map(|it| it.ilog2() as u8));
    it[127] = 25; // per cent of the space that inodes may have
    put64(&mut it, 128, CHUNK);
    put64(&mut it, 136, CHUNK - USED_INODES);
    put64(&mut it, 144, blocks - FREE);
    put32s(&mut it, 180, &[4]); // blocks that a chunk is aligned to
    put32s(&mut it, 196, &[1]); // unit of the log
    // Lazy counters, attributes 2, wide projects, sums: twice, for the sake of the past.
    put32s(&mut it, 200, &[0x18a, 0x18a]);
    put32s(&mut it, 216, &[1]); // kinds in folders
    summed(it, 224)
}

/// The group's free space (`xfs_agf`).
fn free_space(blocks: u32) -> Vec<u8> {
    let mut it = vec![0; SECTOR as usize];
    put(&mut it, 0, b"XAGF");
    put32s(&mut it, 4, &[1, 0, blocks, BY_PLACE, BY_SIZE, 0, 1, 1, 0]);
    // An empty list of the trees' own blocks: its first, last and length.
    put32s(&mut it, 40, &[0, (SECTOR - 36) / 4 - 1, 0]);
    put32s(&mut it, 52, &[blocks - FREE, blocks - FREE]);
    put(&mut it, 64, UUID);
    summed(it, 216)
}

/// The group's inodes (`xfs_agi`).
fn inode_space(blocks: u32) -> Vec<u8> {
    let mut it = vec![0; SECTOR as usize];
    put(&mut it, 0, b"XAGI");
    put32s(&mut it, 4, &[1, 0, blocks, CHUNK, INODE_TREE, 1, CHUNK - USED_INODES, ROOT, NULL]);
    put32s(&mut it, 40, &[NULL; 64]); // unlinked inodes
    put(&mut it, 296, UUID);
    summed(it, 312)
}

/// The list of the trees' own blocks (`xfs_agfl`), empty.
fn free_list() -> Vec<u8> {
    let mut it = vec![0xff; SECTOR as usize];
    put(&mut it, 0, b"XAFL");
    put(&mut it, 4, [0; 32]);
    put(&mut it, 8, UUID);
    summed(it, 32)
}

/// A tree of one leaf with one record.
fn leaf(magic: &[u8], block: u32, record: &[u8]) -> Vec<u8> {
    let mut it = vec![0; BLOCK as usize];
    put(&mut it, 0, magic);
    put(&mut it, 6, 1_u16.to_be_bytes());
    put32s(&mut it, 8, &[NULL, NULL]); // its neighbours
    put64(&mut it, 16, block * (BLOCK / SECTOR));
    put(&mut it, 32, UUID);
    put(&mut it, 56, record);
    summed(it, 52)
}

/// The inode `index` of the chunk (`xfs_dinode`).
fn inode(index: u32) -> Vec<u8> {
    const EXTENTS: u8 = 2;
    let mut it = vec![0; INODE as usize];
    put(&mut it, 0, b"IN");
    it[4] = 3;
    put32s(&mut it, 96, &[NULL]); // the next that is unlinked
    put64(&mut it, 152, ROOT + index);
    put(&mut it, 160, UUID);
    match index {
        0 => {
            put(&mut it, 2, 0o40777_u16.to_be_bytes());
            it[5] = 1; // its entries are in the inode
            put32s(&mut it, 16, &[2]); // links
            put64(&mut it, 56, 6);
            put32s(&mut it, 178, &[ROOT]); // no entries, and the parent
            it[83] = EXTENTS;
        }
        1 | 2 => {
            put(&mut it, 2, 0o100_000_u16.to_be_bytes());
            it[5] = EXTENTS;
            put32s(&mut it, 16, &[1]);
            it[83] = EXTENTS;
            it[91] = if index == 1 { 4 } else { 0 }; // a bitmap of the new kind
        }
        _ => {}
    }
    summed(it, 100)
}
