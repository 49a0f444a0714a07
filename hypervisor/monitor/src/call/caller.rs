//! Who makes a call.

use crate::cell::{self, Cell, Guest};
use crate::cpu::percpu::CpuShared;
use crate::mem::map::Window;
use crate::vcpu::Vendor;
use cellvisor_abi::call::CellId;
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

/// A cell other than the root, and what only such a cell has.
#[inline(never)] // Many calls begin like this.
pub(super) fn find(id: CellId) -> Option<(&'static Cell, &'static Guest)> {
    let cell = cell::get(id)?;
    Some((cell, cell.guest.as_ref()?))
}
