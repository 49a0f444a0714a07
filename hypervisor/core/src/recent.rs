//! Translations that were looked up lately.
//!
//! Pure memory of what second-level tables said. Its owner forgets it whenever the
//! tables may say something else.

use crate::addr::{Gpa, Hpa, PAGE_SIZE, SIZE_1G, SIZE_2M};
use crate::paging::Mapping;

/// Guest-physical memory from `start` on, `size` bytes of it, is at `hpa`.
#[derive(Clone, Copy, Debug)]
struct Known {
    start: Gpa,
    size: u64,
    hpa: Hpa,
}

/// The last `N` translations; the oldest makes room for a new one.
#[derive(Clone, Debug)]
pub struct Recent<const N: usize> {
    known: [Known; N],
    next: usize,
    /// Which one was used last for a block of 2 MiB, or for another that shares its
    /// place here: mostly it is found in one step.
    hints: [u8; HINTS],
}

const HINTS: usize = 64;

/// The place of the hint for an address.
const fn place(gpa: Gpa) -> usize {
    (gpa.0 / SIZE_2M) as usize % HINTS
}

impl Known {
    #[inline(always)] // As [`Recent::find`].
    fn find(&self, gpa: Gpa) -> Option<Hpa> {
        let offset = gpa.0.wrapping_sub(self.start.0);
        if offset < self.size {
            return Some(Hpa(self.hpa.0.wrapping_add(offset)));
        }
        None
    }
}

impl<const N: usize> Recent<N> {
    /// Knows nothing.
    #[must_use]
    pub const fn new() -> Self {
        let nothing = Known {
            start: Gpa(0),
            size: 0,
            hpa: Hpa(0),
        };
        Self {
            known: [nothing; N],
            next: 0,
            hints: [0; HINTS],
        }
    }

    /// Where `gpa` is, if that is known.
    #[must_use]
    #[inline(always)] // Several of them are on the way to each instruction.
    pub fn find(&mut self, gpa: Gpa) -> Option<Hpa> {
        let hint = self.hints.get(place(gpa)).copied().unwrap_or(0);
        if let Some(known) = self.known.get(usize::from(hint))
            && let Some(hpa) = known.find(gpa)
        {
            return Some(hpa);
        }
        self.search(gpa)
    }

    #[inline(never)] // Rarely needed.
    fn search(&mut self, gpa: Gpa) -> Option<Hpa> {
        let mut known = self.known.iter().enumerate();
        let (index, hpa) = known.find_map(|(index, known)| Some((index, known.find(gpa)?)))?;
        self.hint(gpa, index);
        Some(hpa)
    }

    fn hint(&mut self, gpa: Gpa, index: usize) {
        if let Some(hint) = self.hints.get_mut(place(gpa)) {
            *hint = index as u8;
        }
    }

    /// Notes what the tables said of `gpa`: it holds for the page that maps it, as far
    /// as its size can be seen, and at least from the start of its 4 KiB on.
    pub fn note(&mut self, gpa: Gpa, mapping: &Mapping) {
        let left = mapping.size_left;
        // More is left than a page has: it is a larger one.
        let size = match left {
            0..=PAGE_SIZE => PAGE_SIZE,
            _ if left <= SIZE_2M => SIZE_2M,
            _ => SIZE_1G,
        };
        let before = size.saturating_sub(left);
        if let Some(known) = self.known.get_mut(self.next) {
            *known = Known {
                start: Gpa(gpa.0 - before),
                size: before + left,
                hpa: Hpa(mapping.hpa.0 - before),
            };
            self.hint(gpa, self.next);
            self.next = (self.next + 1) % N;
        }
    }

    /// Knows nothing any more.
    pub fn forget(&mut self) {
        *self = Self::new();
    }
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::Attr;
    use proptest::prelude::*;

    const fn mapping(hpa: u64, size_left: u64) -> Mapping {
        Mapping {
            hpa: Hpa(hpa),
            size_left,
            attr: Attr::RAM,
        }
    }

    #[test]
    fn a_translation_holds_to_the_end_of_its_page() {
        let mut recent = Recent::<2>::new();
        assert_eq!(recent.find(Gpa(0)), None);
        recent.note(Gpa(0x20_3010), &mapping(0x60_3010, 0x1f_cff0));
        assert_eq!(recent.find(Gpa(0x20_3000)), Some(Hpa(0x60_3000)));
        assert_eq!(recent.find(Gpa(0x3f_ffff)), Some(Hpa(0x7f_ffff)));
        assert_eq!(recent.find(Gpa(0x40_0000)), None, "the next page");
        assert_eq!(recent.find(Gpa(0x20_0000)), Some(Hpa(0x60_0000)));
        assert_eq!(recent.find(Gpa(0x1f_ffff)), None, "the page before");
        // The last 4 KiB of a large page look like a small one.
        recent.note(Gpa(0x5f_f000), &mapping(0x9f_f000, 0x1000));
        assert_eq!(recent.find(Gpa(0x5f_ffff)), Some(Hpa(0x9f_ffff)));
        assert_eq!(recent.find(Gpa(0x5f_efff)), None, "may be another page");
        recent.note(Gpa(0x4000_1000), &mapping(0x8000_1000, 0x3fff_f000));
        assert_eq!(recent.find(Gpa(0x4000_0000)), Some(Hpa(0x8000_0000)));
    }

    #[test]
    fn the_oldest_goes_first_and_all_go_at_once() {
        let mut recent = Recent::<2>::new();
        for page in 1..=3 {
            recent.note(Gpa(page << 12), &mapping(page << 20, 0x1000));
        }
        let found = [1, 2, 3].map(|page| recent.find(Gpa(page << 12)));
        assert_eq!(found, [None, Some(Hpa(2 << 20)), Some(Hpa(3 << 20))]);
        recent.forget();
        assert_eq!(recent.find(Gpa(2 << 12)), None);
    }

    proptest! {
        /// Whatever was noted: an answer is what the tables would say.
        #[test]
        fn answers_are_those_of_the_tables(asked in proptest::collection::vec((0u64..1 << 24, any::<bool>()), 0..40), at in 0u64..1 << 24) {
            // Tables in which large and small pages take turns.
            let say = |gpa: u64| {
                let size = if gpa >> 21 & 1 == 0 { 1 << 21 } else { 1 << 12 };
                let page = gpa / size * size;
                let hpa = page.wrapping_mul(3) % (1 << 40) / size * size + gpa % size;
                mapping(hpa, size - gpa % size)
            };
            let mut recent = Recent::<8>::new();
            for (gpa, forgets) in asked {
                if forgets && gpa % 16 == 0 {
                    recent.forget();
                }
                if recent.find(Gpa(gpa)).is_none() {
                    recent.note(Gpa(gpa), &say(gpa));
                }
                prop_assert_eq!(recent.find(Gpa(gpa)), Some(say(gpa).hpa));
            }
            if let Some(hpa) = recent.find(Gpa(at)) {
                prop_assert_eq!(hpa, say(at).hpa);
            }
        }
    }
}
