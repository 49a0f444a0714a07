//! Interrupt remapping table entries: where a function's interrupts may go.

/// Destinations that the unit was set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit ids.
    X2apic,
    /// 8-bit ids.
    Xapic,
}

/// An entry for one ordinary interrupt.
///
/// Spec: "Interrupt Remapping Table Entry (IRTE) for Remapped Interrupts".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irte {
    /// Bits 63:0.
    pub low: u64,
    /// Bits 127:64.
    pub high: u64,
}

const PRESENT: u64 = 1 << 0;
const LEVEL: u64 = 1 << 4;
/// All 16 bits of the source id are compared.
const VERIFY_SOURCE: u64 = 1 << 18;

impl Irte {
    /// Lets nothing through.
    pub const BLOCKED: Self = Self { low: 0, high: 0 };

    /// Lets `source`, and nobody else, send `vector` to the CPU with this
    /// physical APIC id: edge-triggered, fixed delivery, physical destination.
    #[must_use]
    pub const fn new(source: u16, vector: u8, physical: u32, mode: Mode) -> Self {
        let dest = match mode {
            Mode::X2apic => physical as u64,
            Mode::Xapic => (physical as u64 & 0xff) << 8,
        };
        Self {
            low: dest << 32 | (vector as u64) << 16 | PRESENT,
            high: VERIFY_SOURCE | source as u64,
        }
    }

    /// The same for a level-triggered pin of an I/O APIC.
    #[must_use]
    pub const fn level(self) -> Self {
        Self {
            low: self.low | LEVEL,
            ..self
        }
    }

    /// True if it lets something through.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.low & PRESENT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_match_the_manual() {
        let irte = Irte::new(0x3b10, 0x41, 0x0102_0304, Mode::X2apic);
        assert_eq!(irte.low, 0x0102_0304_0041_0001);
        assert_eq!(irte.high, 0x0004_3b10);
        let irte = Irte::new(0x0182, 0xec, 0x07, Mode::Xapic).level();
        assert_eq!(irte.low, 0x0000_0700_00ec_0011);
        assert!(irte.is_present() && !Irte::BLOCKED.is_present());
    }
}
