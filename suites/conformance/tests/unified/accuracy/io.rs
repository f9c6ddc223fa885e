//! `io.stat` and `io.pressure` against the requests that ended and the time for
//! which they were waited for.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::machine::tick;
use cgauge_lab::parse;
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};

use crate::deviation::{Allowed, Counter, Deviations};
use crate::load::{Count, bind, family};

/// A block, aligned as a direct read wants it.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// `io.stat` counts a request when it is issued: between those that have ended and those that were begun, at any moment.
#[rstest]
fn requests_are_counted_when_they_are_issued(
    lab: Lab,
    #[values(1, 3)] cpus: usize,
    #[values(1, 10)] groups: usize,
    #[values(20, 300)] requests: u64,
) -> Outcome {
    let completion = Duration::from_micros(200);
    let disk = lab.null_disk(NullDisk { completion, depth: 8, ..NullDisk::default() })?;
    let (parent, children) = family(&lab, "io", groups)?;
    bind(0);
    let processes = groups.max(cpus);
    let (begun, ended) = (counts(processes)?, counts(processes)?);
    let (go, rest) = (Gate::new()?, Gate::new()?);
    let readers = (0..processes).map(|nth| {
        let file = direct(&disk)?;
        children[nth % groups].spawn(|| {
            bind(1 + nth % cpus);
            go.pass();
            for _ in 0..requests {
                begun[nth].add(1);
                read(&file);
                ended[nth].add(1);
            }
            rest.pass();
        })
    });
    let _readers = readers.collect::<Result<Vec<_>, _>>()?;
    let key = |key: &'static str| counted(&parent, &disk, key);
    let (before, bytes_before) = (key("rios")?, key("rbytes")?);
    let over = || Count::sum(&ended);
    let between = |least| (least, Count::sum(&begun));
    let in_bytes = |least| (least * 4096, Count::sum(&begun) * 4096);
    let mut running = (Deviations::since(now()), Deviations::since(now()));
    begun.iter().for_each(|_| go.open());
    while Count::sum(&ended) < processes as u64 * requests {
        running.0.sample(over, || Ok(key("rios")? - before), between)?;
        running.1.sample(over, || Ok(key("rbytes")? - bytes_before), in_bytes)?;
        pause(Duration::from_micros(900));
    }
    let mut after = Deviations::since(now());
    for _ in 0..10 {
        after.sample(over, || Ok(key("rios")? - before), between)?;
        pause(Duration::from_millis(5));
    }
    let circumstances = format!("{cpus} CPUs, {groups} groups, {requests} requests each");
    for (what, unit, deviations) in [
        ("reads", Unit::Count, &running.0),
        ("bytes read", Unit::Bytes, &running.1),
        ("reads once they have ended", Unit::Count, &after),
    ] {
        deviations.tell(
            &lab,
            &Counter {
                what: format!("{what}, {circumstances}"),
                file: "io.stat",
                unit,
                covers: &[R116, R117],
            },
            Allowed {
                below: 0,
                above: 0,
                reason: "block/blk-cgroup.c, blk_cgroup_bio_start(): a request is counted when it is issued, and reading io.stat brings it up to date",
            },
        );
    }
    Ok(())
}

/// `total` of `io.pressure` is the time for which the group's reader waits, up to the moment at which it is read, however often that is.
#[rstest]
#[case::every_30_ms(30_000)]
#[case::every_10_ms(10_000)]
#[case::every_2_ms(2000)]
fn stall_is_counted_however_often_it_is_read(
    lab: Lab,
    #[case] every_us: u64,
    #[values(1, 10)] groups: usize,
    #[values(20, 200)] milliseconds: u64,
) -> Outcome {
    const READS: u64 = 5;
    let completion = Duration::from_millis(milliseconds);
    let disk = lab.null_disk(NullDisk { completion, ..NullDisk::default() })?;
    let (parent, children) = family(&lab, "io", groups)?;
    bind(0);
    // Stalls that are over, in microseconds, and since when one is under way.
    let (over, since) = (Count::new()?, Count::new()?);
    let file = direct(&disk)?;
    let reader = children[groups - 1].spawn(|| {
        bind(1);
        pause(Duration::from_millis(20));
        for _ in 0..READS {
            let began = now();
            since.add(began.as_micros() as u64);
            read(&file);
            since.add((began.as_micros() as u64).wrapping_neg());
            over.add((now() - began).as_micros() as u64);
            pause(completion / 3);
        }
    })?;
    let some = || {
        let text = parent.get("io.pressure")?;
        let line = text.lines().find_map(|it| it.strip_prefix("some "));
        let total = line.and_then(|it| it.split("total=").nth(1)?.parse::<u64>().ok());
        total.ok_or_else(|| Stop::Broken(format!("{text:?} has no total of some")))
    };
    let before = some()?;
    let truth = || {
        let begun = since.get();
        let going = if begun == 0 { 0 } else { now().as_micros() as u64 - begun };
        over.get() + going
    };
    let mut running = Deviations::since(now());
    let end = now() + Duration::from_millis(20) + completion * 7;
    while now() < end {
        running.sample(truth, || Ok(some()? - before), |least| (least, truth()))?;
        pause(Duration::from_micros(every_us));
    }
    reader.finish()?;
    let tick = tick()?.as_micros() as u64;
    running.tell(
        &lab,
        &Counter {
            what: format!("io stall, {groups} groups, {READS} stalls of {milliseconds} ms, read every {every_us} us"),
            file: "io.pressure",
            unit: Unit::Microseconds,
            covers: &[R126],
        },
        Allowed {
            below: READS * 2 * tick,
            above: READS * tick,
            reason: "accounting/psi.rst: total is the \"absolute stall time (in us)\"; a reader brings it up to date, the stall that is under way included (psi_show()); the parts of a stall before the first look and after the last may be less than the tick in which the CPUs are weighted (get_recent_times()), and a read takes a turn of a CPU besides its wait",
        },
    );
    Ok(())
}

fn counts(count: usize) -> Result<Vec<Count>, Stop> {
    (0..count).map(|_| Count::new()).collect()
}

fn direct(disk: &Disk) -> Result<File, Stop> {
    Ok(OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(disk.path())?)
}

fn read(mut file: &File) {
    let mut block = Block([0; 4096]);
    // A device that holds nothing cannot fail to read it; at its end it reads nothing.
    let _ = file.read(&mut block.0);
}

/// A number of the device's line; 0 where there is none yet.
fn counted(group: &Group, disk: &Disk, key: &str) -> Result<u64, Stop> {
    let lines = parse::nested_keyed(&group.get("io.stat")?);
    let lines = lines.map_err(|it| Stop::Broken(it.to_string()))?;
    let value = lines.get(disk.number()).and_then(|it| it.get(key));
    Ok(value.and_then(|it| it.parse().ok()).unwrap_or_default())
}
