//! Slurm's lists of hosts: `n1,gpu[01-03,7]-a`.

use cellvisor_planner::config::name::{self, BadName};
use std::fmt;

/// Most names of one list: what is longer is a mistake, or an attack on memory.
pub(crate) const MOST: usize = 65_536;

/// Why a text is no list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadList {
    /// A bracket without the other, or one within another.
    Brackets,
    /// What stands between brackets is no range of numbers.
    Range(String),
    /// A name that no cell can have, and why.
    Name(String, BadName),
    /// More than [`MOST`] names.
    TooMany,
}

impl fmt::Display for BadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brackets => write!(f, "a bracket is not closed, or is in another"),
            Self::Range(text) => write!(
                f,
                "`{text}` is no range: numbers like 1-3 or 01-16, separated by commas"
            ),
            Self::Name(text, bad) => write!(f, "`{text}` is no name of a cell: {}", bad.help()),
            Self::TooMany => write!(f, "more than {MOST} names"),
        }
    }
}

/// All names of a list, in its order.
///
/// # Errors
///
/// The text is no such list, or has names that no cell can have.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, BadList> {
    let mut names = Vec::new();
    for part in parts(text)? {
        for name in one(part)? {
            if let Err(bad) = name::check(&name) {
                return Err(BadList::Name(name, bad));
            }
            names.push(name);
            if names.len() > MOST {
                return Err(BadList::TooMany);
            }
        }
    }
    Ok(names)
}

/// What commas outside of brackets separate.
fn parts(text: &str) -> Result<Vec<&str>, BadList> {
    let (mut parts, mut begin, mut within) = (Vec::new(), 0, false);
    for (at, c) in text.bytes().enumerate() {
        match (c, within) {
            (b'[', false) => within = true,
            (b']', true) => within = false,
            (b'[' | b']', _) => return Err(BadList::Brackets),
            (b',', false) => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    if within {
        return Err(BadList::Brackets);
    }
    Ok(parts)
}

/// Names of one part: each bracket multiplies them.
fn one(part: &str) -> Result<Vec<String>, BadList> {
    let Some((head, rest)) = part.split_once('[') else {
        return Ok(vec![part.to_owned()]);
    };
    let (ranges, tail) = rest.split_once(']').ok_or(BadList::Brackets)?;
    let (numbers, tails) = (numbers(ranges)?, one(tail)?);
    if numbers.len().saturating_mul(tails.len()) > MOST {
        return Err(BadList::TooMany);
    }
    let with = |number: &String| {
        let names = tails
            .iter()
            .map(move |tail| format!("{head}{number}{tail}"));
        names.collect::<Vec<_>>()
    };
    Ok(numbers.iter().flat_map(with).collect())
}

/// Numbers of `01-03,7`, as wide as they are written.
fn numbers(text: &str) -> Result<Vec<String>, BadList> {
    let mut all = Vec::new();
    for range in text.split(',') {
        let wrong = || BadList::Range(range.to_owned());
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |digits: &str| {
            let only = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|_| only)
        };
        let (from, to) = number(first).zip(number(last)).ok_or_else(wrong)?;
        if from > to {
            return Err(wrong());
        }
        if (to - from) as usize >= MOST || all.len() > MOST {
            return Err(BadList::TooMany);
        }
        let width = first.len();
        all.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        expand(text).expect("a list")
    }

    #[test]
    fn brackets_multiply_and_keep_zeros() {
        assert_eq!(names("n1"), ["n1"]);
        assert_eq!(names("n1,m[2-3]"), ["n1", "m2", "m3"]);
        assert_eq!(names("a[08-10,3]-x"), ["a08-x", "a09-x", "a10-x", "a3-x"]);
        assert_eq!(names("r[1-2]n[1-2]"), ["r1n1", "r1n2", "r2n1", "r2n2"]);
    }

    #[test]
    fn nonsense_is_told() {
        assert_eq!(expand("n[1-2"), Err(BadList::Brackets));
        assert_eq!(expand("n]1"), Err(BadList::Brackets));
        assert_eq!(expand("n[[1]]"), Err(BadList::Brackets));
        assert_eq!(expand("n[2-1]"), Err(BadList::Range("2-1".into())));
        assert_eq!(expand("n[+1]"), Err(BadList::Range("+1".into())));
        assert_eq!(expand("n[]"), Err(BadList::Range(String::new())));
        for name in ["", "../x", "-x"] {
            assert_eq!(expand(name), Err(BadList::Name(name.into(), BadName::Form)));
        }
        assert_eq!(
            expand("n1,root").expect_err("ours").to_string(),
            "`root` is no name of a cell: `root` is what this Linux is called: take another name"
        );
        assert_eq!(expand("n[0-4294967295]"), Err(BadList::TooMany));
        assert_eq!(expand("n[1-60000]x[1-60000]"), Err(BadList::TooMany));
    }

    proptest! {
        #[test]
        fn anything_is_a_bounded_list_of_names_or_refused(text in "[n0-9\\[\\],-]{0,40}") {
            if let Ok(names) = expand(&text) {
                prop_assert!(names.len() <= MOST);
                prop_assert!(names.iter().all(|name| name::check(name).is_ok()));
            }
        }

        #[test]
        fn ranges_have_all_their_numbers(from in 0u32..2000, more in 0u32..200) {
            let names = names(&format!("n[{from}-{}]", from + more));
            let expected: Vec<_> = (from..=from + more).map(|n| format!("n{n}")).collect();
            prop_assert_eq!(names, expected);
        }
    }
}
