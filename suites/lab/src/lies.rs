//! The lying kernel: a layer through which every request to the cgroup
//! filesystem passes, and that lies about some kinds of requests when told so.
//!
//! A check that no lie turns to fail is no check; `cargo xtask test --lies`
//! finds it. Without the order to lie, nothing here does anything. It knows
//! numbers, words and errnos, not what a file means.
//!
//! A traced case notes each lie that would have changed what it saw. On the
//! virtual clock a lie that changes nothing gives the same run again, so that
//! the others need not be tried.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cgauge_record::{Asked, Layer, Lie, Told, Touch};
use nix::errno::Errno;

use crate::kernel::errno_of;

/// The layer that a case is to run under, as JSON.
pub const VARIABLE: &str = "CGAUGE_LAYER";
/// Where a traced case notes the lies.
pub const TRACE: &str = "/run/cgauge.trace";
/// How late a late notification is: later than any bound on one.
const LATE: Duration = Duration::from_secs(10);

thread_local! {
    /// Whether what this thread asks concerns no check.
    static ASIDE: Cell<bool> = const { Cell::new(false) };
}

fn layer() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    if ASIDE.get() {
        return &Layer::Honest;
    }
    LAYER.get_or_init(|| {
        let told = std::env::var(VARIABLE).ok();
        told.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default()
    })
}

/// Does what no check is about, as clearing away, without lies.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    let before = ASIDE.replace(true);
    let result = work();
    ASIDE.set(before);
    result
}

/// By how many thousandths what a benchmark times is to be made slower.
#[must_use]
pub fn slowed_by() -> u32 {
    match layer() {
        Layer::Slow(thousandths) => *thousandths,
        _ => 0,
    }
}

/// Whether this case runs under a lie.
pub(crate) fn are_told() -> bool {
    matches!(layer(), Layer::Lies(_))
}

/// Whether no lie is told or noted.
pub(crate) fn are_unheard_of() -> bool {
    matches!(layer(), Layer::Honest | Layer::Slow(_))
}

/// The lie to tell about this request.
pub(crate) fn told(request: Asked, file: &str) -> Option<Told> {
    let Layer::Lies(lies) = layer() else { return None };
    let is_about = |it: &&Lie| it.about.request == request && it.about.file == file;
    lies.iter().find(is_about).map(|it| it.told)
}

