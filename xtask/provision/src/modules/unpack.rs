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

/// The module in a file, unpacked; an error if it has more than `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModuleError> {
    let unsound = |reason: String| ModuleError::Unsound { path: path.to_owned(), reason };
    let file = File::open(path).map_err(Failed::to("open the module", path))?;
    let file = io::BufReader::new(file);
    let read = match path.extension().and_then(|it| it.to_str()) {
        Some("xz") => {
            let limit = u32::try_from(DICTIONARY_BYTES >> 10).unwrap_or(u32::MAX);
            bounded(XzReader::new_mem_limit(file, true, limit), most)
        }
        Some("zst") => {
            let decoder = StreamingDecoder::new_with_max_window_size(file, DICTIONARY_BYTES)
                .map_err(|it| unsound(it.to_string()))?;
            bounded(decoder, most)
        }
        Some("gz") => return Err(unsound("gzip is not supported: unpack it".to_owned())),
        _ => bounded(file, most),
    };
    let bytes = read.map_err(|it| unsound(it.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(unsound(format!(
            "it has more than {most} bytes (strip -g takes off debugging information)"
        )));
    }
    Ok(bytes)
}

/// Reads all there is, but one byte more than allowed at most.
fn bounded(reader: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use lzma_rust2::{XzOptions, XzWriter};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn zst(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// What is read out of a file with this name and content.
    fn read_as(name: &str, content: &[u8], most: u64) -> Result<Vec<u8>, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(name);
        fs::write(&path, content).unwrap();
        read(&path, most)
            .map_err(|error| error.to_string().replace(home.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn each_packing_is_undone() {
        let module: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
        for (name, content) in
            [("m.ko", module.clone()), ("m.ko.xz", xz(&module)), ("m.ko.zst", zst(&module))]
        {
            assert!(read_as(name, &content, 20_000).unwrap() == module, "{name}");
        }
    }

    #[test]
    fn a_small_file_that_unpacks_to_much_is_refused() {
        let zeros = vec![0; 1 << 20];
        for (name, content) in
            [("m.ko", zeros.clone()), ("m.ko.xz", xz(&zeros)), ("m.ko.zst", zst(&zeros))]
        {
            let expected = format!(
                "DIR/{name} is no sound module: it has more than 1000 bytes \
                 (strip -g takes off debugging information)"
            );
            assert_eq!(read_as(name, &content, 1000), Err(expected));
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let module = vec![1; 5000];
        for (name, content) in
            [("m.ko.xz", xz(&module)), ("m.ko.zst", zst(&module)), ("m.ko.gz", vec![])]
        {
            let half = &content[..content.len() / 2];
            let message = read_as(name, half, 1 << 20).unwrap_err();
            assert!(message.starts_with(&format!("DIR/{name} is no sound module: ")), "{message}");
        }
    }
}
