//! Against stand-ins for apt's programs: shell scripts that write down how they
//! are called and do what the test's files say.

use std::cell::RefCell;

use super::*;
use crate::image::tests::bz_image;
use crate::kernel;
use crate::modules::Modules;
use crate::store::CachedKernel;
use crate::tools::Rights;
use crate::tools::tests::script;

const RELEASE: &str = "6.12.9+deb12-cloud-amd64";

/// A machine with a Debian source, and a mirror that has one 6.12.
struct Machine {
    home: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { home: tempfile::tempdir().unwrap() };
        machine.write(
            "root/etc/apt/sources.list",
            "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main\n\
             deb http://mirror.example/debian-security trixie-security main\n",
        );
        machine.offer("6.12.9-1");
        machine.write(&format!("package/boot/vmlinuz-{RELEASE}"), bz_image(RELEASE));
        machine.write(&format!("package/boot/config-{RELEASE}"), "CONFIG_PSI=y\n");
        machine.write(&format!("package/lib/modules/{RELEASE}/kernel/a.ko"), "module");
        let home = machine.home.path().display();
        let program = |name: &str, body: &str| {
            let log = format!("printf '%s\\n' \"{name} $*\" >> {home}/log\n");
            let verb = "for word; do case $word in update|download) verb=$word;; esac; done\n";
            // How a test breaks it.
            let sabotage = format!("test ! -e {home}/break-$verb || . {home}/break-$verb\n");
            script(&machine.path("bin"), name, &format!("{log}{verb}{sabotage}{body}"));
        };
        program("apt-get", "test \"$verb\" != download || echo whole > kernel.deb");
        program("apt-cache", &format!("cat {home}/records"));
        program("dpkg-deb", &format!("cp -r {home}/package/. \"$3\""));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir_all(if name == "bin" { &path } else { path.parent().unwrap() }).unwrap();
        path
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The mirror has this version of the kernel.
    fn offer(&self, version: &str) {
        let record =
            format!("Package: linux-image-{RELEASE}\nVersion: {version}\nSize: 34307256\n\n");
        self.write("records", record);
    }

    /// From now on `apt-get update` or `apt-get download` does this first.
    fn sabotage(&self, verb: &str, body: &str) {
        self.write(&format!("break-{verb}"), body);
    }

    fn tools(&self) -> Tools {
        let mut path = self.path("bin").into_os_string();
        path.push(":/usr/bin:/bin");
        Tools::new(path, self.home.path().join("root"), Rights::User)
    }

    fn cache(&self) -> Cache {
        Cache::open(self.home.path().join("cache")).unwrap()
    }

    fn fetch(&self, when: When) -> Result<Kernel, String> {
        kernel::fetch(DebianKernel::V6_12, when, &self.cache(), &self.tools(), &|_| ())
            .map_err(|it| it.to_string())
    }

    fn cached(&self) -> Vec<CachedKernel> {
        store::cached(&self.cache())
    }

    /// How often a program was run with this word.
    fn runs(&self, word: &str) -> usize {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        log.lines().filter(|it| it.split(' ').any(|it| it == word)).count()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.cached(), []);
        assert!(!store::entry(&self.cache(), DebianKernel::V6_12).exists());
        self.assert_no_scratch();
    }

    fn assert_no_scratch(&self) {
        assert_eq!(fs::read_dir(self.home.path().join("cache/scratch")).unwrap().count(), 0);
    }
}

