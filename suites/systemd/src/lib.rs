//! What a case about systemd is written with: systemd, reached over D-Bus, and
//! the units that it makes.
//!
//! It knows no case and no limit by name.

mod bus;
mod drivers;
mod files;
mod unit;

pub use bus::{Refused, Systemd, systemd};
pub use drivers::{Bound, Bounded, Driver, driver};
pub use files::Files;
pub use unit::{Property, Started};
pub use zbus::Variant;
