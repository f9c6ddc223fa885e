//! A sweep over every interface file that the kernel shows (cgroup-v2.rst,
//! "Conventions", "Core Interface Files" and the "Interface Files" of each
//! controller): where it is, what it shows first, what it takes and refuses,
//! which keys it has. The table is in the `rows_…` modules; what the kernel
//! shows beyond it is recorded as a value whose name begins with "news".

mod cpu_values;
mod devices;
mod keys;
mod presence;
mod row;
mod rows_of_core;
mod rows_of_cpu;
mod rows_of_io;
mod rows_of_memory;
mod rows_of_others;
mod values;
