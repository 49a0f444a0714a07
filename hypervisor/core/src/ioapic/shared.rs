//! What the root sees of a physical I/O APIC some of whose pins are cells'.
//!
//! The root works on as before, but for the pins of cells: those read as masked,
//! and stay what they are. The monitor and the root select registers apart from
//! each other.

use super::{EOI, FIRST_ENTRY, MASKED, SELECT, WINDOW, wire};

/// What a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// This value.
    Value(u32),
    /// What the register with this number has.
    Register(u8),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing that the hardware must see.
    Done,
    /// It is dropped, and counts as denied.
    Refused,
    /// The register with this number gets the value.
    Register(u8),
    /// A half of the redirection entry of this pin gets the value, unless
    /// [`Shared::refuses`] it.
    Entry {
        /// Which pin.
        pin: u8,
        /// The half is the upper one.
        high: bool,
    },
    /// It goes to the EOI register.
    Eoi,
}

/// The root's view.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    select: u8,
    /// One bit for each pin of a cell.
    pins: [u64; 4],
    /// First of the interrupt entries that are cells'; `None` without remapping.
    first: Option<u16>,
}

impl Shared {
    /// The root has selected register `select`. No pin is a cell's yet, and
    /// interrupt entries from `first` on are.
    #[must_use]
    pub const fn new(select: u8, first: Option<u16>) -> Self {
        Self {
            select,
            pins: [0; 4],
            first,
        }
    }

    /// The register that the root has selected.
    #[must_use]
    pub const fn select(&self) -> u8 {
        self.select
    }

    /// Gives a pin to a cell.
    pub fn take(&mut self, pin: u8) {
        if let Some(word) = self.pins.get_mut(usize::from(pin / 64)) {
            *word |= 1 << (pin % 64);
        }
    }

    /// Gives it back.
    pub fn give_back(&mut self, pin: u8) {
        if let Some(word) = self.pins.get_mut(usize::from(pin / 64)) {
            *word &= !(1 << (pin % 64));
        }
    }

    fn is_taken(&self, pin: u8) -> bool {
        let word = self.pins.get(usize::from(pin / 64));
        word.is_some_and(|word| word >> (pin % 64) & 1 != 0)
    }

    /// The pin whose entry is selected, and whether its upper half is.
    const fn selected(&self) -> Option<(u8, bool)> {
        match self.select.checked_sub(FIRST_ENTRY) {
            Some(index) => Some((index / 2, index % 2 != 0)),
            None => None,
        }
    }

    /// The root reads at this offset.
    #[must_use]
    pub fn read(&self, offset: u64) -> Read {
        match (offset, self.selected()) {
            (SELECT, _) => Read::Value(u32::from(self.select)),
            (WINDOW, Some((pin, high))) if self.is_taken(pin) => {
                Read::Value(if high { 0 } else { MASKED as u32 })
            }
            (WINDOW, _) => Read::Register(self.select),
            _ => Read::Value(0),
        }
    }

    /// The root writes `value` at this offset. An EOI may go to all pins that
    /// have its vector: a cell's whose line is still asserted sends once more.
    pub fn write(&mut self, offset: u64, value: u32) -> Write {
        match (offset, self.selected()) {
            (SELECT, _) => {
                self.select = value as u8;
                Write::Done
            }
            (WINDOW, Some((pin, _))) if self.is_taken(pin) => Write::Refused,
            (WINDOW, Some((pin, high))) => Write::Entry { pin, high },
            (WINDOW, None) => Write::Register(self.select),
            (EOI, _) => Write::Eoi,
            _ => Write::Refused,
        }
    }

    /// True for a redirection entry that the root must not have: it would send
    /// what a cell's wire sends, whose source it shares.
    #[must_use]
    pub fn refuses(&self, entry: u64) -> bool {
        let index = wire::index(entry);
        self.first
            .zip(index)
            .is_some_and(|(first, index)| index >= first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioapic::wire::Route;
    use proptest::prelude::*;

    fn shared() -> Shared {
        let mut shared = Shared::new(0x12, Some(2048));
        shared.take(17);
        shared
    }

    fn register(shared: &mut Shared, number: u8) {
        assert_eq!(shared.write(SELECT, u32::from(number)), Write::Done);
    }

    #[test]
    fn root_goes_on_where_it_was_with_its_own_pins() {
        let mut shared = shared();
        assert_eq!(shared.read(SELECT), Read::Value(0x12));
        assert_eq!(shared.select(), 0x12);
        assert_eq!(shared.read(WINDOW), Read::Register(0x12));
        let own = Write::Entry {
            pin: 1,
            high: false,
        };
        assert_eq!(shared.write(WINDOW, 0x31), own);
        register(&mut shared, 0);
        assert_eq!(shared.write(WINDOW, 0x0100_0000), Write::Register(0));
        assert_eq!(shared.write(EOI, 9), Write::Eoi);
        assert_eq!(shared.write(0x20, 17), Write::Refused, "asserts a pin");
        assert_eq!(shared.read(0x20), Read::Value(0));
    }

    #[test]
    fn pin_of_a_cell_reads_masked_and_stays() {
        let mut shared = shared();
        for (number, value) in [(0x32, 0x1_0000), (0x33, 0)] {
            register(&mut shared, number);
            assert_eq!(shared.read(WINDOW), Read::Value(value));
            assert_eq!(shared.write(WINDOW, 0), Write::Refused);
        }
        shared.give_back(17);
        assert_eq!(shared.read(WINDOW), Read::Register(0x33));
    }

    #[test]
    fn interrupt_entries_of_cells_are_refused_to_the_root_s_pins() {
        let entry = |index| wire::open(0, 0x31, Route::Remapped(index));
        assert!(!shared().refuses(entry(2047)));
        assert!(shared().refuses(entry(2048)));
        assert!(shared().refuses(entry(u16::MAX)));
        assert!(!shared().refuses(entry(2048) | MASKED), "sends nothing");
        assert!(!shared().refuses(wire::open(0, 0x31, Route::Direct(1))));
        assert!(!Shared::new(0, None).refuses(entry(2048)));
    }

    proptest! {
        /// Whatever the root does, the hardware's entry of a cell's pin is
        /// neither read nor written.
        #[test]
        fn no_access_reaches_a_cell_s_pin(
            pins in proptest::collection::btree_set(0u8..120, 1..8),
            ops in proptest::collection::vec((any::<bool>(), 0u64..5, any::<u32>()), 0..100),
        ) {
            let mut shared = Shared::new(0, Some(2048));
            pins.iter().for_each(|pin| shared.take(*pin));
            let is_cells = |number: u8| {
                number.checked_sub(FIRST_ENTRY).is_some_and(|n| pins.contains(&(n / 2)))
            };
            for (is_write, place, value) in ops {
                let offset = place * 0x10;
                if is_write {
                    match shared.write(offset, value) {
                        Write::Register(number) => prop_assert!(!is_cells(number)),
                        Write::Entry { pin, .. } => prop_assert!(!pins.contains(&pin)),
                        Write::Eoi => prop_assert_eq!(offset, EOI),
                        Write::Done | Write::Refused => {}
                    }
                } else if let Read::Register(number) = shared.read(offset) {
                    prop_assert!(!is_cells(number));
                }
            }
        }
    }
}
