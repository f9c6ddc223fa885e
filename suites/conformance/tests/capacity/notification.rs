//! How soon a supervisor knows: one process that watches many groups, and a
//! change in one of them.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;

use cgauge_lab::kernel::{Dir, Open};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{cpu_time, nanoseconds, now, pause};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::resource::{Resource, setrlimit};

const FILE: &str = "cgroup.events";
/// Changes, each far enough from the last for the kernel to tell it at once.
const CHANGES: u32 = 20;
const APART: Duration = Duration::from_millis(40);
/// Without news for so long the supervisor ends.
const END: Duration = Duration::from_secs(2);

/// When the supervisor ran after each change, and the CPU time it took in all.
type Told = Result<(Vec<u64>, u64), String>;

/// A supervisor that watches so many groups is told of a change in any one of them.
#[rstest]
fn supervisor_is_told(
    lab: Lab,
    #[values(1, 10, 100, 1000)] groups: u32,
    #[values(Mechanism::Poll, Mechanism::Inotify)] mechanism: Mechanism,
) -> Outcome {
    let many = u64::from(groups) * 2 + 200;
    setrlimit(Resource::RLIMIT_NOFILE, many, many).map_err(Stop::broken("raise RLIMIT_NOFILE"))?;
    let crowd = lab.group("crowd")?;
    let members: Vec<Dir> = (0..groups)
        .map(|nth| crowd.dir().make(&nth.to_string()).map_err(Stop::Refused))
        .collect::<Result<_, _>>()?;
    let ready = Gate::new()?;
    let home = lab.group("supervisor")?;
    let supervisor = home.spawn(|| -> Told {
        let watched = match mechanism {
            Mechanism::Poll => by_poll(&members, &ready),
            Mechanism::Inotify => by_inotify(&members, &ready),
        };
        watched.map_err(|it| format!("{it:?}"))
    })?;
    ready.pass();
    pause(APART);
    let mut causes = Vec::new();
    for nth in 0..CHANGES {
        // Somewhere among them, and each twice in turn: frozen, then thawed.
        let member = &members[(nth / 2 * 7919 % groups) as usize];
        causes.push(nanoseconds(now()));
        member
            .write("cgroup.freeze", if nth % 2 == 0 { "1" } else { "0" })
            .map_err(Stop::Refused)?;
        pause(APART);
    }
    let (wakes, cpu) = supervisor.finish()?.map_err(Stop::Broken)?;
    let latencies: Vec<Duration> = causes
        .iter()
        .zip(causes.iter().skip(1).chain([&u64::MAX]))
        .filter_map(|(from, to)| {
            wakes.iter().find(|it| (from..to).contains(it)).map(|it| it - from)
        })
        .map(Duration::from_nanos)
        .collect();
    lab.latencies("from cause to wake-up", &latencies);
    lab.value(
        "CPU time of the supervisor for a notification",
        Unit::Nanoseconds,
        cpu / (wakes.len() as u64).max(1),
        Lower,
    );
    lab.notification("changes that the supervisor was told of")
        .covers([R054])
        .file(FILE)
        .unit(Unit::Events)
        .observed(latencies.len())
        .equals(CHANGES, "cgroup-v2.rst, cgroup.events: a change of the file notifies; the next change is its deadline");
    for member in &members {
        crowd.dir().remove(member.name()).map_err(Stop::Refused)?;
    }
    Ok(())
}

fn by_poll(members: &[Dir], ready: &Gate) -> Result<(Vec<u64>, u64), Stop> {
    let mut files: Vec<Open> = members
        .iter()
        .map(|it| it.open_file(FILE, OFlag::O_RDONLY).map_err(Stop::Refused))
        .collect::<Result<_, _>>()?;
    for file in &mut files {
        read_anew(file)?;
    }
    ready.open();
    let (mut wakes, began) = (Vec::new(), cpu_time());
    loop {
        let mut watched: Vec<PollFd<'_>> =
            files.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLPRI)).collect();
        let timeout = PollTimeout::try_from(END.as_millis()).unwrap_or(PollTimeout::MAX);
        let count = poll(&mut watched, timeout).map_err(Stop::broken("poll"))?;
        if count == 0 {
            return Ok((wakes, nanoseconds(cpu_time() - began)));
        }
        let told: Vec<usize> = watched
            .iter()
            .enumerate()
            .filter(|(_, it)| it.revents().is_some_and(|it| it.contains(PollFlags::POLLPRI)))
            .map(|(at, _)| at)
            .collect();
        wakes.push(nanoseconds(now()));
        for at in told {
            read_anew(&mut files[at])?;
        }
    }
}

fn by_inotify(members: &[Dir], ready: &Gate) -> Result<(Vec<u64>, u64), Stop> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
        .map_err(Stop::broken("watch with inotify"))?;
    for member in members {
        inotify
            .add_watch(&member.path().join(FILE), AddWatchFlags::IN_MODIFY)
            .map_err(Stop::broken("watch with inotify"))?;
    }
    ready.open();
    let (mut wakes, began) = (Vec::new(), cpu_time());
    loop {
        let mut watched = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(END.as_millis()).unwrap_or(PollTimeout::MAX);
        let count = poll(&mut watched, timeout).map_err(Stop::broken("poll"))?;
        if count == 0 {
            return Ok((wakes, nanoseconds(cpu_time() - began)));
        }
        wakes.push(nanoseconds(now()));
        inotify.read_events().map_err(Stop::broken("read inotify events"))?;
    }
}

/// From there on the kernel tells what is new.
fn read_anew(file: &mut Open) -> Result<(), Stop> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(())
}
