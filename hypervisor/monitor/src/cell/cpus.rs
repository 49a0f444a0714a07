//! Changing the owner of CPUs.

use crate::cell::Cell;
use crate::cpu::kick;
use crate::cpu::percpu::{Activity, request};
use cellvisor_abi::call::CellId;
use core::sync::atomic::Ordering;

/// Makes the CPUs of a cell leave their guest; false if one does not answer.
pub(crate) fn stop_all(cell: &Cell) -> bool {
    let mut all = true;
    for cpu in cell.cpus() {
        kick::send(cpu, request::STOP);
        all &= kick::wait(cpu, request::STOP) && cpu.activity() == Activity::Stopped;
    }
    all
}

/// Makes the stopped CPUs of a cell those of `owner`, with virtual ids in their order;
/// false if one does not answer.
#[inline(never)] // It stood in who gives back and in who does not.
pub(crate) fn assign_all(cell: &Cell, owner: CellId) -> bool {
    let mut all = true;
    for (virtual_id, cpu) in (0..).zip(cell.cpus()) {
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

/// Gives the CPUs of a cell to the root, which starts them when it wants.
pub(crate) fn give_back(cell: &Cell) -> bool {
    assign_all(cell, CellId::ROOT)
}
