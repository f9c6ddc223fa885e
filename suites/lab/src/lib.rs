//! What a case is written with: groups as directory handles, raw reads and
//! writes that keep the errno, processes and loads inside groups, watchers,
//! and checks.
//!
//! It knows no case and no VM: how it was started it learns from its
//! environment, and what it finds out it says in records.

mod case;
pub mod check;
pub mod cpus;
pub mod datagrams;
pub mod disk;
pub mod eventfd;
pub mod filesystem;
mod group;
pub mod hierarchy;
pub mod kernel;
pub mod kernel_memory;
pub mod lies;
pub mod load;
pub mod machine;
pub mod memory;
pub mod netfilter;
pub mod nodes;
mod options;
pub mod parse;
pub mod perf;
pub mod process;
pub mod rates;
pub mod stacked;
mod stop;
pub mod swap;
pub mod time;
pub mod turns;
pub mod watch;

pub use case::{Lab, lab};
pub use group::{Group, Tree};
pub use options::Remounted;
pub use stop::{Outcome, Stop};

/// Everything that most cases use.
pub mod prelude {
    pub use std::time::Duration;

    pub use cgauge_record::Preference::{Higher, Lower, Neither};
    pub use cgauge_record::{Unit, ids::*};
    pub use rstest::rstest;

    pub use crate::hierarchy::{Hierarchy, Mount};
    pub use crate::parse::Limit;
    pub use crate::process::{Exit, Gate, Process};
    pub use crate::watch::{Mechanism, Watch};
    pub use crate::{Group, Lab, Outcome, Stop, lab};
}
