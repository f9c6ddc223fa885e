//! The command line of the binary: a subcommand for each load.
//!
//! It must not know what a load's options mean.

use clap::Parser;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::fork_bomb::Member;
use crate::note::Note;
use crate::{BlockIo, Burn, Failure, ForkBomb, ForkRate, HoldMemory, MemoryHog, Sleep, Spin};

/// Puts a load on the kernel and prints what is true about it, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = crate::BINARY, version)]
pub struct Command {
    #[command(subcommand)]
    load: AnyLoad,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
enum AnyLoad {
    BlockIo(BlockIo),
    Burn(Burn),
    ForkBomb(ForkBomb),
    #[command(hide = true)]
    ForkBombMember(Member),
    ForkRate(ForkRate),
    HoldMemory(HoldMemory),
    MemoryHog(MemoryHog),
    #[command(hide = true)]
    Note(Note),
    Sleep(Sleep),
    Spin(Spin),
}

impl Command {
    /// Runs the load to its end. It dies with the process that started it.
    ///
    /// # Errors
    /// The load refused to start, or could not go on.
    pub fn run(&self) -> Result<(), Failure> {
        set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| Failure::system("prctl(PR_SET_PDEATHSIG)", errno))?;
        match &self.load {
            AnyLoad::BlockIo(load) => load.run(),
            AnyLoad::Burn(load) => load.run(),
            AnyLoad::ForkBomb(load) => load.run(),
            AnyLoad::ForkBombMember(member) => member.run(),
            AnyLoad::ForkRate(load) => load.run(),
            AnyLoad::HoldMemory(load) => load.run(),
            AnyLoad::MemoryHog(load) => load.run(),
            AnyLoad::Note(note) => note.run(),
            AnyLoad::Sleep(load) => load.run(),
            AnyLoad::Spin(load) => load.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use clap::{CommandFactory, ValueEnum};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Access, Afterwards, Backing, Growth, Load, MaybePath, Mechanism, Millis, OnDeath,
        Operation, Order, Pattern, Work,
    };

    fn parse(args: Vec<OsString>) -> AnyLoad {
        let line = std::iter::once(OsString::from(crate::BINARY)).chain(args);
        Command::try_parse_from(line).unwrap_or_else(|why| panic!("{why}")).load
    }

    fn any<T: ValueEnum + std::fmt::Debug + 'static>() -> impl Strategy<Value = T> {
        prop::sample::select(T::value_variants())
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        prop::collection::vec(1..=u8::MAX, 1..30).prop_map(|it| OsString::from_vec(it).into())
    }

    fn millis() -> impl Strategy<Value = Millis> {
        prop::num::u64::ANY.prop_map(Millis)
    }

    fn backing() -> impl Strategy<Value = Backing> {
        prop_oneof![Just(Backing::Anonymous), Just(Backing::Shmem), path().prop_map(Backing::File),]
    }

    proptest! {
        #[test]
        fn a_fork_bomb_reads_back(
            group in path(),
            pids_max in prop::num::u64::ANY,
            mechanism in any::<Mechanism>(),
            order in any::<Order>(),
            on_death in any::<OnDeath>(),
            forks in 0..=ForkBomb::MOST_FORKS,
            deadline in millis(),
            then in any::<Afterwards>(),
        ) {
            let load = ForkBomb { group, pids_max, mechanism, order, on_death, forks, deadline, then };
            prop_assert_eq!(parse(load.args()), AnyLoad::ForkBomb(load));
        }

        #[test]
        fn the_other_loads_read_back(
            mechanism in any::<Mechanism>(),
            number in prop::num::u64::ANY,
            threads in prop::num::u32::ANY,
            cpu in millis(),
            deadline in millis(),
            backing in backing(),
        ) {
            let load = ForkRate { mechanism, forks: number, deadline };
            prop_assert_eq!(parse(load.args()), AnyLoad::ForkRate(load));
            let load = HoldMemory { backing, bytes: number };
            prop_assert_eq!(parse(load.args()), AnyLoad::HoldMemory(load));
            let load = Spin { threads, cpu, deadline };
            prop_assert_eq!(parse(load.args()), AnyLoad::Spin(load));
            let load = Sleep { deadline };
            prop_assert_eq!(parse(load.args()), AnyLoad::Sleep(load));
        }
    }

    proptest! {
        #[test]
        fn a_memory_hog_reads_back(
            growth in any::<Growth>(),
            file in prop::option::of(path()),
            bytes in prop::num::u64::ANY,
            step in prop::num::u64::ANY,
            pace in millis(),
            passes in prop::num::u32::ANY,
            deadline in millis(),
        ) {
            let file = MaybePath(file);
            let load = MemoryHog { growth, file, bytes, step, pace, passes, deadline };
            prop_assert_eq!(parse(load.args()), AnyLoad::MemoryHog(load));
        }

        #[test]
        fn a_block_io_reads_back(
            path in path(),
            operation in any::<Operation>(),
            access in any::<Access>(),
            pattern in any::<Pattern>(),
            numbers in prop::array::uniform6(prop::num::u64::ANY),
            depth in prop::num::u32::ANY,
            window in millis(),
            deadline in millis(),
        ) {
            let [block_bytes, offset_bytes, span_bytes, requests, rate, seed] = numbers;
            let load = BlockIo {
                path, operation, access, pattern, block_bytes, offset_bytes, span_bytes, depth,
                requests, rate, seed, window, deadline,
            };
            prop_assert_eq!(parse(load.args()), AnyLoad::BlockIo(load));
        }
    }

    proptest! {
        #[test]
        fn a_burn_reads_back(
            work in any::<Work>(),
            counts in prop::array::uniform2(prop::num::u32::ANY),
            times in prop::array::uniform5(prop::num::u64::ANY),
            time in millis(),
        ) {
            let [threads, cpus] = counts;
            let [burst_us, every_us, stall_us, window_us, from_ns] = times;
            let load = Burn {
                threads, cpus, work, burst_us, every_us, stall_us, window_us, from_ns, time,
            };
            prop_assert_eq!(parse(load.args()), AnyLoad::Burn(load));
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn nothing_goes_without_saying() {
        for line in [
            vec!["fork-bomb"],
            vec!["fork-bomb", "--mechanism", "fork", "--order", "depth-first"],
            vec!["sleep"],
            vec!["hold-memory", "--bytes", "1", "--backing", "file:"],
            vec!["hold-memory", "--bytes", "1", "--backing", "swap"],
        ] {
            let args = line.iter().map(OsString::from).collect::<Vec<_>>();
            let line = std::iter::once(OsString::from(crate::BINARY)).chain(args.clone());
            let refused = Command::try_parse_from(line).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{args:?}");
        }
    }
}
