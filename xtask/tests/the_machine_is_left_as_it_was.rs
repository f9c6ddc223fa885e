//! The stages on the machine's own kernel leave it as they found it, whenever the
//! run is killed.
//!
//! Needs root and a container engine, so it is built with `--features container`
//! alone; where no engine is it says so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgauge_record::{Event, Outcome};
use cgauge_stage::container::{Engine, Trees};

/// How many times the run is killed.
const KILLS: u64 = 20;
/// What the moments are drawn from.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;
/// How long the keeper may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A run that starts a dozen containers, of which some hold processes, some freeze
/// them, some spin.
const RUN: &str = "run legacy-freezer legacy-pids hostile --case freez --case frozen --case fork_ \
                   --case takes_its_time --hierarchy legacy,unified";

/// The machine, as far as a run could change it.
#[derive(Debug)]
struct Picture {
    groups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    limits: String,
    bundles: BTreeSet<PathBuf>,
}

impl Picture {
    fn take() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap();
        let ours = |path: &PathBuf| path.display().to_string().contains("cgauge-");
        let mut groups = BTreeSet::new();
        for tree in Trees::of_this_machine().all() {
            below(&tree.root, &mut groups);
        }
        Self {
            // Others make and remove groups while this runs; ours are known by name.
            groups: groups.into_iter().filter(ours).collect(),
            mounts: read("/proc/thread-self/mountinfo").lines().map(str::to_owned).collect(),
            processes: processes(),
            limits: read("/proc/self/limits"),
            bundles: entries(&work()).into_iter().filter(|it| !is_of_the_living(it)).collect(),
        }
    }
}

impl Picture {
    /// Whether nothing came, and nothing that others had is gone. What others
    /// unmount is gone here too, if they remove its folder: they do that in the
    /// folder for temporary files.
    fn is_left_by(&self, after: &Self) -> bool {
        let of_others = |line: &String| line.contains(" /tmp/");
        let gone: Vec<_> = self.mounts.difference(&after.mounts).collect();
        after.mounts.is_subset(&self.mounts)
            && gone.into_iter().all(of_others)
            && (&self.groups, &self.processes) == (&after.groups, &after.processes)
            && (&self.limits, &self.bundles) == (&after.limits, &after.bundles)
    }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn work() -> PathBuf {
    workspace().join("target/cgauge/work")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect()
}

fn below(folder: &Path, into: &mut BTreeSet<PathBuf>) {
    for path in entries(folder).into_iter().filter(|it| it.is_dir()) {
        below(&path, into);
        into.insert(path);
    }
}

/// Whether a run that is alive works in this folder: it is another's.
fn is_of_the_living(folder: &Path) -> bool {
    let pid = folder.file_name().and_then(|it| it.to_str()).unwrap_or_default();
    Path::new("/proc").join(pid).exists()
}

/// The processes that a run could have started: what it is, what it starts, and
/// whatever is in a group of ours.
fn processes() -> BTreeSet<String> {
    let is_ours = |pid: &str| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let words: Vec<&str> = line.split('\0').collect();
        let program = Path::new(words[0]).file_name().and_then(|it| it.to_str());
        let started = match program.unwrap_or_default() {
            "runc" | "crun" | "cgauge-agent" | "cgauge-workload" => true,
            "xtask" => words.get(1) == Some(&"keeper"),
            _ => false,
        };
        let grouped = String::from_utf8_lossy(&read("cgroup")).contains("/cgauge-");
        (grouped || started).then(|| format!("{pid} {}", words.join(" ")))
    };
    let pids = entries(Path::new("/proc"));
    let names = pids.iter().filter_map(|it| it.file_name()?.to_str()?.parse::<u32>().ok());
    names.filter_map(|it| is_ours(&it.to_string())).collect()
}

/// The next of a row of numbers that is the same in every run (xorshift).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn start(line: &str, out: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(line.split_ascii_whitespace()).arg("--out").arg(out);
    // Its children are not this test's to wait for.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

