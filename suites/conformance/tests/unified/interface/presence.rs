//! Which files there are, in groups, in the root, in threaded groups, and which
//! of them are for delegatees.

use cgauge_lab::kernel;
use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use crate::row::{Row, Subject, Version, is_met};

/// Why no lie shows a file that the kernel has nowhere.
const NOWHERE: &str =
    "a listing can be mistaken for another's, and no group of this kernel has the file";

/// A group has every file of its controllers that the kernel's release promises, and each may be read and written as documented.
#[rstest]
fn group_has_the_files_of_its_controllers(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Io,
        Subject::Pids,
        Subject::Cpuset,
        Subject::Hugetlb,
        Subject::Misc,
        Subject::Rdma,
        Subject::Dmem
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let group = lab.group("group")?;
    let siblings = files(lab.whole_hierarchy()?.root())?;
    let requirements = subject.controller().map_or_else(Vec::new, |_| [R035].to_vec());
    let place = Place { lab: &lab, group: &group, name: "a group", requirements, siblings };
    for row in subject.rows() {
        place.shows(row, row.in_groups)?;
    }
    place.report_news(subject)
}

/// The root has the files that are for everybody and for the root alone, and no other.
#[rstest]
fn root_has_its_own_files_alone(
    lab: Lab,
    #[values(
        Subject::Core,
        Subject::Pressure,
        Subject::Cpu,
        Subject::Memory,
        Subject::Io,
        Subject::Pids,
        Subject::Cpuset,
        Subject::Hugetlb,
        Subject::Misc,
        Subject::Rdma,
        Subject::Dmem
    )]
    subject: Subject,
) -> Outcome {
    needs(&lab, subject)?;
    let hierarchy = lab.whole_hierarchy()?;
    let siblings = files(&lab.group("group")?)?;
    let place = Place {
        lab: &lab,
        group: hierarchy.root(),
        name: "the root",
        requirements: vec![R046],
        siblings,
    };
    for row in subject.rows() {
        place.shows(row, row.in_root)?;
    }
    place.report_news(subject)
}

/// A threaded group has the files of threaded controllers and none of the others.
#[rstest]
fn threaded_group_has_the_files_of_threaded_controllers(lab: Lab) -> Outcome {
    let top = lab.group("top")?;
    let like = files(&top)?;
    top.enable("cpu cpuset pids")?;
    let threaded = top.make("threaded")?;
    threaded.set("cgroup.type", "threaded")?;
    let there = files(&threaded)?;
    for file in like {
        let wanted = Subject::of(&file).is_threaded();
        lab.interface(&format!("whether a threaded group has {file}"))
            .covers([R026])
            .file(&file)
            .observed(yes_or_no(there.contains(&file)))
            .equals(
                yes_or_no(wanted),
                "cgroup-v2.rst, Threads: \"the following controllers are threaded and can be enabled in a threaded cgroup\", cpu, cpuset, perf_event and pids; the others \"won't appear\" there",
            );
    }
    Ok(())
}

/// Without any controller a group has the core's files, pressure and `cpu.stat`, which has no key of bandwidth then.
#[rstest]
fn group_without_controllers_has_cpu_stat(lab: Lab) -> Outcome {
    let parent = lab.group("parent")?;
    let bare = parent.make("bare")?;
    let with: Vec<String> = files(&parent)?;
    let there = files(&bare)?;
    for file in &with {
        let core = Subject::of(file).controller().is_none() || file.starts_with("cpu.stat");
        lab.interface(&format!("whether a group without controllers has {file}"))
            .covers([R035, R063])
            .file(file)
            .observed(yes_or_no(there.contains(file)))
            .equals(yes_or_no(core), "cgroup-v2.rst, Enabling and Disabling: a controller \"which isn't enabled\" has no files there; CPU Interface Files: cpu.stat \"exists whether the controller is enabled or not\"");
    }
    let keys = |group: &Group| -> Result<String, Stop> {
        let text = group.get("cpu.stat")?;
        let keys = text.lines().map(|it| it.split(' ').next().unwrap_or_default());
        // A third kind of time, with or without the controller, since 6.12.
        Ok(keys.filter(|it| *it != "nice_usec").collect::<Vec<_>>().join(" "))
    };
    lab.interface("keys without the controller")
        .covers([R063])
        .file("cpu.stat")
        .observed(keys(&bare)?)
        .equals(
            "usage_usec user_usec system_usec",
            "cgroup-v2.rst, CPU Interface Files: \"it always reports the following three stats\"",
        );
    let burst = if release()? >= (6, 1) { " nr_bursts burst_usec" } else { "" };
    lab.interface("keys with the controller")
        .covers([R063])
        .file("cpu.stat")
        .observed(keys(&parent)?)
        .equals(format!("usage_usec user_usec system_usec nr_periods nr_throttled throttled_usec{burst}"), "cgroup-v2.rst, CPU Interface Files: \"and the following five when the controller is enabled\"; those of bursts came after 5.10");
    Ok(())
}

