//! `cgauge-workload`: a load on the kernel that keeps a truth of its own.

use std::process::ExitCode;

use cgauge_workloads::Command;
use clap::Parser;

fn main() -> ExitCode {
    match Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{}: {why}", cgauge_workloads::BINARY);
            ExitCode::from(why.exit_code())
        }
    }
}