#[test]
fn a_kernel_is_fetched_once_and_whole() {
    let machine = Machine::new();
    let said = RefCell::new(Vec::new());
    let say = |line: &str| said.borrow_mut().push(line.to_owned());
    let spec = "debian:6.12".parse().unwrap();
    let first = kernel::resolve(&spec, &machine.cache(), &machine.tools(), &say).unwrap();
    insta::assert_snapshot!(said.take().join("\n"), @r"
    debian:6.12: reading the package lists of bookworm
    debian:6.12: downloading 6.12.9+deb12-cloud-amd64 (35 MB)
    debian:6.12: unpacking
    ");
    assert_eq!(first.release, RELEASE);
    assert_eq!(fs::read(&first.image).unwrap(), bz_image(RELEASE));
    assert_eq!(fs::read_to_string(first.config.as_ref().unwrap()).unwrap(), "CONFIG_PSI=y\n");
    assert!(first.modules.as_ref().unwrap().directory().join("kernel/a.ko").is_file());
    assert!(matches!(first.modules, Some(Modules::Installed(_))));
    machine.assert_no_scratch();

    let second = kernel::resolve(&spec, &machine.cache(), &machine.tools(), &say).unwrap();
    assert_eq!(second, first);
    assert_eq!(said.take(), [""; 0]);
    assert_eq!(machine.runs("download"), 1);
    let [cached] = machine.cached().try_into().unwrap();
    assert_eq!((cached.kernel, cached.package_version), (first, "6.12.9-1".to_owned()));
    assert_eq!(cached.size_bytes, bz_image(RELEASE).len() as u64 + 13 + 6);
}

#[test]
fn only_a_newer_one_is_fetched_again() {
    let machine = Machine::new();
    machine.fetch(When::Newer).unwrap();
    machine.fetch(When::Newer).unwrap();
    assert_eq!((machine.runs("update"), machine.runs("download")), (2, 1));
    machine.offer("6.12.10-1");
    machine.fetch(When::Missing).unwrap();
    assert_eq!(machine.runs("download"), 1);
    machine.fetch(When::Newer).unwrap();
    assert_eq!(machine.runs("download"), 2);
    assert_eq!(machine.cached()[0].package_version, "6.12.10-1");
    machine.assert_no_scratch();
}

#[test]
fn a_download_that_breaks_off_leaves_nothing() {
    let machine = Machine::new();
    machine.sabotage("download", "echo half > kernel.deb; kill -9 $$");
    let message = machine.fetch(When::Missing).unwrap_err();
    insta::assert_snapshot!(message, @"cannot fetch debian:6.12: apt-get failed: signal: 9 (SIGKILL)");
    machine.assert_nothing_left();
    machine.sabotage("download", "");
    machine.fetch(When::Missing).unwrap();
}

#[test]
fn a_kernel_that_lost_something_is_fetched_again() {
    let machine = Machine::new();
    let kernel = machine.fetch(When::Missing).unwrap();
    let module = kernel.modules.as_ref().unwrap().directory().join("kernel/a.ko");
    for file in [&kernel.image, &module] {
        let whole = fs::read(file).unwrap();
        // As after a loss of power.
        fs::write(file, "").unwrap();
        assert_eq!(machine.cached(), []);
        assert_eq!(machine.fetch(When::Missing).unwrap(), kernel);
        assert_eq!(fs::read(file).unwrap(), whole);
    }
}

#[test]
fn a_failed_renewal_leaves_the_old_one() {
    let machine = Machine::new();
    let old = machine.fetch(When::Missing).unwrap();
    machine.offer("6.12.10-1");
    machine.sabotage("download", "exit 1");
    machine.fetch(When::Newer).unwrap_err();
    assert_eq!(machine.fetch(When::Missing).unwrap(), old);
    assert!(old.image.exists());
}

#[test]
fn the_mirrors_shortcomings_are_told_in_a_sentence() {
    let machine = Machine::new();
    let told = |verb: &str, body: &str| {
        machine.sabotage(verb, body);
        let message = machine.fetch(When::Missing).unwrap_err();
        machine.assert_nothing_left();
        machine.sabotage(verb, "");
        message
    };
    let no_suite = "echo \"E: The repository 'http://mirror.example/debian bookworm Release' does not have a \
        Release file.\" >&2\necho 'N: Updating from such a repository' >&2; exit 100";
    insta::assert_snapshot!(told("update", no_suite), @"cannot fetch debian:6.12: the mirror http://mirror.example/debian has no suite bookworm");
    let no_network = "echo 'E: Failed to fetch http://mirror.example/x  Could not resolve mirror.example' >&2\n\
        echo 'E: Some index files failed to download.' >&2; exit 100";
    insta::assert_snapshot!(told("update", no_network), @"cannot fetch debian:6.12: apt-get failed: Failed to fetch http://mirror.example/x  Could not resolve mirror.example");
    machine.write("records", "");
    insta::assert_snapshot!(told("none", ""), @"cannot fetch debian:6.12: there is no package of it in bookworm on http://mirror.example/debian");
}

#[test]
fn a_package_that_lacks_something_is_not_kept() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("package/lib/modules")).unwrap();
    insta::assert_snapshot!(machine.fetch(When::Missing).unwrap_err(), @"cannot fetch debian:6.12: the package of 6.12.9+deb12-cloud-amd64 has no modules");
    machine.assert_nothing_left();
    machine.write(&format!("package/boot/vmlinuz-{RELEASE}"), bz_image("6.12.8"));
    machine.write(&format!("package/lib/modules/{RELEASE}/kernel/a.ko"), "module");
    insta::assert_snapshot!(machine.fetch(When::Missing).unwrap_err(), @"cannot fetch debian:6.12: the package of 6.12.9+deb12-cloud-amd64 has an image of 6.12.8");
    machine.assert_nothing_left();
}

