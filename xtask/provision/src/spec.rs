//! How a kernel is named on the command line.
//!
//! Reading a name touches no file: whether the kernel is there is found out
//! when it is resolved.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::nearest::nearest;

/// A kernel as the user names it. Its text reads back as the same kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KernelSpec {
    /// A package of Debian's: `debian:6.12`.
    Debian(DebianKernel),
    /// The kernel that this machine runs: `host`.
    Host,
    /// A file, and where its modules are: `PATH/bzImage[,modules=DIR]`.
    Image {
        /// The bzImage.
        image: PathBuf,
        /// Its modules: a directory like `/lib/modules/RELEASE`.
        modules: Option<PathBuf>,
    },
    /// A built kernel tree: `tree:DIR`.
    Tree(PathBuf),
}

/// A kernel that Debian packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DebianKernel {
    /// `debian:5.10`, of Debian 11.
    V5_10,
    /// `debian:6.1`, of Debian 12.
    V6_1,
    /// `debian:6.12`, as built for Debian 12.
    V6_12,
    /// `debian:6.12-rt`: the same with `PREEMPT_RT`.
    V6_12Rt,
    /// `debian:sid`: the newest there is.
    Sid,
}

impl DebianKernel {
    /// Every one, the oldest first.
    pub const ALL: [Self; 5] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V6_12Rt, Self::Sid];

    /// Its name after `debian:`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V6_12Rt => "6.12-rt",
            Self::Sid => "sid",
        }
    }
}

/// The text names no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseKernelError {
    /// Neither a known name nor a path.
    #[error(
        "unknown kernel {text:?}{}: known are {}, host, tree:DIR and a path to a bzImage \
         (with a slash in it: ./bzImage), with ,modules=DIR after it where it has modules",
        suggestion.as_ref().map(|it| format!(" (did you mean {it}?)")).unwrap_or_default(),
        DebianKernel::ALL.map(|it| format!("debian:{}", it.name())).join(", ")
    )]
    Unknown {
        /// What was given.
        text: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// An option after the path that does not exist.
    #[error("unknown option {option:?} of a kernel image: the one that exists is modules=DIR")]
    UnknownOption {
        /// What was given.
        option: String,
    },
    /// `tree:` or `modules=` without a directory.
    #[error("{text:?} names no directory")]
    NoDirectory {
        /// What was given.
        text: String,
    },
}

impl FromStr for KernelSpec {
    type Err = ParseKernelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_directory = || ParseKernelError::NoDirectory { text: text.to_owned() };
        if text == "host" {
            return Ok(Self::Host);
        }
        if let Some(directory) = text.strip_prefix("tree:") {
            return if directory.is_empty() {
                Err(no_directory())
            } else {
                Ok(Self::Tree(directory.into()))
            };
        }
        if let Some(kernel) =
            DebianKernel::ALL.into_iter().find(|it| text.strip_prefix("debian:") == Some(it.name()))
        {
            return Ok(Self::Debian(kernel));
        }
        let (image, modules) = match text.split_once(",modules=") {
            Some((_, "")) => return Err(no_directory()),
            Some((image, modules)) => (image, Some(PathBuf::from(modules))),
            None => (text, None),
        };
        if !image.contains('/') {
            return Err(ParseKernelError::Unknown {
                text: text.to_owned(),
                suggestion: suggestion(text),
            });
        }
        // A comma may be part of a file's name, but not one that looks like an option.
        if let Some((_, option)) = image.rsplit_once(',').filter(|it| it.1.contains('=')) {
            return Err(ParseKernelError::UnknownOption { option: option.to_owned() });
        }
        Ok(Self::Image { image: image.into(), modules })
    }
}

/// The name that may have been meant, with or without its `debian:`.
fn suggestion(text: &str) -> Option<String> {
    let full = DebianKernel::ALL.map(|it| format!("debian:{}", it.name()));
    let whole = nearest(text, full.iter().map(String::as_str).chain(["host"]));
    let short = || nearest(text, DebianKernel::ALL.map(DebianKernel::name));
    whole.map(str::to_owned).or_else(|| short().map(|it| format!("debian:{it}")))
}

impl fmt::Display for DebianKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian:{}", self.name())
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(kernel) => kernel.fmt(f),
            Self::Host => f.write_str("host"),
            Self::Tree(directory) => write!(f, "tree:{}", directory.display()),
            Self::Image { image, modules: None } => image.display().fmt(f),
            Self::Image { image, modules: Some(modules) } => {
                write!(f, "{},modules={}", image.display(), modules.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> KernelSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(text: &str) -> String {
        text.parse::<KernelSpec>().unwrap_err().to_string()
    }

    #[test]
    fn each_form_reads_back() {
        for text in [
            "debian:5.10",
            "debian:6.1",
            "debian:6.12",
            "debian:6.12-rt",
            "debian:sid",
            "host",
            "tree:../linux",
            "./bzImage",
            "/boot/a,b",
            "/boot/vmlinuz,modules=/lib/modules/6.9",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read("debian:6.12-rt"), KernelSpec::Debian(DebianKernel::V6_12Rt));
        assert_eq!(read("tree:../linux"), KernelSpec::Tree("../linux".into()));
        assert_eq!(
            read("/b,modules=m"),
            KernelSpec::Image { image: "/b".into(), modules: Some("m".into()) }
        );
    }

    #[test]
    fn an_unknown_name_is_met_with_what_is_known() {
        insta::assert_snapshot!(refusal("debian:6.21"), @r#"unknown kernel "debian:6.21" (did you mean debian:6.1?): known are debian:5.10, debian:6.1, debian:6.12, debian:6.12-rt, debian:sid, host, tree:DIR and a path to a bzImage (with a slash in it: ./bzImage), with ,modules=DIR after it where it has modules"#);
        for (text, meant) in [
            ("6.12", "debian:6.12"),
            ("Debian:SID", "debian:sid"),
            ("hots", "host"),
            ("debian-6.12-rt", "debian:6.12-rt"),
        ] {
            assert!(refusal(text).contains(&format!("did you mean {meant}?")), "{}", refusal(text));
        }
        assert!(!refusal("bzImage").contains("did you mean"));
    }

    #[test]
    fn a_path_without_its_directory_is_refused() {
        insta::assert_snapshot!(refusal("tree:"), @r#""tree:" names no directory"#);
        insta::assert_snapshot!(refusal("/b,modules="), @r#""/b,modules=" names no directory"#);
        insta::assert_snapshot!(refusal("/b,module=/m"), @r#"unknown option "module=/m" of a kernel image: the one that exists is modules=DIR"#);
    }
}
