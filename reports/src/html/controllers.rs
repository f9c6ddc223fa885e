//! A section for each controller: what is enforced, how exact it counts, how soon
//! it tells, what it costs, each with its pictures and its tests.

use std::cell::Cell;
use std::collections::BTreeMap;

use cgauge_record::Verdict;
use maud::{Markup, html};

use super::Section;
use super::failures::figure;
use super::parts::{place, prose, rest, scrolling, within};
use crate::charts::Chart;
use crate::charts::gathered::{self, Gathered};
use crate::describe;
use crate::names;
use crate::parts::{Controller, Part};
use crate::run::{CaseReport, CheckReport, Run};

/// The most bytes of all sections: pictures of several cases, tables of tests and
/// pictures of single cases.
const GATHERED_BUDGET: usize = 700 << 10;
const TABLE_BUDGET: usize = 400 << 10;
const SINGLE_BUDGET: usize = 500 << 10;
/// The most configurations whose pictures are shown.
const MOST_CONFIGURATIONS: usize = 6;
/// The most pictures of one test's single cases.
const MOST_OF_A_TEST: usize = 4;

/// The suite and the name of a test.
type Test<'a> = (&'a str, &'a str);

/// What the checks of one test say on one part.
#[derive(Default)]
struct Row<'a> {
    promise: &'a str,
    checks: usize,
    held: usize,
    /// How near the nearest is to its bound, 1 being at it, and which one it is.
    nearest: Option<(f64, &'a CheckReport)>,
}

/// What there is of one controller.
#[derive(Default)]
struct Material<'a> {
    rows: BTreeMap<Part, BTreeMap<Test<'a>, Row<'a>>>,
    gathered: BTreeMap<Part, Vec<(&'a str, Chart)>>,
    /// Cases with pictures of their own.
    single: BTreeMap<Test<'a>, Vec<(&'a str, &'a CaseReport)>>,
}

pub(super) fn sections(run: &Run) -> Vec<Section> {
    let mut all = gather(run);
    let each = |budget: usize| Cell::new(budget);
    let budgets = Budgets {
        gathered: each(GATHERED_BUDGET),
        table: each(TABLE_BUDGET),
        single: each(SINGLE_BUDGET),
    };
    Controller::ALL
        .into_iter()
        .filter_map(|it| {
            let material = all.remove(&it)?;
            Some(Section {
                id: id(it),
                title: it.name(),
                content: section(it, &material, &budgets),
            })
        })
        .collect()
}

/// What is left to be filled.
struct Budgets {
    gathered: Cell<usize>,
    table: Cell<usize>,
    single: Cell<usize>,
}

/// Renders items as long as they fit into what is left.
fn filling<T>(
    left: &Cell<usize>,
    items: impl IntoIterator<Item = T>,
    render: impl Fn(T) -> Markup,
) -> (Markup, usize) {
    let (text, left_out) = within(left.get(), items, render);
    left.set(left.get().saturating_sub(text.0.len()));
    (text, left_out)
}

fn id(controller: Controller) -> &'static str {
    match controller {
        Controller::Core => "of-core",
        Controller::Cpu => "of-cpu",
        Controller::Cpuset => "of-cpuset",
        Controller::Memory => "of-memory",
        Controller::Io => "of-io",
        Controller::Pids => "of-pids",
        Controller::Hugetlb => "of-hugetlb",
        Controller::Misc => "of-misc",
        Controller::Rdma => "of-rdma",
        Controller::Device => "of-device",
        Controller::Perf => "of-perf",
        Controller::Pressure => "of-pressure",
        Controller::Freezer => "of-freezer",
        Controller::Other => "of-other",
    }
}

fn gather(run: &Run) -> BTreeMap<Controller, Material<'_>> {
    let mut all: BTreeMap<Controller, Material<'_>> = BTreeMap::new();
    for (configuration, case) in run.cases() {
        let test = (case.suite.as_str(), names::split(&case.case).base);
        for check in &case.checks {
            let material = all.entry(Controller::of(&case.suite, &check.file)).or_default();
            let row = material.rows.entry(Part::of(check)).or_default().entry(test).or_default();
            row.add(case, check);
        }
        if !case.series.is_empty() || !case.histograms.is_empty() {
            let file = case.checks.first().map_or("", |it| it.file.as_ref());
            let material = all.entry(Controller::of(&case.suite, file)).or_default();
            let of_test = material.single.entry(test).or_default();
            if of_test.len() < MOST_OF_A_TEST {
                of_test.push((place(run, &configuration.start.config), case));
            }
        }
    }
    for configuration in run.configurations.iter().take(MOST_CONFIGURATIONS) {
        for Gathered { controller, part, chart } in gathered::of(configuration) {
            let of_part = all.entry(controller).or_default().gathered.entry(part).or_default();
            of_part.push((place(run, &configuration.start.config), chart));
        }
    }
    for Gathered { controller, part, chart } in gathered::across(&run.configurations) {
        let of_part = all.entry(controller).or_default().gathered.entry(part).or_default();
        of_part.push(("", chart));
    }
    all
}

