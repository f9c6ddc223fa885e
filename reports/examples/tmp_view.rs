#![allow(missing_docs, dead_code, unreachable_pub)]
#[path = "../tests/outputs/build.rs"]
mod build;
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let one = build::every_outcome(build::CONFIG).read();
    std::fs::create_dir_all(&dir).unwrap();
    cgauge_reports::write_into(&one, dir.as_ref(), &cgauge_reports::Format::ALL).unwrap();
    cgauge_reports::terminal::write(
        &one,
        cgauge_reports::terminal::Colour::Never,
        &mut std::io::stdout(),
    )
    .unwrap();
    let two = build::every_outcome("debian:5.10/unified/cgroupfs/vm").read();
    let both = cgauge_reports::Run::join([one.clone(), two]);
    let d2 = format!("{dir}/two");
    std::fs::create_dir_all(&d2).unwrap();
    cgauge_reports::write_into(&both, d2.as_ref(), &cgauge_reports::Format::ALL).unwrap();
    for (i, (_, c)) in one.cases().enumerate() {
        for (j, k) in cgauge_reports::charts::Chart::of_case(c).iter().enumerate() {
            std::fs::write(format!("{dir}/c{i}{j}.svg"), k.standalone()).unwrap();
        }
    }
}
