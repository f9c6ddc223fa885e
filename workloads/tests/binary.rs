//! The binary as a case meets it: arguments in, a line of truth and an exit
//! code out. What needs a group of its own is left to the suites.

use std::process::{Command, Output, Stdio};

use cgauge_workloads::{
    Afterwards, Backing, ForkBomb, ForkRate, HoldMemory, Load, Mechanism, Millis, OnDeath, Order,
    Sleep, truth,
};

fn command(load: &impl Load) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cgauge-workload"));
    command.args(load.args());
    command
}

/// Runs a load whose standard input has ended before it began.
fn run(load: &impl Load) -> Output {
    command(load).stdin(Stdio::null()).output().unwrap()
}

fn truth_of<L: Load>(load: &L, output: &Output) -> L::Truth {
    let _ = load;
    assert!(output.status.success(), "{output:?}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    L::read(text).unwrap()
}

fn bomb() -> ForkBomb {
    ForkBomb {
        group: "/".into(),
        pids_max: 4,
        mechanism: Mechanism::Fork,
        order: Order::DepthFirst,
        on_death: OnDeath::Leave,
        forks: 4,
        deadline: Millis(1000),
        then: Afterwards::End,
    }
}

#[test]
fn a_bomb_refuses_to_start_outside_a_group() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("pids.max"), "4\n").unwrap();
    for group in [directory.path(), "/".as_ref(), "/no/such/group".as_ref()] {
        let output = run(&ForkBomb { group: group.into(), ..bomb() });
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(output.stdout.is_empty());
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains(&format!("not in {}", group.display())), "{complaint}");
    }
}

#[test]
fn a_bomb_of_threads_cannot_replace_them() {
    let load = ForkBomb { mechanism: Mechanism::Thread, on_death: OnDeath::Respawn, ..bomb() };
    let output = run(&load);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("threads die with their process"), "{complaint}");
}

#[test]
fn forks_are_counted() {
    let load = ForkRate { mechanism: Mechanism::Vfork, forks: 50, deadline: Millis(600_000) };
    assert_eq!(truth_of(&load, &run(&load)).forks, 50);
}

#[test]
fn sleep_ends_with_its_input_or_with_its_time() {
    let long = Sleep { deadline: Millis(600_000) };
    assert_eq!(truth_of(&long, &run(&long)).state, truth::State::Over);

    let short = Sleep { deadline: Millis(1) };
    let mut sleeping =
        command(&short).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Taken, so that waiting does not close it.
    let input = sleeping.stdin.take();
    let truth = truth_of(&short, &sleeping.wait_with_output().unwrap());
    assert_eq!(truth.state, truth::State::Overdue);
    assert!(truth.elapsed_ns >= 1_000_000);
    drop(input);
}

#[test]
fn memory_is_told_of_once_it_is_there() {
    let load = HoldMemory { backing: Backing::Anonymous, bytes: 1 << 20 };
    let truth = truth_of(&load, &run(&load));
    assert_eq!((truth.state, truth.pages * truth.page_bytes), (truth::State::Standing, 1 << 20));
}

#[test]
fn a_line_that_is_no_truth_is_refused() {
    let refusal = Sleep::read("{\"state\":\"over\"").unwrap_err().to_string();
    assert!(refusal.contains("is no truth of this load"), "{refusal}");
}

#[test]
fn a_note_is_a_line_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("agent");
    for argument in ["/case/one", "/case/other"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cgauge-workload"));
        let output = command.arg("note").arg(&script).arg(argument).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let text = std::fs::read_to_string(script.with_extension("log")).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|it| it.split_once(' ')).collect();
    assert_eq!(lines.iter().map(|it| it.1).collect::<Vec<_>>(), ["/case/one", "/case/other"]);
    let times: Vec<u64> = lines.iter().map(|it| it.0.parse().unwrap()).collect();
    assert!(times.is_sorted());
}
