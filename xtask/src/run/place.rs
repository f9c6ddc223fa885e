//! A machine that came up, as the run sees it: what to send jobs to, and what its
//! records say of it.

use cgauge_record::Ready;
use cgauge_stage::Stage;
use cgauge_stage::container::{Container, Way};
use cgauge_stage::vm::Vm;

/// Where the cases of a suite run.
pub enum Place {
    /// In a VM.
    Vm(Vm),
    /// On the machine's own kernel.
    Own(Container),
}

impl Place {
    /// What jobs are sent to.
    pub fn stage(&self) -> &dyn Stage {
        match self {
            Self::Vm(vm) => vm,
            Self::Own(container) => container,
        }
    }

    /// What the agent said of itself when it came up.
    pub fn ready(&self) -> &Ready {
        match self {
            Self::Vm(vm) => vm.ready(),
            Self::Own(container) => container.ready(),
        }
    }

    /// What runs its instructions.
    pub fn accel(&self) -> &str {
        match self {
            Self::Vm(vm) => vm.machine().accelerator.name(),
            Self::Own(_) => "none",
        }
    }

    /// The model of the VM, or the engine of the containers.
    pub fn machine(&self) -> &str {
        match self {
            Self::Vm(vm) => vm.machine().model.name(),
            Self::Own(container) => match container.way() {
                Way::Engine(engine) => &engine.version,
                Way::Bare => "",
            },
        }
    }

    /// How each job gets its guest.
    pub fn guest(&self) -> &str {
        match self {
            Self::Vm(vm) if vm.is_saved() => "saved",
            Self::Vm(_) => "booted",
            Self::Own(container) => match container.way() {
                Way::Engine(_) => "container",
                Way::Bare => "process",
            },
        }
    }

    /// Whether a guest takes so long to come up that the cases of a suite share one.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Vm(vm) if !vm.is_saved())
    }
}
