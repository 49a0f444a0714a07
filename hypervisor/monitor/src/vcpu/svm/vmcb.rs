//! The VMCB of this CPU.
//!
//! Source: APM 2, "VMCB Layout", "VMCB State Caching".

use super::fields::{CLEAN, Clean, Control, Field, Guest};
use crate::mem::hpa_of;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_core::addr::{Hpa, Hva};

/// This CPU's VMCB. The CPU reads and writes it in VMRUN, VMLOAD and VMSAVE
/// only; the pointer keeps the value on its CPU.
pub(super) struct Vmcb {
    page: *mut u8,
    address: Hpa,
}

/// A number that fields hold.
pub(super) trait Word: Copy + Into<u64> {
    /// The low bits of `value`.
    fn truncate(value: u64) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {
        $(impl Word for $word {
            fn truncate(value: u64) -> Self {
                value as Self
            }
        })*
    };
}

words!(u8, u16, u32, u64);

impl Vmcb {
    /// An empty one in the page at virtual address `page`.
    ///
    /// # Safety
    ///
    /// The page is the monitor's, and nobody else's as long as the value lives.
    pub(super) unsafe fn new(page: Hva) -> Self {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::write_bytes(page.ptr::<u8>(), 0, PAGE_SIZE as usize) };
        Self {
            page: page.ptr(),
            address: hpa_of(page),
        }
    }

    /// Where the CPU finds it.
    pub(super) fn address(&self) -> Hpa {
        self.address
    }

    /// Reads a field.
    pub(super) fn read<W: Word, K>(&self, field: Field<W, K>) -> u64 {
        // SAFETY: all fields lie inside the page, at multiples of their size.
        unsafe {
            self.page
                .add(usize::from(field.offset))
                .cast::<W>()
                .read_volatile()
        }
        .into()
    }

    /// Writes guest state; a bad value fails the next VMRUN, no more.
    pub(super) fn write<W: Word>(&mut self, field: Field<W, Guest>, value: u64) {
        // Guest state cannot reach the monitor's memory: accesses still go
        // through the owner's nested tables.
        self.put(field, value);
    }

    /// Writes guest state after [`Self::forget`], which spares telling the CPU each time.
    pub(super) fn fill<W: Word>(&mut self, field: Field<W, Guest>, value: u64) {
        let unnoted = field.with(Clean::NONE);
        self.put(unnoted, value);
    }

    /// Has the CPU read everything anew with the next VMRUN.
    pub(super) fn forget(&mut self) {
        self.set_clean(Clean::NONE);
    }

    /// Writes a control.
    ///
    /// # Safety
    ///
    /// Addresses in `value` are pages that the monitor keeps for the owner as
    /// long as this CPU is attached to it; tables there map only what the owner
    /// owns; bits keep the exits that isolation needs.
    pub(super) unsafe fn control<W: Word>(&mut self, field: Field<W, Control>, value: u64) {
        self.put(field, value);
    }

    /// Tells the CPU that all but what is written from now on is as it left it.
    pub(super) fn set_clean(&mut self, clean: Clean) {
        self.put(CLEAN, u64::from(clean.0));
    }

    fn put<W: Word, K>(&mut self, field: Field<W, K>, value: u64) {
        let place = |offset: u16| self.page.wrapping_add(usize::from(offset));
        // SAFETY: all fields lie inside the page, at multiples of their size, and the
        // page is ours.
        unsafe {
            if field.clean.0 != 0 {
                let clean = place(CLEAN.offset).cast::<u32>();
                clean.write_volatile(clean.read_volatile() & !field.clean.0);
            }
            place(field.offset)
                .cast::<W>()
                .write_volatile(W::truncate(value));
        }
    }
}
