//! From the Debian source that this machine's apt is set up with to one for
//! another Debian release: the same mirror and the same keys, another suite.
//!
//! Reads both of apt's formats, one line a source and deb822. Runs nothing.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Failed;

/// The mirrors of Debian that this machine trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// Of the releases.
    pub(crate) archive: Mirror,
    /// Of the security updates, if there is one.
    pub(crate) security: Option<Mirror>,
}

/// A place to fetch from, and what apt is to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) uri: String,
    /// Further fields in deb822's form: which keys sign it, whether an old
    /// snapshot may be used.
    options: Vec<(String, String)>,
}

/// The names by which Debian's suites go, whichever of them the machine uses.
const SUITES: [&str; 13] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "experimental",
];

/// Fields that say what is taken from a mirror, which is for us to say.
const REPLACED: [&str; 13] = [
    "types",
    "uris",
    "suites",
    "components",
    "enabled",
    "architectures",
    "arch",
    "languages",
    "lang",
    "targets",
    "target",
    "pdiffs",
    "by-hash",
];

impl Mirrors {
    /// Those that the files below `etc/apt` name, if one of them is Debian's.
    pub(crate) fn configured(etc_apt: &Path) -> Result<Option<Self>, Failed> {
        let mut stanzas = Vec::new();
        for path in files(etc_apt)? {
            let text = fs::read_to_string(&path).map_err(Failed::to("read", &path))?;
            match path.extension() {
                Some(it) if it == "sources" => stanzas.extend(deb822(&text)),
                _ => stanzas.extend(text.lines().filter_map(one_line)),
            }
        }
        Ok(Self::among(&stanzas))
    }

    fn among(stanzas: &[Stanza]) -> Option<Self> {
        let archive = |suite: &str| SUITES.contains(&suite);
        let security = |suite: &str| {
            let release = suite.strip_suffix("-security").or(suite.strip_suffix("/updates"));
            release.is_some_and(|it| SUITES.contains(&it))
        };
        Some(Self { archive: likeliest(stanzas, archive)?, security: likeliest(stanzas, security) })
    }

    /// A sources file in deb822's form for `suite` and its security updates.
    pub(crate) fn sources(&self, suite: &str, updates: Option<&str>) -> String {
        let mut file = self.archive.stanza(suite);
        if let (Some(security), Some(suite)) = (&self.security, updates) {
            file.push('\n');
            file.push_str(&security.stanza(suite));
        }
        file
    }
}

impl Mirror {
    fn stanza(&self, suite: &str) -> String {
        // Other targets than Packages, for software centres, are megabytes.
        let mut text = format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nTargets: Packages\n",
            self.uri
        );
        for (name, value) in &self.options {
            // A key given in place goes over several lines, as it stands.
            let gap = if value.starts_with('\n') { "" } else { " " };
            let _ = writeln!(text, "{name}:{gap}{value}");
        }
        text
    }
}

/// The mirror for the suites that `fits` accepts which looks most like Debian's:
/// other archives are made for Debian's releases and take their names.
fn likeliest(stanzas: &[Stanza], fits: impl Fn(&str) -> bool) -> Option<Mirror> {
    let fitting = stanzas.iter().filter(|it| {
        it.words("types").any(|it| it == "deb")
            && it.words("components").any(|it| it == "main")
            && it.words("suites").any(&fits)
            && it.field("enabled").is_none_or(|it| !matches!(it, "no" | "false" | "0"))
    });
    let mirrors = fitting.flat_map(|stanza| {
        let options = stanza.fields.iter().filter(|it| !REPLACED.contains(&it.0.as_str()));
        let options: Vec<_> = options.cloned().collect();
        stanza.words("uris").map(move |it| Mirror { uri: it.to_owned(), options: options.clone() })
    });
    let likeness = |it: &Mirror| {
        let keys = it.options.iter().any(|it| it.1.contains("debian-archive-keyring"));
        let path = it.uri.split_once("://").and_then(|it| it.1.split_once('/'));
        2 * u8::from(keys) + u8::from(path.is_some_and(|it| it.1.contains("debian")))
    };
    // Of equals the first.
    mirrors.reduce(|best, it| if likeness(&it) > likeness(&best) { it } else { best })
}

/// The files of `etc/apt` in apt's order.
fn files(etc_apt: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    let parts = etc_apt.join("sources.list.d");
    if let Ok(entries) = fs::read_dir(&parts) {
        for entry in entries {
            let path = entry.map_err(Failed::to("read", &parts))?.path();
            if path.extension().is_some_and(|it| it == "list" || it == "sources") {
                files.push(path);
            }
        }
    }
    files.sort();
    let main = etc_apt.join("sources.list");
    if main.exists() {
        files.insert(0, main);
    }
    Ok(files)
}

