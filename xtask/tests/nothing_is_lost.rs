//! Nothing is lost and nothing hangs, whatever a guest, a user or a disk does:
//! proved with real guests by the suite `hostile` and by hand-made disasters.
//!
//! Needs QEMU and a kernel, so it is built with `--features vm` alone, as
//! `cargo xtask test` does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cgauge_record::{CaseEnd, Event, Outcome};

/// A run directory of this test's own, gone with it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn xtask(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(line.split_ascii_whitespace());
        command.arg("--out").arg(self.out());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.xtask(line).output().unwrap()
    }

    /// Every line of the run's events, each whole.
    fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.out().join("events.jsonl")).unwrap();
        assert!(text.ends_with('\n'), "the last line is cut off");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ends(&self) -> BTreeMap<String, CaseEnd> {
        let ends = self.events().into_iter().filter_map(|it| match it {
            Event::CaseEnd(end) => Some((end.case.clone(), end)),
            _ => None,
        });
        ends.collect()
    }

    /// No guest of this run is alive, and none left a file.
    fn assert_clean(&self, harness: u32) {
        assert_eq!(guests_of(harness), Vec::<u32>::new(), "a guest outlived its harness");
        let work = workspace().join("target/cgauge/work").join(harness.to_string());
        assert!(!work.exists(), "{} is left", work.display());
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The QEMU processes whose command line names the work folder of `harness`.
fn guests_of(harness: u32) -> Vec<u32> {
    let work = format!("cgauge/work/{harness}/");
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&work)
    })
    .collect()
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = look() {
            return it;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

/// Starts a run of a case that takes seconds, and waits until its guest runs.
fn start_a_long_case(place: &Place) -> (Child, u32) {
    let mut child =
        place.xtask("run hostile --case takes_its_time --case holds --jobs 1").spawn().unwrap();
    // `holds` comes first: once it is over, the guest that runs is the long one's.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    wait_for("the first case's end", || lines.next()?.ok().filter(|it| it.contains("PASS")));
    std::thread::spawn(move || lines.for_each(drop));
    let harness = child.id();
    let guest = wait_for("the second guest", || {
        let spoke = |it: &PathBuf| fs::metadata(it.join("records")).is_ok_and(|it| it.len() > 0);
        let work = workspace().join("target/cgauge/work").join(harness.to_string());
        let folders = fs::read_dir(work).ok()?.flatten().map(|it| it.path());
        folders.filter(spoke).count().checked_sub(1)?;
        guests_of(harness).first().copied()
    });
    (child, guest)
}

#[test]
fn each_hostile_case_costs_itself_and_no_other() {
    use Outcome::{Error, Fail, Pass, Skip};
    let place = Place::new();
    let mut child = place.xtask("run hostile --silence 30").spawn().unwrap();
    let harness = child.id();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{shown}");
    let ends = place.ends();
    let expected = [
        ("holds", Pass, ""),
        ("fails", Fail, "one and one: expected exactly 3"),
        ("skips", Skip, "this kernel has no tea.max"),
        ("checks_nothing", Error, "made no check"),
        ("is_refused", Fail, "EINVAL"),
        ("panics", Error, "a case lost its head"),
        ("aborts", Error, "signal 6"),
        ("panics_the_guest", Error, "the guest's kernel panicked"),
        ("hangs_the_guest", Error, "no word from the guest for 30 s"),
        ("never_ends", Error, "deadline"),
        ("kills_the_agent", Error, "the guest's kernel panicked"),
        ("floods_its_output", Pass, ""),
        ("floods_its_records", Error, "records were thrown away"),
        ("sends_garbage", Error, "no message"),
        ("sends_half_a_line", Error, "switched itself off"),
        ("speaks_for_another", Error, "the agent started case 7"),
        ("leaves_things_behind", Error, "left something behind"),
        ("taints_the_kernel", Fail, "kernel taint"),
        ("takes_its_time", Pass, ""),
        ("starts_threads_until_it_is_refused", Pass, ""),
        ("takes_all_memory", Error, "signal 9"),
    ];
    for (case, outcome, reason) in expected {
        let end = &ends[case];
        assert_eq!(end.outcome, outcome, "{case}: {}", end.reason);
        assert!(end.reason.contains(reason), "{case}: {}", end.reason);
    }
    assert_eq!(ends.len(), expected.len());
    let left = &ends["leaves_things_behind"].reason;
    assert!(left.contains("process") && left.ends_with("and 2 more things"), "{left}");
    let console = |case: &str| ends[case].evidence.iter().any(|it| it.contains("Kernel panic"));
    assert!(console("panics_the_guest") && console("kills_the_agent"), "the console says why");
    let report = fs::read_to_string(place.out().join("report.html")).unwrap();
    assert!(!report.contains("<script>alert(1)"), "what a guest says is no part of the page");
    for file in ["junit.xml", "results.ktap", "summary.md"] {
        assert!(fs::metadata(place.out().join(file)).unwrap().len() > 0, "{file}");
    }
    place.assert_clean(harness);
}

#[test]
fn a_guest_that_is_killed_costs_its_case() {
    let place = Place::new();
    let (mut child, guest) = start_a_long_case(&place);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(guest.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let ends = place.ends();
    assert_eq!(ends["holds"].outcome, Outcome::Pass);
    assert_eq!(ends["takes_its_time"].outcome, Outcome::Error);
    assert!(
        ends["takes_its_time"].reason.contains("signal: 9"),
        "{}",
        ends["takes_its_time"].reason
    );
    place.assert_clean(child.id());
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let place = Place::new();
    let (mut child, _guest) = start_a_long_case(&place);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().cast_signed()),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let ends = place.ends();
    assert_eq!(ends["holds"].outcome, Outcome::Pass);
    assert!(ends["takes_its_time"].reason.contains("interrupted"));
    assert!(place.out().join("report.html").exists());
    place.assert_clean(child.id());

    // What is left of it is what runs again.
    let again = Place::new();
    let line = format!("run --rerun {}", place.out().display());
    assert_eq!(again.run(&line).status.code(), Some(0));
    assert_eq!(again.ends().keys().collect::<Vec<_>>(), ["takes_its_time"]);
}

#[test]
fn guests_die_with_a_harness_that_is_killed() {
    let place = Place::new();
    let (mut child, _guest) = start_a_long_case(&place);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the guests' end", || guests_of(child.id()).is_empty().then_some(()));
    // The events so far are whole, and a report can be made of them.
    assert!(place.events().len() >= 4);
    let report =
        Command::new(env!("CARGO_BIN_EXE_xtask")).arg("report").arg(place.out()).output().unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", stderr(&report));
    // The next run sweeps what it left.
    assert_eq!(Place::new().run("run hostile --case holds").status.code(), Some(0));
    place.assert_clean(child.id());
}

#[test]
fn a_full_disk_is_said_and_leaves_whole_lines() {
    let place = Place::new();
    // Room for the first events and not for the flood.
    let mut command = place.xtask("run hostile --case holds --case floods_its_records --jobs 1");
    let out = place.out();
    // SAFETY: only system calls and no allocation between fork and exec.
    unsafe {
        command.pre_exec(move || {
            use nix::mount::{MsFlags, mount};
            use nix::sched::{CloneFlags, unshare};
            // A disk of one megabyte, for this process alone.
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            nix::unistd::mkdir(&out, nix::sys::stat::Mode::S_IRWXU)?;
            mount(Some("tmpfs"), &out, Some("tmpfs"), MsFlags::empty(), Some("size=1M"))?;
            Ok(())
        });
    }
    let output = match command.output() {
        Ok(output) => output,
        // Only root may mount; the journal's own test has /dev/full.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(output.status.code(), Some(5));
    let line = last_line(&output);
    assert!(
        line.contains("No space left on device")
            && line.contains("what was written so far is whole"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let mut arm = vec![0; 4096];
    arm[56..60].copy_from_slice(b"ARM\x64");
    let real = fs::read(kernel_image()).unwrap();
    let cases = [
        (format!("run --kernel {}", file("arm", &arm)), 2, "Arm"),
        (format!("run --kernel {}", file("text", b"#!/bin/sh\necho no kernel\n")), 2, "text"),
        (format!("run --kernel {}", file("half", &real[..real.len() / 2])), 2, "cut off"),
        (format!("run --kernel {}/none", folder.path().display()), 2, "none"),
        ("run --kernel debian:6.13".to_owned(), 2, "did you mean debian:6.1"),
        ("run pidz".to_owned(), 2, "did you mean pids"),
        ("run hostile --case hold_s".to_owned(), 2, "did you mean holds"),
        ("run --partition 3/2".to_owned(), 2, "3/2"),
        ("run --driver systemd".to_owned(), 2, "nothing is left to run"),
    ];
    for (line, code, words) in cases {
        let place = Place::new();
        let output = place.run(&line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains(words), "{line}: {said}");
    }
}

#[test]
fn a_run_directory_that_cannot_be_written_fails_at_once() {
    for out in ["/proc/run", "/dev/null/run"] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["run", "hostile", "--out", out])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            last_line(&output).contains("cannot write to the run directory"),
            "{}",
            last_line(&output)
        );
    }
}

/// The image of the default kernel, fetched if need be.
fn kernel_image() -> PathBuf {
    let fetched = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["kernels", "fetch", "debian:6.12"])
        .status()
        .unwrap();
    assert!(fetched.success());
    let cache = cgauge_provision::Cache::place(|it| std::env::var_os(it)).unwrap();
    let cache = cgauge_provision::Cache::open(cache).unwrap();
    let cached = cgauge_provision::cached(&cache);
    let found = cached.into_iter().find(|it| it.kernel.spec.to_string() == "debian:6.12");
    found.unwrap().kernel.image
}
