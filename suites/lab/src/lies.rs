//! The lying kernel: a layer through which every request to the cgroup
//! filesystem passes, and that lies about one kind of request when told so.
//!
//! A check that no lie turns to fail is no check; `cargo xtask test --lies`
//! finds it. Without the order to lie, nothing here does anything. It knows
//! numbers, words and errnos, not what a file means.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cgauge_record::{Asked, Layer, Told, Touch};
use nix::errno::Errno;

/// The layer that a case is to run under, as JSON.
pub const VARIABLE: &str = "CGAUGE_LAYER";
/// Where a traced case writes what it asked for.
pub const TRACE: &str = "/run/cgauge.trace";
/// How late a late notification is: later than any bound on one.
const LATE: Duration = Duration::from_secs(10);

fn layer() -> &'static Layer {
    static LAYER: OnceLock<Layer> = OnceLock::new();
    LAYER.get_or_init(|| {
        let told = std::env::var(VARIABLE).ok();
        told.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default()
    })
}

/// Whether this case runs under a lie.
pub(crate) fn are_told() -> bool {
    matches!(layer(), Layer::Lie(_))
}

/// The lie to tell about this request; notes the request where one is traced.
pub(crate) fn about(request: Asked, file: &str) -> Option<Told> {
    match layer() {
        Layer::Honest => None,
        Layer::Trace => {
            trace(Touch { request, file: file.to_owned() });
            None
        }
        Layer::Lie(lie) => {
            (lie.about.request == request && lie.about.file == file).then_some(lie.told)
        }
    }
}

fn trace(touch: Touch) {
    static SEEN: Mutex<Option<HashSet<Touch>>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.get_or_insert_default().insert(touch.clone()) {
        return;
    }
    let line = serde_json::to_string(&touch).unwrap_or_default();
    // What cannot be written down is missing from the trace, and a check that
    // only this request could turn is then listed as one that cannot fail.
    if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(TRACE) {
        let _ = writeln!(file, "{line}");
    }
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
/// about writing it begins there.
pub(crate) fn of_opening(file: &str, errno: Errno) -> Errno {
    match about(Asked::Write, file) {
        Some(told) => answered::<()>(told, Err(errno)).err().unwrap_or(errno),
        None => errno,
    }
}

/// What a listing shows.
pub(crate) fn listed(told: Told, mut names: Vec<String>) -> Vec<String> {
    match told {
        Told::Empty => Vec::new(),
        Told::Swapped => {
            names.pop();
            names
        }
        _ => names,
    }
}

/// Whether a notification is passed on; a late one is held up here.
pub(crate) fn notified(file: &str) -> bool {
    match about(Asked::Watch, file) {
        Some(Told::Swallowed) => false,
        Some(Told::Late) => {
            std::thread::sleep(LATE);
            true
        }
        _ => true,
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
