//! The six questions, answered from the sweeps: a sentence, the tables that it
//! rests on, and the same as pictures.

pub(super) mod cpu;
mod groups;

use cgauge_record::{Histogram, Unit};

use crate::capacity::curve::{Curve, Reach};
use crate::capacity::sweeps::Sweeps;
use crate::capacity::{Answer, Table};
use crate::charts::sweep::{Spacing, Sweep};
use crate::units::{readable, significant};

/// A curve bends where it costs so many times what it costs at its cheapest.
pub(super) const BEND: f64 = 1.5;
/// The loss of throughput that is still as good as the best.
pub(super) const FORGIVEN: f64 = 0.1;
/// The targets for which a thread pool is looked for, in milliseconds.
const TARGETS_MS: [f64; 5] = [10.0, 20.0, 50.0, 80.0, 100.0];
const NOT_MEASURED: &str = "This was not measured in this run.";

pub(super) fn all(sweeps: &Sweeps<'_>) -> Vec<Answer> {
    vec![
        groups::groups(sweeps),
        cpu::limit(sweeps),
        headroom(sweeps),
        disk(sweeps),
        notice(sweeps),
        price(sweeps),
    ]
}

fn time(ns: f64) -> String {
    readable(ns, Unit::Nanoseconds)
}

fn shown(number: Option<f64>, unit: Unit) -> String {
    number.map_or_else(|| "–".to_owned(), |it| readable(it, unit))
}

/// A table of curves: a row for each place, a column for each curve.
fn table(title: &str, first: &str, columns: &[(&str, Unit, Option<Curve>)]) -> Option<Table> {
    let mut places: Vec<f64> = columns
        .iter()
        .filter_map(|it| it.2.as_ref())
        .flat_map(|it| it.points().iter().map(|it| it.0))
        .collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let row = |place: f64| {
        let at = |curve: &Option<Curve>| {
            let points = curve.as_ref()?.points();
            points.iter().find(|it| it.0 == place).map(|it| it.1)
        };
        let cells = columns.iter().map(|(_, unit, curve)| shown(at(curve), *unit));
        std::iter::once(significant(place)).chain(cells).collect()
    };
    let head = std::iter::once(first).chain(columns.iter().map(|it| it.0));
    (!places.is_empty()).then(|| Table {
        title: title.to_owned(),
        head: head.map(str::to_owned).collect(),
        rows: places.into_iter().map(row).collect(),
    })
}

fn line(name: &str, curve: &Option<Curve>) -> (String, Vec<(f64, f64)>) {
    (name.to_owned(), curve.as_ref().map(|it| it.points().to_vec()).unwrap_or_default())
}

/// Throughput over the working set's share of the limit, which is 1 at it.
pub(super) fn throughput(sweeps: &Sweeps<'_>, of: &str, limit: &str) -> Option<Curve> {
    let at = [("of", of), ("limit", limit)];
    let places = sweeps.places("memory::working_set_around_a_limit", &at);
    Curve::new(places.filter_map(|it| {
        Some((it.number("percent")? / 100.0, it.value("bytes a second gone through")?))
    }))
}

