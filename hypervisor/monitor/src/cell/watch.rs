//! The interrupt that tells the root that something happened to a cell. What it was
//! the root asks for.

use crate::cpu::apic;
use crate::cpu::percpu::{self, Activity, CpuShared};
use crate::lock::Mutex;
use cellvisor_abi::call::CellId;
use cellvisor_core::locks::Rank;

/// Vector by which the root wants to be told; 0 for none. Who holds the lock may be
/// about to send it.
static VECTOR: Mutex<u8, { Rank::Watch as u8 }> = Mutex::new(0);

/// Interrupt command: fixed delivery, asserted.
const FIXED: u32 = 1 << 14;

/// The root wants this vector from now on.
pub(crate) fn set_vector(vector: u8) {
    *VECTOR.lock() = vector;
}

/// Interrupts the root, on a CPU that runs it.
#[inline(never)]
pub(crate) fn notify() {
    let vector = VECTOR.lock();
    let runs =
        |cpu: &&CpuShared| cpu.owner() == CellId::ROOT && cpu.activity() == Activity::Running;
    if *vector != 0
        && let Some(cpu) = percpu::cpus().find(runs)
    {
        // SAFETY: the root asked for this interrupt, and the CPU is the root's: one
        // that changes its owner waits in `settle` until this is sent, and forgets
        // it then.
        unsafe { apic::send(cpu.apic_id(), FIXED | u32::from(*vector)) };
    }
}

/// Waits until no CPU is about to interrupt this one for its last owner.
pub(crate) fn settle() {
    drop(VECTOR.lock());
}
