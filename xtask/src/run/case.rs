//! Cases on a stage: the guest's messages become events, and what became of the
//! guest becomes each case's end.
//!
//! A guest is not believed: names come from the plan, and what does not fit is
//! an error of that case alone.

use std::time::Instant;

use anyhow::Result;
use cgauge_record::{CaseEnd, CaseStart, Check, Ending, Event, Job, JobCase, Layer, Message};
use cgauge_reports::judge::{Finish, judge};
use cgauge_stage::{GuestEnd, Stage};

use super::journal::Journal;
use crate::flags::Slowed;
use crate::plan::Case;

/// How long a case may take on the guest's clock.
const DEADLINE_MS: u64 = 60_000;
/// Lines of console and output that go with a case that went wrong.
const EVIDENCE: usize = 20;

/// What cases run in and where their events go.
pub struct Bench<'a> {
    /// The stage.
    pub stage: &'a dyn Stage,
    /// The configuration's name.
    pub config: &'a str,
    /// CPUs that the guest shall have online.
    pub cpus: u32,
    /// Which operations are made slower, and by how much.
    pub slowed: Option<&'a Slowed>,
    /// The run.
    pub journal: &'a Journal,
    /// When the run started.
    pub began: Instant,
    /// Which worker this is.
    pub worker: u32,
    /// Told of each case's end.
    pub ended: &'a (dyn Fn(&CaseEnd) + Sync),
    /// Told of each case's start.
    pub started: &'a (dyn Fn(&Case) + Sync),
}

/// Runs the cases of one suite, in one guest as far as it carries.
///
/// # Errors
/// Only what concerns the run as a whole: its events cannot be written.
pub fn run(bench: &Bench<'_>, cases: &[Case]) -> Result<()> {
    let mut left = cases;
    while !left.is_empty() {
        let mut open = Open::new(bench, left);
        let job = Job {
            cpus: bench.cpus,
            cases: left.iter().map(|it| job_case(it, bench.slowed)).collect(),
        };
        let ran = bench.stage.run(&job, &mut |message| open.hear(message));
        let (finish, console) = match ran {
            Ok(ran) => (finish(ran.end, open.broken.take()), ran.console),
            Err(cgauge_stage::Error::Interrupted) => (Finish::Interrupted, Vec::new()),
            Err(error) => (Finish::Broken(error.to_string()), Vec::new()),
        };
        let heading = left[open.done.min(left.len() - 1)].name.clone();
        bench.journal.console(&format!("{}.{}", bench.config, left[0].suite), &heading, &console);
        let interrupted = finish == Finish::Interrupted;
        open.close(finish, &console)?;
        if interrupted {
            break;
        }
        left = &left[open.done..];
    }
    Ok(())
}

fn job_case(case: &Case, slowed: Option<&Slowed>) -> JobCase {
    let slowed = slowed.filter(|it| case.name.contains(&it.name));
    JobCase {
        suite: case.suite.clone(),
        case: case.name.clone(),
        deadline_ms: DEADLINE_MS,
        layer: slowed.map_or(Layer::Honest, |it| Layer::Slow(it.thousandths)),
    }
}

fn finish(end: GuestEnd, broken: Option<String>) -> Finish {
    match (end, broken) {
        (_, Some(reason)) => Finish::Broken(reason),
        (GuestEnd::Done, None) => {
            Finish::Broken("the guest switched itself off before it was over".to_owned())
        }
        (GuestEnd::Panicked, None) => Finish::GuestPanicked,
        (GuestEnd::Vanished { status }, None) => Finish::GuestVanished(status),
        (GuestEnd::Silent { after }, None) => Finish::HostDeadline(after.as_secs()),
        (GuestEnd::Babbled { reason }, None) => Finish::Babble(reason),
        (GuestEnd::Interrupted, None) => Finish::Interrupted,
    }
}

/// The case that is under way in a guest, and how many came before it.
struct Open<'a> {
    bench: &'a Bench<'a>,
    cases: &'a [Case],
    /// Cases that are over.
    done: usize,
    current: Option<Current>,
    broken: Option<String>,
    failure: Option<anyhow::Error>,
}

struct Current {
    began: Instant,
    checks: Vec<Check>,
    skip: Option<String>,
    output: Vec<String>,
}

impl<'a> Open<'a> {
    fn new(bench: &'a Bench<'a>, cases: &'a [Case]) -> Self {
        let mut open = Self { bench, cases, done: 0, current: None, broken: None, failure: None };
        // The first case starts with its guest: the time that takes is its own.
        open.start();
        open
    }

