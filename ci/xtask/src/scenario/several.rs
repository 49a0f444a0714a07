//! Names that stand for several cells.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// What each cell says, by its own name.
///
/// # Errors
///
/// A name has a bracket and no range in it.
pub(super) fn each(cells: &BTreeMap<String, Vec<String>>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut each = BTreeMap::new();
    for (name, see) in cells {
        for name in names(name).with_context(|| format!("`{name}` names no cells"))? {
            each.insert(name, see.clone());
        }
    }
    Ok(each)
}

/// The names that `core[1-63]` stands for, or the one that it is.
fn names(name: &str) -> Option<Vec<String>> {
    let Some((stem, range)) = name.split_once('[') else {
        return Some(vec![name.to_owned()]);
    };
    let (first, last) = range.strip_suffix(']')?.split_once('-')?;
    let (first, last) = (first.parse::<u32>().ok()?, last.parse().ok()?);
    (first <= last).then(|| (first..=last).map(|n| format!("{stem}{n}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{each, names};
    use std::collections::BTreeMap;

    #[test]
    fn a_range_stands_for_all_in_it() {
        let cells = BTreeMap::from([("core[9-11]".to_owned(), vec!["up".to_owned()])]);
        let each = each(&cells).expect("a range");
        assert_eq!(
            each.into_iter().collect::<Vec<_>>(),
            ["core10", "core11", "core9"].map(|name| (name.to_owned(), vec!["up".to_owned()]))
        );
    }

    #[test]
    fn a_name_stands_for_itself() {
        assert_eq!(names("cell1"), Some(vec!["cell1".to_owned()]));
    }

    #[test]
    fn what_is_no_range_is_a_mistake() {
        for name in ["core[1]", "core[1-2", "core[2-1]", "core[a-b]"] {
            assert_eq!(names(name), None, "{name}");
        }
    }
}
