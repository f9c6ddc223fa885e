//! Groups that systemd makes, asked for over D-Bus.

mod accounting;
mod bfq;
mod defaults;
mod delegation;
mod oom;
mod properties;
mod units;
