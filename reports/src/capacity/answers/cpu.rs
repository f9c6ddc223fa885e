//! What a CPU limit costs.
//!
//! It knows no other question.

use super::*;

const PERCENTS: [&str; 3] = ["50", "100", "200"];
type Percentile = (&'static str, fn(&Histogram) -> u64);
const STALLS: [(&str, Percentile); 2] =
    [("stall p50", ("stall", |it| it.p50)), ("stall p99", ("stall", |it| it.p99))];

/// p99 of the stalls over threads for each CPU of the limit: of all limits, for
/// what counts is how many share one.
pub(in crate::capacity) fn stall_by_crowding(sweeps: &Sweeps<'_>) -> Option<Curve> {
    #[expect(clippy::cast_precision_loss, reason = "a place on a curve")]
    let points = sweeps.places("cpu::busy_threads_under_a_limit", &[]).filter_map(|it| {
        let crowding = it.number("threads")? / (it.number("percent")? / 100.0);
        // Without a stall there is no distribution of stalls.
        Some((crowding, it.histogram("stall").map_or(0.0, |it| it.p99 as f64)))
    });
    Curve::new(points)
}

pub(super) fn limit(sweeps: &Sweeps<'_>) -> Answer {
    const TEST: &str = "cpu::busy_threads_under_a_limit";
    let mut tables = Vec::new();
    let mut pools = Vec::new();
    let mut lines = Vec::new();
    for percent in PERCENTS {
        let at = [("percent", percent)];
        let longest = sweeps.curve(TEST, &at, "threads", "longest stall");
        tables.extend(table(
            &format!("Busy threads on {percent} % of a CPU in periods of 100 ms"),
            "threads",
            &columns(sweeps, TEST, &at, "threads"),
        ));
        if let Some(longest) = &longest {
            let row = TARGETS_MS.iter().map(|target| match longest.up_to(target * 1e6) {
                None => "none".to_owned(),
                Some(it) if it.reach == Reach::Extrapolated => {
                    format!("{} or more", significant(it.value.floor()))
                }
                Some(it) => significant(it.value.floor()),
            });
            pools.push(std::iter::once(format!("{percent} %")).chain(row).collect());
        }
        lines.push(line(&format!("{percent} % of a CPU"), &longest));
    }
    let one = sweeps.curve(TEST, &[("percent", "100")], "threads", "longest stall");
    let by_period =
        sweeps.curve("cpu::busy_threads_by_the_period", &[], "period_ms", "longest stall");
    let by_burst = sweeps.curve("cpu::bursts_of_a_thread", &[], "burst_percent", "longest stall");
    let ends = |it: &Option<Curve>| {
        it.as_ref().map(|it| (it.points()[0], it.points()[it.points().len() - 1]))
    };
    let mut sentence = match &one {
        None => NOT_MEASURED.to_owned(),
        Some(curve) => {
            let (last, most) = curve.points()[curve.points().len() - 1];
            let pool = match curve.up_to(50e6) {
                None => "no pool".to_owned(),
                Some(it) if it.value.floor() == 1.0 => "a single thread".to_owned(),
                Some(it) => format!("a pool of {} threads", significant(it.value.floor())),
            };
            format!(
                "On one CPU of quota in 100 ms, {} busy threads stall for up to {}; {pool} stays under 50 ms.",
                significant(last),
                time(most)
            )
        }
    };
    if let Some((first, last)) = ends(&by_period) {
        sentence += &format!(
            " For four threads on one CPU the longest stall is {} with a period of {} ms and {} with {} ms.",
            time(first.1),
            significant(first.0),
            time(last.1),
            significant(last.0)
        );
    }
    if let Some((first, last)) = ends(&by_burst) {
        sentence += &format!(
            " A thread that wants twice its quota in every third period stalls for up to {} without a burst and {} with one of {} % of the quota.",
            time(first.1),
            time(last.1),
            significant(last.0)
        );
    }
    tables.extend(table(
        "Four busy threads on one CPU, by the period",
        "period, ms",
        &columns(sweeps, "cpu::busy_threads_by_the_period", &[], "period_ms"),
    ));
    tables.extend(table(
        "One thread in bursts, by the burst",
        "burst, % of the quota",
        &columns(sweeps, "cpu::bursts_of_a_thread", &[], "burst_percent"),
    ));
    if !pools.is_empty() {
        let head = std::iter::once("quota".to_owned());
        tables.push(Table {
            title: "The largest pool of busy threads whose longest stall stays within".into(),
            head: head
                .chain(TARGETS_MS.iter().map(|it| format!("{} ms", significant(*it))))
                .collect(),
            rows: pools,
        });
    }
    let picture = |title, x, lines, limit| {
        Sweep {
            title,
            subtitle: "the longest that a thread stood still",
            says: String::new(),
            good: "low: below the time in which somebody waits for an answer.",
            x,
            y: ("longest stall", Unit::Nanoseconds, Spacing::Linear),
            lines,
            limit,
        }
        .draw()
    };
    let charts = [
        picture(
            "Stall over the number of threads",
            ("busy threads", Unit::Count, Spacing::Logarithmic),
            lines,
            Some(("the period".to_owned(), 1e8)),
        ),
        picture(
            "Stall over the period",
            ("period, ms", Unit::Count, Spacing::Logarithmic),
            vec![line("four threads on one CPU", &by_period)],
            None,
        ),
        picture(
            "Stall over the burst",
            ("burst, % of the quota", Unit::Count, Spacing::Linear),
            vec![line("one thread in bursts", &by_burst)],
            None,
        ),
    ];
    Answer {
        question: "What does a CPU limit cost?",
        sentence,
        tables,
        basis: "Threads that always want to run, on four CPUs for a second: the worst that a limit does. A stall is any time in which a thread could not run, waiting for its turn among the others included. Stalls below 4 ms are not counted, and percentiles are over the 64 longest stalls of each thread.",
        charts: charts.into_iter().flatten().collect(),
    }
}

/// The columns of a sweep of a CPU limit.
fn columns(
    sweeps: &Sweeps<'_>,
    test: &str,
    at: &[(&str, &str)],
    over: &str,
) -> Vec<(&'static str, Unit, Option<Curve>)> {
    let value = |metric| sweeps.curve(test, at, over, metric);
    let mut columns = vec![
        ("periods throttled", Unit::Ratio, value("share of periods that were throttled")),
        ("time stalled", Unit::Ratio, value("share of a thread's time stalled")),
    ];
    for (name, percentile) in STALLS {
        columns.push((name, Unit::Nanoseconds, sweeps.percentile(test, at, over, percentile)));
    }
    columns.push(("longest stall", Unit::Nanoseconds, value("longest stall")));
    columns.push(("CPU time over the limit", Unit::Ratio, value("CPU time over the limit")));
    columns
}
