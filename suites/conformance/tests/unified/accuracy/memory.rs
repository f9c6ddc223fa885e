//! `memory.current` and `memory.stat` against the pages that processes touched.

use cgauge_lab::machine::release;
use cgauge_lab::memory::{Memory, PAGE};
use cgauge_lab::prelude::*;
use cgauge_lab::time::{now, pause};

use crate::deviation::{Allowed, Counter, Deviations};
use crate::load::{Count, bind, family};

/// CPUs of the machine.
const CPUS: u64 = 4;
/// Pages that a CPU is charged with at once (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
const BATCH: u64 = 64;
/// The kernel brings memory.stat up to date every two seconds (mm/memcontrol.c,
/// FLUSH_TIME); its work waits for a CPU that is awake.
const FLUSHED: Duration = Duration::from_millis(2200);

/// `memory.current` is off by a batch of charges of each CPU at most; `anon` of `memory.stat` lags by what the CPUs have not handed in, and is exact two seconds after the load has stopped.
#[rstest]
fn memory_is_off_by_the_batches_of_the_cpus(
    lab: Lab,
    #[values(1, 3)] cpus: usize,
    #[values(1, 10)] groups: usize,
    #[values(40, 600, 12000)] pages: u64,
) -> Outcome {
    let (parent, children) = family(&lab, "memory", groups)?;
    bind(0);
    let _awake = awake(&lab)?;
    let processes = groups.max(cpus);
    // The first page of each is not counted: what a first step costs a process in
    // pages of its own is spent with it.
    let each = pages / processes as u64;
    let touched = (0..processes).map(|_| Count::new()).collect::<Result<Vec<_>, _>>()?;
    let (ready, go, rest) = (Gate::new()?, Gate::new()?, Gate::new()?);
    let touchers = (0..processes).map(|nth| {
        children[nth % groups].spawn(|| {
            bind(1 + nth % cpus);
            let memory = Memory::anonymous((each + 1) * PAGE);
            if let Ok(memory) = &memory {
                memory.write(0..1, 1);
                touched[nth].add(0);
            }
            ready.open();
            go.pass();
            if let Ok(memory) = &memory {
                for page in 1..=each {
                    memory.write(page..page + 1, 1);
                    touched[nth].add(1);
                }
            }
            rest.pass();
        })
    });
    let _touchers = touchers.collect::<Result<Vec<_>, _>>()?;
    touched.iter().for_each(|_| ready.pass());
    pause(FLUSHED);
    let current = || Ok::<_, Stop>(parent.number("memory.current")? / PAGE);
    let anon = || Ok::<_, Stop>(parent.key("memory.stat", "anon")? / PAGE);
    let (current_before, anon_before): (u64, u64) = (current()?, anon()?);
    // Counters may fall below where they were: both are shifted by what they may.
    let shift = BATCH * CPUS;
    let counted = || Count::sum(&touched) + shift;
    // Each may have been charged for a page that it has not counted yet.
    let between = |least| (least, counted() + processes as u64);
    let of_current = || Ok::<_, Stop>((current()? + shift).saturating_sub(current_before));
    let of_anon = || Ok::<_, Stop>(anon()? + shift - anon_before);
    let whole = processes as u64 * each;
    touched.iter().for_each(|_| go.open());
    let mut running = (Deviations::since(now()), Deviations::since(now()));
    while Count::sum(&touched) < whole {
        running.0.sample(counted, of_current, between)?;
        running.1.sample(counted, of_anon, between)?;
        pause(Duration::from_micros(700));
    }
    let mut after = (Deviations::since(now()), Deviations::since(now()));
    for nth in 0..60 {
        after.0.sample(counted, of_current, between)?;
        after.1.sample(counted, of_anon, between)?;
        pause(Duration::from_millis(if nth < 10 { 1 } else { 50 }));
    }
    let circumstances = format!("{cpus} CPUs, {groups} groups, {pages} pages");
    // Two pages of tables at the least, one for each 512 pages, and the kernel's
    // own for a process that faults for the first time.
    let tables = processes as u64 * (4 + each / 512);
    let of_current = Allowed {
        below: BATCH * CPUS,
        above: BATCH * CPUS + tables,
        reason: "each CPU takes charges 64 pages at a time, keeps the rest, and may have kept some from before (mm/memcontrol.c, MEMCG_CHARGE_BATCH); page tables are charged as well, four pages of each process and one for each 512 pages",
    };
    // Before 5.13 each CPU kept up to 32 pages of each key to itself for good.
    let kept = if release()? < (5, 13) { 32 * CPUS } else { 0 };
    let lag = kept + BATCH * (2 * CPUS + 1);
    let of_anon = |below| Allowed {
        below,
        above: kept,
        reason: "memory.stat is brought up to date by its reader only once more than 64 changes for each CPU have come in, and each CPU hands its own in by 64 (memcg_rstat_updated)",
    };
    for (when, (current, anon)) in [("while it grows", &running), ("after it has grown", &after)] {
        current.tell(
            &lab,
            &Counter {
                what: format!("memory.current {when}, {circumstances}"),
                file: "memory.current",
                unit: Unit::Pages,
                covers: &[R083, R084],
            },
            of_current,
        );
        anon.tell(
            &lab,
            &Counter {
                what: format!("anon {when}, {circumstances}"),
                file: "memory.stat:anon",
                unit: Unit::Pages,
                covers: &[R083, R084],
            },
            of_anon(lag),
        );
    }
    after.1.tell_settled(
        &lab,
        &Counter {
            what: format!("anon, {circumstances}"),
            file: "memory.stat:anon",
            unit: Unit::Pages,
            covers: &[R083],
        },
        (kept, kept),
        FLUSHED,
        "mm/memcontrol.c, FLUSH_TIME: every two seconds; the work that does it waits for a CPU that is awake",
    );
    Ok(())
}

/// A process on each CPU that never sleeps for long: the work that brings memory.stat
/// up to date waits for its CPU to wake, however long that takes.
fn awake(lab: &Lab) -> Result<(Vec<Process<()>>, Group), Stop> {
    let home = lab.group("awake")?;
    let on = |cpu| {
        home.spawn(|| {
            bind(cpu);
            loop {
                pause(Duration::from_millis(20));
            }
        })
    };
    let processes = (0..CPUS as usize).map(on).collect::<Result<_, _>>()?;
    Ok((processes, home))
}
