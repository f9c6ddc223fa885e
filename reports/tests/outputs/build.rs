//! Builds runs for tests: the lines of an `events.jsonl`, written as a harness
//! writes them and read back as a report reads them.

use std::fmt::Write as _;

use cgauge_record::{
    CaseEnd, CaseStart, Check, CheckKind, Clock, Driver, Event, Hierarchy, Histogram, KernelId,
    Outcome, Preference, Quantity, Requirement, RunEnd, RunStart, SCHEMA, Series, StageKind, Unit,
    Value, Verdict, ids,
};
use cgauge_reports::Run;

/// The lines of a results file in the making.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) String);

impl Lines {
    pub(crate) fn event(mut self, event: Event) -> Self {
        writeln!(self.0, "{}", serde_json::to_string(&event).unwrap()).unwrap();
        self
    }

    pub(crate) fn start(self, config: &str) -> Self {
        self.event(Event::RunStart(start(config)))
    }

    /// A whole case: its start, its records, its end.
    pub(crate) fn case(self, config: &str, case: Case) -> Self {
        let begun = self.event(Event::CaseStart(CaseStart {
            config: config.into(),
            suite: case.suite.into(),
            case: case.name.into(),
            promise: case.promise.into(),
            host_ns: 0,
            worker: 0,
        }));
        let recorded = case
            .records
            .into_iter()
            .fold(begun, |lines, it| lines.event(addressed(it, config, case.suite, case.name)));
        match case.end {
            None => recorded,
            Some((outcome, reason, evidence)) => recorded.event(Event::CaseEnd(CaseEnd {
                config: config.into(),
                suite: case.suite.into(),
                case: case.name.into(),
                outcome,
                reason: reason.into(),
                elapsed_ns: 12_345_678,
                host_elapsed_ns: 99_000_000,
                host_ns: 1,
                evidence: evidence.iter().map(|it| (*it).to_owned()).collect(),
            })),
        }
    }

    /// The end as a liar would write it: no reader may trust its counts.
    pub(crate) fn end(self) -> Self {
        self.event(Event::RunEnd(RunEnd { passed: 999, ..RunEnd::default() }))
    }

    pub(crate) fn read(&self) -> Run {
        Run::read_from(self.0.as_bytes(), "events.jsonl").unwrap()
    }
}

