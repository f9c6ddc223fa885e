//! The names of cases: their parameters as `rstest` spells them, and the command
//! that runs one again. It must not know what a case is about.

use cgauge_record::{Clock, Driver, Hierarchy, RunStart, StageKind};

/// A case's name without its parameters, and the parameters apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SplitName<'a> {
    /// The test's own name.
    pub(crate) base: &'a str,
    /// `limit=8, mode=Fork`; empty for a case without parameters.
    pub(crate) parameters: String,
}

/// Splits `bomb::limit_2_8::mode_1_Fork` into `bomb` and `limit=8, mode=Fork`.
///
/// A segment is a parameter when it reads NAME_NUMBER or NAME_NUMBER_VALUE, the
/// number being the place in the list of values.
pub(crate) fn split(case: &str) -> SplitName<'_> {
    let mut base = case;
    let mut parameters = Vec::new();
    while let Some((rest, last)) = base.rsplit_once("::") {
        let Some(parameter) = parameter(last) else {
            break;
        };
        parameters.push(parameter);
        base = rest;
    }
    parameters.reverse();
    SplitName { base, parameters: parameters.join(", ") }
}

fn parameter(segment: &str) -> Option<String> {
    // A function that is named after a known bug has its number, too.
    if segment.starts_with("bug_") {
        return None;
    }
    let digits = segment.match_indices('_').find_map(|(at, _)| {
        let rest = &segment[at + 1..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let ends = rest[length..].is_empty() || rest[length..].starts_with('_');
        (at > 0 && length > 0 && ends).then_some((at, at + 1 + length))
    });
    let (name_end, number_end) = digits?;
    let name = &segment[..name_end];
    let number = &segment[name_end + 1..number_end];
    match segment[number_end..].strip_prefix('_') {
        None | Some("") if name == "case" => Some(format!("case {number}")),
        None | Some("") => Some(format!("{name}={number}")),
        Some(value) if name == "case" => Some(value.to_owned()),
        Some(value) => Some(format!("{name}={value}")),
    }
}

/// The command that runs one case again as it was run in that configuration.
///
/// Whatever a shell would not take as it stands is quoted: the names may come
/// from a stranger's file.
#[must_use]
pub fn rerun_command(start: &RunStart, suite: &str, case: &str) -> String {
    let mut words = vec!["cargo xtask run".to_owned(), shell_word(suite)];
    let mut flag = |name: &str, value: &str| words.push(format!("--{name} {}", shell_word(value)));
    flag("case", case);
    if !start.kernel_spec.is_empty() {
        flag("kernel", &start.kernel_spec);
    }
    match start.hierarchy {
        Hierarchy::Unified => {}
        Hierarchy::Legacy => flag("hierarchy", "legacy"),
        Hierarchy::Hybrid => flag("hierarchy", "hybrid"),
    }
    match start.driver {
        Driver::Cgroupfs => {}
        Driver::Systemd => flag("driver", "systemd"),
    }
    if !start.userland.is_empty() {
        flag("userland", &start.userland);
    }
    match start.stage {
        StageKind::Vm => {}
        StageKind::Container => flag("stage", "container"),
        StageKind::Host => flag("stage", "host"),
    }
    match start.clock {
        Clock::Virtual => {}
        Clock::Wall => flag("clock", "wall"),
    }
    words.join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "_-.:/=,+@".contains(it);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_from_names() {
        for (case, base, parameters) in [
            ("bomb_stops", "bomb_stops", ""),
            ("bomb::limit_2_8", "bomb", "limit=8"),
            ("bomb::limit_02_1024::mode_1_Fork__new", "bomb", "limit=1024, mode=Fork__new"),
            ("rules::case_3_deep_tree", "rules", "deep_tree"),
            ("rules::case_3", "rules", "case 3"),
            ("freezer::moving_in_stops", "freezer::moving_in_stops", ""),
            ("freezer::thaw::depth_1_4", "freezer::thaw", "depth=4"),
            ("limit_1_1", "limit_1_1", ""),
            ("a::_1", "a::_1", ""),
        ] {
            let split = split(case);
            assert_eq!((split.base, split.parameters.as_str()), (base, parameters), "{case}");
        }
    }

    #[test]
    fn a_shell_sees_each_name_as_one_word() {
        assert_eq!(shell_word("bomb::limit_2_8"), "bomb::limit_2_8");
        assert_eq!(shell_word("$(reboot)"), "'$(reboot)'");
        assert_eq!(shell_word("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(shell_word("--out"), "'--out'");
        assert_eq!(shell_word(""), "''");
    }
}
