//! Whether the services of a model fit its node, which limit binds first and with
//! what margin, by the curves of the sweeps.

use cgauge_record::Unit;
use serde::Serialize;

use super::answers::cpu::stall_by_crowding;
use super::answers::{FORGIVEN, throughput};
use super::curve::{Curve, Reach};
use super::model::{Model, Service};
use super::sweeps::Sweeps;
use crate::units::{readable, significant};

/// The judgement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Whether nothing is asked for more than there is.
    pub fits: bool,
    /// The judgement in a sentence.
    pub sentence: String,
    /// Every limit, the fullest first.
    pub loads: Vec<Load>,
    /// How many times the services could be multiplied before a limit binds;
    /// below 1 they do not fit.
    pub times: f64,
    /// What was read off a curve beyond its ends, or not measured at all.
    pub extrapolations: Vec<String>,
}

/// How full one limit is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Which limit.
    pub limit: String,
    /// What is asked for over what there is: 1 is full.
    pub load: f64,
    /// Whether more services fill it.
    pub pressure: Pressure,
    /// The figures behind it.
    pub figures: String,
}

/// What fills a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pressure {
    /// The number of services.
    OfNumbers,
    /// What each service is by itself, however many there are.
    OfEach,
}

/// Nobody plans for more times than this.
const MOST_TIMES: f64 = 10_000.0;

pub(super) fn fit(model: &Model, sweeps: &Sweeps<'_>) -> Fit {
    let judge = Judge::new(model, sweeps);
    let (mut loads, mut extrapolations) = judge.loads(1.0);
    loads.sort_by(|a, b| b.load.total_cmp(&a.load));
    let times = judge.times();
    if times > 1.0 {
        let beyond = judge.loads(times.min(MOST_TIMES)).1;
        let new = beyond.into_iter().filter(|it| !extrapolations.contains(it)).collect::<Vec<_>>();
        extrapolations.extend(new.into_iter().map(|it| format!("for the margin: {it}")));
    }
    let fits = loads.iter().all(|it| it.load <= 1.0);
    Fit { fits, sentence: judge.sentence(fits, times, &loads), loads, times, extrapolations }
}

struct Judge<'a> {
    model: &'a Model,
    /// Kernel memory of a group over the number of groups.
    kernel_memory: Option<Curve>,
    /// Groups up to which no operation costs half more, and whether it bends there.
    groups: Option<(f64, Reach)>,
    /// p99 of the stalls over threads a CPU of limit.
    stalls: Option<Curve>,
    /// Throughput over the share of the limit that is used.
    headroom: Option<Curve>,
    exec: Option<f64>,
    /// The share of a disk that two who are kept apart use together.
    disk: Option<f64>,
}

impl<'a> Judge<'a> {
    fn new(model: &'a Model, sweeps: &Sweeps<'_>) -> Self {
        let of_groups = |metric| sweeps.curve("groups::node_carries_groups", &[], "groups", metric);
        let costs = ["making a group", "removing a group", "moving a process", "fork and exit"];
        let bends = costs.iter().filter_map(|it| of_groups(it)?.bend(super::answers::BEND));
        let bend = bends.fold(None, |a: Option<f64>, it| Some(a.map_or(it, |a| a.min(it))));
        let carried = of_groups("kernel memory of a group").map(|it| it.ends().1);
        Self {
            model,
            kernel_memory: of_groups("kernel memory of a group"),
            groups: match (bend, carried) {
                (Some(bend), _) => Some((bend, Reach::Measured)),
                (None, carried) => carried.map(|it| (it, Reach::Extrapolated)),
            },
            stalls: stall_by_crowding(sweeps),
            headroom: throughput(sweeps, "Cache", "max"),
            exec: sweeps
                .places("memory::smallest_limit_for_exec", &[])
                .find_map(|it| it.value("smallest memory.max in which exec works")),
            disk: sweeps
                .places("io::victim_beside_a_neighbour", &[("neighbour", "beside"), ("how", "Bfq")])
                .find_map(|it| it.value("share of the device that is used"))
                .map(|it| it.min(1.0)),
        }
    }

    fn sum(&self, of: impl Fn(&Service) -> f64) -> f64 {
        self.model.services.iter().map(|it| it.count * of(it)).sum()
    }

