//! Files that systemd reads: units and drop-ins below `/run`, there for the case.

use std::fs;
use std::path::{Path, PathBuf};

use cgauge_lab::Stop;

use crate::bus::Systemd;

/// Where unit files lie that do not outlive the machine.
const UNITS: &str = "/run/systemd/system";

/// Files that were written for the case; removed, and forgotten by systemd, when
/// they go out of scope.
#[derive(Debug)]
pub struct Files<'a> {
    systemd: &'a Systemd,
    paths: Vec<PathBuf>,
}

impl Systemd {
    /// Writes unit files, each by its name, and has them read.
    pub fn unit_files(&self, files: &[(&str, &str)]) -> Result<Files<'_>, Stop> {
        let placed: Vec<_> =
            files.iter().map(|(name, text)| (format!("{UNITS}/{name}"), *text)).collect();
        let placed: Vec<_> = placed.iter().map(|(place, text)| (place.as_str(), *text)).collect();
        self.files(&placed)
    }

    /// Writes files, each by its path, and has them read.
    pub fn files(&self, files: &[(&str, &str)]) -> Result<Files<'_>, Stop> {
        let mut written = Files { systemd: self, paths: Vec::new() };
        for (path, text) in files {
            let path = Path::new(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(path, text)?;
            written.paths.push(path.to_path_buf());
        }
        self.reload()?;
        Ok(written)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            // The machine ends with the case.
            let _ = fs::remove_file(path);
        }
        let _ = self.systemd.reload();
    }
}
