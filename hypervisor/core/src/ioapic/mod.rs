//! A virtual I/O APIC with 24 pins.
//!
//! Pure state: the caller routes accesses to its page here, tells when a line
//! changes, and delivers the messages that come out. One instance serves a whole
//! cell, behind the caller's lock.
//!
//! Some pins are *wired*: pins of a physical I/O APIC stand behind them, which
//! the caller programs as this one is ([`wire`]). What the root sees of that one
//! meanwhile is [`shared`].
//!
//! Spec: Intel 82093AA, "Register Description"; version 20H adds the EOI
//! register.

pub mod claim;
pub mod shared;
#[cfg(test)]
mod tests;
pub mod wire;

use crate::icr::{Dest, Ipi, Kind};

/// How many pins there are.
pub const PINS: u8 = 24;

/// Bytes of its registers: accesses go to 32-bit words at multiples of 16.
pub const SIZE: u64 = 0x1000;

/// Version register besides the number of the last pin.
const VERSION: u32 = 0x20;

/// Offsets of the registers that are seen directly: the number of the register
/// in the window, the window, and end of interrupt.
pub const SELECT: u64 = 0x00;
/// See [`SELECT`].
pub const WINDOW: u64 = 0x10;
/// See [`SELECT`].
pub const EOI: u64 = 0x40;

/// Number of the version register, and of the first redirection entry's low half.
pub const VERSION_REGISTER: u8 = 1;
/// See [`VERSION_REGISTER`].
pub const FIRST_ENTRY: u8 = 0x10;

/// Bits of a redirection entry.
const LOGICAL: u64 = 1 << 11;
const ACTIVE_LOW: u64 = 1 << 13;
/// An interrupt was sent, and its EOI is awaited.
pub const REMOTE_IRR: u64 = 1 << 14;
/// Level-triggered.
pub const LEVEL: u64 = 1 << 15;
/// Nothing is sent.
pub const MASKED: u64 = 1 << 16;
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

/// What an access leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A virtual line's interrupt is to be delivered.
    Send(Message),
    /// A wired pin was programmed.
    Wire(Change),
}

/// How a wired pin is programmed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it sends, and from which pin.
    pub message: Message,
    /// It sends nothing.
    pub masked: bool,
    /// The remote IRR is to be cleared: software went through edge mode, or wrote
    /// to the EOI register.
    pub acknowledged: bool,
}

/// The device.
#[derive(Clone, Debug)]
pub struct IoApic {
    select: u8,
    id: u8,
    /// One bit for each pin that is wired.
    wired: u32,
    entries: [u64; PINS as usize],
    /// One bit for each pin that is asserted.
    lines: u32,
    /// How many pins software is told of.
    pins: u8,
}

impl IoApic {
    /// After a reset: every pin masked. `wired` has one bit for each pin that is.
    pub const fn new(id: u8, wired: u32) -> Self {
        Self {
            select: 0,
            id: id & 0xf,
            wired,
            entries: [MASKED; PINS as usize],
            lines: 0,
            pins: PINS,
        }
    }

    /// The same, and software is told of so many pins alone.
    #[must_use]
    pub const fn with_pins(self, pins: u8) -> Self {
        Self { pins, ..self }
    }

    /// As after a reset; the wires stay.
    pub const fn reset(&mut self) {
        *self = Self::new(self.id, self.wired).with_pins(self.pins);
    }

    /// Reads the 32-bit register at this offset; 0 where there is none. `awaits`
    /// tells whether the EOI of a wired pin is awaited.
    pub fn read(&self, offset: u64, awaits: impl FnOnce(u8) -> bool) -> u32 {
        match offset {
            SELECT => u32::from(self.select),
            WINDOW => self.window(awaits),
            _ => 0,
        }
    }

    fn window(&self, awaits: impl FnOnce(u8) -> bool) -> u32 {
        match self.select {
            0 | 2 => u32::from(self.id) << 24,
            VERSION_REGISTER => VERSION | (u32::from(self.pins) - 1) << 16,
            _ => match self.selected() {
                Some((pin, false)) if self.is_wired(pin) && awaits(pin) => {
                    (self.entry(pin) | REMOTE_IRR) as u32
                }
                Some((pin, false)) => self.entry(pin) as u32,
                Some((pin, true)) => (self.entry(pin) >> 32) as u32,
                None => 0,
            },
        }
    }

    /// Pin of the selected redirection entry, and whether its high half is meant.
    fn selected(&self) -> Option<(u8, bool)> {
        let index = self.select.checked_sub(FIRST_ENTRY)?;
        (index < 2 * PINS).then_some((index / 2, index % 2 != 0))
    }

    /// Writes the 32-bit register at this offset. What follows from it goes to
    /// `out`.
    pub fn write(&mut self, offset: u64, value: u32, mut out: impl FnMut(Output)) {
        match offset {
            SELECT => self.select = value as u8,
            WINDOW => self.write_window(value, out),
            EOI => self.eoi(value as u8, &mut out),
            _ => {}
        }
    }

    fn write_window(&mut self, value: u32, mut out: impl FnMut(Output)) {
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
        if self.is_wired(pin) {
            out(Output::Wire(change(pin, entry, entry & LEVEL == 0)));
        } else if let Some(message) = self.offer(pin) {
            out(Output::Send(message));
        }
    }

    const fn is_wired(&self, pin: u8) -> bool {
        self.wired >> (pin & 31) & 1 != 0
    }

    /// Tells that a line is asserted or not. An edge that arrives while its pin
    /// is masked is lost, as on the hardware. Wired pins have no line here.
    #[inline(always)] // Each access to a console ends with a line that rests.
    pub fn set_line(&mut self, pin: u8, asserted: bool) -> Option<Message> {
        // One that is not asserted, and was not, is of no effect on any pin.
        if !asserted && self.lines >> (pin & 31) & 1 == 0 {
            return None;
        }
        self.change_line(pin, asserted)
    }

    #[inline(never)]
    fn change_line(&mut self, pin: u8, asserted: bool) -> Option<Message> {
        let bit = 1u32.checked_shl(u32::from(pin)).filter(|_| pin < PINS)?;
        if self.is_wired(pin) {
            return None;
        }
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

    /// A line is asserted for a moment: an edge that is not lost behind an earlier
    /// one.
    pub fn pulse(&mut self, pin: u8) -> Option<Message> {
        let message = self.set_line(pin, true);
        self.set_line(pin, false);
        message
    }

    /// A CPU is done with `vector`: level-triggered pins whose line is still
    /// asserted raise it again.
    fn eoi(&mut self, vector: u8, out: &mut impl FnMut(Output)) {
        for pin in 0..PINS {
            let entry = self.entry(pin);
            if entry as u8 != vector {
                continue;
            }
            if self.is_wired(pin) {
                out(Output::Wire(change(pin, entry, true)));
            } else if entry & REMOTE_IRR != 0 {
                self.set_entry(pin, entry & !REMOTE_IRR);
                self.offer(pin)
                    .map(Output::Send)
                    .into_iter()
                    .for_each(&mut *out);
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

fn change(pin: u8, entry: u64, acknowledged: bool) -> Change {
    Change {
        message: message(pin, entry),
        masked: entry & MASKED != 0,
        acknowledged,
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