/// What a test says of a case.
pub(crate) struct Case {
    pub(crate) suite: &'static str,
    pub(crate) name: &'static str,
    pub(crate) promise: &'static str,
    pub(crate) records: Vec<Event>,
    pub(crate) end: Option<(Outcome, &'static str, &'static [&'static str])>,
}

pub(crate) fn passing(suite: &'static str, name: &'static str, promise: &'static str) -> Case {
    let records = vec![check(ids::R132, 8, 8)];
    Case { suite, name, promise, records, end: Some((Outcome::Pass, "", &[])) }
}

pub(crate) fn start(config: &str) -> RunStart {
    RunStart {
        schema: SCHEMA,
        run: "20260102-030405".into(),
        harness: "cgauge 0.1.0".into(),
        started: "2026-01-02T03:04:05Z".into(),
        stage: StageKind::Vm,
        accel: "tcg".into(),
        clock: Clock::Virtual,
        hierarchy: Hierarchy::Unified,
        driver: Driver::Cgroupfs,
        userland: String::new(),
        kernel: KernelId {
            release: "6.12.9-cloud-amd64".into(),
            version: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.9-1".into(),
            config_sha256: "5f16c0ffee5f16c0ffee5f16c0ffee5f16c0ffee5f16c0ffee5f16c0ffee0000"
                .into(),
        },
        qemu: "7.2.22".into(),
        cpus: 1,
        memory_bytes: 512 << 20,
        config: config.into(),
        kernel_spec: "debian:6.12".into(),
        machine: "microvm".into(),
        guest: "saved".into(),
        host: String::new(),
        binaries: Vec::new(),
        planned: Vec::new(),
    }
}

pub(crate) fn check(
    id: Requirement,
    observed: impl Into<Quantity>,
    at_most: impl Into<Quantity>,
) -> Event {
    Event::Check(Check {
        config: String::new(),
        suite: String::new(),
        case: String::new(),
        requirements: vec![id],
        kind: CheckKind::Enforcement,
        what: "processes in the bomb's group".into(),
        file: "pids.current".into(),
        unit: Unit::Processes,
        observed: observed.into(),
        at_least: None,
        at_most: Some(at_most.into()),
        equals: None,
        bound_reason: "pids.max is 8, and a fork above it fails with EAGAIN".into(),
        beyond_lies: String::new(),
        verdict: Verdict::Pass,
    })
}

pub(crate) fn value(metric: &str, unit: Unit, value: impl Into<Quantity>) -> Event {
    Event::Value(Value {
        config: String::new(),
        suite: String::new(),
        case: String::new(),
        metric: metric.into(),
        unit,
        value: value.into(),
        better: Preference::Lower,
    })
}

pub(crate) fn series(points: Vec<(u64, f64)>, limit: Option<f64>) -> Event {
    Event::Series(Series {
        config: String::new(),
        suite: String::new(),
        case: String::new(),
        metric: "pids.current".into(),
        unit: Unit::Processes,
        points,
        limit,
    })
}

pub(crate) fn histogram(encoded: &str, min: u64, p50: u64, p99: u64, max: u64) -> Event {
    Event::Histogram(Histogram {
        config: String::new(),
        suite: String::new(),
        case: String::new(),
        metric: "last exit to populated 0".into(),
        unit: Unit::Nanoseconds,
        count: 200,
        min,
        p50,
        p90: p99,
        p99,
        p999: max,
        max,
        encoded: encoded.into(),
    })
}

/// A record under the names of its case.
fn addressed(mut event: Event, to_config: &str, to_suite: &str, to_case: &str) -> Event {
    let (config, suite, case) = match &mut event {
        Event::Check(it) => (&mut it.config, &mut it.suite, &mut it.case),
        Event::Value(it) => (&mut it.config, &mut it.suite, &mut it.case),
        Event::Histogram(it) => (&mut it.config, &mut it.suite, &mut it.case),
        Event::Series(it) => (&mut it.config, &mut it.suite, &mut it.case),
        other => panic!("{other:?} is no record of a case"),
    };
    *config = to_config.into();
    *suite = to_suite.into();
    *case = to_case.into();
    event
}

pub(crate) const CONFIG: &str = "debian:6.12/unified/cgroupfs/vm";

/// A fork bomb that climbs to its limit and stays there.
fn climb(limit: f64) -> Event {
    let points = (0..400_u32)
        .map(|it| (u64::from(it) * 250_000, (f64::from(it) * limit / 60.0).min(limit).floor()));
    series(points.collect(), Some(limit))
}

/// Every outcome once at least, for one configuration.
pub(crate) fn every_outcome(config: &str) -> Lines {
    let stops =
        "A group never holds more processes than `pids.max`: the fork above it fails with EAGAIN.";
    let mut fork_bomb: Vec<Case> = ["limit_1_1", "limit_2_8", "limit_3_64"]
        .into_iter()
        .zip([
            "fork_bomb_stops::limit_1_1",
            "fork_bomb_stops::limit_2_8",
            "fork_bomb_stops::limit_3_64",
        ])
        .map(|(_, name)| passing("pids", name, stops))
        .collect();
    fork_bomb[0].records.push(climb(1.0));
    fork_bomb[0].records.push(value("forks refused", Unit::Events, 391));
    fork_bomb[1].records =
        vec![check(ids::R132, 8, 8), check(ids::R132, 9, 8), check(ids::S13, 10, 8), climb(8.0)];
    fork_bomb[1].end = Some((
        Outcome::Fail,
        "processes in the bomb's group (pids.current): expected at most 8 processes, observed 9 processes (pids.max is 8, and a fork above it fails with EAGAIN), and one more failed check",
        &[],
    ));
    fork_bomb[2].records.push(climb(64.0));
    fork_bomb[2].records.push(value("time to the limit", Unit::Nanoseconds, 15_250_000));
    let lines = fork_bomb
        .into_iter()
        .fold(Lines::default().start(config), |lines, it| lines.case(config, it));
    let mut populated = passing(
        "core",
        "populated_turns_zero",
        "`populated` turns 0 within a bounded time of the last exit.",
    );
    populated.records = vec![
        check(ids::R031, 3, 8),
        histogram(
            "9990144:3 15990784:150 15998976:40 16007168:5 31997952:2",
            9_990_001,
            15_990_784,
            31_997_952,
            31_997_000,
        ),
    ];
    let skip = Case {
        end: Some((Outcome::Skip, "the kernel has no pids.peak (it came with 6.1)", &[])),
        records: Vec::new(),
        ..passing("pids", "peak_is_kept", "`pids.peak` keeps the greatest number.")
    };
    let error = Case {
        end: Some((
            Outcome::Error,
            "the guest's kernel panicked",
            &[
                "[    1.20] sysrq: Trigger a crash",
                "[    1.21] Kernel panic - not syncing: VFS: # sysrq",
                "  <script>alert(1)</script>",
            ],
        )),
        records: vec![check(ids::R059, 0, 0)],
        ..passing(
            "core",
            "kill_takes_the_subtree",
            "`cgroup.kill` kills the subtree, also against forks.",
        )
    };
    let noise = Case {
        end: Some((Outcome::Inconclusive, "the two halves differ by more than the effect", &[])),
        ..passing("core", "migration_is_fast", "Moving a process takes a bounded time.")
    };
    let unknown = Case {
        end: Some((Outcome::Pass, "", &[])),
        ..passing("core", "thread_root::mode_2_fork", "")
    };
    [populated, skip, error, noise, unknown]
        .into_iter()
        .fold(lines, |lines, it| lines.case(config, it))
        .end()
}
