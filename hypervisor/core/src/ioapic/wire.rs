//! A pin of a physical I/O APIC that is a cell's: its redirection entry.
//!
//! The pin is level-triggered whatever the cell says, for that is what the line
//! is. The vector stands in the entry also where the interrupt entry decides
//! about it: an EOI finds the pins that it is for by this byte.
//!
//! Spec: Intel 82093AA, "I/O Redirection Table Registers"; VT-d, "I/OxAPIC
//! Programming".

use super::{ACTIVE_LOW, LEVEL, MASKED, REMOTE_IRR};
use crate::icr::Kind;

const VECTOR: u64 = 0xff;
const REMAPPABLE: u64 = 1 << 48;
/// Where the index has its lower 15 bits, and the last one.
const INDEX: u32 = 49;
const INDEX_15: u32 = 11;
/// Where the destination is without remapping.
const DEST: u32 = 56;

/// How an interrupt gets to its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through the entry with this index of the interrupt remapping table.
    Remapped(u16),
    /// To the CPU with this physical APIC id.
    Direct(u8),
}

/// The vector of an interrupt that a wire may send.
#[must_use]
pub const fn vector(kind: Kind) -> Option<u8> {
    match kind {
        Kind::Fixed(vector @ 16..) | Kind::LowestPriority(vector @ 16..) => Some(vector),
        _ => None,
    }
}

/// The entry of a pin that sends nothing. `before` is what the root had there: if
/// that was level-triggered it says which polarity, else the line is active low as
/// those of PCI are.
#[must_use]
pub const fn idle(before: u64) -> u64 {
    let polarity = match before & LEVEL {
        0 => ACTIVE_LOW,
        _ => before & ACTIVE_LOW,
    };
    LEVEL | polarity | MASKED
}

/// The entry of a pin that sends `vector`; `before` as in [`idle`].
#[must_use]
pub const fn open(before: u64, vector: u8, route: Route) -> u64 {
    let dest = match route {
        Route::Remapped(index) => {
            let index = index as u64;
            REMAPPABLE | (index & 0x7fff) << INDEX | (index >> 15) << INDEX_15
        }
        Route::Direct(physical) => (physical as u64) << DEST,
    };
    idle(before) & !MASKED | dest | vector as u64
}

/// What is left to the root: its entry, masked.
#[must_use]
pub const fn given_back(before: u64) -> u64 {
    before & !REMOTE_IRR | MASKED
}

/// True if the awaited EOI of the entry `now` would not be found any more after
/// a change to `new`.
#[must_use]
pub const fn loses_eoi(now: u64, new: u64) -> bool {
    now & REMOTE_IRR != 0 && (now ^ new) & VECTOR != 0
}

/// Index in the interrupt remapping table that an entry leads to; `None` for one
/// that is masked or in compatibility format.
#[must_use]
pub const fn index(entry: u64) -> Option<u16> {
    if entry & REMAPPABLE == 0 || entry & MASKED != 0 {
        return None;
    }
    Some((entry >> INDEX & 0x7fff | (entry >> INDEX_15 & 1) << 15) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_match_the_manuals() {
        // Index 0x8001: bits 63:49 are 1, bit 11 is bit 15 of the index.
        let entry = open(0, 0x41, Route::Remapped(0x8001));
        assert_eq!(entry, 0x0003_0000_0000_a841);
        let entry = open(0, 0x41, Route::Direct(3));
        assert_eq!(entry, 0x0300_0000_0000_a041);
        assert_eq!(idle(0), 0x1_a000);
    }

    #[test]
    fn polarity_is_the_root_s_if_it_had_the_line_level_triggered() {
        assert_eq!(idle(LEVEL), 0x1_8000, "active high");
        assert_eq!(idle(LEVEL | ACTIVE_LOW | 0x30), 0x1_a000);
        assert_eq!(idle(MASKED), 0x1_a000, "nothing was set up");
    }

    #[test]
    fn only_ordinary_interrupts_have_a_vector() {
        assert_eq!(vector(Kind::Fixed(0x10)), Some(0x10));
        assert_eq!(vector(Kind::LowestPriority(0xef)), Some(0xef));
        for kind in [Kind::Fixed(0xf), Kind::Nmi, Kind::Smi, Kind::ExtInt] {
            assert_eq!(vector(kind), None);
        }
    }

    proptest! {
        #[test]
        fn index_survives_and_masked_entries_lead_nowhere(
            before: u64, vector: u8, index: u16, physical: u8,
        ) {
            let entry = open(before, vector, Route::Remapped(index));
            prop_assert_eq!(super::index(entry), Some(index));
            prop_assert_eq!(super::index(entry | MASKED), None);
            let direct = open(before, vector, Route::Direct(physical));
            prop_assert_eq!(super::index(direct), None);
            for entry in [entry, direct] {
                prop_assert_eq!(entry as u8, vector);
                prop_assert_eq!(entry & (LEVEL | MASKED | REMOTE_IRR), LEVEL);
                prop_assert_eq!(entry >> 8 & 7, 0, "fixed");
            }
            prop_assert_eq!(given_back(before) & (MASKED | REMOTE_IRR), MASKED);
        }
    }

    #[test]
    fn eoi_finds_the_pin_by_its_vector() {
        let waits = REMOTE_IRR | LEVEL | 0x41;
        assert!(loses_eoi(waits, LEVEL | 0x42), "another vector");
        assert!(!loses_eoi(waits, LEVEL | 0x41 | MASKED), "the same");
        assert!(
            !loses_eoi(waits & !REMOTE_IRR, LEVEL | 0x42),
            "none awaited"
        );
        assert!(loses_eoi(waits, waits & !1), "one bit of it");
    }
}
