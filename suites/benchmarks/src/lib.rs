//! Criterion inside a stage: benchmarks that are run as cases are, one a guest,
//! and whose estimates become records.
//!
//! It knows no benchmark. Under the virtual clock a sample has no noise, so few
//! and short samples do; under the wall's it takes what Criterion would take.

pub mod groups;
pub mod operations;
mod slowdown;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgauge_lab::time::{cpu_time, nanoseconds};
use cgauge_lab::{Group, Lab, Outcome, Stop};
use cgauge_record::{Preference, Unit};
use criterion::Criterion;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::groups::Controllers;

/// Where Criterion keeps its files in the guest.
const FILES: &str = "/tmp/criterion";
/// Samples of a benchmark: the fewest that Criterion takes.
const SAMPLES: usize = 10;
/// Resamples of its bootstrap: nothing is drawn from them here.
const RESAMPLES: usize = 1000;
/// How long one benchmark warms up and is measured.
const WARM_UP: Duration = Duration::from_millis(20);
const MEASURED: Duration = Duration::from_millis(100);

/// Prepares the kernel and hands its operations to the timer.
type Body = dyn Fn(&Lab, &mut Timer<'_>) -> Outcome;

/// One operation of the kernel's, or several, under one set of parameters.
pub struct Benchmark {
    name: String,
    run: Box<Body>,
}

impl Benchmark {
    /// A benchmark called `name`: the function's name and, behind `::`, its
    /// parameters. `run` prepares the kernel and hands the operation to
    /// Criterion's bencher.
    pub fn new(
        name: impl Into<String>,
        run: impl Fn(&Lab, &mut Timer<'_>) -> Outcome + 'static,
    ) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// Does `body` with the controllers of the whole hierarchy as `controllers` says.
pub fn with_controllers(
    lab: &Lab,
    controllers: Controllers,
    body: impl FnOnce() -> Outcome,
) -> Outcome {
    // They come back when this goes out of scope.
    let whole = lab.whole_hierarchy()?;
    if controllers == Controllers::Absent {
        whole.withdraw(&lab.root().line("cgroup.controllers")?)?;
    }
    body()
}

/// Does `body` with this process in `group`, where what it uses is charged.
pub fn from_within(lab: &Lab, group: &Group, body: impl FnOnce() -> Outcome) -> Outcome {
    group.admit(Pid::from_raw(0))?;
    let done = body();
    let home = lab.root().dir().child("self").map_err(Stop::Refused)?;
    home.write("cgroup.procs", "0").map_err(Stop::Refused)?;
    done
}

/// What times operations, and records what each takes.
pub struct Timer<'a> {
    lab: &'a Lab,
    name: &'a str,
    /// How many operations have been timed.
    timed: u32,
    asked: u64,
    refused: u64,
}

impl Timer<'_> {
    /// Times the benchmark's one operation, which is to succeed each time.
    pub fn each<T, E>(&mut self, operation: impl FnMut() -> Result<T, E>) -> Outcome {
        self.named("one operation", operation)
    }

    /// Times one of several operations.
    pub fn named<T, E>(
        &mut self,
        what: &str,
        mut operation: impl FnMut() -> Result<T, E>,
    ) -> Outcome {
        // A folder for each, so that its sample is the one in it.
        let folder = Path::new(FILES).join(self.timed.to_string());
        self.timed += 1;
        let mut criterion = Criterion::default()
            .without_plots()
            .output_directory(&folder)
            .sample_size(SAMPLES)
            .nresamples(RESAMPLES)
            .warm_up_time(WARM_UP)
            .measurement_time(MEASURED);
        let (mut asked, mut refused, mut cpu) = (0, 0, Duration::ZERO);
        let turns = slowdown::turns(&mut operation);
        criterion.bench_function(self.name, |bencher| {
            bencher.iter_custom(|times| {
                let (began, used) = (Instant::now(), cpu_time());
                for _ in 0..times {
                    refused += u64::from(black_box(operation()).is_err());
                    slowdown::burn(turns);
                }
                asked += times;
                cpu += cpu_time() - used;
                began.elapsed()
            });
        });
        self.asked += asked;
        self.refused += refused;
        // What waits for a tick takes as long as the ticks do, whatever it costs.
        let costs = nanoseconds(cpu) / asked.max(1);
        let metric = format!("CPU time of this process: {what}");
        self.lab.value(&metric, Unit::Nanoseconds, costs, Preference::Lower);
        let each = newest_sample(&folder)?.times_of_one();
        self.lab.latencies(what, &each);
        self.lab.value(what, Unit::Nanoseconds, median(&each), Preference::Lower);
        Ok(())
    }
}

/// Lists the benchmarks, or runs the one that the stage asks for.
///
/// # Panics
/// Where the benchmark cannot run: the stage makes an error of it.
pub fn main(benchmarks: &[Benchmark]) {
    if std::env::args().any(|it| it == "--list") {
        for it in benchmarks {
            // As libtest says it, so that one reader does for both.
            println!("{}: test", it.name);
        }
        return;
    }
    let wanted = std::env::var("CGAUGE_CASE").unwrap_or_default();
    let Some(benchmark) = benchmarks.iter().find(|it| it.name == wanted) else {
        panic!("there is no benchmark {wanted:?}");
    };
    let lab = cgauge_lab::lab();
    if let Err(stop) = run(&lab, benchmark) {
        // What a skip or a refusal means was recorded when it happened.
        if !matches!(stop, Stop::Skip(_)) {
            panic!("{stop:?}");
        }
    }
}

fn run(lab: &Lab, benchmark: &Benchmark) -> Outcome {
    let mut timer = Timer { lab, name: &benchmark.name, timed: 0, asked: 0, refused: 0 };
    (benchmark.run)(lab, &mut timer)?;
    if timer.timed == 0 {
        return Err(Stop::Broken("the benchmark timed nothing".to_owned()));
    }
    lab.performance("operations that succeeded of those that were timed")
        .unit(Unit::Events)
        .observed(timer.asked - timer.refused)
        .between(
            timer.asked.max(1),
            timer.asked.max(1),
            "what fails is quicker than what works: its time would be no price",
        );
    Ok(())
}

/// What Criterion measured: how often the operation ran in each sample, and how
/// long the sample took in nanoseconds.
#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

impl Sample {
    fn times_of_one(&self) -> Vec<Duration> {
        let each = self.times.iter().zip(&self.iters).map(|(time, count)| time / count.max(1.0));
        each.map(|ns| Duration::from_nanos(ns.round() as u64)).collect()
    }
}

fn median(times: &[Duration]) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    u64::try_from(middle.as_nanos()).unwrap_or(u64::MAX)
}

