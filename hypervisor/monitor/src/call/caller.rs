//! Who makes a call.

use crate::cell::{self, Cell};
use crate::cpu::percpu::CpuShared;
use crate::mem::map::Window;
use crate::refusal::Refusal;
use crate::vcpu::Vendor;
use cellvisor_abi::call::CellId;
use cellvisor_abi::status::CallStatus;
use cellvisor_core::cpuid::Lacks;

/// What a call needs of the CPU that makes it. Calls are no hot path: one copy
/// of their code serves all back ends.
pub(super) struct Caller<'a> {
    pub(super) window: &'a mut Window,
    pub(super) shared: &'static CpuShared,
    /// Forgets this CPU's second-level translations.
    pub(super) flush: &'a mut dyn FnMut(),
    pub(super) vendor: &'static Vendor,
    /// What cells cannot have on this machine.
    pub(super) lacks: Lacks,
}

/// A cell other than the root.
pub(super) fn find(id: CellId) -> Result<&'static Cell, Refusal> {
    cell::get(id)
        .filter(|cell| cell.guest.is_some())
        .ok_or(CallStatus::NoSuchCell.into())
}
