//! How far a counter is from the truth, while a load runs and after it has
//! stopped: over the size of the load, the number of CPUs and of groups, and over
//! time. The behaviour of each controller is its own suite's; here each counter
//! is sampled, and its error is what is recorded.
//!
//! The truth is the load's own: pages that it touched, requests that ended, time
//! that it spun or waited. The machine has four CPUs; the case samples from the
//! first, and loads run on the others.

mod cpu;
mod deviation;
mod io;
mod load;
mod memory;
mod tasks;