/// Waits until the machine is as it was; what differs in the end.
fn settled(before: &Picture) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let after = Picture::take();
        if before.is_left_by(&after) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{before:#?}\nbecame\n{after:#?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What others mount meanwhile is not seen here; what a run would mount is.
fn see_no_other_mounts() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn can_run() -> bool {
    let engines = Engine::find_all(&std::env::var_os("PATH").unwrap_or_default());
    let root = nix::unistd::geteuid().is_root();
    if engines.is_empty() || !root {
        eprintln!("not run: it needs root and a container engine");
    }
    root && !engines.is_empty()
}

fn events(out: &Path) -> Vec<Event> {
    let text = fs::read_to_string(out.join("events.jsonl")).unwrap_or_default();
    text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect()
}

fn killed_at_random_moments(stage: &str) {
    if !can_run() {
        return;
    }
    see_no_other_mounts();
    let line = format!("{RUN} {stage}");
    let folder = tempfile::tempdir().unwrap();
    let before = Picture::take();

    // Once to its end: how long it takes, and that it does what it is killed at.
    let out = folder.path().join("whole");
    let began = Instant::now();
    let status = start(&line, &out).wait().unwrap();
    let whole = began.elapsed();
    let ran = events(&out).iter().filter(|it| matches!(it, Event::Check(_))).count();
    assert!(ran > 10, "the run ended with {status} after {ran} checks");
    settled(&before).unwrap();

    let mut state = SEED;
    let mut groups = 0;
    for kill in 0..KILLS {
        let out = folder.path().join(kill.to_string());
        let mut run = start(&line, &out);
        let moment = whole.mul_f64((next(&mut state) % 1000) as f64 / 1000.0);
        std::thread::sleep(moment);
        groups += usize::from(!Picture::take().groups.is_empty());
        run.kill().unwrap();
        run.wait().unwrap();
        match settled(&before) {
            Ok(took) => eprintln!(
                "kill {kill} after {} ms: as before within {} ms",
                moment.as_millis(),
                took.as_millis()
            ),
            Err(difference) => panic!("kill {kill} after {moment:?}: {difference}"),
        }
    }
    assert!(groups > 5, "only {groups} of {KILLS} moments were such that there was something");
}

#[test]
fn a_killed_run_in_containers_leaves_nothing() {
    killed_at_random_moments("--stage container");
}

#[test]
fn a_killed_run_beside_everything_else_leaves_nothing() {
    killed_at_random_moments("--stage host --yes");
}

#[test]
fn what_a_run_and_its_keeper_left_goes_with_the_next() {
    if !can_run() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    see_no_other_mounts();
    let before = Picture::take();
    // A group of the dead, as if the keeper had been killed too.
    let trees = Trees::of_this_machine();
    let names: Vec<PathBuf> =
        trees.all().map(|it| it.root.join("cgauge-00000000deadbeef/0/root")).collect();
    names.iter().for_each(|it| fs::create_dir_all(it).unwrap());
    let line = "run legacy-freezer --case frozen --stage container --hierarchy legacy";
    let status = start(line, &folder.path().join("run")).wait().unwrap();
    assert!(status.success(), "{status}");
    settled(&before).unwrap();
}

#[test]
fn loads_meet_the_limits_of_the_stage() {
    if !can_run() {
        return;
    }
    see_no_other_mounts();
    for stage in ["container", "host --yes"] {
        let folder = tempfile::tempdir().unwrap();
        let before = Picture::take();
        let line = format!("run hostile --case threads --case all_memory --stage {stage}");
        let out = folder.path().join("run");
        assert_eq!(start(&line, &out).wait().unwrap().code(), Some(5), "one case ends in error");
        let events = events(&out);
        let threads = events.iter().find_map(|it| match it {
            Event::Value(it) => Some(it.value.clone()),
            _ => None,
        });
        eprintln!("{stage}: {threads:?} threads");
        let started = threads.and_then(|it| it.to_string().parse::<f64>().ok()).unwrap();
        // All that there may be, less those that start them: an engine in Go has a dozen or two.
        assert!((4056.0..4096.0).contains(&started), "{stage}: {started} threads");
        let killed = events.iter().any(|it| {
            matches!(it, Event::CaseEnd(end) if end.case == "takes_all_memory"
                && end.outcome == Outcome::Error && end.reason.contains("signal 9"))
        });
        assert!(killed, "{stage}: {events:#?}");
        settled(&before).unwrap();
    }
}
