//! The event register of a cell: what the root wants of its kernel.
//!
//! Pure state, behind the lock of the cell's devices. The cell's Generic Event
//! Device reads the register when its interrupt comes, and tells the device that
//! each bit stands for (ACPI, "Generic Event Device"; the AML is in the cell's DSDT).

use crate::ioapic::{IoApic, Message};
use cellvisor_abi::plan::EVENT_GSI;

/// The register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The events in these bits happen. The interrupt that tells of them, unless
    /// the cell takes none from this pin: then they wait for the next one.
    pub fn raise(&mut self, events: u8, ioapic: &mut IoApic) -> Option<Message> {
        self.0 |= events;
        ioapic.pulse(EVENT_GSI)
    }

    /// What has happened since the last read.
    pub fn take(&mut self) -> u8 {
        core::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icr::Kind;
    use crate::ioapic::{FIRST_ENTRY, SELECT, WINDOW};
    use cellvisor_abi::plan::POWER_BUTTON;

    /// Programs the pin: an entry's low half, for the CPU with id 0.
    fn program(ioapic: &mut IoApic, low: u32) {
        let register = u32::from(FIRST_ENTRY + 2 * EVENT_GSI);
        ioapic.write(SELECT, register, |_| {});
        ioapic.write(WINDOW, low, |_| {});
    }

    #[test]
    fn every_press_interrupts_and_one_read_takes_them_all() {
        let (mut events, mut ioapic) = (Events::new(), IoApic::new(0, 0));
        program(&mut ioapic, 0x35);
        for _ in 0..3 {
            let message = events.raise(POWER_BUTTON, &mut ioapic).expect("an edge");
            assert_eq!(message.kind, Kind::Fixed(0x35));
            assert_eq!((message.pin, message.level), (EVENT_GSI, false));
        }
        assert_eq!((events.take(), events.take()), (POWER_BUTTON, 0));
    }

    #[test]
    fn nobody_is_told_while_the_pin_is_masked_and_nothing_is_lost() {
        let (mut events, mut ioapic) = (Events::new(), IoApic::new(0, 0));
        assert_eq!(events.raise(POWER_BUTTON, &mut ioapic), None);
        program(&mut ioapic, 0x35);
        assert!(events.raise(2, &mut ioapic).is_some());
        assert_eq!(events.take(), POWER_BUTTON | 2);
    }

    #[test]
    fn a_level_triggered_pin_does_not_interrupt_for_ever() {
        let (mut events, mut ioapic) = (Events::new(), IoApic::new(0, 0));
        program(&mut ioapic, 0x35 | 1 << 15);
        assert!(events.raise(POWER_BUTTON, &mut ioapic).is_some());
        let mut again = 0;
        ioapic.write(crate::ioapic::EOI, 0x35, |_| again += 1);
        assert_eq!(again, 0, "the line has fallen by then");
        assert!(events.raise(POWER_BUTTON, &mut ioapic).is_some());
    }
}
