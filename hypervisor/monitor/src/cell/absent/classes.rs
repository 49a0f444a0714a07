//! Classes of service, in an image without them: all cells are in the root's, which may
//! do with its own what it likes.
//!
//! Source: SDM 3B, "Intel Resource Director Technology (Intel RDT) Allocation Features".

use crate::cell::cpu::Cpu;
use crate::cell::{Cell, Cpus, Guest};
use crate::cpu::msr::try_wrmsr;
use cellvisor_abi::parts::Parts;
use cellvisor_abi::plan::Class;
use cellvisor_core::ids::Msr;

/// Not there.
pub(crate) const PART: Parts = Parts::NONE;

/// The class of a plan, which is the root's.
pub(crate) fn allows(class: Class, _: &Cpus) -> bool {
    class == Class::ROOT
}

/// Nobody is to be confined by it.
pub(crate) fn hold(_: &Cell) {}

/// As [`hold`].
pub(crate) fn release(_: &Cell) {}

/// The CPU stays in the root's.
pub(crate) fn settle(_: &Cpu<'_>, _: Option<&Guest>) {}

/// As [`settle`].
pub(crate) fn confine(_: Option<&Guest>) {}

/// A write of the root; false if the CPU refuses it.
pub(crate) fn write(msr: Msr, value: u64) -> bool {
    // SAFETY: these registers change how fast memory is, and nothing else.
    unsafe { try_wrmsr(msr, value) }
}