/// `/sys/kernel/cgroup/delegate` names the files that a delegatee may write, and no other.
#[rstest]
fn delegate_names_the_files_for_delegatees(lab: Lab) -> Outcome {
    let text = kernel::text("/sys/kernel/cgroup/delegate")?;
    let release = release()?;
    let mut named: Vec<&str> = text.lines().collect();
    let rows = || Subject::ALL.into_iter().flat_map(Subject::rows);
    let is_due =
        |row: &&Row| row.delegated && row.in_groups.or(row.in_root).is_some_and(|it| release >= it);
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join(" ")
    };
    let known = named.iter().copied().filter(|it| rows().any(|row| row.file == *it));
    lab.interface("the files for delegatees")
        .covers([R042])
        .file("/sys/kernel/cgroup/delegate")
        .observed(sorted(known.collect()))
        .equals(sorted(rows().filter(is_due).map(|it| it.file).collect()), "cgroup-v2.rst, Delegation Containment and sysfs: what a delegatee may write is listed; a file that sets what the parent gives is none");
    named.retain(|it| rows().all(|row| row.file != *it));
    news(&lab, "delegate", &named);
    Ok(())
}

/// What is asked of one group.
struct Place<'a> {
    lab: &'a Lab,
    group: &'a Group,
    name: &'a str,
    requirements: Vec<cgauge_record::Requirement>,
    /// Files elsewhere by which an option can be seen.
    siblings: Vec<String>,
}

impl Place<'_> {
    /// Checks that a file is there with its permissions, or is not there.
    fn shows(&self, row: &Row, since: Option<Version>) -> Outcome {
        let shown = self.permissions(row.file)?;
        let expected = format!("{:o}", row.mode_on(release()?));
        if shown.is_some() && !row.documented {
            let metric = format!("not in cgroup-v2.rst: {} of {}", row.file, self.name);
            self.lab.value(&metric, Unit::Text, "there", Neither);
        }
        let mut beyond_lies = "";
        let (expected, reason) = match since {
            None => (
                "absent".to_owned(),
                "cgroup-v2.rst: the root, or every other group, is exempt from it".to_owned(),
            ),
            Some(since) if release()? < since => {
                if let Some(mode) = shown {
                    // Taken over from a later release: more than is promised.
                    self.lab.value(
                        &format!(
                            "news in {}: {} before {}.{}",
                            self.name, row.file, since.0, since.1
                        ),
                        Unit::Text,
                        mode,
                        Neither,
                    );
                }
                return Ok(());
            }
            Some(since) => {
                let reason = format!(
                    "cgroup-v2.rst or, where it does not name the file, the kernel's cftype: there since {}.{} at the latest, needs {}",
                    since.0,
                    since.1,
                    row.needs.option()
                );
                if shown.is_none() && !is_met(row.needs, &self.siblings) {
                    beyond_lies = NOWHERE;
                    ("absent".to_owned(), reason)
                } else {
                    (expected, reason)
                }
            }
        };
        self.lab
            .interface(&format!("permissions of {} in {}", row.file, self.name))
            .covers(self.requirements.iter().copied())
            .file(row.file)
            .beyond_lies(beyond_lies)
            .observed(shown.unwrap_or("absent".to_owned()))
            .equals(expected, &reason);
        Ok(())
    }

    /// The permissions of a file; none where it is not there.
    fn permissions(&self, file: &str) -> Result<Option<String>, Stop> {
        if !self.group.has(file)? {
            return Ok(None);
        }
        // Neither read nor written, so that every file can be opened.
        let open = match self.group.dir().open_file(file, OFlag::O_PATH) {
            Ok(open) => open,
            Err(refusal) => return Ok(Some(format!("listed, and {:?}", refusal.errno))),
        };
        let stat = fstat(&open).map_err(Stop::broken("look at a file"))?;
        Ok(Some(format!("{:o}", stat.st_mode & 0o7777)))
    }

    /// Records the files that no row has.
    fn report_news(&self, subject: Subject) -> Outcome {
        let mut unknown = files(self.group)?;
        unknown.retain(|it| {
            Subject::of(it) == subject && subject.rows().iter().all(|row| row.file != *it)
        });
        news(self.lab, &format!("files of {}", self.name), &unknown);
        Ok(())
    }
}

/// Records names that the table lacks.
pub fn news(lab: &Lab, place: &str, names: &[impl AsRef<str>]) {
    for name in names {
        lab.value(
            &format!("news in {place}: {}", name.as_ref()),
            Unit::Text,
            "not in the table",
            Neither,
        );
    }
}

/// Skips the case where the kernel does not offer the controller.
pub fn needs(lab: &Lab, subject: Subject) -> Outcome {
    subject.controller().map_or(Ok(()), |it| lab.needs_controller(it))
}

/// The names of a group's files.
pub fn files(group: &Group) -> Result<Vec<String>, Stop> {
    group.dir().files().map_err(|it| Stop::Broken(it.to_string()))
}

fn yes_or_no(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}
