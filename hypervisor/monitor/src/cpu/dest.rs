//! Which CPU an interrupt is for.

use crate::cpu::percpu::{self, CpuShared};
use cellvisor_core::icr::{self, Dest};
use cellvisor_core::ids::{ApicId, PlanIndex};
use core::sync::atomic::Ordering;

/// Physical APIC id of the first of `cpus`, plan indexes of a cell's CPUs, that
/// is meant.
pub(crate) fn physical(cpus: &[PlanIndex], dest: Dest) -> Option<ApicId> {
    let first = icr::targets(dest, u32::MAX, cpus.len() as u32).next()?;
    let index = cpus.get(first as usize)?;
    percpu::cpu(*index).map(CpuShared::apic_id)
}

/// True if `dest`, in terms of physical ids, means this CPU. Short forms mean
/// the sender, which only an ICR has.
pub(crate) fn means(dest: Dest, cpu: &CpuShared) -> bool {
    icr::means(dest, cpu.apic_id().0, cpu.ldr.load(Ordering::Relaxed))
}