fn headroom(sweeps: &Sweeps<'_>) -> Answer {
    let ways = [
        ("page cache under max", "Cache", "max"),
        ("page cache under high", "Cache", "high"),
        ("swapped under max", "Swapped", "max"),
        ("swapped under high", "Swapped", "high"),
    ];
    let rates: Vec<_> = ways
        .iter()
        .map(|(name, of, limit)| (*name, Unit::BytesPerSecond, throughput(sweeps, of, limit)))
        .collect();
    let refaults: Vec<_> = ways
        .iter()
        .map(|(name, of, limit)| {
            let at = [("of", *of), ("limit", *limit)];
            let places = sweeps.places("memory::working_set_around_a_limit", &at);
            let curve = Curve::new(
                places
                    .filter_map(|it| Some((it.number("percent")? / 100.0, it.value("refaults")?))),
            );
            (*name, Unit::Pages, curve)
        })
        .collect();
    let kill =
        sweeps.curve("memory::time_to_the_kill", &[], "mebibytes", "from the last page to the end");
    let exec = sweeps
        .places("memory::smallest_limit_for_exec", &[])
        .find_map(|it| it.value("smallest memory.max in which exec works"));
    let mut sentence = match &rates[0].2 {
        None => NOT_MEASURED.to_owned(),
        Some(curve) => {
            let best = curve.extent().1;
            let loss = Curve::new(curve.points().iter().map(|(at, rate)| (*at, 1.0 - rate / best)));
            let most = loss.and_then(|it| it.up_to(FORGIVEN)).map_or(0.0, |it| it.value);
            let (last, rate) = curve.points()[curve.points().len() - 1];
            format!(
                "A working set of page cache goes through as fast as at its best up to {} of memory.max; at {} of it what is left of that is {} %.",
                significant(most),
                significant(last),
                significant(rate / best * 100.0)
            )
        }
    };
    if let Some(kill) = &kill {
        sentence += &format!(
            " Where nothing can be reclaimed the kill comes {} to {} after the last page.",
            time(kill.extent().0),
            time(kill.extent().1)
        );
    }
    if let Some(exec) = exec {
        sentence += &format!(
            " The smallest memory.max in which exec works is {}.",
            readable(exec, Unit::Bytes)
        );
    }
    let tables = [
        table("Throughput", "working set over the limit", &rates),
        table("Pages that came back (refaults)", "working set over the limit", &refaults),
        table(
            "Time to the kill, without swap",
            "memory.max, MiB",
            &[("from the last page to the end", Unit::Nanoseconds, kill)],
        ),
    ];
    let picture = |title, y, curves: &[(&str, Unit, Option<Curve>)], good| {
        Sweep {
            title,
            subtitle: "a working set gone through four times, in a limit of 16 MiB",
            says: String::new(),
            good,
            x: ("working set over the limit", Unit::Ratio, Spacing::Linear),
            y,
            lines: curves.iter().map(|(name, _, curve)| line(name, curve)).collect(),
            limit: None,
        }
        .draw()
    };
    let charts = [
        picture(
            "Throughput around a memory limit",
            ("gone through", Unit::BytesPerSecond, Spacing::Logarithmic),
            &rates,
            "level up to 1, and a slope, no cliff, behind it.",
        ),
        picture(
            "Refaults around a memory limit",
            ("refaults", Unit::Pages, Spacing::Linear),
            &refaults,
            "none up to 1.",
        ),
    ];
    Answer {
        question: "How much headroom does a memory limit need?",
        sentence,
        tables: tables.into_iter().flatten().collect(),
        basis: "A process of its own goes through a working set from start to end, again and again, which is the worst order for the kernel's lists. The device answers in a millisecond; swap is compressed memory.",
        charts: charts.into_iter().flatten().collect(),
    }
}

