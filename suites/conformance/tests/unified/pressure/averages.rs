//! The running averages: `avg10`, `avg60` and `avg300`.

use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};

use crate::stall::{Disk, READ, read, reader};

/// The averages rise under a constant stall as their formula says, and fall after it.
#[rstest]
fn averages_follow_their_formula(lab: Lab) -> Outcome {
    /// Length of the stall in seconds, and of the fall after it.
    const RISE: u32 = 30;
    const FALL: u32 = 20;
    let disk = Disk::open(&lab)?;
    let group = lab.group("group")?;
    let mut points = Vec::new();
    let began = now();
    let process = reader(&group, &disk, 1, Duration::ZERO)?;
    let watch = |seconds: u32, points: &mut Vec<_>| -> Outcome {
        for _ in 0..seconds {
            pause(Duration::from_secs(1));
            let line = read(&group, "io.pressure")?.get("some").copied().unwrap_or_default();
            points.push((now() - began, line.avg10));
        }
        Ok(())
    };
    let check = |when: &str, stalled: u32, rested: u32| -> Outcome {
        let line = read(&group, "io.pressure")?.get("some").copied().unwrap_or_default();
        for (name, shown, window) in [
            ("avg10", line.avg10, 10.0),
            ("avg60", line.avg60, 60.0),
            ("avg300", line.avg300, 300.0),
        ] {
            // Rises towards 100 and falls towards 0 by e^(-t/window). The kernel takes
            // a sample every 2 s: between two of them the value is up to 2 s old, and
            // the sample at the beginning or the end is of a part.
            let after = |stalled: f64, rested: f64| {
                100.0 * (1.0 - (-stalled / window).exp()) * (-rested / window).exp()
            };
            let (stalled, rested) = (f64::from(stalled), f64::from(rested));
            let least = after(stalled - 2.5, if rested > 0.0 { rested + 0.5 } else { 0.0 });
            let most =
                after(stalled + 0.5, if rested > 0.0 { (rested - 2.5_f64).max(0.0) } else { 0.0 });
            lab.accounting(&format!("{name} {when}"))
                .covers([R126])
                .file("io.pressure")
                .unit(Unit::Ratio)
                .observed(shown)
                .between(least * 0.99 - 0.5, most + 0.5, "psi.rst: a running average over its window; kernel/sched/psi.c takes a sample every 2 s, hence 2.5 s either way; a hundredth is the CPU's part of a read, and half a per cent is for 11-bit fractions");
        }
        Ok(())
    };
    watch(RISE, &mut points)?;
    check("after 30 s without a moment of rest", RISE, 0)?;
    process.end()?;
    watch(FALL, &mut points)?;
    check("20 s after the last stall", RISE, FALL)?;
    lab.series("avg10 of io.pressure, some", Unit::Ratio, &points, Some(100.0));
    Ok(())
}

/// A stall for half of the time is half the pressure.
#[rstest]
fn half_the_time_is_half_the_pressure(lab: Lab) -> Outcome {
    let disk = Disk::open(&lab)?;
    let group = lab.group("group")?;
    // As long a rest as a read.
    let _process = reader(&group, &disk, 1, READ)?;
    pause(Duration::from_secs(30));
    let line = read(&group, "io.pressure")?.get("some").copied().unwrap_or_default();
    lab.accounting("avg10 after half a minute of reads and rests of one length")
        .covers([R126])
        .file("io.pressure")
        .unit(Unit::Ratio)
        .observed(line.avg10)
        .between(45.0, 50.0, "half of the time, less what e^-2.75 leaves (3.2: the last sample is up to 2.5 s old) and the CPU's part of a read and the rest's timer (under a thirtieth)");
    Ok(())
}