    /// Every limit with the services taken so many times, and what was not measured.
    fn loads(&self, times: f64) -> (Vec<Load>, Vec<String>) {
        let mut out = Out::default();
        self.of_cpus(times, &mut out);
        self.of_memory(times, &mut out);
        self.of_disk(times, &mut out);
        self.of_groups(times, &mut out);
        for service in &self.model.services {
            self.of_stalls(service, &mut out);
            self.of_headroom(service, &mut out);
        }
        (out.loads, out.extrapolations)
    }

    fn of_cpus(&self, times: f64, out: &mut Out) {
        let (wanted, there) = (self.sum(|it| it.cpu) * times, self.model.node.cpus);
        let figures = format!("{} of {} CPUs", significant(wanted), significant(there));
        out.number("CPU of the node", wanted / there, figures);
    }

    fn of_memory(&self, times: f64, out: &mut Out) {
        let groups = self.sum(|_| 1.0) * times;
        let of_group = self.kernel_memory.as_ref().map(|it| it.at(groups));
        match of_group {
            None => out.beyond("kernel memory of a group was not measured, and is left out"),
            Some(it) if it.reach == Reach::Extrapolated => out.beyond(&format!(
                "kernel memory of a group at {} groups, beyond what was measured",
                significant(groups)
            )),
            Some(_) => {}
        }
        let kernel = groups * of_group.map_or(0.0, |it| it.value);
        let (wanted, there) = (self.sum(|it| it.memory) * times + kernel, self.model.node.memory);
        let bytes = |it| readable(it, Unit::Bytes);
        let figures = format!(
            "{} of {}, {} of it the kernel's for the groups",
            bytes(wanted),
            bytes(there),
            bytes(kernel)
        );
        out.number("memory of the node", wanted / there, figures);
    }

    fn of_disk(&self, times: f64, out: &mut Out) {
        let wanted = self.sum(|it| it.disk_rate) * times;
        if wanted == 0.0 {
            return;
        }
        let rate = |it| readable(it, Unit::BytesPerSecond);
        let Some(there) = self.model.node.disk_rate else {
            out.beyond("the model gives the node no disk_rate: the services' rates are not held against one");
            return;
        };
        if self.disk.is_none() {
            out.beyond(
                "what isolation on a disk costs was not measured: all of its rate is reckoned with",
            );
        }
        let share = self.disk.unwrap_or(1.0);
        let figures = format!(
            "{} of {}, the share of {} that groups kept apart by BFQ use",
            rate(wanted),
            rate(there * share),
            rate(there)
        );
        out.number("rate of the disk", wanted / (there * share), figures);
    }

    fn of_groups(&self, times: f64, out: &mut Out) {
        let groups = self.sum(|_| 1.0) * times;
        let Some((most, reach)) = self.groups else {
            out.beyond("how many groups a node carries was not measured");
            return;
        };
        match reach {
            Reach::Measured => out.number(
                "groups until operations cost half more",
                groups / most,
                format!("{} of {}", significant(groups), significant(most)),
            ),
            // It never bent: no limit is known.
            Reach::Extrapolated if groups > most => out.beyond(&format!(
                "{} groups, of which {} at the most were measured",
                significant(groups),
                significant(most)
            )),
            Reach::Extrapolated => {}
        }
    }

    fn of_stalls(&self, service: &Service, out: &mut Out) {
        let Some(limit) = service.cpu_limit else { return };
        let figures = format!("{} of {} CPUs", significant(service.cpu), significant(limit));
        out.each(format!("cpu.max of {}", service.name), service.cpu / limit, figures);
        let crowding = service.threads / limit;
        // No more threads than the limit has CPUs are never throttled.
        if crowding <= 1.0 {
            return;
        }
        let Some(stalls) = &self.stalls else {
            out.beyond("stalls under a CPU limit were not measured");
            return;
        };
        let stall = stalls.at(crowding);
        if stall.reach == Reach::Extrapolated {
            out.beyond(&format!(
                "the stall of {} threads on {} CPUs of limit ({})",
                significant(service.threads),
                significant(limit),
                service.name
            ));
        }
        let time = |it| readable(it, Unit::Nanoseconds);
        let figures = format!(
            "99 of 100 stalls within {} of {} allowed, all {} threads busy at once in periods of 100 ms",
            time(stall.value),
            time(self.model.node.stall),
            significant(service.threads)
        );
        out.each(
            format!("stall of {}", service.name),
            stall.value / self.model.node.stall,
            figures,
        );
    }