fn disk(sweeps: &Sweeps<'_>) -> Answer {
    const TEST: &str = "io::victim_beside_a_neighbour";
    let ways = [("none", "None"), ("bfq", "Bfq"), ("iocost", "Iocost"), ("io.max", "IoMax")];
    let mut rows = Vec::new();
    let mut worst: Vec<(&str, f64)> = Vec::new();
    let mut bars = Vec::new();
    let mut used_by: Vec<(&str, f64)> = Vec::new();
    for (name, how) in ways {
        let place =
            |neighbour| sweeps.places(TEST, &[("how", how), ("neighbour", neighbour)]).next();
        let (alone, beside) = (place("alone"), place("beside"));
        let latency = |it: Option<&super::sweeps::Place<'_>>, of: fn(&Histogram) -> u64| {
            #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
            let found = it?.histogram("latency of the victim").map(|it| of(it) as f64);
            found
        };
        let Some(p99) = latency(beside, |it| it.p99) else { continue };
        worst.push((name, p99));
        let used = beside.and_then(|it| it.value("share of the device that is used"));
        used_by.extend(used.map(|it| (name, it)));
        let ns = |it| shown(it, Unit::Nanoseconds);
        rows.push(vec![
            name.to_owned(),
            ns(latency(alone, |it| it.p50)),
            ns(latency(alone, |it| it.p99)),
            ns(latency(beside, |it| it.p50)),
            ns(Some(p99)),
            ns(latency(beside, |it| it.max)),
            shown(
                beside.and_then(|it| it.value("requests a second of the victim")),
                Unit::PerSecond,
            ),
            shown(used, Unit::Ratio),
        ]);
        let place = f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        bars.push((name.to_owned(), vec![(place, p99)]));
    }
    let best = worst.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let none = worst.iter().find(|it| it.0 == "none");
    let sentence = match (best, none) {
        (Some(best), Some(none)) => {
            let used = used_by.iter().find(|it| it.0 == best.0).map_or(String::new(), |it| {
                format!(", while both together use {} % of the device", significant(it.1 * 100.0))
            });
            format!(
                "Beside a neighbour that asks for all, 99 of 100 requests of the victim take up to {} with nothing to keep them apart; {} does best with {}{used}.",
                time(none.1),
                best.0,
                time(best.1)
            )
        }
        _ => NOT_MEASURED.to_owned(),
    };
    let table = (!rows.is_empty()).then(|| Table {
        title: "A victim of 50 requests a second on a device of 500, beside 16 in flight".into(),
        head: [
            "kept apart by",
            "alone p50",
            "alone p99",
            "beside p50",
            "beside p99",
            "beside, longest",
            "victim's rate",
            "device used",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows,
    });
    let chart = Sweep {
        title: "Victim's p99 beside a neighbour",
        subtitle: "99 of 100 requests took no longer",
        says: String::new(),
        good: "near what one request takes alone, 2 ms.",
        x: ("way to keep them apart", Unit::Count, Spacing::Linear),
        y: ("p99", Unit::Nanoseconds, Spacing::Linear),
        lines: bars,
        limit: None,
    };
    Answer {
        question: "What does isolation on a disk give?",
        sentence,
        tables: table.into_iter().collect(),
        basis: "The victim's requests arrive as a Poisson process and count from their arrival. Equal weights; io.max holds the neighbour at half of the device, which nobody else may have then.",
        charts: chart.draw().into_iter().collect(),
    }
}

fn notice(sweeps: &Sweeps<'_>) -> Answer {
    const TEST: &str = "notification::supervisor_is_told";
    let metric = "from cause to wake-up";
    let mut columns = Vec::new();
    let mut lines = Vec::new();
    let mut says = Vec::new();
    for (name, mechanism) in [("poll", "Poll"), ("inotify", "Inotify")] {
        let at = [("mechanism", mechanism)];
        let of = |of: fn(&Histogram) -> u64| sweeps.percentile(TEST, &at, "groups", (metric, of));
        let (half, most) = (of(|it| it.p50), of(|it| it.p99));
        if let Some(curve) = &most {
            let (first, last) = (curve.points()[0], curve.points()[curve.points().len() - 1]);
            says.push(format!(
                "by {name} within {} of {} group and {} of {}",
                time(first.1),
                significant(first.0),
                time(last.1),
                significant(last.0)
            ));
        }
        lines.push(line(&format!("{name}, p99"), &most));
        columns.push((format!("{name} p50"), Unit::Nanoseconds, half));
        columns.push((format!("{name} p99"), Unit::Nanoseconds, most));
        columns.push((format!("{name} longest"), Unit::Nanoseconds, of(|it| it.max)));
        let cpu =
            sweeps.curve(TEST, &at, "groups", "CPU time of the supervisor for a notification");
        columns.push((format!("{name} CPU time"), Unit::Nanoseconds, cpu));
    }
    let borrowed: Vec<(&str, Unit, Option<Curve>)> =
        columns.iter().map(|it| (it.0.as_str(), it.1, it.2.clone())).collect();
    let sentence = if says.is_empty() {
        NOT_MEASURED.to_owned()
    } else {
        format!("99 of 100 times a supervisor knows {}.", says.join(", "))
    };
    let chart = Sweep {
        title: "From a change to the supervisor's wake-up",
        subtitle: "by the number of groups that one process watches",
        says: String::new(),
        good: "flat: inotify's is, poll's grows with what it is given to look at.",
        x: ("watched groups", Unit::Count, Spacing::Logarithmic),
        y: ("p99", Unit::Nanoseconds, Spacing::Logarithmic),
        lines,
        limit: None,
    };
    Answer {
        question: "How soon does a supervisor know?",
        sentence,
        tables: table("One process that watches cgroup.events of many groups", "groups", &borrowed)
            .into_iter()
            .collect(),
        basis: "One of the groups is frozen or thawed, 20 times, 40 ms apart, from before the write to after the wake-up. The kernel tells of closer changes no sooner than 10 ms after the last.",
        charts: chart.draw().into_iter().collect(),
    }
}

