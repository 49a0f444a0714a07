//! A virtual I/O APIC with 24 pins.
//!
//! Pure state: the caller routes accesses to its page here, tells when a line
//! changes, and delivers the messages that come out. One instance serves a whole
//! cell, behind the caller's lock.
//!
//! Spec: Intel 82093AA, "Register Description"; version 20H adds the EOI
//! register.

use crate::icr::{Dest, Ipi, Kind};

/// How many pins there are.
pub const PINS: u8 = 24;

/// Bytes of its registers: accesses go to 32-bit words at multiples of 16.
pub const SIZE: u64 = 0x1000;

/// Version register: 20H, and the number of the last pin.
const VERSION: u32 = 0x20 | (PINS as u32 - 1) << 16;

/// Offsets of the registers that are seen directly.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const EOI: u64 = 0x40;

/// Bits of a redirection entry.
const LOGICAL: u64 = 1 << 11;
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
/// What software may change: all but the delivery status, the remote IRR and
/// the reserved bits. Bits 49 to 55 are bits 8 to 14 of the destination, as KVM's
/// extended destination ids have it.
const WRITABLE: u64 = 0xfffe_0000_0001_afff;

/// An interrupt on its way to a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which pin it comes from.
    pub pin: u8,
    /// What it does; the vector is in there.
    pub kind: Kind,
    /// Destination, 15 bits.
    pub dest: u32,
    /// The destination is a logical one.
    pub logical: bool,
    /// Level-triggered: an EOI is awaited.
    pub level: bool,
}

impl Message {
    /// The same in the terms of inter-processor interrupts, in x2APIC mode.
    pub const fn ipi(&self) -> Ipi {
        Ipi {
            kind: self.kind,
            dest: Dest::x2apic(self.dest, self.logical),
        }
    }
}

/// The device.
#[derive(Clone, Debug)]
pub struct IoApic {
    select: u8,
    id: u8,
    entries: [u64; PINS as usize],
    /// One bit for each pin that is asserted.
    lines: u32,
}

impl IoApic {
    /// After a reset: every pin masked.
    pub const fn new(id: u8) -> Self {
        Self {
            select: 0,
            id: id & 0xf,
            entries: [MASKED; PINS as usize],
            lines: 0,
        }
    }

    /// Reads the 32-bit register at this offset; 0 where there is none.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            SELECT => u32::from(self.select),
            WINDOW => self.window(),
            _ => 0,
        }
    }

    fn window(&self) -> u32 {
        match self.select {
            0 | 2 => u32::from(self.id) << 24,
            1 => VERSION,
            _ => match self.selected() {
                Some((pin, false)) => self.entry(pin) as u32,
                Some((pin, true)) => (self.entry(pin) >> 32) as u32,
                None => 0,
            },
        }
    }

    /// Pin of the selected redirection entry, and whether its high half is meant.
    fn selected(&self) -> Option<(u8, bool)> {
        let index = self.select.checked_sub(0x10)?;
        (index < 2 * PINS).then_some((index / 2, index % 2 != 0))
    }

    /// Writes the 32-bit register at this offset. What is sent in consequence
    /// goes to `send`.
    pub fn write(&mut self, offset: u64, value: u32, mut send: impl FnMut(Message)) {
        match offset {
            SELECT => self.select = value as u8,
            WINDOW => self.write_window(value, send),
            EOI => self.eoi(value as u8, &mut send),
            _ => {}
        }
    }

    fn write_window(&mut self, value: u32, send: impl FnMut(Message)) {
        if self.select == 0 {
            self.id = (value >> 24) as u8 & 0xf;
        }
        let Some((pin, high)) = self.selected() else {
            return;
        };
        let old = self.entry(pin);
        let new = match high {
            true => u64::from(value) << 32 | old & 0xffff_ffff,
            false => old & !0xffff_ffff | u64::from(value),
        };
        let mut entry = new & WRITABLE | old & REMOTE_IRR;
        if entry & LEVEL == 0 {
            // Linux goes through edge mode to get rid of a stuck remote IRR.
            entry &= !REMOTE_IRR;
        }
        self.set_entry(pin, entry);
        self.offer(pin).into_iter().for_each(send);
    }

    /// Tells that a line is asserted or not. An edge that arrives while its pin
    /// is masked is lost, as on the hardware.
    pub fn set_line(&mut self, pin: u8, asserted: bool) -> Option<Message> {
        let bit = 1u32.checked_shl(u32::from(pin)).filter(|_| pin < PINS)?;
        let rising = asserted && self.lines & bit == 0;
        match asserted {
            true => self.lines |= bit,
            false => self.lines &= !bit,
        }
        let entry = self.entry(pin);
        if entry & LEVEL != 0 {
            return self.offer(pin);
        }
        (rising && entry & MASKED == 0).then(|| message(pin, entry))
    }

    /// A CPU is done with `vector`: level-triggered pins whose line is still
    /// asserted raise it again.
    pub fn eoi(&mut self, vector: u8, send: &mut impl FnMut(Message)) {
        for pin in 0..PINS {
            let entry = self.entry(pin);
            if entry as u8 == vector && entry & REMOTE_IRR != 0 {
                self.set_entry(pin, entry & !REMOTE_IRR);
                self.offer(pin).into_iter().for_each(&mut *send);
            }
        }
    }

    /// Sends a level-triggered interrupt if it is due.
    fn offer(&mut self, pin: u8) -> Option<Message> {
        let entry = self.entry(pin);
        let asserted = self.lines >> pin & 1 != 0;
        let due = entry & LEVEL != 0 && entry & (MASKED | REMOTE_IRR) == 0 && asserted;
        due.then(|| {
            self.set_entry(pin, entry | REMOTE_IRR);
            message(pin, entry)
        })
    }

    fn entry(&self, pin: u8) -> u64 {
        self.entries
            .get(usize::from(pin))
            .copied()
            .unwrap_or(MASKED)
    }

    fn set_entry(&mut self, pin: u8, entry: u64) {
        if let Some(place) = self.entries.get_mut(usize::from(pin)) {
            *place = entry;
        }
    }
}

