//! The options of loads: each is defined once, and is both parsed and produced
//! from that definition.
//!
//! It knows what an option's text looks like, and nothing of what a load does.

use std::ffi::OsString;
use std::fmt;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

/// A value as the text that its option parses.
pub(crate) trait Argument {
    fn argument(&self) -> OsString;
}

impl Argument for PathBuf {
    fn argument(&self) -> OsString {
        self.into()
    }
}

macro_rules! arguments_by_display {
    ($($type:ty),*) => {$(
        impl Argument for $type {
            fn argument(&self) -> OsString {
                self.to_string().into()
            }
        }
    )*};
}
arguments_by_display!(i32, u32, u64, Millis);

/// Choices are written as the parser names them.
macro_rules! arguments_by_choice {
    ($($type:ty),*) => {$(
        impl $crate::options::Argument for $type {
            fn argument(&self) -> std::ffi::OsString {
                let choice = clap::ValueEnum::to_possible_value(self);
                choice.map(|it| it.get_name().to_owned()).unwrap_or_default().into()
            }
        }
    )*};
}
pub(crate) use arguments_by_choice;
arguments_by_choice!(Mechanism);

/// Defines the options of a load as a struct that the command line parses, and
/// `to_args`, which gives the command line that parses into it.
macro_rules! options {
    (
        $(#[$on_struct:meta])*
        $visibility:vis struct $name:ident as $subcommand:literal {
            $($(#[$on_field:meta])* $long:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$on_struct])*
        #[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
        $visibility struct $name {
            $($(#[$on_field])* #[arg(long = $long)] pub $field: $type,)*
        }

        impl $name {
            fn to_args(&self) -> Vec<std::ffi::OsString> {
                let mut args = vec![std::ffi::OsString::from($subcommand)];
                $({
                    // One word, so that a value may begin with a dash.
                    let mut arg = std::ffi::OsString::from(concat!("--", $long, "="));
                    arg.push($crate::options::Argument::argument(&self.$field));
                    args.push(arg);
                })*
                args
            }
        }
    };
}
pub(crate) use options;

/// How another task is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Mechanism {
    /// `fork(2)`.
    Fork,
    /// `clone(2)` as `vfork(2)` does it: the parent stands still until the child
    /// executes a program or dies.
    Vfork,
    /// `clone3(2)` with nothing shared.
    Clone3,
    /// A thread of the same process.
    Thread,
}

/// A time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl From<Millis> for Duration {
    fn from(it: Millis) -> Self {
        Self::from_millis(it.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Millis {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
