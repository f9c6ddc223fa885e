//! `memory.peak` and `memory.swap.peak`: the most there ever was, and since a
//! descriptor's own reset.

use std::io::{Read, Seek, Write};

use cgauge_lab::kernel::Open;
use cgauge_lab::machine::release;
use cgauge_lab::prelude::*;
use nix::fcntl::OFlag;

use crate::support::*;

fn through(file: &mut Open) -> Result<u64, Stop> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| Stop::Broken(format!("{text:?} is no number")))
}

/// The peak is the most that was ever used, whatever is used now, here and in all above; a write resets it for that descriptor alone.
#[rstest]
fn peak_is_the_most_and_is_reset_per_descriptor(
    lab: Lab,
    #[values("memory.peak", "memory.swap.peak")] file: &str,
) -> Outcome {
    lab.needs_file(file, if file == "memory.peak" { "since 5.19" } else { "since 6.5" })?;
    no_khugepaged()?;
    let swap = if file == "memory.swap.peak" { Some(lab.swap(64 * MIB)?) } else { None };
    let covered = [R097];
    let parent = lab.group("parent")?;
    parent.enable("memory")?;
    let group = parent.make("group")?;
    let process = Stepper::start(&group, |turns| {
        for _ in 0..3 {
            let Ok(memory) = Memory::anonymous(4 * MIB) else { return };
            turns.step(|| memory.scramble(0..1024));
            turns.step(|| {
                drop(memory);
                0
            });
        }
        turns.step(|| 0);
    })?;
    // Uses 4 MiB of what the file is about, and gives it back.
    let rise = || -> Result<(), Stop> {
        process.next()?;
        if swap.is_some() {
            // Asks for more than there is: all that can go goes.
            let _ = group.try_set("memory.reclaim", 64 * MIB);
        }
        process.next().map(drop)
    };
    let current = file.replace("peak", "current");
    let base = group.number(&current)?;
    rise()?;
    let slack = if swap.is_some() { 128 * PAGE } else { BATCH + 3 * PAGE };
    let why = "4 MiB were there at once; besides, three page tables and what a CPU keeps of charges, or the process's own pages where it is about swap";
    let first = group.number(file)?;
    lab.accounting("the peak after 4 MiB came and went")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(first)
        .between(base + 4 * MIB - BATCH, base + 4 * MIB + slack, why);
    lab.accounting("the peak of the parent after it")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(parent.number(file)?)
        .between(first, first + slack, "the child's memory is the parent's too");
    lab.accounting("what is used once they have gone")
        .covers(covered)
        .file(&current)
        .unit(Unit::Bytes)
        .observed(group.number(&current)?)
        .at_most(base + slack, "the peak is above what is used now");

    let open = group.dir().open_file(file, OFlag::O_RDWR);
    if release()? < (6, 12) {
        let mode = std::fs::metadata(group.dir().path().join(file))?;
        lab.interface("whether the file takes a write, by its mode")
            .covers(covered)
            .file(file)
            .observed(format!(
                "{:o}",
                std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777
            ))
            .equals("444", "before 6.12 the file is read-only (cgroup-v2.rst of 6.1)");
        return Ok(());
    }
    lab.interface("the answer to opening the file for a reset")
        .covers(covered)
        .file(file)
        .answered(&open)
        .equals("ok", "cgroup-v2.rst, memory.peak: \"A write of any non-empty string to this file resets it to the current memory usage\"");
    let (Ok(mut one), Ok(mut other)) = (open, group.dir().open_file(file, OFlag::O_RDWR)) else {
        return Ok(());
    };
    lab.accounting("the peak through a descriptor that was not reset")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut one)?)
        .equals(first, "it is the group's until it is reset");
    let now = group.number(&current)?;
    one.write_all(b"reset")?;
    lab.accounting("the peak through the descriptor that was reset")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut one)?)
        .between(now, now + slack, "what is used at the reset");
    for (what, observed) in
        [("another descriptor", through(&mut other)?), ("a new descriptor", group.number(file)?)]
    {
        lab.accounting(&format!("the peak through {what} after that"))
            .covers(covered)
            .file(file)
            .unit(Unit::Bytes)
            .observed(observed)
            .equals(first, "cgroup-v2.rst, memory.peak: the reset is \"for subsequent reads through the same file descriptor\"");
    }
    rise()?;
    lab.accounting("the peak through it after 4 MiB came and went again")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut one)?)
        .between(now + 4 * MIB - BATCH, now + 4 * MIB + slack, why);
    let empty = one.write(b"")?;
    lab.interface("the answer to a reset with no bytes")
        .covers(covered)
        .file(file)
        .unit(Unit::Count)
        .observed(empty)
        .equals(0, "a write of nothing writes nothing: only a non-empty string is a reset");
    lab.accounting("the peak through it after a write of no bytes")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut one)?)
        .at_least(now + 4 * MIB - BATCH, "a write of nothing resets nothing");
    other.write_all(b"x")?;
    lab.accounting("the peak through it after the other was reset too")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut one)?)
        .between(
            now + 4 * MIB - BATCH,
            now + 4 * MIB + slack,
            "cgroup-v2.rst, memory.peak: the most \"since either the creation of the cgroup or the most recent reset for that FD\", and this one was not reset again; mm/memcontrol.c, peak_write, lowers the one local_watermark that all descriptors share and carries over what is used now, not what they had seen",
        );
    lab.accounting("the peak through the other then")
        .covers(covered)
        .file(file)
        .unit(Unit::Bytes)
        .observed(through(&mut other)?)
        .at_most(now + slack, "what is used at its reset");
    Ok(())
}
