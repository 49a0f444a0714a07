//! Who may have which pin of the machine's I/O APICs.

use cellvisor_abi::call::CellId;
use cellvisor_abi::plan::Wire;

/// What a cell's wish for a pin comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The pin is free.
    New,
    /// Another function of the cell has the same wire, which they share.
    Shared,
    /// The pin is another cell's.
    Taken(CellId),
    /// The cell has the pin under another number, or the number for another pin.
    Wrong,
}

/// Looks for a pin that `cell` wants among all wires that cells have.
pub fn claim(wires: impl IntoIterator<Item = (CellId, Wire)>, cell: CellId, wanted: Wire) -> Claim {
    let mut result = Claim::New;
    for (owner, wire) in wires {
        if (wire.io_apic, wire.pin) == (wanted.io_apic, wanted.pin) {
            return match owner {
                other if other != cell => Claim::Taken(other),
                _ if wire == wanted => Claim::Shared,
                _ => Claim::Wrong,
            };
        }
        if owner == cell && wire.gsi == wanted.gsi {
            result = Claim::Wrong;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHIP: u64 = 0xfec0_0000;
    const ONE: CellId = CellId(1);
    const TWO: CellId = CellId(2);

    fn wire(io_apic: u64, pin: u8, gsi: u8) -> Wire {
        Wire { io_apic, pin, gsi }
    }

    #[test]
    fn a_free_pin_is_had() {
        assert_eq!(claim([], ONE, wire(CHIP, 20, 16)), Claim::New);
        let others = [(ONE, wire(CHIP, 20, 16)), (TWO, wire(CHIP, 21, 17))];
        assert_eq!(claim(others, ONE, wire(CHIP, 22, 17)), Claim::New);
    }

    #[test]
    fn functions_of_a_cell_share_a_wire() {
        let wires = [(ONE, wire(CHIP, 20, 16))];
        assert_eq!(claim(wires, ONE, wire(CHIP, 20, 16)), Claim::Shared);
    }

    #[test]
    fn cells_share_no_pin_whatever_they_call_it() {
        let wires = [(ONE, wire(CHIP, 20, 16))];
        assert_eq!(claim(wires, TWO, wire(CHIP, 20, 16)), Claim::Taken(ONE));
        assert_eq!(claim(wires, TWO, wire(CHIP, 20, 17)), Claim::Taken(ONE));
    }

    #[test]
    fn cells_may_use_the_same_number() {
        let wires = [(ONE, wire(CHIP, 20, 16))];
        assert_eq!(claim(wires, TWO, wire(CHIP, 21, 16)), Claim::New);
    }

    #[test]
    fn a_pin_has_one_number_and_a_number_one_pin() {
        let wires = [(ONE, wire(CHIP, 20, 16))];
        assert_eq!(claim(wires, ONE, wire(CHIP, 20, 17)), Claim::Wrong);
        assert_eq!(claim(wires, ONE, wire(CHIP, 21, 16)), Claim::Wrong);
    }

    #[test]
    fn the_same_pin_of_another_chip_is_another() {
        let wires = [(ONE, wire(CHIP, 20, 16))];
        assert_eq!(claim(wires, TWO, wire(CHIP + 0x1000, 20, 16)), Claim::New);
    }

    #[test]
    fn anothers_pin_beats_a_wrong_number() {
        let wires = [(ONE, wire(CHIP, 20, 16)), (TWO, wire(CHIP, 21, 17))];
        assert_eq!(claim(wires, ONE, wire(CHIP, 21, 16)), Claim::Taken(TWO));
    }
}
