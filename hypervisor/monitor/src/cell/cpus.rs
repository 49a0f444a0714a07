//! Changing the owner of CPUs.

use crate::cpu::kick;
use crate::cpu::percpu::{Activity, CpuShared, request};
use cellvisor_abi::call::CellId;
use core::sync::atomic::Ordering;

/// Makes CPUs leave their guest; false if one does not answer.
pub(crate) fn stop_all<'a>(cpus: impl Iterator<Item = &'a CpuShared>) -> bool {
    let mut all = true;
    for cpu in cpus {
        kick::send(cpu, request::STOP);
        all &= kick::wait(cpu, request::STOP) && cpu.activity() == Activity::Stopped;
    }
    all
}

/// Makes stopped CPUs those of `owner`, with virtual ids in their order; false
/// if one does not answer.
pub(crate) fn assign_all<'a>(cpus: impl Iterator<Item = &'a CpuShared>, owner: CellId) -> bool {
    let mut all = true;
    for (virtual_id, cpu) in (0..).zip(cpus) {
        let id = if owner == CellId::ROOT {
            cpu.apic_id().0
        } else {
            virtual_id
        };
        cpu.next_owner.store(owner.0, Ordering::Release);
        cpu.next_virtual_id.store(id, Ordering::Release);
        kick::send(cpu, request::ASSIGN);
        all &= kick::wait(cpu, request::ASSIGN);
    }
    all
}

/// Gives CPUs to the root, which starts them when it wants.
pub(crate) fn give_back<'a>(cpus: impl Iterator<Item = &'a CpuShared>) -> bool {
    assign_all(cpus, CellId::ROOT)
}