    fn of_headroom(&self, service: &Service, out: &mut Out) {
        let Some(limit) = service.memory_limit else { return };
        let share = service.memory / limit;
        if let Some(exec) = self.exec {
            let figures = format!(
                "exec works in {}; memory.max is {}",
                readable(exec, Unit::Bytes),
                readable(limit, Unit::Bytes)
            );
            out.each(format!("exec in memory.max of {}", service.name), exec / limit, figures);
        }
        let best = self.headroom.as_ref().map(|it| it.extent().1);
        let Some((curve, best)) = self.headroom.as_ref().zip(best) else {
            out.beyond("throughput near a memory limit was not measured");
            let figures = format!("the working set is {} of memory.max", significant(share));
            out.each(format!("memory.max of {}", service.name), share, figures);
            return;
        };
        // Up to where is it as good as at its best, less what is forgiven?
        let loss = Curve::new(curve.points().iter().map(|(at, rate)| (*at, 1.0 - rate / best)));
        let most = loss.and_then(|it| it.up_to(FORGIVEN)).map_or(1.0, |it| it.value);
        if share < curve.ends().0 {
            // Far below its limit: less than what was measured, and better.
        } else if share > curve.ends().1 {
            out.beyond(&format!(
                "a working set of {} of its memory.max ({})",
                significant(share),
                service.name
            ));
        }
        let figures = format!(
            "the working set is {} of memory.max; up to {} throughput stays within {} % of the best",
            significant(share),
            significant(most),
            significant(FORGIVEN * 100.0)
        );
        out.each(format!("memory.max of {}", service.name), share / most, figures);
    }

    /// How many times the services can be multiplied before a limit binds.
    fn times(&self) -> f64 {
        let full = |times: f64| {
            let all = self.loads(times).0;
            all.iter().map(|it| it.load).fold(0.0, f64::max)
        };
        let of_each = self.loads(1.0).0.into_iter().filter(|it| it.pressure == Pressure::OfEach);
        if of_each.into_iter().any(|it| it.load > 1.0) {
            return 0.0;
        }
        let (mut fits, mut too_many) = (0.0, MOST_TIMES);
        if full(too_many) <= 1.0 {
            return MOST_TIMES;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(fits, too_many);
            if full(middle) <= 1.0 { fits = middle } else { too_many = middle }
        }
        fits
    }

    fn sentence(&self, fits: bool, times: f64, loads: &[Load]) -> String {
        let of_each = |it: &&Load| it.pressure == Pressure::OfEach && it.load > 1.0;
        if let Some(it) = loads.iter().find(of_each) {
            return format!(
                "The services do not fit, however few they are: {} is at {} ({}).",
                it.limit,
                percent(it.load),
                it.figures
            );
        }
        // What binds first is the fullest where it binds.
        let there = self.loads(times.max(1e-6)).0;
        let numbers = there.into_iter().filter(|it| it.pressure == Pressure::OfNumbers);
        let first = numbers.max_by(|a, b| a.load.total_cmp(&b.load));
        let (limit, now) = match &first {
            Some(it) => {
                let now = loads.iter().find(|now| now.limit == it.limit);
                (it.limit.as_str(), now.map_or(String::new(), |it| format!(" ({})", it.figures)))
            }
            None => ("no limit that is known", String::new()),
        };
        if !fits {
            return format!(
                "The services do not fit: {limit} binds first{now}; {} of them would fit.",
                percent(times)
            );
        }
        if times >= MOST_TIMES {
            return "The services fit, and no limit that is known is near.".to_owned();
        }
        format!(
            "The services fit: {limit} binds first{now}, and there is room for {} more of the same.",
            percent(times - 1.0)
        )
    }
}

fn percent(share: f64) -> String {
    format!("{} %", significant(share * 100.0))
}

#[derive(Default)]
struct Out {
    loads: Vec<Load>,
    extrapolations: Vec<String>,
}

impl Out {
    fn number(&mut self, limit: &str, load: f64, figures: String) {
        let pressure = Pressure::OfNumbers;
        self.loads.push(Load { limit: limit.to_owned(), load, pressure, figures });
    }

    fn each(&mut self, limit: String, load: f64, figures: String) {
        self.loads.push(Load { limit, load, pressure: Pressure::OfEach, figures });
    }

    fn beyond(&mut self, what: &str) {
        if !self.extrapolations.iter().any(|it| it == what) {
            self.extrapolations.push(what.to_owned());
        }
    }
}
