//! Which CPU an interrupt is for.

use crate::cpu::percpu::{self, CpuShared};
use cellvisor_core::icr::{self, Dest};
use core::sync::atomic::Ordering;

/// Physical APIC id of the first of `cpus`, plan indexes of a cell's CPUs, that
/// is meant.
pub(crate) fn physical(cpus: &[u16], dest: Dest) -> Option<u32> {
    let first = icr::targets(dest, u32::MAX, cpus.len() as u32).next()?;
    let index = cpus.get(first as usize)?;
    let cpu = percpu::cpu(u32::from(*index))?;
    Some(cpu.apic_id.load(Ordering::Relaxed))
}

/// True if `dest`, in terms of physical ids, means this CPU. Short forms mean
/// the sender, which only an ICR has.
pub(crate) fn means(dest: Dest, cpu: &CpuShared) -> bool {
    let id = cpu.apic_id.load(Ordering::Relaxed);
    icr::means(dest, id, cpu.ldr.load(Ordering::Relaxed))
}
