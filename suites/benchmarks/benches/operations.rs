//! What an operation costs in a group: with every controller absent, present and
//! limiting, and how deep the group is.

use cgauge_benchmarks::groups::{Controllers, Nest};
use cgauge_benchmarks::operations::{ALL, Prepare};
use cgauge_benchmarks::{Benchmark, Timer, from_within, with_controllers};
use cgauge_lab::{Lab, Outcome};

fn main() {
    let mut all = Vec::new();
    for (name, prepare) in ALL {
        for controllers in Controllers::ALL {
            for depth in [1, 5, 10] {
                let name = format!("{name}::{}::depth_{depth:02}", controllers.word());
                all.push(Benchmark::new(name, move |lab, timer| {
                    price(lab, timer, controllers, depth, prepare)
                }));
            }
        }
    }
    cgauge_benchmarks::main(&all);
}

/// One operation in a group, with controllers absent, present or limiting.
fn price(
    lab: &Lab,
    timer: &mut Timer<'_>,
    controllers: Controllers,
    depth: u32,
    prepare: Prepare,
) -> Outcome {
    with_controllers(lab, controllers, || {
        let nest = Nest::new(lab, controllers, depth)?;
        from_within(lab, nest.innermost(), || timer.each(&mut prepare()?))
    })
}
