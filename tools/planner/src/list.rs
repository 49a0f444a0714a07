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

/// A text is no list of numbers; the part that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadList(pub String);

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no number and no range like 12-19", self.0)
    }
}

impl FromStr for List {
    type Err = BadList;

    fn from_str(text: &str) -> Result<Self, BadList> {
        let mut set = BTreeSet::new();
        for part in text.trim().split(',').filter(|p| !p.trim().is_empty()) {
            let bad = || BadList(part.trim().to_owned());
            let number = |t: &str| t.trim().parse::<u32>().map_err(|_| bad());
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last || last >= MOST {
                return Err(bad());
            }
            set.extend(first..=last);
        }
        Ok(Self(set))
    }
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
        for (text, part) in [
            ("0,x", "x"),
            ("5-3", "5-3"),
            ("0-4000000000", "0-4000000000"),
        ] {
            assert_eq!(text.parse::<List>(), Err(BadList(part.to_owned())));
        }
    }
}