#[test]
fn other_systems_are_told_what_to_do() {
    let machine = Machine::new();
    machine.write("root/etc/apt/sources.list", "deb http://archive.ubuntu.com/ubuntu noble main\n");
    insta::assert_snapshot!(machine.fetch(When::Missing).unwrap_err(), @"cannot fetch debian:6.12: apt is set up with no Debian source on this machine: give a kernel with --kernel PATH/bzImage");
    let none = Tools::new("/nonexistent", machine.home.path(), Rights::User);
    let error =
        fetch(DebianKernel::V6_12, When::Missing, &machine.cache(), &none, &|_| ()).unwrap_err();
    insta::assert_snapshot!(error, @"this machine has no apt: give a kernel with --kernel PATH/bzImage");
}

#[test]
fn apt_works_on_no_file_but_ours() {
    let machine = Machine::new();
    let copy = format!("cp ../debian.sources {}", machine.path("sources").display());
    machine.sabotage("update", &copy);
    machine.fetch(When::Missing).unwrap();
    let log = fs::read_to_string(machine.path("log")).unwrap();
    let cache = machine.path("cache").into_os_string().into_string().unwrap();
    for line in log.lines().filter(|it| it.starts_with("apt-")) {
        let directories: Vec<_> = line.split(' ').filter(|it| it.starts_with("Dir::")).collect();
        assert!(directories.len() >= 7, "{line}");
        for option in directories {
            let (_, value) = option.split_once('=').unwrap();
            assert!(["-", "/dev/null"].contains(&value) || value.starts_with(&cache), "{option}");
        }
    }
    insta::assert_snapshot!(fs::read_to_string(machine.path("sources")).unwrap(), @r"
    Types: deb
    URIs: http://mirror.example/debian
    Suites: bookworm
    Components: main
    Targets: Packages
    signed-by: /k.gpg

    Types: deb
    URIs: http://mirror.example/debian-security
    Suites: bookworm-security
    Components: main
    Targets: Packages
    ");
}

#[test]
fn two_at_once_download_once() {
    let machine = Machine::new();
    let kernels = std::thread::scope(|scope| {
        let fetch = || machine.fetch(When::Missing).unwrap();
        let both = [scope.spawn(fetch), scope.spawn(fetch)];
        both.map(|it| it.join().unwrap())
    });
    assert_eq!(kernels[0], kernels[1]);
    assert_eq!(machine.runs("download"), 1);
}
