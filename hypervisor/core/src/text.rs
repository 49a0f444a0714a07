//! Numbers and words of the monitor's log.
//!
//! The formatting of `core` knows widths, fills, signs and alignments, and brings them
//! all along: four kilobytes of code, and tables. These know none.

use cellvisor_abi::Bdf;
use cellvisor_abi::call::Name;
use core::fmt::{Display, Formatter, Result, Write};

/// A decimal number.
#[derive(Clone, Copy, Debug)]
pub struct Dec(pub u64);

/// A hexadecimal number with `0x`.
#[derive(Clone, Copy, Debug)]
pub struct Hex(pub u64);

/// Text as it is.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a>(pub &'a str);

/// A cell's name.
#[derive(Clone, Copy, Debug)]
pub struct Label(pub Name);

/// The address of a PCI function, as the tools write it.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub Bdf);

impl Display for Dec {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        digits(f, self.0, 10, 1)
    }
}

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("0x")?;
        digits(f, self.0, 16, 1)
    }
}

impl Display for Word<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.0)
    }
}

impl Display for Label {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut bytes = self.0.bytes();
        bytes.try_for_each(|byte| f.write_char(char::from(byte)))
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(bdf) = self;
        let parts = [
            (bdf.segment, 4, ":"),
            (u16::from(bdf.bus()), 2, ":"),
            (u16::from(bdf.device()), 2, "."),
            (u16::from(bdf.function()), 1, ""),
        ];
        for (number, least, after) in parts {
            digits(f, u64::from(number), 16, least)?;
            f.write_str(after)?;
        }
        Ok(())
    }
}

/// Writes `value` in base 10 or 16, with zeros before it if it has fewer digits than
/// `least`.
///
/// # Errors
///
/// As the formatter's.
fn digits(f: &mut Formatter<'_>, value: u64, base: u64, least: u32) -> Result {
    // What the first digit counts.
    let mut unit = base.pow(least - 1);
    while value.checked_div(unit).is_some_and(|first| first >= base) {
        unit *= base;
    }
    let mut left = value;
    while let Some(digit) = left.checked_div(unit) {
        let first = if digit < 10 { b'0' } else { b'a' - 10 };
        f.write_char(char::from(first + digit as u8))?;
        left -= digit * unit;
        unit = unit.checked_div(base).unwrap_or(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    #[test]
    fn edges_are_written_as_core_writes_them() {
        for value in [0, 1, 9, 10, 15, 16, 99, 100, u64::MAX] {
            assert_eq!(format!("{}", Dec(value)), format!("{value}"));
            assert_eq!(format!("{}", Hex(value)), format!("{value:#x}"));
        }
        assert_eq!(format!("{}", Word("fetch")), "fetch");
        for name in ["a", "web-0_b", "a-name-of-thirty-one-characters"] {
            let label = Name::new(name.as_bytes()).map(Label);
            assert_eq!(label.map(|label| format!("{label}")).as_deref(), Some(name));
        }
    }

    proptest! {
        #[test]
        fn addresses_are_written_as_the_tools_write_them(bdf in any::<u32>()) {
            let bdf = Bdf::from_number(bdf);
            prop_assert_eq!(format!("{}", Address(bdf)), format!("{bdf}"));
        }

        #[test]
        fn numbers_are_written_as_core_writes_them(value in any::<u64>(), shift in 0u32..64) {
            let value = value >> shift;
            prop_assert_eq!(format!("{}", Dec(value)), format!("{value}"));
            prop_assert_eq!(format!("{}", Hex(value)), format!("{value:#x}"));
        }
    }
}
