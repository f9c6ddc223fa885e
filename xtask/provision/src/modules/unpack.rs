//! Reads a module file, packed or not, up to a bound.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::ModuleError;
use crate::Failed;

/// The most bytes that an unpacked module may have. The largest in Debian's
/// kernels have 10 MiB; one of a tree built with debugging information may be
/// larger, and makes no good initramfs.
pub const MODULE_BYTES: u64 = 64 << 20;

/// The most memory for unpacking. The kernel's build packs with dictionaries
/// of 2 MiB (xz) and 8 MiB (zstd); a made-up file could ask for gigabytes.
const DICTIONARY_BYTES: u64 = 64 << 20;

/// The module in a file, unpacked.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let unsound = |reason: String| ModuleError::Unsound { path: path.to_owned(), reason };
    let file = File::open(path).map_err(Failed::to("open the module", path))?;
    let file = io::BufReader::new(file);
    let read = match path.extension().and_then(|it| it.to_str()) {
        Some("xz") => {
            let limit = u32::try_from(DICTIONARY_BYTES >> 10).unwrap_or(u32::MAX);
            bounded(XzReader::new_mem_limit(file, true, limit))
        }
        Some("zst") => {
            let decoder = StreamingDecoder::new_with_max_window_size(file, DICTIONARY_BYTES)
                .map_err(|it| unsound(it.to_string()))?;
            bounded(decoder)
        }
        Some("gz") => return Err(unsound("gzip is not supported: unpack it".to_owned())),
        _ => bounded(file),
    };
    let bytes = read.map_err(|it| unsound(it.to_string()))?;
    if bytes.len() as u64 > MODULE_BYTES {
        return Err(unsound(format!(
            "it is larger than {} MiB: take off its debugging information with strip -g",
            MODULE_BYTES >> 20
        )));
    }
    Ok(bytes)
}

/// Reads one byte more than allowed at most.
fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MODULE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