fn message(pin: u8, entry: u64) -> Message {
    let low = (entry >> 56) as u32;
    let high = (entry >> 49) as u32 & 0x7f;
    Message {
        pin,
        kind: Kind::new((entry >> 8) as u8, entry as u8, false),
        dest: high << 8 | low,
        logical: entry & LOGICAL != 0,
        level: entry & LEVEL != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn write(chip: &mut IoApic, register: u8, value: u32) -> Vec<Message> {
        let mut sent = Vec::new();
        chip.write(SELECT, u32::from(register), |m| sent.push(m));
        chip.write(WINDOW, value, |m| sent.push(m));
        sent
    }

    fn read(chip: &mut IoApic, register: u8) -> u32 {
        write_select(chip, register);
        chip.read(WINDOW)
    }

    fn write_select(chip: &mut IoApic, register: u8) {
        chip.write(SELECT, u32::from(register), |_| {
            unreachable!("selecting sends nothing")
        });
    }

    fn eoi(chip: &mut IoApic, vector: u8) -> Vec<Message> {
        let mut sent = Vec::new();
        chip.eoi(vector, &mut |m| sent.push(m));
        sent
    }

    /// A chip whose pin 4 has this low half, for CPU 2.
    fn chip(low: u32) -> IoApic {
        let mut chip = IoApic::new(0);
        assert_eq!(write(&mut chip, 0x19, 0x0200_0000), []);
        assert_eq!(write(&mut chip, 0x18, low), []);
        chip
    }

    fn sent(level: bool) -> Message {
        Message {
            pin: 4,
            kind: Kind::Fixed(0x31),
            dest: 2,
            logical: false,
            level,
        }
    }

    #[test]
    fn registers_after_reset() {
        let mut chip = IoApic::new(5);
        assert_eq!(read(&mut chip, 0), 0x0500_0000);
        assert_eq!(
            read(&mut chip, 1),
            0x0017_0020,
            "24 pins, with EOI register"
        );
        for pin in 0..24 {
            assert_eq!(read(&mut chip, 0x10 + 2 * pin), 0x1_0000, "masked");
            assert_eq!(read(&mut chip, 0x11 + 2 * pin), 0);
        }
        assert_eq!(read(&mut chip, 0x40), 0, "no pin 24");
        assert_eq!(chip.read(0x20), 0);
    }

    #[test]
    fn edge_is_sent_once_until_the_line_falls() {
        let mut chip = chip(0x31);
        assert_eq!(chip.set_line(4, true), Some(sent(false)));
        assert_eq!(chip.set_line(4, true), None, "no new edge");
        assert_eq!(chip.set_line(4, false), None);
        assert_eq!(chip.set_line(4, true), Some(sent(false)));
        assert_eq!(eoi(&mut chip, 0x31), [], "edges need no EOI");
    }

    #[test]
    fn masked_edge_is_lost() {
        let mut chip = chip(0x1_0031);
        assert_eq!(chip.set_line(4, true), None);
        assert_eq!(write(&mut chip, 0x18, 0x31), []);
    }

    #[test]
    fn level_is_sent_again_after_eoi_while_asserted() {
        let mut chip = chip(0x8031);
        assert_eq!(chip.set_line(4, true), Some(sent(true)));
        assert_eq!(read(&mut chip, 0x18), 0xc031, "remote IRR");
        assert_eq!(chip.set_line(4, false), None);
        assert_eq!(chip.set_line(4, true), None, "EOI is awaited");
        assert_eq!(eoi(&mut chip, 0x32), [], "another's vector");
        assert_eq!(eoi(&mut chip, 0x31), [sent(true)]);
        assert_eq!(chip.set_line(4, false), None);
        assert_eq!(eoi(&mut chip, 0x31), []);
        assert_eq!(read(&mut chip, 0x18), 0x8031);
    }

    #[test]
    fn level_waits_behind_the_mask_and_eoi_comes_by_register_too() {
        let mut chip = chip(0x1_8031);
        assert_eq!(chip.set_line(4, true), None);
        assert_eq!(write(&mut chip, 0x18, 0x8031), [sent(true)], "unmasked");
        let mut again = Vec::new();
        chip.write(EOI, 0x31, |m| again.push(m));
        assert_eq!(again, [sent(true)]);
    }

    #[test]
    fn going_through_edge_mode_clears_the_remote_irr() {
        let mut chip = chip(0x8031);
        assert!(chip.set_line(4, true).is_some());
        assert_eq!(write(&mut chip, 0x18, 0x1_0031), []);
        assert_eq!(read(&mut chip, 0x18), 0x1_0031);
        assert_eq!(write(&mut chip, 0x18, 0x8031), [sent(true)]);
    }

    #[test]
    fn destinations_above_255_use_the_extended_bits() {
        let mut chip = IoApic::new(0);
        // Bits 49 to 55 are bits 17 to 23 of the high half: id 0x155.
        assert_eq!(write(&mut chip, 0x13, 0x5502_0000), []);
        assert_eq!(write(&mut chip, 0x12, 0x0430), []);
        let sent = chip.set_line(1, true).expect("edge");
        assert_eq!(
            sent.ipi(),
            Ipi {
                kind: Kind::Nmi,
                dest: Dest::Physical(0x155)
            }
        );
    }

    proptest! {
        /// Whatever a guest does, nothing panics, read-only bits stay what the
        /// device made them, and a masked pin is silent.
        #[test]
        fn any_access_is_harmless(
            ops in proptest::collection::vec((0u8..4, any::<u8>(), any::<u32>()), 0..200),
        ) {
            let mut chip = IoApic::new(0);
            for (op, small, value) in ops {
                let mut sent = Vec::new();
                match op {
                    0 => sent = write(&mut chip, small, value),
                    1 => sent.extend(chip.set_line(small % 32, value & 1 != 0)),
                    2 => sent = eoi(&mut chip, small),
                    _ => chip.write(u64::from(small), value, |m| sent.push(m)),
                }
                for message in sent {
                    let entry = chip.entry(message.pin);
                    prop_assert_eq!(entry & MASKED, 0);
                    prop_assert_eq!(entry & REMOTE_IRR != 0, message.level);
                }
                for entry in chip.entries {
                    prop_assert_eq!(entry & !(WRITABLE | REMOTE_IRR), 0);
                    prop_assert!(entry & LEVEL != 0 || entry & REMOTE_IRR == 0);
                }
            }
        }
    }
}
