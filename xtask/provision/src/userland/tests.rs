use std::cell::RefCell;
use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::initramfs::{Initramfs, Mode};
use crate::tools::tests::script;

/// A tar archive of files, links and folders, as mmdebstrap names them.
fn tar(entries: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mode, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_size(0);
            builder.append_link(&mut header, path, text).unwrap();
        } else {
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

const FILES: [(&str, tar::EntryType, u32, &str); 7] = [
    ("./", tar::EntryType::Directory, 0o755, ""),
    ("./tmp/", tar::EntryType::Directory, 0o1777, ""),
    ("./bin", tar::EntryType::Symlink, 0o777, "usr/bin"),
    ("./usr/bin/perl", tar::EntryType::Regular, 0o755, "\x7fELF"),
    ("./usr/bin/perl5", tar::EntryType::Link, 0o755, "./usr/bin/perl"),
    ("./usr/share/doc/bash/README", tar::EntryType::Regular, 0o644, "long"),
    ("./usr/share/docile", tar::EntryType::Regular, 0o600, "kept"),
];

#[test]
fn a_guest_gets_the_userland_without_its_documentation() {
    let expected = Initramfs::new()
        .dir_with("/tmp", Mode::of(0o1777))
        .symlink("/bin", "usr/bin")
        .file("/usr/bin/perl", "\x7fELF", Mode::EXECUTABLE)
        .file("/usr/bin/perl5", "\x7fELF", Mode::EXECUTABLE)
        .file("/usr/share/docile", "kept", Mode::of(0o600));
    let read = pack::read(Cursor::new(tar(&FILES))).unwrap();
    assert_eq!(read.archive(), expected.archive());
    let dead = tar(&[("./a", tar::EntryType::Link, 0o644, "./b")]);
    insta::assert_snapshot!(pack::read(Cursor::new(dead)).unwrap_err(), @"a is a link to ./b, which is not there");
    assert!(pack::read(Cursor::new(b"no archive".repeat(99))).is_err());
}

#[test]
fn userlands_are_named_like_kernels() {
    for userland in Userland::ALL {
        assert_eq!(userland.to_string().parse(), Ok(userland));
        assert_eq!(userland.name().parse(), Ok(userland));
    }
    insta::assert_snapshot!("debian:bokworm".parse::<Userland>().unwrap_err(), @r#"unknown userland "debian:bokworm" (did you mean debian:bookworm?): known are debian:bullseye, debian:bookworm, debian:trixie, debian:sid"#);
}

/// A machine whose mmdebstrap writes down how it is called and copies an archive.
struct Debian {
    root: tempfile::TempDir,
    tools: Tools,
    cache: Cache,
}

impl Debian {
    fn new(rights: Rights) -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(root.path().join("etc/apt/sources.list.d")).unwrap();
        fs::write(
            root.path().join("etc/apt/sources.list"),
            "deb http://mirror.example/debian bookworm main\n",
        )
        .unwrap();
        fs::write(root.path().join("made.tar"), tar(&FILES)).unwrap();
        let tools = Tools::new(format!("{}:/bin:/usr/bin", bin.display()), root.path(), rights);
        let cache = Cache::open(root.path().join("cache")).unwrap();
        Self { root, tools, cache }
    }

    fn with_mmdebstrap(self) -> Self {
        let place = self.root.path().display();
        let body = format!(
            "echo \"$@\" >> {place}/called\n\
             for last; do before=$made made=$last; done\n\
             cat \"$made\" > {place}/sources\ncp {place}/made.tar \"$before\"\n"
        );
        script(&self.root.path().join("bin"), PROGRAM, &body);
        self
    }

    fn make(&self, userland: Userland) -> (Result<UserlandImage, UserlandError>, String) {
        let said = RefCell::new(String::new());
        let say = |line: &str| said.borrow_mut().push_str(line);
        (UserlandImage::find_or_make(userland, &self.cache, &self.tools, &say), said.into_inner())
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join(name)).unwrap()
    }
}

#[test]
fn a_userland_is_made_once_from_the_machines_own_mirror() {
    let debian = Debian::new(Rights::User).with_mmdebstrap();
    let (made, said) = debian.make(Userland::Trixie);
    let made = made.unwrap();
    let archive = fs::read(&made.archive).unwrap();
    assert_eq!(archive, pack::read(Cursor::new(tar(&FILES))).unwrap().archive().unwrap());
    assert!(made.archive.starts_with(debian.cache.root()) && Path::new(&made.archive).is_file());
    insta::assert_snapshot!(said, @"debian:trixie: making a userland with systemd, which takes about a minute");
    insta::assert_snapshot!(debian.file("sources"), @r"
    Types: deb
    URIs: http://mirror.example/debian
    Suites: trixie
    Components: main
    Targets: Packages
    ");
    assert!(debian.file("called").contains("--include=systemd,dbus"));
    assert_eq!(debian.make(Userland::Trixie).0.unwrap(), made);
    assert_eq!(debian.file("called").lines().count(), 1, "what is there is not made again");
    assert_ne!(debian.make(Userland::Sid).0.unwrap().archive, made.archive);
}

#[test]
fn where_none_can_be_made_the_way_out_is_told() {
    let mut debian = Debian::new(Rights::User);
    debian.tools = Tools::new(debian.root.path(), debian.root.path(), Rights::User);
    insta::assert_snapshot!(debian.make(Userland::Sid).0.unwrap_err(), @"mmdebstrap, which makes the userland of a guest with systemd, is not installed: install it with `sudo apt-get install mmdebstrap uidmap`");
    fs::remove_file(debian.root.path().join("etc/apt/sources.list")).unwrap();
    insta::assert_snapshot!(debian.make(Userland::Sid).0.unwrap_err(), @"apt is set up with no Debian source on this machine, from which to make a userland");
    let debian = Debian::new(Rights::User);
    script(&debian.root.path().join("bin"), PROGRAM, "echo 'E: no such suite' >&2; exit 25");
    insta::assert_snapshot!(debian.make(Userland::Sid).0.unwrap_err(), @"mmdebstrap failed: no such suite");
}
