//! `IOWeight=` on a device that BFQ schedules: the weights of BFQ go up to 1000 only,
//! and systemd scales.

use cgauge_lab::disk::{Disk, NullDisk};
use cgauge_lab::prelude::*;
use cgauge_systemd::{Systemd, Variant, systemd};
use cgauge_workloads::{BlockIo, Millis, Operation, Pattern, truth};

const PATIENCE: Duration = Duration::from_secs(120);
const BLOCK: u64 = 4096;
/// The most that BFQ serves a queue before it looks at the next, in requests.
const BUDGET: u64 = 32;

/// systemd's scaling: linear from the least to the default, and from there to the most.
fn scaled(weight: u64) -> u64 {
    if weight <= 100 {
        100 - (100 - weight) * (100 - 1) / (100 - 1)
    } else {
        100 + (weight - 100) * (1000 - 100) / (10_000 - 100)
    }
}

/// Skips where groups have no BFQ weight, or where systemd does not write it yet.
fn needs_scaling(lab: &Lab, systemd: &Systemd, group: &Group) -> Result<(), Stop> {
    if systemd.version()? < 249 {
        return Err(lab.skip("this systemd does not scale weights for BFQ (since 249)"));
    }
    if !group.has("io.bfq.weight")? {
        return Err(lab.skip("this kernel has no io.bfq.weight (CONFIG_BFQ_GROUP_IOSCHED)"));
    }
    Ok(())
}

/// A weight of 1 to 10000 is written to BFQ as 1 to 1000, the default as the default.
#[rstest]
fn weight_is_scaled_to_bfqs_range(
    lab: Lab,
    systemd: Systemd,
    #[values(1, 50, 100, 200, 1000, 5050, 10_000)] weight: u64,
) -> Outcome {
    let given = [("IOWeight", Variant::from(weight))];
    let slice = systemd.slice(&lab, "weighed.slice", &given)?;
    needs_scaling(&lab, &systemd, slice.group())?;
    let line = slice.group().line("io.bfq.weight")?;
    let written = line.trim_start_matches("default ").lines().next().unwrap_or_default();
    lab.interface("the weight that BFQ was given")
        .covers([S09])
        .file("io.bfq.weight")
        .observed(written)
        .equals(scaled(weight).to_string(), "src/core/cgroup.h, BFQ_WEIGHT: 1 to 100 stays, 100 to 10000 becomes 100 to 1000 on a straight line");
    Ok(())
}

/// Two readers whose units differ in weight share the device as the scaled weights say.
#[rstest]
#[case(100, 100)]
#[case(2300, 100)]
#[case(10_000, 100)]
fn shares_follow_the_scaled_weights(
    lab: Lab,
    systemd: Systemd,
    #[case] heavy: u64,
    #[case] light: u64,
) -> Outcome {
    let disk = slow(&lab)?;
    let weight = |it: u64| [("IOWeight", Variant::from(it))];
    let one = systemd.slice(&lab, "share-heavy.slice", &weight(heavy))?;
    needs_scaling(&lab, &systemd, one.group())?;
    let other = systemd.slice(&lab, "share-light.slice", &weight(light))?;
    let load = BlockIo {
        block_bytes: BLOCK,
        pattern: Pattern::Random,
        depth: 4,
        deadline: Millis(12_000),
        ..BlockIo::direct(Operation::Read, disk.path(), u64::MAX)
    };
    let (mut first, mut second) = (one.group().load(&load)?, other.group().load(&load)?);
    let both: [truth::BlockIo; 2] = [first.truth(PATIENCE)?, second.truth(PATIENCE)?];
    let all = both[0].requests + both[1].requests;
    let (heavy, light) = (scaled(heavy), scaled(light));
    lab.value(
        "the heavy one's requests over the light one's",
        Unit::Ratio,
        both[0].requests as f64 / both[1].requests.max(1) as f64,
        Neither,
    );
    let ideal = all * light / (heavy + light);
    lab.enforcement("requests of the light one")
        .covers([S09, S08])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(both[1].requests)
        .between(
            ideal.saturating_sub(BUDGET).max(1),
            ideal + BUDGET,
            &format!("{light} of {} parts by the scaled weights; BFQ serves a queue at most one budget of {BUDGET} requests at a time and is never further than one from the ideal", heavy + light),
        );
    lab.enforcement("requests of both")
        .covers([S09])
        .file("io.bfq.weight")
        .unit(Unit::Count)
        .observed(all)
        .between(2700, 3002, "the device does 250 requests a second, 3000 in 12 s: who shares it out may keep it idle for a moment at each turn, a tenth at the most");
    Ok(())
}

/// 250 requests a second, scheduled by BFQ as its document asks where shares are to be kept.
fn slow(lab: &Lab) -> Result<Disk, Stop> {
    let disk = lab.null_disk(NullDisk {
        completion: Duration::from_millis(4),
        contents: true,
        depth: 32,
        ..NullDisk::default()
    })?;
    disk.schedule(lab, "bfq")?;
    disk.set_queue("iosched/low_latency", "0")?;
    disk.set_queue("iosched/strict_guarantees", "1")?;
    disk.set_queue("iosched/max_budget", &(BUDGET * BLOCK / 512).to_string())?;
    Ok(disk)
}
