//! The VMCS of this CPU: current from VMX's start to its end.
//!
//! Source: SDM 3C, "Software Use of the VMCS and Related Structures", "VMREAD",
//! "VMWRITE".

use super::fields::{Control, Field, Guest, Host, Info, Kind, Width};
use core::arch::asm;

/// Proof that VMX operation is on and this CPU's VMCS is current.
///
/// It cannot leave its CPU: the pointer makes it neither `Send` nor `Sync`.
pub(crate) struct Vmcs(core::marker::PhantomData<*mut ()>);

impl Vmcs {
    /// # Safety
    ///
    /// VMX operation is on, and a VMCS was made current that stays so as long
    /// as the value lives.
    pub(crate) unsafe fn new() -> Self {
        Self(core::marker::PhantomData)
    }

    /// Reads a field. Those that we read exist wherever the controls do that we demand
    /// (`caps.rs`); of a field that the CPU lacks the value would be anything.
    #[inline(always)]
    pub(crate) fn read<W: Width, K: Kind>(&self, field: Field<W, K>) -> u64 {
        let value;
        // SAFETY: `self` proves a current VMCS; reading has no effect.
        unsafe {
            asm!("vmread {}, {}", out(reg) value, in(reg) u64::from(field.0),
                options(nomem, nostack));
        }
        value
    }

    /// Writes guest state; a bad value fails the next VM entry, no more.
    pub(crate) fn write<W: Width>(&mut self, field: Field<W, Guest>, value: u64) {
        // SAFETY: `self` proves a current VMCS. Guest state cannot reach the
        // monitor's memory: accesses still go through the owner's EPT.
        unsafe { write(field.0, value) };
    }

    /// Writes a control.
    ///
    /// # Safety
    ///
    /// Addresses in `value` are pages that the monitor keeps for the owner as
    /// long as this CPU is attached to it; tables there map only what the owner
    /// owns; bits keep the exits that isolation needs.
    pub(crate) unsafe fn control<W: Width>(&mut self, field: Field<W, Control>, value: u64) {
        // SAFETY: see above; the caller's duty.
        unsafe { write(field.0, value) };
    }

    /// Writes host state.
    ///
    /// # Safety
    ///
    /// The value is what the monitor runs with: its tables, stacks and code.
    pub(crate) unsafe fn host<W: Width>(&mut self, field: Field<W, Host>, value: u64) {
        // SAFETY: see above; the caller's duty.
        unsafe { write(field.0, value) };
    }

    /// Reads exit information as the 32 bits that most of it has.
    pub(crate) fn info<W: Width>(&self, field: Field<W, Info>) -> u32 {
        self.read(field) as u32
    }
}

/// Writes a field; nothing happens if the CPU lacks it.
///
/// Several of these and many reads are in each exit's way. The `x86` crate's own
/// look at RFLAGS after each, behind a call, which made up half of an exit.
///
/// # Safety
///
/// A VMCS is current, and the caller answers for the value.
#[inline(always)]
unsafe fn write(field: u32, value: u64) {
    // SAFETY: the caller's duty.
    unsafe {
        asm!("vmwrite {}, {}", in(reg) u64::from(field), in(reg) value, options(nostack));
    }
}
