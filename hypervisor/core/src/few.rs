//! Short lists.

use heapless::Vec;

/// The first `N` of the items. `collect` would panic at one more.
#[must_use]
pub fn first<T, const N: usize>(items: impl Iterator<Item = T>) -> Vec<T, N> {
    let mut list = Vec::new();
    for item in items {
        if list.push(item).is_err() {
            break;
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_fit_are_taken() {
        assert_eq!(first::<u32, 3>(0..2), [0, 1]);
        assert_eq!(first::<u32, 3>(0..9), [0, 1, 2]);
        assert!(first::<u32, 0>(0..9).is_empty());
    }
}