fn price(sweeps: &Sweeps<'_>) -> Answer {
    const TEST: &str = "price::operations_with_a_controller";
    const TIMED: [&str; 4] = ["fork and exit", "page fault", "context switch", "direct read"];
    let of = |controller: &str, operation: &str| {
        sweeps.places(TEST, &[("controller", controller)]).next()?.value(operation)
    };
    let mut rows = Vec::new();
    let mut dearest: Option<(&str, &str, f64)> = None;
    for controller in ["none", "cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "all"] {
        let cells: Vec<Option<(f64, f64)>> = TIMED
            .iter()
            .map(|it| {
                of(controller, it)
                    .map(|price| (price, of("none", it).map_or(f64::NAN, |none| price / none)))
            })
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        for (operation, cell) in TIMED.into_iter().zip(&cells) {
            if let Some((_, times)) = cell.filter(|it| it.1.is_finite())
                && !matches!(controller, "none" | "all")
                && dearest.is_none_or(|it| times > it.2)
            {
                dearest = Some((controller, operation, times));
            }
        }
        let cell = |it: &Option<(f64, f64)>| match it {
            Some((price, times)) if times.is_finite() && controller != "none" => {
                format!(
                    "{} ({}{} %)",
                    time(*price),
                    if *times >= 1.0 { "+" } else { "" },
                    significant((times - 1.0) * 100.0)
                )
            }
            Some((price, _)) => time(*price),
            None => "–".to_owned(),
        };
        rows.push(std::iter::once(controller.to_owned()).chain(cells.iter().map(cell)).collect());
    }
    let all = |operation| Some(of("all", operation)? / of("none", operation)?);
    let sentence = match dearest {
        None => NOT_MEASURED.to_owned(),
        Some((controller, operation, times)) => {
            let mut text = format!(
                "The dearest controller by itself is {controller}, which makes {operation} cost {} % more than with none",
                significant((times - 1.0) * 100.0)
            );
            if let Some(all) = all("fork and exit") {
                text +=
                    &format!("; with all of them a fork costs {} times as much", significant(all));
            }
            text + "."
        }
    };
    let lines = TIMED.iter().map(|operation| {
        let points = (1_u32..)
            .map(f64::from)
            .zip(["none", "cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "all"]);
        let none = of("none", operation);
        let points = points.filter_map(|(at, it)| Some((at, of(it, operation)? / none?)));
        ((*operation).to_owned(), points.collect())
    });
    let chart = Sweep {
        title: "What each controller costs",
        subtitle: "1 none · 2 cpu · 3 cpuset · 4 io · 5 memory · 6 pids · 7 hugetlb · 8 misc · 9 all",
        says: String::new(),
        good: "near 1 everywhere.",
        x: ("controllers that are enabled", Unit::Count, Spacing::Linear),
        y: ("price over that with none", Unit::Ratio, Spacing::Linear),
        lines: lines.collect(),
        limit: Some(("as with none".to_owned(), 1.0)),
    };
    Answer {
        question: "What does accounting itself cost?",
        sentence,
        tables: (!rows.is_empty())
            .then(|| Table {
                title: "One operation in a group, by the controllers that are enabled there".into(),
                head: std::iter::once("controllers").chain(TIMED).map(str::to_owned).collect(),
                rows,
            })
            .into_iter()
            .collect(),
        basis: "Means of 50 forks, 200 page faults, 200 switches there and back, and 50 direct reads, by a process inside the group.",
        charts: chart.draw().into_iter().collect(),
    }
}
