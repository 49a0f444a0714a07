//! Sizes as people write them: `16GiB`, `512 MiB`, `4096`.

use std::fmt;
use std::str::FromStr;

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

/// A number of bytes that reads and prints in binary units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSize {
    /// It does not start with a whole number.
    Number,
    /// The unit is none of KiB, MiB, GiB, TiB.
    Unit,
    /// More than 2^64 - 1 bytes.
    TooLarge,
}

impl fmt::Display for BadSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "a size starts with a whole number",
            Self::Unit => "the unit is none of KiB, MiB, GiB and TiB",
            Self::TooLarge => "this is more than 64 bits can count",
        })
    }
}

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        if number.is_empty() {
            return Err(BadSize::Number);
        }
        let factor = match unit.trim() {
            "" | "B" => 1,
            unit => {
                UNITS
                    .iter()
                    .find(|(name, _)| *name == unit)
                    .ok_or(BadSize::Unit)?
                    .1
            }
        };
        let number: u64 = number.parse().map_err(|_| BadSize::TooLarge)?;
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or(BadSize::TooLarge)
    }
}

impl fmt::Display for Size {
    /// Exact: the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// `bytes` rounded down to what is easily read: `15.8GiB`, `512MiB`.
#[must_use]
pub fn about(bytes: u64) -> String {
    let (name, unit) = UNITS
        .iter()
        .find(|(_, unit)| bytes >= *unit)
        .copied()
        .unwrap_or(("B", 1));
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{}{name}", tenths / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_print() {
        for bytes in [0, 1, 4096, 3 * MIB, 16 * GIB, (1 << 40) + MIB, u64::MAX] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        assert_eq!("512 MiB".parse(), Ok(Size(512 * MIB)));
    }

    #[test]
    fn wrong_sizes_are_told_apart() {
        assert_eq!("GiB".parse::<Size>(), Err(BadSize::Number));
        assert_eq!("-1".parse::<Size>(), Err(BadSize::Number));
        assert_eq!("16Gb".parse::<Size>(), Err(BadSize::Unit));
        assert_eq!("1.5GiB".parse::<Size>(), Err(BadSize::Unit));
        assert_eq!("16777216TiB".parse::<Size>(), Err(BadSize::TooLarge));
    }

    #[test]
    fn about_rounds_down() {
        assert_eq!(about(15841 * MIB), "15.4GiB");
        assert_eq!(about(16 * GIB), "16GiB");
        assert_eq!(about(1023), "1023B");
    }
}
