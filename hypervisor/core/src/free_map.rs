//! Which pages of a pool are free: one bit for each, first fit.

/// Free pages, by index. The words are the caller's.
#[derive(Debug)]
pub struct FreeMap<'a> {
    /// A set bit is a page in use.
    used: &'a mut [u64],
    pages: usize,
    free: usize,
    /// No page before this one is free.
    hint: usize,
}

impl<'a> FreeMap<'a> {
    /// Words that `pages` pages need.
    #[must_use]
    pub const fn words(pages: usize) -> usize {
        pages.div_ceil(64)
    }

    /// All of `pages` pages are free. `None` if `words` are too few.
    #[must_use]
    pub fn new(words: &'a mut [u64], pages: usize) -> Option<Self> {
        let used = words.get_mut(..Self::words(pages))?;
        used.fill(0);
        Some(Self {
            used,
            pages,
            free: pages,
            hint: 0,
        })
    }

    /// Pages that are free.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.free
    }

    /// Pages in all.
    #[must_use]
    pub const fn pages(&self) -> usize {
        self.pages
    }

    /// Takes `count` pages in a row that `joined` accepts: it is asked whether
    /// page n and page n + 1 follow each other in physical memory, too. The
    /// index of the first.
    pub fn take(&mut self, count: usize, joined: impl Fn(usize) -> bool) -> Option<usize> {
        let mut run = 0;
        for page in self.hint..self.pages {
            let follows = run == 0 || joined(page - 1);
            run = match (self.is_used(page), follows) {
                (true, _) => 0,
                (false, true) => run + 1,
                (false, false) => 1,
            };
            if run == count {
                let first = page + 1 - count;
                self.mark(first, count, true);
                if first == self.hint {
                    self.hint = page + 1;
                }
                return Some(first);
            }
        }
        None
    }

    /// Gives pages back. Those that are free already, or not the pool's, are
    /// left out.
    pub fn give(&mut self, first: usize, count: usize) {
        let end = first.saturating_add(count).min(self.pages);
        let mut page = first;
        while page < end {
            if self.is_used(page) {
                self.mark(page, 1, false);
            }
            page += 1;
        }
        self.hint = self.hint.min(first);
    }

    fn is_used(&self, page: usize) -> bool {
        self.used
            .get(page / 64)
            .is_none_or(|word| word >> (page % 64) & 1 != 0)
    }

    fn mark(&mut self, first: usize, count: usize, used: bool) {
        for page in first..first + count {
            if let Some(word) = self.used.get_mut(page / 64) {
                let bit = 1 << (page % 64);
                *word = if used { *word | bit } else { *word & !bit };
            }
        }
        self.free = if used {
            self.free - count
        } else {
            self.free + count
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn run_does_not_cross_a_gap_in_physical_memory() {
        let mut words = [0; 1];
        let mut map = FreeMap::new(&mut words, 10).expect("fits");
        assert_eq!(
            map.take(4, |page| page != 2),
            Some(3),
            "pages 2 and 3 are apart"
        );
        assert_eq!(map.take(3, |page| page != 2), Some(0));
        assert_eq!(map.take(4, |_| true), None);
        assert_eq!(map.free(), 3);
    }

    proptest! {
        #[test]
        fn no_page_is_given_out_twice_and_all_come_back(
            steps in prop::collection::vec((1usize..9, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut words = [0; 3];
            let mut map = FreeMap::new(&mut words, 150).expect("fits");
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (count, pick) in steps {
                if count % 3 == 0 && !held.is_empty() {
                    let (first, count) = held.swap_remove(pick.index(held.len()));
                    map.give(first, count);
                } else if let Some(first) = map.take(count, |_| true) {
                    let free = held.iter().all(|(f, c)| first + count <= *f || f + c <= first);
                    prop_assert!(free && first + count <= 150);
                    held.push((first, count));
                } else {
                    prop_assert!(map.free() < 150);
                }
                let taken: usize = held.iter().map(|(_, count)| count).sum();
                prop_assert_eq!(map.free(), 150 - taken);
            }
            held.iter().for_each(|(first, count)| map.give(*first, *count));
            prop_assert_eq!(map.take(150, |_| true), Some(0));
        }
    }

    #[test]
    fn counts_and_what_was_there_before() {
        // The words are whatever they were.
        let mut words = [u64::MAX; 2];
        let mut map = FreeMap::new(&mut words, 100).expect("fits");
        assert_eq!((map.pages(), map.free()), (100, 100));
        assert_eq!(map.take(100, |_| true), Some(0));
        assert_eq!((map.pages(), map.free()), (100, 0));
        map.give(10, 5);
        map.give(12, 5); // three of them again
        map.give(98, 5); // three of them not the pool's
        assert_eq!(map.free(), 5 + 2 + 2);
        assert!(FreeMap::new(&mut [0; 1], 65).is_none());
        assert_eq!((FreeMap::words(64), FreeMap::words(65)), (1, 2));
    }
}
