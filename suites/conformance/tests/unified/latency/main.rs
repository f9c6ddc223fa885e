//! How soon a watcher hears of what it watches: from the cause to the wake-up,
//! by `poll`, by inotify and by the trigger of a pressure file, with one watcher
//! and with many; and, apart from that, how long the kernel's rate limit holds a
//! notification back, and what watching costs.
//!
//! The suite has one CPU: whatever watchers and causes do is done one after the
//! other, so that the bounds are sums.

mod causes;
mod overhead;
mod plan;
mod rate_limit;
mod told;
mod trigger;
mod watchers;
