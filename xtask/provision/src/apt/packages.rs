//! Which packages hold the newest kernel of a series, out of what apt knows.
//!
//! Debian has a kernel in one package, `linux-image-RELEASE`, and from 7.x on in
//! three: `linux-base-`, `linux-binary-` and `linux-modules-RELEASE`.

use super::version;
use crate::spec::DebianKernel;

/// One record of apt's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) size_bytes: u64,
}

/// The packages of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Build {
    pub(super) release: String,
    pub(super) version: String,
    pub(super) packages: Vec<Package>,
}

/// A package with less in it holds no kernel: it only depends on one that does.
const LEAST_KERNEL_BYTES: u64 = 1 << 20;

/// The names of the packages that [`newest`] chooses among, as a pattern for
/// `apt-cache search`.
pub(super) fn pattern(kernel: DebianKernel) -> String {
    format!("^linux-(image|base|binary|modules)-[0-9].*-{}-amd64$", flavour(kernel))
}

/// Debian's word for the variant: the small one for virtual machines, or the
/// one with `PREEMPT_RT`.
fn flavour(kernel: DebianKernel) -> &'static str {
    match kernel {
        DebianKernel::V6_12Rt => "rt",
        DebianKernel::V5_10 | DebianKernel::V6_1 | DebianKernel::V6_12 | DebianKernel::Sid => {
            "cloud"
        }
    }
}

/// Whether a version belongs to the kernel's series.
fn in_series(kernel: DebianKernel, version: &str) -> bool {
    let series = match kernel {
        DebianKernel::V5_10 => "5.10",
        DebianKernel::V6_1 => "6.1",
        DebianKernel::V6_12 | DebianKernel::V6_12Rt => "6.12",
        DebianKernel::Sid => return true,
    };
    version.strip_prefix(series).is_some_and(|it| !it.starts_with(|it: char| it.is_ascii_digit()))
}

/// Reads the records that `apt-cache search --full` prints.
pub(super) fn parse(records: &str) -> Vec<Package> {
    records.split("\n\n").filter_map(record).collect()
}

fn record(text: &str) -> Option<Package> {
    let field = |name: &str| {
        text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        size_bytes: field("Size")?.parse().ok()?,
    })
}

/// The newest build of a kernel among all packages.
pub(super) fn newest(kernel: DebianKernel, packages: &[Package]) -> Option<Build> {
    let ending = format!("-{}-amd64", flavour(kernel));
    let whole = packages.iter().filter(|it| it.name.ends_with(&ending));
    let image = whole
        .filter(|it| in_series(kernel, &it.version) && it.size_bytes >= LEAST_KERNEL_BYTES)
        .filter(|it| release(&it.name, "image").or(release(&it.name, "binary")).is_some())
        .max_by(|a, b| version::compare(&a.version, &b.version))?;
    let parts: &[&str] = match release(&image.name, "image") {
        Some(_) => &["image"],
        None => &["base", "binary", "modules"],
    };
    let release = release(&image.name, "image").or(release(&image.name, "binary"))?;
    let part = |part: &&str| {
        let name = format!("linux-{part}-{release}");
        packages.iter().find(|it| it.name == name && it.version == image.version).cloned()
    };
    Some(Build {
        release: release.to_owned(),
        version: image.version.clone(),
        packages: parts.iter().map(part).collect::<Option<_>>()?,
    })
}

/// The kernel's release in the name of a package for this part of it.
fn release<'a>(package: &'a str, part: &str) -> Option<&'a str> {
    let release = package.strip_prefix("linux-")?.strip_prefix(part)?.strip_prefix('-')?;
    release.starts_with(|it: char| it.is_ascii_digit()).then_some(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `NAME VERSION MEGABYTES` a line.
    fn packages(list: &str) -> Vec<Package> {
        let package = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Package {
                name: words[0].to_owned(),
                version: words[1].to_owned(),
                size_bytes: words[2].parse::<u64>().unwrap() << 20,
            }
        };
        list.trim().lines().map(package).collect()
    }

    fn chosen(kernel: DebianKernel, list: &str) -> Option<String> {
        let build = newest(kernel, &packages(list))?;
        let names: Vec<_> = build.packages.iter().map(|it| it.name.as_str()).collect();
        Some(format!("{} {} = {}", build.release, build.version, names.join(" ")))
    }

    const BOOKWORM: &str = "
        linux-image-6.1.0-9-cloud-amd64 6.1.99-1 26
        linux-image-6.1.0-50-cloud-amd64 6.1.176-1 26
        linux-image-6.1.0-50-cloud-amd64-unsigned 6.1.176-1 26
        linux-image-6.12-cloud-amd64 6.12.117-1~deb12u1 0
        linux-image-6.12.100+deb12-cloud-amd64 6.12.100-1~deb12u1 34
        linux-image-6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1 34
        linux-image-6.12.117+deb12-rt-amd64 6.12.117-1~deb12u1 98
        linux-image-cloud-amd64 6.1.176-1 0";

    #[test]
    fn the_newest_of_the_series_and_flavour_is_chosen() {
        for (kernel, expected) in [
            (
                DebianKernel::V6_1,
                "6.1.0-50-cloud-amd64 6.1.176-1 = linux-image-6.1.0-50-cloud-amd64",
            ),
            (
                DebianKernel::V6_12,
                "6.12.117+deb12-cloud-amd64 6.12.117-1~deb12u1 = linux-image-6.12.117+deb12-cloud-amd64",
            ),
            (
                DebianKernel::V6_12Rt,
                "6.12.117+deb12-rt-amd64 6.12.117-1~deb12u1 = linux-image-6.12.117+deb12-rt-amd64",
            ),
        ] {
            assert_eq!(chosen(kernel, BOOKWORM).as_deref(), Some(expected));
        }
        assert_eq!(chosen(DebianKernel::V5_10, BOOKWORM), None);
    }

    const SID: &str = "
        linux-base-7.2.13+deb14-cloud-amd64 7.2.13-1 0
        linux-binary-7.2.13+deb14-cloud-amd64 7.2.13-1 13
        linux-binary-unsigned-7.2.13+deb14-cloud-amd64 7.2.13-1 13
        linux-image-7.2.13+deb14-cloud-amd64 7.2.13-1 0
        linux-modules-7.2.13+deb14-cloud-amd64 7.2.13-1 23";

    #[test]
    fn a_kernel_in_three_packages_needs_all_three() {
        assert_eq!(
            chosen(DebianKernel::Sid, SID).as_deref(),
            Some(
                "7.2.13+deb14-cloud-amd64 7.2.13-1 = linux-base-7.2.13+deb14-cloud-amd64 \
                linux-binary-7.2.13+deb14-cloud-amd64 linux-modules-7.2.13+deb14-cloud-amd64"
            )
        );
        let (without, _) = SID.rsplit_once('\n').unwrap();
        assert_eq!(chosen(DebianKernel::Sid, without), None);
    }

    #[test]
    fn reads_the_records_of_apt() {
        let records = "Package: linux-image-6.1.0-50-cloud-amd64\nSource: linux\nVersion: 6.1.176-1\n\
            Installed-Size: 1\nSize: 26484304\nDescription: Linux\n Size: of no matter\n\n\nPackage: half\n\n";
        assert_eq!(
            parse(records),
            [Package {
                name: "linux-image-6.1.0-50-cloud-amd64".to_owned(),
                version: "6.1.176-1".to_owned(),
                size_bytes: 26_484_304,
            }]
        );
    }
}