/// The sample that Criterion left in a folder.
fn newest_sample(folder: &Path) -> Result<Sample, Stop> {
    let path = find(folder)
        .ok_or_else(|| Stop::Broken(format!("Criterion left no sample in {}", folder.display())))?;
    let text = std::fs::read_to_string(&path)?;
    serde_json::from_str(&text).map_err(|it| Stop::Broken(format!("{}: {it}", path.display())))
}

fn find(folder: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.ends_with("new/sample.json") {
            return Some(path);
        }
        if path.is_dir()
            && let Some(found) = find(&path)
        {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_is_a_samples_time_over_its_count() {
        let sample = Sample { iters: vec![10.0, 20.0], times: vec![1000.0, 3000.0] };
        let each = sample.times_of_one();
        assert_eq!(each, [Duration::from_nanos(100), Duration::from_nanos(150)]);
        assert_eq!(median(&each), 150);
    }

    #[test]
    fn criterions_sample_is_found_wherever_it_lies() {
        let folder = std::env::temp_dir().join(format!("cgauge-sample-{}", std::process::id()));
        let place = folder.join("a_b").join("new");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("sample.json"), r#"{"iters":[1.0],"times":[7.0]}"#).unwrap();
        let found = newest_sample(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.unwrap().times_of_one(), [Duration::from_nanos(7)]);
    }
}