/// Notes the lies about this request that would change anything, where the case
/// is traced.
pub(crate) fn note(request: Asked, file: &str, changes: impl Fn(Told) -> bool) {
    static SEEN: Mutex<Option<HashSet<Lie>>> = Mutex::new(None);
    // Opened once: a child that has lost its rights inherits it.
    static OUT: OnceLock<Option<File>> = OnceLock::new();
    if *layer() != Layer::Trace {
        return;
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    let out =
        OUT.get_or_init(|| std::fs::OpenOptions::new().create(true).append(true).open(TRACE).ok());
    for told in request.lies().iter().copied().filter(|it| changes(*it)) {
        let lie = Lie { about: Touch { request, file: file.to_owned() }, told };
        if seen.contains(&lie) {
            continue;
        }
        let line = serde_json::to_string(&lie).unwrap_or_default() + "\n";
        // What cannot be written down is missing from the trace, and a check that
        // only this lie could turn is then listed as one that cannot fail.
        let _ = out.as_ref().map(|mut it| it.write_all(line.as_bytes()));
        seen.insert(lie);
    }
}

/// What a reader is given of the file at `path`, known as `file`, in place of
/// the kernel's answer.
pub(crate) fn read(file: &str, path: &Path, answer: io::Result<String>) -> io::Result<String> {
    let honest = answer.map_err(|it| errno_of(&it));
    let shown = |told| match (told, honest.clone()) {
        (Told::Refused | Told::OtherErrno, answer) => answered(told, answer),
        (Told::Accepted, answer) => Ok(answer.unwrap_or_default()),
        (Told::OnParent, answer) => of_parent(path).or(answer),
        (_, answer) => answer.map(|it| shown(told, path, it)),
    };
    let answer = match told(Asked::Read, file) {
        Some(told) => shown(told),
        None => {
            note(Asked::Read, file, |told| shown(told) != honest);
            honest
        }
    };
    answer.map_err(io::Error::from)
}

/// Asks the kernel with `ask`, or does `instead` what a lie makes of it.
pub(crate) fn asked<T>(
    request: Asked,
    file: &str,
    ask: impl FnOnce() -> Result<T, Errno>,
    instead: impl FnOnce(Told) -> Option<Result<T, Errno>>,
) -> Result<T, Errno> {
    match told(request, file) {
        None => {
            let answer = ask();
            let refused = answer.is_err();
            note(request, file, |told| {
                refused || !matches!(told, Told::Accepted | Told::OtherErrno)
            });
            answer
        }
        Some(Told::Refused) => Err(Errno::ENOTSUP),
        Some(told) => match instead(told) {
            Some(answer) => answer,
            None => answered(told, ask()),
        },
    }
}

/// As [`asked`], where all that comes back is whether it was done.
pub(crate) fn done(
    request: Asked,
    file: &str,
    ask: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    asked(request, file, &ask, |told| match told {
        Told::Ignored => Some(Ok(())),
        Told::Accepted => Some(ask().or(Ok(()))),
        _ => None,
    })
}

/// How long a limit holds that is forgotten: for the first look at it, which a
/// load takes too before it starts, and not for the load.
const REMEMBERED: Duration = Duration::from_millis(25);

/// What a file shows once the lie is told.
pub(crate) fn shown(told: Told, path: &Path, text: String) -> String {
    match told {
        Told::Scaled => each_number(&text, |it| it * 7 / 8),
        Told::OffByOne => each_number(&text, |it| it + 1),
        Told::Frozen => first_shown(path, text),
        Told::Swapped => text.lines().map(|line| swapped(line) + "\n").collect(),
        Told::Empty => String::new(),
        _ => text,
    }
}

/// What the same file of the parent's shows.
fn of_parent(path: &Path) -> Result<String, Errno> {
    let parent = path.parent().and_then(Path::parent).ok_or(Errno::ENOENT)?;
    let file = parent.join(path.file_name().unwrap_or_default());
    std::fs::read_to_string(file).map_err(|it| errno_of(&it))
}

/// What is written in place of `text`; nothing where the request is not to
/// reach the kernel.
pub(crate) fn written(told: Told, text: &str) -> Option<String> {
    match told {
        Told::Ignored | Told::Refused => None,
        Told::Doubled | Told::Forgotten => Some(each_number(text, |it| it * 2)),
        Told::Halved => Some(each_number(text, |it| it / 2)),
        _ => Some(text.to_owned()),
    }
}

/// Whether the file at `path` was written before in this process.
pub(crate) fn is_written_again(path: &Path) -> bool {
    static WRITTEN: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    if are_unheard_of() {
        return false;
    }
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    !written.get_or_insert_default().insert(path.to_path_buf())
}

/// Writes `text` to the file at `path` when the case no longer looks.
pub(crate) fn forget(path: PathBuf, text: &str) {
    let text = text.to_owned();
    std::thread::spawn(move || {
        std::thread::sleep(REMEMBERED);
        // The group may be gone by then: nothing is left to forget.
        let _ = std::fs::write(path, text);
    });
}

/// What the case is told of the kernel's answer.
pub(crate) fn answered<T>(told: Told, answer: Result<T, Errno>) -> Result<T, Errno> {
    match (told, answer) {
        (Told::Refused, _) => Err(Errno::ENOTSUP),
        (Told::OtherErrno, Err(Errno::ENXIO)) => Err(Errno::EDOM),
        (Told::OtherErrno, Err(_)) => Err(Errno::ENXIO),
        (_, answer) => answer,
    }
}

/// The errno that the case is told when opening `file` failed: the layer's lie
/// about what was to follow begins there.
pub(crate) fn of_opening(request: Asked, file: &str, errno: Errno) -> Errno {
    match told(request, file) {
        Some(told) => answered::<()>(told, Err(errno)).err().unwrap_or(errno),
        None => {
            note(request, file, |told| matches!(told, Told::Accepted | Told::OtherErrno));
            errno
        }
    }
}

/// Notes the lies about a write of `text`, which was refused or not, to a file
/// that the parent has, too, or not.
pub(crate) fn note_write(
    file: &str,
    text: &str,
    refused: bool,
    again: bool,
    parent_has: impl Fn() -> bool,
) {
    note(Asked::Write, file, |told| match told {
        Told::Stuck => again && !refused,
        Told::Accepted | Told::OtherErrno => refused,
        Told::Doubled | Told::Halved | Told::Forgotten => {
            written(told, text).as_deref() != Some(text)
        }
        Told::OnParent => parent_has(),
        _ => true,
    });
}

/// What a listing shows; `more` are the names next to it.
pub(crate) fn listed(names: Vec<String>, more: impl Fn() -> Vec<String>) -> Vec<String> {
    let shown = |told| {
        let mut names = names.clone();
        match told {
            Told::Empty => names.clear(),
            Told::Swapped => {
                names.pop();
            }
            Told::More => {
                names.extend(more());
                names.sort();
                names.dedup();
            }
            _ => {}
        }
        names
    };
    match told(Asked::List, "") {
        Some(told) => shown(told),
        None => {
            note(Asked::List, "", |told| shown(told) != names);
            names
        }
    }
}

/// Whether a notification is passed on; a late one is held up here.
pub(crate) fn notified(file: &str) -> bool {
    note(Asked::Watch, file, |told| told != Told::Unfounded);
    match told(Asked::Watch, file) {
        Some(Told::Swallowed) => false,
        Some(Told::Late) => {
            std::thread::sleep(LATE);
            true
        }
        _ => true,
    }
}

/// How often a watcher's wait came to nothing.
#[derive(Debug, Default)]
pub(crate) struct Silences(AtomicU32);

impl Silences {
    /// Whether a change of `file` is told all the same where none was told in time:
    /// each second time, so that who waits until all is quiet comes to an end.
    pub(crate) fn broken(&self, file: &str) -> bool {
        note(Asked::Watch, file, |told| told == Told::Unfounded);
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        told(Asked::Watch, file) == Some(Told::Unfounded) && before.is_multiple_of(2)
    }
}

/// The text that the file at `path` showed first in this process.
fn first_shown(path: &Path, text: String) -> String {
    static FIRST: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    first.get_or_insert_default().entry(path.to_path_buf()).or_insert(text).clone()
}

/// Applies `change` to each whole number that stands for itself: not to the
/// parts of a device number, a fraction or a name.
fn each_number(text: &str, change: impl Fn(u128) -> u128) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|it: char| it.is_ascii_digit()) {
        let (before, digits) = rest.split_at(at);
        let end = digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len());
        let (number, after) = digits.split_at(end);
        out.push_str(before);
        let part_of = |it: char| it.is_alphabetic() || "_.:".contains(it);
        let stands_alone = !out.ends_with(part_of)
            && !after.starts_with(['.', ':'])
            && !after.starts_with(char::is_alphabetic);
        match number.parse::<u128>() {
            Ok(value) if stands_alone => out.push_str(&change(value).to_string()),
            _ => out.push_str(number),
        }
        rest = after;
    }
    out + rest
}