impl<'a> Row<'a> {
    fn add(&mut self, case: &'a CaseReport, check: &'a CheckReport) {
        if self.promise.is_empty() {
            self.promise = &case.promise;
        }
        self.checks += 1;
        self.held += usize::from(check.verdict == Verdict::Pass);
        if let Some(near) = nearness(check)
            && self.nearest.is_none_or(|(nearest, _)| near > nearest)
        {
            self.nearest = Some((near, check));
        }
    }
}

/// How near a number is to its bound: 0 is as far as it can be, 1 is at the bound,
/// more is outside. Nothing for what can only be equal.
fn nearness(check: &CheckReport) -> Option<f64> {
    let number = |it: &Option<cgauge_record::Quantity>| it.as_ref().and_then(|it| it.number());
    let observed = check.observed.number()?;
    let near = match (number(&check.at_least), number(&check.at_most)) {
        (Some(least), Some(most)) if most > least => {
            (observed - f64::midpoint(least, most)).abs() / ((most - least) / 2.0)
        }
        (None, Some(most)) if most > 0.0 => observed / most,
        (Some(least), None) if observed > 0.0 => least / observed,
        _ => return None,
    };
    near.is_finite().then_some(near)
}

fn section(controller: Controller, material: &Material<'_>, budgets: &Budgets) -> Markup {
    let parts = Part::ALL
        .into_iter()
        .filter(|it| material.rows.contains_key(it) || material.gathered.contains_key(it));
    html! {
        @for part in parts {
            h3 { (part.title()) }
            @if let Some(rows) = material.rows.get(&part) { p { (sentence(rows)) } }
            @if let Some(charts) = material.gathered.get(&part) {
                (pictures(charts, &format!("{}-all{}", id(controller), part as u8), budgets))
            }
            @if let Some(rows) = material.rows.get(&part) { (table(controller, part, rows, budgets)) }
        }
        (single(controller, material, budgets))
    }
}

fn sentence(rows: &BTreeMap<Test<'_>, Row<'_>>) -> String {
    let checks: usize = rows.values().map(|it| it.checks).sum();
    let broken: usize = rows.values().map(|it| it.checks - it.held).sum();
    let tests = rows.len();
    let of = format!(
        "{checks} {} in {tests} {}",
        if checks == 1 { "check" } else { "checks" },
        if tests == 1 { "test" } else { "tests" }
    );
    match broken {
        0 => format!("{of}: all held."),
        broken => format!("{of}: {broken} did not hold."),
    }
}

fn pictures(charts: &[(&str, Chart)], id: &str, budgets: &Budgets) -> Markup {
    let (figures, left_out) =
        filling(&budgets.gathered, charts.iter().enumerate(), |(nth, (place, chart))| {
            html! {
                div {
                    @if !place.is_empty() { p.where { "on " (place) } }
                    (figure(chart, &format!("{id}-{nth}")))
                }
            }
        });
    html! { div.charts { (figures) } (rest(left_out, "pictures are")) }
}

fn table(
    controller: Controller,
    part: Part,
    rows: &BTreeMap<Test<'_>, Row<'_>>,
    budgets: &Budgets,
) -> Markup {
    let (body, left_out) = filling(&budgets.table, rows, |((suite, test), row)| {
        html! {
            tr {
                th scope="row" {
                    code { (suite) " " (test) }
                    @if !row.promise.is_empty() { div.promise { (prose(row.promise)) } }
                }
                td.number { (row.held) " of " (row.checks) }
                td {
                    @if let Some((_, check)) = row.nearest {
                        (describe::subject(check)) ": " (describe::observed(check))
                        span.muted { ", " (describe::expected(check)) }
                    }
                }
            }
        }
    });
    let head = html! {
        table.tests {
            thead { tr { th scope="col" { "Test" } th scope="col" { "Held" } th scope="col" { "Nearest to its bound" } } }
            tbody { (body) }
        }
    };
    let label = format!("{} of {}, test by test", part.title(), controller.name());
    html! {
        details {
            summary { (label) }
            (scrolling(&label, &head))
            (rest(left_out, "tests are"))
        }
    }
}

fn single(controller: Controller, material: &Material<'_>, budgets: &Budgets) -> Markup {
    if material.single.is_empty() {
        return html! {};
    }
    let (list, left_out) = filling(
        &budgets.single,
        material.single.iter().enumerate(),
        |(nth, ((suite, test), cases))| {
            let charts: Vec<(&str, Chart)> = cases
                .iter()
                .flat_map(|(place, it)| Chart::of_case(it).into_iter().map(move |it| (*place, it)))
                .take(MOST_OF_A_TEST)
                .collect();
            html! {
                h4 { code { (suite) " " (test) } }
                @if let Some((_, case)) = cases.first() { p.promise { (prose(&case.promise)) } }
                div.charts {
                    @for (index, (place, chart)) in charts.iter().enumerate() {
                        div {
                            @if !place.is_empty() { p.where { "on " (place) } }
                            (figure(chart, &format!("{}-one{nth}-{index}", id(controller))))
                        }
                    }
                }
            }
        },
    );
    html! {
        details {
            summary { "Pictures of single cases of " (controller.name()) }
            (list)
            (rest(left_out, "tests with pictures are"))
        }
    }
}
