//! Registers of an I/O APIC of the machine.
//!
//! Source: Intel 82093AA, "Register Description".

use crate::mem::device::DevicePage;
use crate::mem::map::Window;
use cellvisor_core::addr::Hpa;
use cellvisor_core::ioapic::{FIRST_ENTRY, LEVEL, MASKED, SELECT, VERSION_REGISTER, WINDOW};

/// Pins that redirection entries can be numbered for.
pub(super) const MAX_PINS: u8 = 120;

/// Registers of a chip, through the window of this CPU.
pub(super) struct Registers<'a> {
    page: DevicePage<'a>,
}

impl<'a> Registers<'a> {
    /// The registers at `base`, which the lock on the chips guards.
    pub(super) fn open(window: &'a mut Window, base: Hpa) -> Self {
        Self {
            page: window.open_device(base),
        }
    }

    /// Reads at one of the offsets that are seen directly.
    pub(super) fn load(&self, offset: u64) -> u32 {
        self.page.read(offset, 4) as u32
    }

    /// Writes there. A chip reaches memory by interrupts alone, and those the callers
    /// make: a wire's go to CPUs of its cell, and the root's as `Shared` lets them.
    pub(super) fn store(&self, offset: u64, value: u32) {
        self.page.write(offset, 4, u64::from(value));
    }

    /// Reads the register with this number.
    pub(super) fn read(&self, register: u8) -> u32 {
        self.store(SELECT, u32::from(register));
        self.load(WINDOW)
    }

    /// Writes it.
    pub(super) fn write(&self, register: u8, value: u32) {
        self.store(SELECT, u32::from(register));
        self.store(WINDOW, value);
    }

    /// How many pins there are.
    pub(super) fn pins(&self) -> u8 {
        let last = (self.read(VERSION_REGISTER) >> 16) as u8;
        last.saturating_add(1).min(MAX_PINS)
    }

    /// Redirection entry of a pin.
    pub(super) fn entry(&self, pin: u8) -> u64 {
        let low = FIRST_ENTRY + 2 * pin;
        u64::from(self.read(low)) | u64::from(self.read(low + 1)) << 32
    }

    /// Sets its lower half.
    pub(super) fn set_low(&self, pin: u8, entry: u64) {
        self.write(FIRST_ENTRY + 2 * pin, entry as u32);
    }

    /// Sets the whole entry. The lower half comes last: it has the mask.
    pub(super) fn set_entry(&self, pin: u8, entry: u64) {
        self.write(FIRST_ENTRY + 2 * pin + 1, (entry >> 32) as u32);
        self.set_low(pin, entry);
    }

    /// Masks a pin and forgets an EOI that is awaited; edge mode does that.
    pub(super) fn acknowledge(&self, pin: u8, entry: u64) {
        self.set_low(pin, entry & !LEVEL | MASKED);
        self.set_low(pin, entry | MASKED);
    }
}
