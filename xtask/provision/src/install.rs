//! Installs one of Debian's packages on this machine.
//!
//! Whether that is allowed is for the caller to know.

use std::path::Path;

use crate::tools::{ToolError, Tools};

/// Installs `package` with apt-get, with fresh lists if the first try fails: lists
/// that are missing or old name files that the mirror does not have.
pub(crate) fn install(tools: &Tools, package: &str, say: &dyn Fn(&str)) -> Result<(), ToolError> {
    let root = tools.file("");
    let apt_get = |arguments: &[&str]| {
        say(&format!("running apt-get {}", arguments.join(" ")));
        tools.run("apt-get", arguments, &root)
    };
    let install = ["install", "-y", "--no-install-recommends", package];
    if has_lists(&tools.file("var/lib/apt/lists")) && apt_get(&install).is_ok() {
        return Ok(());
    }
    apt_get(&["update"])?;
    apt_get(&install)?;
    Ok(())
}

/// Whether apt knows of any package.
fn has_lists(lists: &Path) -> bool {
    let entries = std::fs::read_dir(lists).into_iter().flatten().flatten();
    entries.into_iter().any(|it| it.file_name().to_string_lossy().contains("_Packages"))
}