/// A line with its state turned into another.
fn swapped(line: &str) -> String {
    const STATES: [(&str, &str); 8] = [
        ("0", "1"),
        ("1", "0"),
        ("domain", "threaded"),
        ("threaded", "domain"),
        ("domain threaded", "domain"),
        ("domain invalid", "domain"),
        ("member", "root"),
        ("max", "0"),
    ];
    if let Some((_, other)) = STATES.iter().find(|(it, _)| *it == line) {
        return (*other).to_owned();
    }
    // One line's figures as the other's.
    match line.split_once(' ') {
        Some(("some", figures)) => return format!("full {figures}"),
        Some(("full", figures)) => return format!("some {figures}"),
        _ => {}
    }
    match line.rsplit_once(' ') {
        Some((key, "0")) => format!("{key} 1"),
        Some((key, "1")) => format!("{key} 0"),
        Some((most, _)) => most.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_changed_where_they_stand_for_themselves() {
        let scaled = |text| shown(Told::Scaled, Path::new(""), String::from(text));
        assert_eq!(scaled("800\n"), "700\n");
        assert_eq!(scaled("1\n"), "0\n");
        assert_eq!(scaled("max 100000\n"), "max 87500\n");
        assert_eq!(scaled("259:0 rbytes=80 wios=8\n"), "259:0 rbytes=70 wios=7\n");
        assert_eq!(scaled("some avg10=1.50 total=800\n"), "some avg10=1.50 total=700\n");
        assert_eq!(scaled("pgscan_kswapd2 8\n"), "pgscan_kswapd2 7\n");
        assert_eq!(written(Told::Doubled, "50000 100000").unwrap(), "100000 200000");
        assert_eq!(written(Told::Doubled, "8:0 rbps=10").unwrap(), "8:0 rbps=20");
    }

    #[test]
    fn states_and_flags_become_others() {
        let swapped = |text| shown(Told::Swapped, Path::new(""), String::from(text));
        assert_eq!(swapped("populated 1\nfrozen 0\n"), "populated 0\nfrozen 1\n");
        assert_eq!(swapped("domain threaded\n"), "domain\n");
        assert_eq!(swapped("cpu memory pids\n"), "cpu memory\n");
        assert_eq!(swapped("0\n"), "1\n");
        assert_eq!(swapped("some total=5\nfull total=2\n"), "full total=5\nsome total=2\n");
    }

    #[test]
    fn a_frozen_file_shows_for_ever_what_it_showed_first() {
        let frozen = |path, text| shown(Told::Frozen, Path::new(path), String::from(text));
        assert_eq!(frozen("lies/a", "1\n"), "1\n");
        assert_eq!(frozen("lies/a", "2\n"), "1\n");
        assert_eq!(frozen("lies/b", "2\n"), "2\n");
    }

    #[test]
    fn answers_are_turned_round() {
        assert_eq!(answered(Told::Refused, Ok(())), Err(Errno::ENOTSUP));
        assert_eq!(answered::<()>(Told::OtherErrno, Err(Errno::EAGAIN)), Err(Errno::ENXIO));
        assert_eq!(answered(Told::OtherErrno, Ok(1)), Ok(1));
    }
}
