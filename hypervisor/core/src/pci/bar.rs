//! Base address registers that stay where they are.

/// One of the six registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bar {
    /// Not implemented.
    #[default]
    Unused,
    /// I/O ports.
    Io {
        /// First port.
        base: u32,
        /// How many, a power of two.
        size: u32,
    },
    /// Memory; a 64-bit one takes the next register as well.
    Memory {
        /// Host-physical address, which the cell uses as well.
        base: u64,
        /// Bytes, a power of two.
        size: u64,
        /// It has two registers.
        wide: bool,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Upper half of the 64-bit one before.
    Upper,
}

const IO: u32 = 1;
const WIDE: u32 = 2 << 1;
const PREFETCHABLE: u32 = 1 << 3;

impl Bar {
    /// From what register `low` (and `high`, the next one) read before and
    /// after ones were written to them, each as `(before, after)`.
    #[must_use]
    pub const fn from_sizing(low: (u32, u32), high: (u32, u32)) -> Self {
        let (before, after) = low;
        if before & IO != 0 {
            let mask = after & !3;
            return match mask {
                0 => Self::Unused,
                // The upper half may be hard-wired to zero.
                _ => Self::Io {
                    base: before & !3,
                    size: mask & mask.wrapping_neg(),
                },
            };
        }
        let wide = after & 6 == WIDE;
        let (mut base, mut mask) = (before as u64 & !15, after as u64 & !15);
        if wide {
            base |= (high.0 as u64) << 32;
            mask |= (high.1 as u64) << 32;
        }
        match mask {
            0 => Self::Unused,
            _ => Self::Memory {
                base,
                size: mask & mask.wrapping_neg(),
                wide,
                prefetchable: after & PREFETCHABLE != 0,
            },
        }
    }

    /// All six, from what they read before and after ones were written to them.
    #[must_use]
    pub fn all(registers: &[(u32, u32); 6]) -> [Self; 6] {
        let mut bars = [Self::Unused; 6];
        let mut upper = false;
        for (index, low) in registers.iter().enumerate() {
            let high = registers.get(index + 1).copied().unwrap_or_default();
            let found = if core::mem::take(&mut upper) {
                Self::Upper
            } else {
                Self::from_sizing(*low, high)
            };
            upper = matches!(found, Self::Memory { wide: true, .. });
            if let Some(bar) = bars.get_mut(index) {
                *bar = found;
            }
        }
        bars
    }

    /// What the register reads.
    pub(super) const fn value(self) -> u32 {
        match self {
            Self::Unused | Self::Upper => 0,
            Self::Io { base, .. } => base | IO,
            Self::Memory { base, .. } => base as u32 | self.flags(),
        }
    }

    /// What it reads after ones were written to it.
    pub(super) const fn sizing(self) -> u32 {
        match self {
            Self::Unused | Self::Upper => 0,
            Self::Io { size, .. } => size.wrapping_neg() | IO,
            Self::Memory { size, .. } => size.wrapping_neg() as u32 | self.flags(),
        }
    }

    /// The same of the register after a 64-bit one.
    pub(super) const fn upper(self) -> (u32, u32) {
        match self {
            Self::Memory {
                base,
                size,
                wide: true,
                ..
            } => ((base >> 32) as u32, (size.wrapping_neg() >> 32) as u32),
            _ => (0, 0),
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Memory {
                wide, prefetchable, ..
            } => {
                let wide = if wide { WIDE } else { 0 };
                wide | if prefetchable { PREFETCHABLE } else { 0 }
            }
            _ => 0,
        }
    }
}

/// Bits of the register that hold an address, in whichever half.
pub(super) const fn address_bits(bar: Bar) -> u32 {
    match bar {
        Bar::Unused => 0,
        Bar::Io { .. } => !3,
        Bar::Memory { .. } => !15,
        Bar::Upper => u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizing_is_understood() {
        assert_eq!(
            Bar::from_sizing((0xfebf_0000, 0xffff_0000), (0, 0)),
            Bar::Memory {
                base: 0xfebf_0000,
                size: 0x1_0000,
                wide: false,
                prefetchable: false
            }
        );
        let wide = Bar::from_sizing((0x8000_000c, 0x0000_000c), (0x38, 0xffff_fff0));
        assert_eq!(
            wide,
            Bar::Memory {
                base: 0x38_8000_0000,
                size: 0x10_0000_0000,
                wide: true,
                prefetchable: true
            }
        );
        assert_eq!((wide.value(), wide.sizing()), (0x8000_000c, 0x0000_000c));
        assert_eq!(wide.upper(), (0x38, 0xffff_fff0));
        assert_eq!(
            Bar::from_sizing((0xe001, 0xffe1), (0, 0)),
            Bar::Io {
                base: 0xe000,
                size: 0x20
            },
            "16-bit port decoder"
        );
        assert_eq!(Bar::from_sizing((0, 0), (7, 7)), Bar::Unused);
    }

    #[test]
    fn six_registers_are_up_to_six_bars() {
        let none = (0, 0);
        let registers = [
            (0xe001, 0xffe1),
            (0x8000_000c, 0xffff_000c),
            (0x38, u32::MAX),
            (0xfe80_0000, 0xffff_f000),
            none,
            (0xfe00_0004, 0xffff_f004), // wide, and no register is left
        ];
        let memory = |base, size, wide, prefetchable| Bar::Memory {
            base,
            size,
            wide,
            prefetchable,
        };
        let wanted = [
            Bar::Io {
                base: 0xe000,
                size: 0x20,
            },
            memory(0x38_8000_0000, 0x1_0000, true, true),
            Bar::Upper,
            memory(0xfe80_0000, 0x1000, false, false),
            Bar::Unused,
            memory(0xfe00_0000, 0x1000, true, false),
        ];
        assert_eq!(Bar::all(&registers), wanted);
    }
}
