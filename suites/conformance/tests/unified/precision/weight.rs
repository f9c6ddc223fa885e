//! `cpu.weight`: the share that it gives, from 1 to 10000.

use cgauge_lab::machine::tick;
use cgauge_lab::prelude::*;
use cgauge_lab::time::nanoseconds;
use cgauge_workloads::Millis;

use crate::{PATIENCE, burner, burnt, ratio, soon};

/// A group beside one of the default weight gets the share that its weight makes, whatever it is.
#[rstest]
fn share_follows_the_weight(
    lab: Lab,
    #[values(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)] weight: u64,
) -> Outcome {
    const LENGTH: u64 = 3000;
    let (measured, beside) = (lab.group("measured")?, lab.group("beside")?);
    measured.set("cpu.weight", weight)?;
    let load = burner(1, 1, soon(), Millis(LENGTH));
    let (one, other) = (measured.load(&load)?, beside.load(&load)?);
    let [mut one, mut other] = [one, other];
    let (one, other) = (one.truth(PATIENCE)?, other.truth(PATIENCE)?);
    let (got, all) = (burnt(&one), burnt(&one) + burnt(&other));
    let wanted = weight as f64 / (weight + 100) as f64;
    let share = ratio(got, all);
    lab.value(&format!("share of weight {weight} beside 100"), Unit::Ratio, share, Neither);
    lab.value(
        &format!("share over what the weight says: {weight} beside 100"),
        Unit::Ratio,
        share / wanted,
        Neither,
    );
    // Whoever runs does so for at least a tick: lag is bounded by a slice, which
    // ends at a tick, on either side and at either end.
    let off = 4.0 * nanoseconds(tick()?) as f64 / (LENGTH * 1_000_000) as f64;
    // Weights are kept as multiples of 1024/100, rounded to a whole number.
    let rounded = 0.5 / (weight as f64 * 10.24);
    lab.enforcement(&format!("share of weight {weight} beside 100"))
        .covers([R067, R069])
        .file("cpu.weight")
        .unit(Unit::Ratio)
        .observed(share)
        .between(
            (wanted * (1.0 - rounded) - off).max(0.0),
            (wanted * (1.0 + rounded) + off).min(1.0),
            "weight over the sum of weights; the kernel rounds 10.24 times the weight to a whole number, and each may be a slice, which ends at a tick, ahead or behind at the begin and at the end",
        );
    Ok(())
}
