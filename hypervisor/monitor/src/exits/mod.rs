//! Handlers of exits: what the core decides, carried out on this CPU.

pub(crate) mod cpuid;
pub(crate) mod hypercall;
pub(crate) mod memory;
pub(crate) mod msr;
pub(crate) mod port;
