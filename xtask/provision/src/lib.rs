//! What a guest boots from: a kernel image, the modules that go with it, an
//! initramfs, and the QEMU to boot them in.
//!
//! Must not know what a case is, what is in the initramfs, or how QEMU is
//! driven. Everything works on values that are passed in: a [`Cache`], the
//! machine's [`Tools`], and a `say` for what takes long.

mod apt;
mod build;
mod cache;
mod failed;
mod image;
mod initramfs;
mod install;
mod kernel;
mod modules;
mod nearest;
mod nodes;
mod qemu;
mod spec;
mod store;
mod tools;
mod userland;

pub use apt::{FetchError, When};
pub use build::{BuildError, build};
pub use cache::{Cache, CacheError, Lock, Scratch};
pub use failed::Failed;
pub use image::{ImageError, ImageHeader, NotBootable, check};
pub use initramfs::{Initramfs, InitramfsError, Mode};
pub use kernel::{Kernel, KernelError, fetch, resolve};
pub use modules::{LoadPlan, MODULE_BYTES, Module, ModuleError, Modules};
pub use nearest::nearest;
pub use nodes::node_table;
pub use qemu::{Qemu, QemuError, find_or_install};
pub use spec::{DebianKernel, KernelSpec, ParseKernelError};
pub use store::{CachedKernel, GatherError, cached};
pub use tools::{Rights, ToolError, Tools};
pub use userland::{ParseUserlandError, Userland, UserlandError, UserlandImage};
