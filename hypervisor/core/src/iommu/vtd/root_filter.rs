//! The root's own interrupt entries and queue requests, as the monitor reads
//! them from the root's memory: anything may stand there.

use super::{Irte, Mode};
use crate::addr::Hpa;
use crate::icr::Dest;

const PRESENT: u64 = 1 << 0;
const LOGICAL: u64 = 1 << 2;
const MODE_SHIFT: u32 = 5;
const POSTED: u64 = 1 << 15;
/// First vector that is no exception's.
const FIRST_VECTOR: u8 = 16;

/// The root's entry as it may stand in the unit's table: as it is, or blocked.
/// `is_roots` says whether a destination means CPUs of the root alone, `cells` are
/// the requester ids of functions that cells own.
#[must_use]
pub fn root_entry(
    irte: Irte,
    mode: Mode,
    is_roots: impl FnOnce(Dest) -> bool,
    cells: impl IntoIterator<Item = u16>,
) -> Irte {
    // Fixed or lowest priority; a posted entry would write to memory.
    let ordinary = irte.low >> MODE_SHIFT & 7 <= 1 && irte.low & POSTED == 0;
    let vector = (irte.low >> 16) as u8;
    if irte.low & PRESENT == 0 || !ordinary || vector < FIRST_VECTOR {
        return Irte::BLOCKED;
    }
    let foreign = cells.into_iter().any(|id| covers(irte.high, id));
    if foreign || !is_roots(dest(irte.low, mode)) {
        return Irte::BLOCKED;
    }
    irte
}

fn dest(low: u64, mode: Mode) -> Dest {
    let logical = low & LOGICAL != 0;
    let field = (low >> 32) as u32;
    match mode {
        Mode::X2apic => Dest::x2apic(field, logical),
        Mode::Xapic => Dest::xapic((field >> 8) as u8, logical),
    }
}

/// True if the entry takes interrupts from requester `id`.
#[must_use]
pub const fn covers(high: u64, id: u16) -> bool {
    let source = high as u16;
    match high >> 18 & 3 {
        // Only some bits are compared: not the function's low ones.
        1 => {
            let ignored = match high >> 16 & 3 {
                0 => 0,
                1 => 0b100,
                2 => 0b110,
                _ => 0b111,
            };
            (source ^ id) & !ignored == 0
        }
        // A range of buses.
        2 => id >> 8 >= source >> 8 && id >> 8 <= source & 0xff,
        _ => true,
    }
}

/// What a descriptor of the root's queue asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Interrupt entries have changed: the first, and how many.
    Interrupts(u32, u32),
    /// Write this value to the four bytes there, when all before is done.
    Status(u32, Hpa),
    /// Something that does not concern the root.
    Nothing,
}

impl Request {
    /// From the two halves of a descriptor.
    #[must_use]
    pub const fn decode(low: u64, high: u64) -> Self {
        const INTERRUPT: u64 = 4;
        const WAIT: u64 = 5;
        match low & 15 {
            INTERRUPT if low & 1 << 4 == 0 => Self::Interrupts(0, u32::MAX),
            INTERRUPT => {
                let mask = (low >> 27 & 31) as u32;
                let count = 1 << if mask > 16 { 16 } else { mask };
                let first = (low >> 32) as u32 & 0xffff & !(count - 1);
                Self::Interrupts(first, count)
            }
            WAIT if low & 1 << 5 != 0 => Self::Status((low >> 32) as u32, Hpa(high & !3)),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Invalidate;
    use super::*;

    fn keep(irte: Irte) -> Irte {
        root_entry(
            irte,
            Mode::X2apic,
            |dest| dest == Dest::Physical(2),
            [0x182],
        )
    }

    #[test]
    fn ordinary_entries_pass() {
        let irte = Irte::new(0x0100, 0x41, 2, Mode::X2apic);
        assert_eq!(keep(irte), irte);
        assert_eq!(keep(irte.level()), irte.level());
    }

    #[test]
    fn what_could_reach_a_cell_is_blocked() {
        let good = Irte::new(0x0100, 0x41, 2, Mode::X2apic);
        let with = |low: u64, high: u64| Irte {
            low: good.low | low,
            high: good.high | high,
        };
        for (irte, why) in [
            (Irte::new(0x0100, 0x41, 3, Mode::X2apic), "a cell's CPU"),
            (
                Irte::new(0x0182, 0x41, 2, Mode::X2apic),
                "a cell's function",
            ),
            (Irte::new(0x0100, 0x0f, 2, Mode::X2apic), "an exception"),
            (with(4 << 5, 0), "an NMI"),
            (with(5 << 5, 0), "INIT"),
            (with(1 << 15, 0), "posted"),
            (with(1 << 2, 0), "another kind of destination"),
            (
                Irte {
                    high: 0x0100,
                    ..good
                },
                "no check of the source",
            ),
            (
                Irte {
                    high: 2 << 18 | 0x0003,
                    ..good
                },
                "buses 0 to 3",
            ),
            (
                Irte {
                    high: 1 << 18 | 3 << 16 | 0x0180,
                    ..good
                },
                "all functions",
            ),
        ] {
            assert_eq!(keep(irte), Irte::BLOCKED, "{why}");
        }
    }

    #[test]
    fn requests_are_understood() {
        let decode = |what: Invalidate| {
            let descriptor = what.descriptor();
            Request::decode(descriptor.low, descriptor.high)
        };
        assert_eq!(
            decode(Invalidate::AllInterrupts),
            Request::Interrupts(0, u32::MAX)
        );
        assert_eq!(
            decode(Invalidate::Interrupt { index: 7 }),
            Request::Interrupts(7, 1)
        );
        let many = Request::decode(4 | 1 << 4 | 3 << 27 | 0x15 << 32, 0);
        assert_eq!(many, Request::Interrupts(0x10, 8));
        let (value, address) = (2, Hpa(0x7ff8));
        assert_eq!(
            decode(Invalidate::Wait { value, address }),
            Request::Status(2, address)
        );
        assert_eq!(decode(Invalidate::AllTranslations), Request::Nothing);
    }
}
