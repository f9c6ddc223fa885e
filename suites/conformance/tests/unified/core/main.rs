//! The core of the unified hierarchy: what holds with any controller and with
//! none (cgroup-v2.rst, from "Mounting" to "Core Interface Files", and
//! "Namespace").

mod conventions;
mod delegation;
mod delegation_to_namespaces;
mod freeze;
mod freeze_races;
mod kill;
mod limits_on_groups;
mod mount_options;
mod mounting;
mod namespace;
mod populated;
mod pressure;
mod processes;
mod stat;
mod subtree_control;
mod thread_modes;
mod threads;
