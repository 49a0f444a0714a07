//! A unit's registers as the root's Linux sees them while the monitor drives
//! the unit: what they were when the monitor came, and what Linux writes since.
//!
//! Linux goes on to use its own invalidation queue and its own table of
//! interrupt entries; the monitor reads both and carries out what concerns the
//! root. Translation stays the monitor's: Linux cannot switch it on.

use super::registers::{
    CAP, COMPATIBILITY, ECAP, FSTS, GCMD, GSTS, INTERRUPT_TABLE, INTERRUPTS, IQA, IQH, IQT, IRTA,
    QUEUE, ROOT_TABLE, TRANSLATION, VER,
};
use crate::addr::Hpa;

/// Bytes of registers that are kept.
const SIZE: usize = 0x100;
const WORDS: usize = SIZE / 4;

/// Registers that Linux can write and that are only kept: root table, fault
/// event, completion event.
const KEPT: [u64; 10] = [0x20, 0x24, 0x38, 0x3c, 0x40, 0x44, 0xa0, 0xa4, 0xa8, 0xac];

/// What a write leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing more.
    Done,
    /// It was dropped: it is the monitor's to decide.
    Refused,
    /// Descriptors wait: see [`Shadow::take_request`].
    Queue,
    /// Linux has another table of interrupt entries, or switched it on or off.
    Table,
}

/// The registers.
#[derive(Clone, Debug)]
pub struct Shadow {
    words: [u32; WORDS],
}

impl Shadow {
    /// As `read` gives them, four bytes at a multiple of 4.
    pub fn new(mut read: impl FnMut(u64) -> u32) -> Self {
        let mut words = [0; WORDS];
        for (offset, word) in (0u64..).step_by(4).zip(&mut words) {
            *word = read(offset);
        }
        let mut shadow = Self { words };
        // Faults are reported to the monitor alone, and there are no interrupts
        // of their kind.
        shadow.set(FSTS, 0);
        shadow
    }

    /// What a read of 4 or 8 bytes gives; zero beyond what is kept.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        let low = u64::from(self.word(offset));
        if size == 8 {
            low | u64::from(self.word(offset + 4)) << 32
        } else {
            low
        }
    }

    /// What becomes of a write of 4 or 8 bytes.
    pub fn write(&mut self, offset: u64, size: u8, value: u64) -> Effect {
        let (low, high) = (value as u32, (value >> 32) as u32);
        match (offset, size) {
            (GCMD, 4) => self.command(low),
            (IQT, _) => {
                self.set(IQT, low & 0x7_fff0);
                Effect::Queue
            }
            (IQA, 8) => self.set_wide(IQA, low, high, &[IQH, IQT]),
            (IRTA, 8) => self.set_wide(IRTA, low, high, &[]),
            (FSTS, _) => Effect::Done,
            _ if !matches!(size, 4 | 8) || !KEPT.contains(&offset) => Effect::Refused,
            (_, 8) => self.set_wide(offset, low, high, &[]),
            _ => {
                self.set(offset, low);
                Effect::Done
            }
        }
    }

    /// The root's interrupt remapping is on: address and number of its entries,
    /// and whether destinations have 32 bits.
    #[must_use]
    pub fn table(&self) -> Option<(Hpa, u32, super::Mode)> {
        if !self.has(INTERRUPTS) {
            return None;
        }
        let value = self.read(IRTA, 8);
        let mode = if value & 1 << 11 == 0 {
            super::Mode::Xapic
        } else {
            super::Mode::X2apic
        };
        Some((Hpa(value & !0xfff), 2 << (value & 15), mode))
    }

    /// True if the root has this bit of GSTS on.
    #[must_use]
    pub fn has(&self, bits: u32) -> bool {
        self.word(GSTS) & bits == bits
    }

    /// Where the next descriptor of the root's queue is; `None` if there is none.
    /// It counts as taken.
    pub fn take_request(&mut self) -> Option<Hpa> {
        let (head, tail) = (self.word(IQH), self.word(IQT));
        let address = self.read(IQA, 8);
        let size = 1u32 << (12 + (address & 7));
        if !self.has(QUEUE) || head == tail || tail >= size {
            return None;
        }
        self.set(IQH, (head + 16) % size);
        Some(Hpa((address & !0xfff) + u64::from(head)))
    }

    /// One-time commands are done at once; of the others the root may have the
    /// queue and interrupt remapping.
    fn command(&mut self, value: u32) -> Effect {
        const OWN: u32 = QUEUE | INTERRUPTS | COMPATIBILITY;
        let before = self.word(GSTS);
        let once = value & (ROOT_TABLE | INTERRUPT_TABLE);
        self.set(GSTS, before & !OWN | value & OWN | once);
        if value & QUEUE == 0 {
            self.set(IQH, 0);
        }
        if value & TRANSLATION != 0 {
            return Effect::Refused;
        }
        let changed = (before ^ self.word(GSTS)) & INTERRUPTS | value & INTERRUPT_TABLE;
        if changed == 0 {
            Effect::Done
        } else {
            Effect::Table
        }
    }

    fn word(&self, offset: u64) -> u32 {
        self.words.get(offset as usize / 4).copied().unwrap_or(0)
    }

    fn set(&mut self, offset: u64, value: u32) {
        if let Some(word) = self.words.get_mut(offset as usize / 4) {
            *word = value;
        }
    }

    fn set_wide(&mut self, offset: u64, low: u32, high: u32, cleared: &[u64]) -> Effect {
        self.set(offset, low);
        self.set(offset + 4, high);
        cleared.iter().for_each(|other| self.set(*other, 0));
        Effect::Done
    }
}

