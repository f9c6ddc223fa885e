//! What a module says of itself: the `.modinfo` section, `key=value` strings
//! with a NUL after each. Touches no file.

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection, elf};

use super::canonical;

/// What matters of it for loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModInfo {
    /// Modules that it cannot be loaded without.
    pub(super) depends: Vec<String>,
    /// Modules that are better loaded before it.
    pub(super) before: Vec<String>,
    /// Modules that are better loaded after it.
    pub(super) after: Vec<String>,
    /// The kernel's release that it was built for.
    pub(super) release: Option<String>,
}

impl ModInfo {
    /// Reads it out of a module file, or says why that is none.
    pub(super) fn of(file: &[u8]) -> Result<Self, String> {
        let elf = ElfFile64::<Endianness>::parse(file).map_err(|it| it.to_string())?;
        let header = elf.elf_header();
        if header.e_machine(elf.endian()) != elf::EM_X86_64 {
            return Err("it is not for x86-64".to_owned());
        }
        let section = elf.section_by_name(".modinfo").ok_or("it has no .modinfo section")?;
        Ok(Self::parse(section.data().map_err(|it| it.to_string())?))
    }

    fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for string in section.split(|it| *it == 0) {
            // Descriptions may hold anything; what matters here is plain.
            let Ok(string) = std::str::from_utf8(string) else {
                continue;
            };
            let Some((key, value)) = string.split_once('=') else {
                continue;
            };
            match key {
                "depends" => {
                    info.depends
                        .extend(value.split(',').filter(|it| !it.is_empty()).map(canonical));
                }
                "softdep" => info.add_soft(value),
                "vermagic" => info.release = value.split(' ').next().map(str::to_owned),
                _ => {}
            }
        }
        info
    }

    /// `pre: a b post: c`
    fn add_soft(&mut self, value: &str) {
        let mut list = None;
        for word in value.split_whitespace() {
            match word {
                "pre:" => list = Some(&mut self.before),
                "post:" => list = Some(&mut self.after),
                name => {
                    if let Some(list) = &mut list {
                        list.push(canonical(name));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_matters_for_loading() {
        let section = b"license=GPL\0author=J\xf6rg\0depends=libcrc32c,dm-mod\0softdep=pre: crypto-crc32c a post: b\0\
            vermagic=6.12.1 SMP preempt mod_unload \0odd\0";
        let words = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            ModInfo::parse(section),
            ModInfo {
                depends: words(&["libcrc32c", "dm_mod"]),
                before: words(&["crypto_crc32c", "a"]),
                after: words(&["b"]),
                release: Some("6.12.1".to_owned()),
            }
        );
        assert_eq!(ModInfo::parse(b"depends=\0"), ModInfo::default());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(ModInfo::of(b"").is_err());
        assert!(ModInfo::of(b"\x7fELF\x02\x01\x01").is_err());
    }
}
