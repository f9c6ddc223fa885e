#![allow(missing_docs, dead_code, unreachable_pub)]
#[path = "../tests/outputs/build.rs"] mod build;
use build::*; use std::time::Instant;
fn main() {
    let mut lines = Lines::default().start(CONFIG);
    for n in 0..50_000u32 {
        let name: &'static str = Box::leak(format!("case_x{n}").into_boxed_str());
        let mut case = passing("pids", name, "A promise as long as it is.");
        case.records = (0..18).map(|it| check(cgauge_record::ids::R132, it, 8)).collect();
        if n % 2 == 0 { for r in case.records.iter_mut() { if let cgauge_record::Event::Check(c) = r { c.observed = 3.into(); } } }
        lines = lines.case(CONFIG, case);
    }
    let text = lines.end().0;
    println!("{} MB, {} lines", text.len() >> 20, text.lines().count());
    let t = Instant::now();
    let run = cgauge_reports::Run::read_from(text.as_bytes(), "x").unwrap();
    println!("read {:?}", t.elapsed());
    for f in cgauge_reports::Format::ALL { let t = Instant::now(); let mut o = Vec::new(); cgauge_reports::render(&run, f, &mut o).unwrap(); println!("{f} {:?} {}", t.elapsed(), o.len()); }
    println!("{}", std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
