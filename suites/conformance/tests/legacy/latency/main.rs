//! How soon a watcher of a legacy hierarchy hears of what it watches: thresholds,
//! `oom_control` and `pressure_level` by eventfd; and the release agent beside
//! `populated` of the unified hierarchy, in latency and in CPU time.
//!
//! The suite has one CPU: whatever watchers and causes do is done one after the
//! other, so that the bounds are sums.

mod memory;
mod release;
mod watchers;
