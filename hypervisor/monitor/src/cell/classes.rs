//! Classes of service of cells, in the registers of their CPUs.
//!
//! Source: SDM 3B, "Intel Resource Director Technology (Intel RDT) Allocation Features".

use crate::cell::cpu::Cpu;
use crate::cell::{self, Cell, Cpus, Guest};
use crate::cpu::leaf;
use crate::cpu::msr::{try_rdmsr, try_wrmsr};
use crate::cpu::percpu::{self, CpuShared};
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::Class;
use cellvisor_core::classes::{self, ASSOCIATION, Classes, Shares};
use cellvisor_core::ids::Msr;
use core::sync::atomic::{AtomicU32, Ordering};

/// The part of the monitor that this is.
pub(crate) const PART: Parts = Parts::CLASSES;

/// How many cells have a class.
static HELD: AtomicU32 = AtomicU32::new(0);

/// True if a cell with these CPUs may have `class`.
pub(crate) fn allows(class: Class, cpus: &Cpus) -> bool {
    if class == Class::ROOT {
        return true;
    }
    let machine = Classes::find(leaf::subleaf);
    let mut cpus = cpus.iter().filter_map(|index| percpu::cpu(*index));
    cpus.all(|cpu| machine.allows(&shares(&machine, cpu), class))
}

/// A cell with this class comes.
pub(crate) fn hold(cell: &Cell) {
    if of(cell.guest.as_ref()) != Class::ROOT {
        HELD.fetch_add(1, Ordering::Release);
    }
}

/// A cell with this class is gone.
pub(crate) fn release(cell: &Cell) {
    if of(cell.guest.as_ref()) != Class::ROOT {
        HELD.fetch_sub(1, Ordering::Release);
    }
}

/// What cells have of the cache behind this CPU.
#[inline(never)] // Once, not for each who asks.
fn shares(machine: &Classes, cpu: &CpuShared) -> Shares {
    let mut shares = Shares::default();
    for cell in cell::all() {
        let is_near = |other: &CpuShared| {
            other.owner() == cell.id && machine.together(other.apic_id().0, cpu.apic_id().0)
        };
        if cell.cpus().any(is_near) {
            shares.add(of(cell.guest.as_ref()));
        }
    }
    shares
}

fn of(guest: Option<&Guest>) -> Class {
    guest.map_or(Class::ROOT, |guest| guest.class)
}

/// Puts this CPU into its owner's class, and shares its cache out among the cells there,
/// if its owner or the one before, `left`, has a class. Whoever asked for it holds the
/// lock of the hypercalls, and waits.
pub(crate) fn settle(cpu: &Cpu<'_>, left: Option<&Guest>) {
    if [of(cpu.guest), of(left)] == [Class::ROOT; 2] {
        return;
    }
    let machine = Classes::find(leaf::subleaf);
    let shares = shares(&machine, cpu.shared);
    machine.write(&shares, |msr, value| {
        set(Msr(msr), value.into());
    });
    confine(cpu.guest);
}

/// Puts this CPU into the class of its owner, if there are others: until cells had some,
/// the root could have been in any.
pub(crate) fn confine(owner: Option<&Guest>) {
    if HELD.load(Ordering::Acquire) == 0 {
        return;
    }
    if let Some(now) = try_rdmsr(Msr(ASSOCIATION)) {
        let number = of(owner).number();
        set(
            Msr(ASSOCIATION),
            u64::from(now as u32) | u64::from(number) << 32,
        );
    }
}

/// A write of the root; false if the CPU refuses it.
pub(crate) fn write(msr: Msr, value: u64) -> bool {
    let value = match HELD.load(Ordering::Acquire) {
        0 => Some(value),
        _ => classes::filtered(msr.0, value),
    };
    value.is_none_or(|value| set(msr, value))
}

fn set(msr: Msr, value: u64) -> bool {
    // SAFETY: these registers change how fast memory is, and nothing else.
    unsafe { try_wrmsr(msr, value) }
}