/// One source, its fields' names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stanza {
    fields: Vec<(String, String)>,
}

impl Stanza {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    fn words<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.field(name).unwrap_or_default().split_whitespace()
    }
}

/// Reads `deb [OPTIONS] URI SUITE COMPONENT…`.
fn one_line(line: &str) -> Option<Stanza> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let (kind, mut rest) = line.split_once(char::is_whitespace)?;
    let mut fields = vec![("types".to_owned(), kind.to_owned())];
    if let Some(bracketed) = rest.trim_start().strip_prefix('[') {
        let (options, after) = bracketed.split_once(']')?;
        for option in options.split_whitespace() {
            let (name, value) = option.split_once('=')?;
            fields.push((name.to_ascii_lowercase(), value.replace(',', " ")));
        }
        rest = after;
    }
    let mut words = rest.split_whitespace();
    fields.push(("uris".to_owned(), words.next()?.to_owned()));
    fields.push(("suites".to_owned(), words.next()?.to_owned()));
    fields.push(("components".to_owned(), words.collect::<Vec<_>>().join(" ")));
    Some(Stanza { fields })
}

/// Reads stanzas of `Field: value` with values that go on in indented lines.
fn deb822(text: &str) -> Vec<Stanza> {
    let mut stanzas = vec![Stanza::default()];
    for line in text.lines().filter(|it| !it.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(Stanza::default());
            continue;
        }
        let Some(stanza) = stanzas.last_mut() else {
            continue;
        };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            stanza.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    stanzas.retain(|it| !it.fields.is_empty());
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mirrors of a machine with these files below `etc/apt`.
    fn configured(files: &[(&str, &str)]) -> Option<Mirrors> {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(etc.path().join(name), text).unwrap();
        }
        Mirrors::configured(etc.path()).unwrap()
    }

    #[test]
    fn a_deb822_source_keeps_its_mirror_and_keys() {
        let file = "# Debian\nTypes: deb deb-src\nURIs: http://deb.debian.org/debian\n\
            Suites: trixie trixie-updates\nComponents: main contrib\nArchitectures: arm64\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
            Types: deb\nURIs: http://security.debian.org/debian-security\nSuites: trixie-security\n\
            Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n";
        let mirrors = configured(&[("sources.list.d/debian.sources", file)]).unwrap();
        insta::assert_snapshot!(mirrors.sources("bookworm", Some("bookworm-security")), @r"
        Types: deb
        URIs: http://deb.debian.org/debian
        Suites: bookworm
        Components: main
        Targets: Packages
        signed-by: /usr/share/keyrings/debian-archive-keyring.gpg

        Types: deb
        URIs: http://security.debian.org/debian-security
        Suites: bookworm-security
        Components: main
        Targets: Packages
        signed-by:
         -----BEGIN PGP PUBLIC KEY BLOCK-----
         .
         mQINBF
        ");
    }

    #[test]
    fn a_dated_snapshot_stays_dated() {
        let list = "deb-src http://deb.debian.org/debian bookworm main\n\
            # deb http://deb.debian.org/debian bookworm main\n\
            deb [arch=amd64 check-valid-until=no signed-by=/k/a.gpg,/k/b.gpg] \
            http://snapshot.debian.org/archive/debian/20250520T000000Z bookworm main # pinned\n";
        let mirrors = configured(&[("sources.list", list)]).unwrap();
        insta::assert_snapshot!(mirrors.sources("sid", None), @r"
        Types: deb
        URIs: http://snapshot.debian.org/archive/debian/20250520T000000Z
        Suites: sid
        Components: main
        Targets: Packages
        check-valid-until: no
        signed-by: /k/a.gpg /k/b.gpg
        ");
    }

    #[test]
    fn an_archive_for_debian_is_not_debian() {
        let others = "deb https://apt.example.com bookworm main\n\
            deb https://download.example.com/linux/debian bookworm stable\n";
        let debian = "deb http://ftp.example.org/pub/debian/ bookworm main\n";
        let mirrors =
            configured(&[("sources.list.d/a.list", others), ("sources.list.d/b.list", debian)]);
        assert_eq!(mirrors.unwrap().archive.uri, "http://ftp.example.org/pub/debian/");
    }

    #[test]
    fn other_systems_have_no_debian_source() {
        assert_eq!(configured(&[]), None);
        let ubuntu = "deb http://archive.ubuntu.com/ubuntu noble main\n";
        let disabled = "Types: deb\nEnabled: no\nURIs: http://deb.debian.org/debian\nSuites: sid\nComponents: main\n";
        assert_eq!(
            configured(&[("sources.list", ubuntu), ("sources.list.d/d.sources", disabled)]),
            None
        );
    }
}
