//! Runs the cases of a job and says how each ended. In a VM it is PID 1, or a
//! service where systemd is that: it brings the machine up, stops to be saved if it
//! is told so, and switches it off. On the machine's own kernel it is shown groups
//! to work in, and touches nothing else.
//!
//! It judges nothing: it knows no promise and no bound.

mod aftermath;
mod boot;
mod case;
mod channel;
mod firmware;
mod port;
mod shown;
mod systemd;
mod trees;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use cgauge_record::{Job, Message, Ready};

use crate::case::Prepared;
use crate::channel::Channel;
use crate::firmware::Firmware;
use crate::port::Ports;
use crate::trees::Tree;

/// The job's name in the firmware configuration.
const JOB: &str = "opt/cgauge/job";
/// What the names of the job's suites begin with there.
const SUITE: &str = "opt/cgauge/suites/";
/// What stands there instead when the guest is booted to be saved.
const SAVE: &[u8] = b"save";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // The kernel of a VM hands its own words to PID 1; this is none of them.
    if words.next().as_deref() == Some(shown::WORD) {
        return shown::run(words);
    }
    let ports = match Ports::open() {
        Ok(ports) => ports,
        // Without ports there is no way to say anything but on the console, and
        // PID 1 that ends is a panic that the harness reports.
        Err(errno) => panic!("cgauge: no right to use I/O ports: {errno}"),
    };
    let channel = Channel::Ports(&ports);
    if let Err(error) = work(&ports, &channel) {
        channel.say(&Message::Broken { reason: error.to_string() });
    }
    ports.power_off();
}

type Error = Box<dyn std::error::Error>;

fn work(ports: &Ports, channel: &Channel<'_>) -> Result<(), Error> {
    let trees = match std::env::args().nth(1).as_deref() {
        Some("systemd") => systemd::join()?,
        _ => boot::come_up()?,
    };
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    let prepared = Prepared::new(&trees)?;
    let ready = Message::Ready(ready());

    let mut bytes = job_bytes(ports)?;
    if bytes == SAVE {
        channel.say(&ready);
        ports.pause_to_be_saved();
        // From here on it is a restored guest, with another job.
        bytes = job_bytes(ports)?;
    }
    channel.say(&ready);
    let job: Job = serde_json::from_slice(&bytes)?;
    place_suites(ports, &job)?;
    boot::bring_up_cpus(job.cpus)?;
    run_cases(&job, &trees, prepared, channel)
}

/// Runs the cases one after the other, the first on what is prepared.
fn run_cases(
    job: &Job,
    trees: &[Tree],
    prepared: Prepared,
    channel: &Channel<'_>,
) -> Result<(), Error> {
    let mut prepared = Some(prepared);
    for (index, case) in job.cases.iter().enumerate() {
        channel.say(&Message::Start { index });
        let prepared = match prepared.take() {
            Some(prepared) => prepared,
            None => Prepared::new(trees)?,
        };
        channel.say(&Message::End(prepared.run(case, channel)?));
    }
    Ok(())
}

fn job_bytes(ports: &Ports) -> Result<Vec<u8>, String> {
    let text = Firmware::find(ports).and_then(|it| it.text(JOB));
    text.ok_or_else(|| format!("QEMU was given no {JOB}"))
}

/// Puts the suites that the job names where cases are started from. They come
/// with the job, so that one saved guest serves every suite that it is fit for.
fn place_suites(ports: &Ports, job: &Job) -> Result<(), String> {
    let suites: BTreeSet<&str> = job.cases.iter().map(|it| it.suite.as_str()).collect();
    fs::create_dir_all(case::SUITES).map_err(|it| format!("{}: {it}", case::SUITES))?;
    for name in suites {
        let firmware = Firmware::find(ports).ok_or("QEMU has no firmware configuration")?;
        let path = Path::new(case::SUITES).join(name);
        let placed = firmware.place_program(&format!("{SUITE}{name}"), &path);
        placed.map_err(|it| format!("the suite {name}: {it}"))?;
    }
    Ok(())
}

fn ready() -> Ready {
    let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    Ready {
        release: read("/proc/sys/kernel/osrelease"),
        version: read("/proc/sys/kernel/version"),
        kvm_clock: source == "kvm-clock",
    }
}