/// What a unit can do, and its version, stand in the first registers, which
/// nobody writes.
const _: () = assert!(VER < CAP && CAP < ECAP && ECAP < GCMD);

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux leaves a unit after boot: queue and interrupt remapping on.
    fn linux() -> Shadow {
        Shadow::new(|offset| match offset {
            GSTS => QUEUE | INTERRUPTS | INTERRUPT_TABLE,
            IQA => 0x10_0000,
            IQH | IQT => 0x40,
            IRTA => 0x20_080f,
            FSTS => 0x12,
            _ => 0,
        })
    }

    #[test]
    fn queue_is_walked_to_its_tail() {
        let mut shadow = linux();
        assert_eq!(shadow.take_request(), None);
        assert_eq!(shadow.write(IQT, 4, 0x60), Effect::Queue);
        assert_eq!(shadow.take_request(), Some(Hpa(0x10_0040)));
        assert_eq!(shadow.take_request(), Some(Hpa(0x10_0050)));
        assert_eq!(shadow.take_request(), None);
        assert_eq!(shadow.read(IQH, 8), 0x60);
    }

    #[test]
    fn queue_wraps_and_ends_whatever_the_tail() {
        let mut shadow = linux();
        shadow.write(IQT, 8, 0x10);
        assert_eq!(
            core::iter::from_fn(|| shadow.take_request()).count(),
            256 - 3
        );
        shadow.write(IQT, 8, 0x7_fff0);
        assert_eq!(shadow.take_request(), None, "beyond the queue's end");
    }

    #[test]
    fn table_follows_the_registers() {
        let mut shadow = linux();
        let mode = super::super::Mode::X2apic;
        assert_eq!(shadow.table(), Some((Hpa(0x20_0000), 65_536, mode)));
        assert_eq!(shadow.write(IRTA, 8, 0x1_0000_0007), Effect::Done);
        let command = QUEUE | INTERRUPTS | INTERRUPT_TABLE;
        assert_eq!(shadow.write(GCMD, 4, u64::from(command)), Effect::Table);
        let mode = super::super::Mode::Xapic;
        assert_eq!(shadow.table(), Some((Hpa(0x1_0000_0000), 256, mode)));
        assert_eq!(shadow.write(GCMD, 4, u64::from(QUEUE)), Effect::Table);
        assert_eq!(shadow.table(), None);
    }

    #[test]
    fn translation_stays_the_monitors() {
        let mut shadow = linux();
        let command = u64::from(QUEUE | INTERRUPTS | TRANSLATION);
        assert_eq!(shadow.write(GCMD, 4, command), Effect::Refused);
        assert!(!shadow.has(TRANSLATION) && shadow.has(INTERRUPTS));
        assert_eq!(shadow.read(FSTS, 4), 0, "no faults are reported");
        assert_eq!(shadow.write(0x08, 8, 0), Effect::Refused, "read-only");
        assert_eq!(shadow.write(0x1000, 4, 1), Effect::Refused);
        assert_eq!(shadow.write(0x38, 4, 1 << 31), Effect::Done);
        assert_eq!(shadow.read(0x38, 4), 1 << 31);
    }

    #[test]
    fn every_kind_of_write() {
        let mut shadow = linux();
        // A new queue of two pages begins at its start.
        shadow.write(IQT, 4, 0x60);
        assert_eq!(shadow.write(IQA, 8, 0x1_0030_0001), Effect::Done);
        assert_eq!(shadow.read(IQA, 8), 0x1_0030_0001);
        assert_eq!((shadow.read(IQH, 8), shadow.read(IQT, 8)), (0, 0));
        assert_eq!(shadow.write(IQA, 4, 0), Effect::Refused, "as a whole only");
        // A tail at the end of two pages is none; the last descriptor is.
        shadow.write(IQT, 4, 0x2000);
        assert_eq!(shadow.take_request(), None);
        shadow.write(IQT, 4, 0x1ff0);
        assert_eq!(shadow.take_request(), Some(Hpa(0x1_0030_0000)));
        // Faults are the monitor's: nothing to clear, and nothing is kept.
        assert_eq!(shadow.write(FSTS, 4, 0xff), Effect::Done);
        assert_eq!(shadow.read(FSTS, 4), 0);
        // Kept ones, four and eight bytes wide.
        assert_eq!(shadow.write(0x20, 8, 0x1111_2222_3333_4444), Effect::Done);
        assert_eq!(shadow.read(0x20, 8), 0x1111_2222_3333_4444);
        assert_eq!(shadow.write(0x24, 4, 5), Effect::Done);
        assert_eq!(shadow.read(0x20, 8), 5 << 32 | 0x3333_4444);
        for size in [1, 2] {
            assert_eq!(shadow.write(0x20, size, 0), Effect::Refused);
        }
        assert_eq!(shadow.read(0x100, 4), 0, "nothing is kept there");
    }

    #[test]
    fn commands_are_persistent_or_done_once() {
        let mut shadow = linux();
        shadow.write(IQT, 4, 0x80);
        let mut command = |bits: u32| shadow.write(GCMD, 4, u64::from(bits));
        let both = QUEUE | INTERRUPTS;
        assert_eq!(command(both), Effect::Done, "as it was");
        assert_eq!(command(both | COMPATIBILITY), Effect::Done);
        assert_eq!(command(both | ROOT_TABLE), Effect::Done);
        assert_eq!(command(both | INTERRUPT_TABLE), Effect::Table);
        assert_eq!(command(QUEUE), Effect::Table, "interrupts off");
        assert_eq!(command(both), Effect::Table, "and on");
        assert!(shadow.has(both | ROOT_TABLE | INTERRUPT_TABLE));
        assert!(!shadow.has(COMPATIBILITY), "not repeated");
        assert_eq!(shadow.read(IQH, 4), 0x40, "the queue went on");
        shadow.write(GCMD, 4, u64::from(INTERRUPTS));
        assert!(!shadow.has(QUEUE));
        assert_eq!(shadow.read(IQH, 4), 0, "its head begins anew");
        assert_eq!(shadow.take_request(), None);
    }
}
