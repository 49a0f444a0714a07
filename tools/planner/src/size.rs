//! Sizes as people write them: `16GiB`, `512 MiB`.

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSize {
    /// What is wrong with it.
    pub why: Wrong,
    /// What was probably meant, as it has to be written.
    pub instead: Option<String>,
}

/// What is wrong with a text that shall be a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not start with a number.
    Number,
    /// There is no unit behind the number.
    NoUnit,
    /// The unit is none of KiB, MiB, GiB, TiB.
    Unit,
    /// The number has a fraction.
    Fraction,
    /// More than 2^64 - 1 bytes.
    TooLarge,
}

impl fmt::Display for BadSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Wrong::Number => "a size starts with a whole number",
            Wrong::NoUnit => "the unit is missing",
            Wrong::Unit => "the unit is none of KiB, MiB, GiB and TiB",
            Wrong::Fraction => "the number must be whole",
            Wrong::TooLarge => "this is more than 64 bits can count",
        })
    }
}

impl From<Wrong> for BadSize {
    fn from(why: Wrong) -> Self {
        Self { why, instead: None }
    }
}

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if digits.is_empty() {
            return Err(Wrong::Number.into());
        }
        if let Some(fraction) = rest.strip_prefix('.') {
            let instead = whole(digits, fraction);
            let why = Wrong::Fraction;
            return Err(BadSize { why, instead });
        }
        let number: u64 = digits.parse().map_err(|_| Wrong::TooLarge)?;
        let factor = match rest.trim() {
            "" => {
                let instead = with_unit(number);
                let why = Wrong::NoUnit;
                return Err(BadSize { why, instead });
            }
            "B" => 1,
            unit => factor(unit).ok_or_else(|| BadSize {
                why: Wrong::Unit,
                instead: alike(unit).map(|(name, _)| format!("{number}{name}")),
            })?,
        };
        let bytes = number.checked_mul(factor);
        bytes.map(Self).ok_or(Wrong::TooLarge.into())
    }
}

/// Bytes of a unit that is written as it should be.
fn factor(unit: &str) -> Option<u64> {
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    known.map(|(_, factor)| *factor)
}

/// The unit that somebody means who writes `G`, `GB` or `gib`.
fn alike(unit: &str) -> Option<(&'static str, u64)> {
    let same = |name: &str| {
        let mut short = [name.to_owned(), name.replace('i', ""), name[..1].to_owned()].into_iter();
        short.any(|name| name.eq_ignore_ascii_case(unit))
    };
    UNITS.iter().find(|(name, _)| same(name)).copied()
}

/// `digits.rest`, where `rest` is a fraction with its unit, in a smaller unit
/// that leaves a whole number.
fn whole(digits: &str, rest: &str) -> Option<String> {
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (fraction, unit) = rest.split_at(end);
    let factor = u128::from(alike(unit.trim())?.1);
    let number: u128 = format!("{digits}{fraction}").parse().ok()?;
    let parts = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let bytes = number.checked_mul(factor)? / parts;
    // Nobody wants a size in bytes: the next MiB below is near enough.
    let bytes = u64::try_from(bytes).ok()? / MIB * MIB;
    (bytes > 0).then(|| Size(bytes).to_string())
}

/// A number without a unit: bytes if it is large enough for that, else MiB.
/// Nobody means more than 2^60 of anything.
fn with_unit(number: u64) -> Option<String> {
    match number {
        0..MIB => Some(format!("{number}MiB")),
        _ if number > 1 << 60 => None,
        _ => Some(Size(number / MIB * MIB).to_string()),
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
        for (text, why, instead) in [
            ("GiB", Wrong::Number, None),
            ("-1", Wrong::Number, None),
            ("1024", Wrong::NoUnit, Some("1024MiB")),
            ("17179869184", Wrong::NoUnit, Some("16GiB")),
            ("18446744073709551615", Wrong::NoUnit, None),
            ("16Gb", Wrong::Unit, Some("16GiB")),
            ("16 gib", Wrong::Unit, Some("16GiB")),
            ("512M", Wrong::Unit, Some("512MiB")),
            ("16 apples", Wrong::Unit, None),
            ("1.5GiB", Wrong::Fraction, Some("1536MiB")),
            ("0.3 GB", Wrong::Fraction, Some("307MiB")),
            ("1.5", Wrong::Fraction, None),
            ("16777216TiB", Wrong::TooLarge, None),
        ] {
            let instead = instead.map(str::to_owned);
            assert_eq!(
                text.parse::<Size>(),
                Err(BadSize { why, instead }),
                "{text}"
            );
        }
    }

    #[test]
    fn about_rounds_down() {
        assert_eq!(about(15841 * MIB), "15.4GiB");
        assert_eq!(about(16 * GIB), "16GiB");
        assert_eq!(about(1023), "1023B");
    }
}
