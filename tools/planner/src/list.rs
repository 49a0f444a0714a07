//! Lists of numbers as Linux writes them: `0-3,8,12-19`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Most numbers that one list may name; more are a mistake, not a machine.
const MOST: u32 = 1 << 16;

/// A set of CPU or node numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct List(pub BTreeSet<u32>);

/// A text is no list of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadList {
    /// This part is no number and no range.
    Part(String),
    /// This range ends before it begins.
    Backwards(u32, u32),
    /// This part goes beyond what any machine numbers.
    Beyond(String),
}

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => write!(f, "`{part}` is no number and no range like 12-19"),
            Self::Backwards(first, last) => {
                write!(f, "`{first}-{last}` runs backwards: write {last}-{first}")
            }
            Self::Beyond(part) => {
                let most = MOST - 1;
                write!(
                    f,
                    "`{part}` goes beyond {most}, the highest number there is"
                )
            }
        }
    }
}

impl FromStr for List {
    type Err = BadList;

    fn from_str(text: &str) -> Result<Self, BadList> {
        let mut set = BTreeSet::new();
        for part in text.trim().split(',').filter(|p| !p.trim().is_empty()) {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if first > last {
                return Err(BadList::Backwards(first, last));
            }
            set.extend(first..=last);
        }
        Ok(Self(set))
    }
}

/// A number below [`MOST`]; `part` is what it stands in.
fn number(text: &str, part: &str) -> Result<u32, BadList> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadList::Part(part.to_owned()));
    }
    // Digits that do not parse are too many.
    let number = text.parse().ok().filter(|n| *n < MOST);
    number.ok_or_else(|| BadList::Beyond(part.to_owned()))
}

impl FromIterator<u32> for List {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *number => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        for (i, (first, last)) in ranges.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_back_as_they_print() {
        for text in ["", "0", "0-3,8,12-19", "1,3,5"] {
            let list: List = text.parse().expect("a list");
            assert_eq!(list.to_string(), text);
        }
    }

    #[test]
    fn wrong_parts_are_named() {
        for (text, why) in [
            ("0,x", "`x` is no number and no range like 12-19"),
            ("1-2-3", "`1-2-3` is no number and no range like 12-19"),
            ("5-3", "`5-3` runs backwards: write 3-5"),
            (
                "1-4294967295",
                "`1-4294967295` goes beyond 65535, the highest number there is",
            ),
            (
                "99999999999999999999",
                "`99999999999999999999` goes beyond 65535, the highest number there is",
            ),
        ] {
            let wrong = text.parse::<List>().expect_err(text);
            assert_eq!(wrong.to_string(), why);
        }
    }
}