    fn start(&mut self) {
        let Some(case) = self.cases.get(self.done) else {
            return;
        };
        (self.bench.started)(case);
        let start = Event::CaseStart(CaseStart {
            config: self.bench.config.to_owned(),
            suite: case.suite.clone(),
            case: case.name.clone(),
            promise: case.promise.clone(),
            host_ns: nanoseconds(self.bench.began),
            worker: self.bench.worker,
        });
        self.write(&start);
        self.current = Some(Current {
            began: Instant::now(),
            checks: Vec::new(),
            skip: None,
            output: Vec::new(),
        });
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Ready(_) => {}
            Message::Start { index } => {
                if index != self.done {
                    self.broken =
                        Some(format!("the agent started case {index} in place of {}", self.done));
                }
            }
            Message::Record(event) => self.record(*event),
            Message::Skip { reason } => {
                if let Some(current) = &mut self.current {
                    current.skip = Some(reason);
                }
            }
            Message::End(ending) => {
                let finish = self.broken.take().map_or(Finish::Ended(ending), Finish::Broken);
                self.end(finish, &[]);
            }
            Message::Broken { reason } => self.broken = Some(reason),
        }
    }

    fn record(&mut self, mut event: Event) {
        let (Some(case), Some(current)) = (self.cases.get(self.done), &mut self.current) else {
            return;
        };
        let (config, suite, name) = match &mut event {
            Event::Check(it) => (&mut it.config, &mut it.suite, &mut it.case),
            Event::Value(it) => (&mut it.config, &mut it.suite, &mut it.case),
            Event::Histogram(it) => (&mut it.config, &mut it.suite, &mut it.case),
            Event::Series(it) => (&mut it.config, &mut it.suite, &mut it.case),
            // The rest is the harness's own to say.
            _ => return,
        };
        self.bench.config.clone_into(config);
        case.suite.clone_into(suite);
        case.name.clone_into(name);
        if let Event::Check(check) = &event {
            current.checks.push(check.clone());
        }
        self.write(&event);
    }

    fn end(&mut self, finish: Finish, console: &[String]) {
        let (Some(case), Some(mut current)) = (self.cases.get(self.done), self.current.take())
        else {
            return;
        };
        let (elapsed_ns, output) = match &finish {
            Finish::Ended(Ending { elapsed_ns, output, .. }) => (*elapsed_ns, output.clone()),
            _ => (0, Vec::new()),
        };
        current.output.extend(output);
        let judgement = judge(&current.checks, current.skip.as_deref(), &finish);
        let wrong = !matches!(
            judgement.outcome,
            cgauge_record::Outcome::Pass | cgauge_record::Outcome::Skip
        );
        let evidence = if wrong { evidence(&current.output, console) } else { Vec::new() };
        let end = CaseEnd {
            config: self.bench.config.to_owned(),
            suite: case.suite.clone(),
            case: case.name.clone(),
            outcome: judgement.outcome,
            reason: judgement.reason,
            elapsed_ns,
            host_elapsed_ns: nanoseconds(current.began),
            host_ns: nanoseconds(self.bench.began),
            evidence,
        };
        (self.bench.ended)(&end);
        if let Err(error) = self.bench.journal.end_case(&current.checks, end) {
            self.failure.get_or_insert(error);
        }
        self.done += 1;
        self.start();
    }

    /// The guest is gone: the case that was under way ends as the guest did.
    fn close(&mut self, finish: Finish, console: &[String]) -> Result<()> {
        if self.current.is_some() {
            let cases = self.cases;
            // What comes after it starts in another guest.
            self.cases = &cases[..=self.done];
            self.end(finish, console);
            self.cases = cases;
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, event: &Event) {
        if let Err(error) = self.bench.journal.write(event) {
            self.failure.get_or_insert(error);
        }
    }
}

/// What the case printed last, and the console from where it tells of a
/// disaster; the last of it, if it tells of none.
fn evidence(output: &[String], console: &[String]) -> Vec<String> {
    const DISASTERS: [&str; 4] = ["Kernel panic", "BUG:", "Oops", "WARNING:"];
    let last = |lines: &[String]| lines.len().saturating_sub(EVIDENCE);
    let disaster = |line: &String| DISASTERS.iter().any(|it| line.contains(it));
    let from = console.iter().position(disaster).unwrap_or_else(|| last(console));
    let mut lines = output[last(output)..].to_vec();
    lines.extend(console[from..].iter().take(EVIDENCE).map(|it| format!("console: {it}")));
    lines
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
