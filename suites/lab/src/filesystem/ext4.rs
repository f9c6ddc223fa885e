//! An ext4 file system without a journal: one block group, blocks of 4 KiB,
//! files by extents. Documentation/filesystems/ext4 gives the places.

use super::{Piece, UUID, put};

const BLOCK: usize = 4096;
const INODES: usize = 256;
const INODE_BYTES: usize = 256;
/// Where the parts of the only group are, in blocks.
const BLOCK_BITMAP: usize = 2;
const INODE_BITMAP: usize = 3;
const INODE_TABLE: usize = 4;
const ROOT_FOLDER: usize = INODE_TABLE + INODES * INODE_BYTES / BLOCK;
/// Blocks that are not free.
const USED_BLOCKS: usize = ROOT_FOLDER + 1;
/// Inodes that are not free: those before the first that files may have.
const USED_INODES: usize = 10;

/// The first blocks of the file system, up to its root folder.
pub(super) fn pieces(bytes: u64) -> Vec<Piece> {
    // The bitmap of the only group is one block.
    let blocks = (bytes as usize / BLOCK).min(BLOCK * 8);
    let mut image = vec![0; USED_BLOCKS * BLOCK];
    superblock(&mut image[1024..2048], blocks);
    let group = &mut image[BLOCK..];
    put32(group, 0, BLOCK_BITMAP);
    put32(group, 4, INODE_BITMAP);
    put32(group, 8, INODE_TABLE);
    put16(group, 12, blocks - USED_BLOCKS);
    put16(group, 14, INODES - USED_INODES);
    put16(group, 16, 1); // folders
    // What is used, and what is not there at all.
    mark(&mut image[BLOCK_BITMAP * BLOCK..][..BLOCK], USED_BLOCKS, blocks);
    mark(&mut image[INODE_BITMAP * BLOCK..][..BLOCK], USED_INODES, INODES);
    // The root's inode is number 2, and the first is number 1.
    let root = &mut image[INODE_TABLE * BLOCK + INODE_BYTES..];
    put16(root, 0, 0o40777);
    put32(root, 4, BLOCK);
    put16(root, 26, 2); // links: `.` and `..`
    put32(root, 28, BLOCK / 512);
    put32(root, 40, ROOT_FOLDER);
    let folder = &mut image[ROOT_FOLDER * BLOCK..];
    for (at, length, name) in [(0, 12, "."), (12, BLOCK - 12, "..")] {
        put32(folder, at, 2);
        put16(folder, at + 4, length);
        folder[at + 6] = name.len() as u8;
        folder[at + 7] = 2; // a folder
        put(folder, at + 8, name);
    }
    vec![Piece { at: 0, bytes: image }]
}

fn superblock(bytes: &mut [u8], blocks: usize) {
    put32(bytes, 0, INODES);
    put32(bytes, 4, blocks);
    put32(bytes, 12, blocks - USED_BLOCKS);
    put32(bytes, 16, INODES - USED_INODES);
    put32(bytes, 24, 2); // blocks of 2^2 KiB
    put32(bytes, 28, 2);
    put32(bytes, 32, BLOCK * 8);
    put32(bytes, 36, BLOCK * 8);
    put32(bytes, 40, INODES);
    put16(bytes, 54, 0xffff); // no check after so many mounts
    put16(bytes, 56, 0xef53);
    put16(bytes, 58, 1); // clean
    put16(bytes, 60, 1); // go on after an error
    put32(bytes, 76, 1); // inodes of any size
    put32(bytes, 84, USED_INODES + 1);
    put16(bytes, 88, INODE_BYTES);
    put32(bytes, 96, 0x42); // kinds in folders, extents
    put32(bytes, 100, 0x2); // large files
    put(bytes, 104, UUID);
}

/// Sets the bits below `used` and from `end` on.
fn mark(bitmap: &mut [u8], used: usize, end: usize) {
    for bit in (0..used).chain(end..bitmap.len() * 8) {
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
}

fn put16(bytes: &mut [u8], at: usize, value: usize) {
    put(bytes, at, (value as u16).to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: usize) {
    put(bytes, at, (value as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_hold_what_is_used_and_what_is_not_there() {
        let mut bitmap = [0; 4];
        mark(&mut bitmap, 10, 24);
        assert_eq!(bitmap, [0xff, 0x03, 0, 0xff]);
    }
}
