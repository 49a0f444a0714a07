//! Which block of its memory the root gets mapped, when it touches a page that is
//! not mapped, and when all its memory is mapped at the start.
//!
//! A block is the largest page that lies in the range asked for, has one memory
//! type, is the root's from end to end, and is mapped nowhere yet.

use crate::addr::{Gpa, PAGE_SIZE};
use crate::paging::{MapError, MemType, PageSize};
use core::ops::Range;

/// Page sizes, the largest first.
const SIZES: [PageSize; 3] = [PageSize::Size1G, PageSize::Size2M, PageSize::Size4K];

/// What is true of the root's memory.
pub trait Memory {
    /// Largest page that second-level tables have.
    fn largest(&self) -> PageSize;
    /// First address that does not exist.
    fn end(&self) -> Gpa;
    /// Memory type at an address, and the first address that may have another.
    fn mem_type(&self, address: Gpa) -> (MemType, Gpa);
    /// True if the root owns all of it.
    fn is_roots(&self, block: Range<Gpa>) -> bool;
    /// Maps a block at its own address.
    ///
    /// # Errors
    ///
    /// As the tables say; nothing is mapped then.
    fn map(&mut self, block: Range<Gpa>, mem_type: MemType) -> Result<(), MapError>;
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// So many bytes are mapped now.
    Size(u64),
    /// The page is not the root's.
    NotOwned,
    /// The page is mapped already.
    Already,
    /// There is no memory for tables.
    NoMemory,
}

/// Maps the largest block that starts at the page of `at` and ends at `end` or
/// before it.
fn map_block(memory: &mut impl Memory, at: Gpa, end: Gpa) -> Mapped {
    let page = at.align_down(PAGE_SIZE);
    let mut result = Mapped::NotOwned;
    for size in SIZES {
        let bytes = size.bytes();
        let Some(after) = page.checked_add(bytes) else {
            continue;
        };
        if size > memory.largest() || !page.is_aligned(bytes) || after > end {
            continue;
        }
        let (mem_type, same_until) = memory.mem_type(page);
        if same_until < after || !memory.is_roots(page..after) {
            continue;
        }
        match memory.map(page..after, mem_type) {
            Ok(()) => return Mapped::Size(bytes),
            Err(MapError::NoMemory) => return Mapped::NoMemory,
            Err(MapError::Overlap(_)) => result = Mapped::Already,
            Err(_) => {}
        }
    }
    result
}

/// Maps all of `range` that is the root's. False if there is no memory for
/// tables; a part is mapped then.
pub fn map_range(memory: &mut impl Memory, range: Range<Gpa>) -> bool {
    let mut at = range.start;
    while at < range.end {
        let step = match map_block(memory, at, range.end) {
            Mapped::Size(size) => size,
            Mapped::NotOwned | Mapped::Already => PAGE_SIZE,
            Mapped::NoMemory => return false,
        };
        at = Gpa(at.0.saturating_add(step));
    }
    true
}

/// Maps the block around an address that the root has touched.
pub fn map_around(memory: &mut impl Memory, address: Gpa) -> Mapped {
    if address >= memory.end() {
        return Mapped::NotOwned;
    }
    for size in SIZES {
        if size > memory.largest() {
            continue;
        }
        let start = address.align_down(size.bytes());
        match map_block(memory, start, Gpa(start.0.saturating_add(size.bytes()))) {
            // A smaller page at the start of the block may end before the address.
            Mapped::Size(bytes) if start.0 + bytes > address.0 => return Mapped::Size(bytes),
            Mapped::NoMemory => return Mapped::NoMemory,
            Mapped::Already if size == PageSize::Size4K => return Mapped::Already,
            _ => {}
        }
    }
    Mapped::NotOwned
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const M2: u64 = 2 << 20;
    const G1: u64 = 1 << 30;

    /// A machine of 8 GiB; all is the root's but for `others`.
    struct Machine {
        largest: PageSize,
        others: Vec<(u64, u64)>,
        /// Where the memory type changes to uncached.
        uncached_from: u64,
        mapped: Vec<(u64, u64)>,
        room: usize,
    }

    impl Default for Machine {
        fn default() -> Self {
            Self {
                largest: PageSize::Size1G,
                others: vec![],
                uncached_from: u64::MAX,
                mapped: vec![],
                room: usize::MAX,
            }
        }
    }

    fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
        a.0 < b.1 && b.0 < a.1
    }

    impl Memory for Machine {
        fn largest(&self) -> PageSize {
            self.largest
        }
        fn end(&self) -> Gpa {
            Gpa(8 * G1)
        }
        fn mem_type(&self, address: Gpa) -> (MemType, Gpa) {
            if address.0 < self.uncached_from {
                (MemType::WriteBack, Gpa(self.uncached_from))
            } else {
                (MemType::Uncached, Gpa(u64::MAX))
            }
        }
        fn is_roots(&self, block: Range<Gpa>) -> bool {
            let block = (block.start.0, block.end.0);
            !self.others.iter().any(|other| overlap(*other, block))
        }
        fn map(&mut self, block: Range<Gpa>, _: MemType) -> Result<(), MapError> {
            let block = (block.start.0, block.end.0);
            let size = block.1 - block.0;
            assert!(
                block.0.is_multiple_of(size),
                "a block is aligned to its size"
            );
            if let Some(there) = self.mapped.iter().find(|there| overlap(**there, block)) {
                return Err(MapError::Overlap(Gpa(there.0.max(block.0))));
            }
            if self.mapped.len() >= self.room {
                return Err(MapError::NoMemory);
            }
            self.mapped.push(block);
            Ok(())
        }
    }

    fn map_around(machine: &mut Machine, address: u64) -> Mapped {
        super::map_around(machine, Gpa(address))
    }

    fn map_range(machine: &mut Machine, start: u64, end: u64) -> bool {
        super::map_range(machine, Gpa(start)..Gpa(end))
    }

    #[test]
    fn a_touch_maps_the_largest_page_around() {
        let mut machine = Machine::default();
        assert_eq!(map_around(&mut machine, G1 + 12_345), Mapped::Size(G1));
        assert_eq!(machine.mapped, [(G1, 2 * G1)]);
    }

    #[test]
    fn pages_are_no_larger_than_the_tables_have() {
        let mut machine = Machine {
            largest: PageSize::Size2M,
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, G1 + 12_345), Mapped::Size(M2));
    }

    #[test]
    fn a_neighbour_of_a_foreign_page_gets_small_pages() {
        let mut machine = Machine {
            others: vec![(G1, G1 + 0x1000)],
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, G1 + 0x1000), Mapped::Size(0x1000));
        assert_eq!(map_around(&mut machine, G1 + M2), Mapped::Size(M2));
    }

    #[test]
    fn a_foreign_page_is_not_mapped() {
        let mut machine = Machine {
            others: vec![(G1, G1 + 0x1000)],
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, G1 + 0xfff), Mapped::NotOwned);
    }

    #[test]
    fn a_touch_of_a_mapped_page_is_no_mistake() {
        let mut machine = Machine::default();
        map_around(&mut machine, 0x5000);
        assert_eq!(map_around(&mut machine, 0x5000), Mapped::Already);
        assert_eq!(machine.mapped.len(), 1);
    }

    #[test]
    fn an_address_that_does_not_exist_is_nobodys() {
        let mut machine = Machine::default();
        assert_eq!(map_around(&mut machine, 8 * G1), Mapped::NotOwned);
        assert_eq!(map_around(&mut machine, u64::MAX), Mapped::NotOwned);
    }

    #[test]
    fn a_page_has_one_memory_type() {
        let mut machine = Machine {
            uncached_from: G1 + M2,
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, G1 + 1), Mapped::Size(M2));
        let mut machine = Machine {
            uncached_from: G1 + 0x3000,
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, G1 + 0x2fff), Mapped::Size(0x1000));
    }

    #[test]
    fn without_memory_for_tables_it_says_so() {
        let mut machine = Machine {
            room: 0,
            ..Machine::default()
        };
        assert_eq!(map_around(&mut machine, 0), Mapped::NoMemory);
        assert!(!map_range(&mut machine, 0, G1));
    }

    #[test]
    fn a_range_is_mapped_in_the_largest_pages_that_fit() {
        let mut machine = Machine::default();
        assert!(map_range(&mut machine, G1 - M2 - 0x1000, 2 * G1 + 0x1000));
        let want = [
            (G1 - M2 - 0x1000, G1 - M2),
            (G1 - M2, G1),
            (G1, 2 * G1),
            (2 * G1, 2 * G1 + 0x1000),
        ];
        assert_eq!(machine.mapped, want);
    }

    #[test]
    fn a_range_is_mapped_around_what_is_mapped_or_anothers() {
        let mut machine = Machine {
            others: vec![(0x2000, 0x3000)],
            mapped: vec![(0x1000, 0x2000)],
            ..Machine::default()
        };
        assert!(map_range(&mut machine, 0, 0x5000));
        let want = [
            (0x1000, 0x2000),
            (0, 0x1000),
            (0x3000, 0x4000),
            (0x4000, 0x5000),
        ];
        assert_eq!(machine.mapped, want);
    }

    #[test]
    fn a_range_at_the_end_of_all_addresses_ends() {
        let mut machine = Machine::default();
        assert!(map_range(&mut machine, u64::MAX - 0x1fff, u64::MAX));
    }

    proptest! {
        /// Whatever is mapped is the root's, holds the touched page or says why
        /// not, and never twice.
        #[test]
        fn touches_map_only_what_is_the_roots(
            others in prop::collection::vec((0..4096u64, 1..64u64), 0..4),
            touched in prop::collection::vec(0..4096u64, 1..32),
        ) {
            let at = |page: u64| G1 - 2048 * PAGE_SIZE + page * PAGE_SIZE;
            let others: Vec<_> = others.iter().map(|(first, count)| (at(*first), at(first + count))).collect();
            let mut machine = Machine { others: others.clone(), ..Machine::default() };
            for page in touched {
                let (start, end) = (at(page), at(page + 1));
                let foreign = others.iter().any(|other| overlap(*other, (start, end)));
                let result = map_around(&mut machine, start + 7);
                let there = machine.mapped.iter().any(|block| overlap(*block, (start, end)));
                prop_assert_eq!(there, !foreign);
                prop_assert_eq!(result == Mapped::NotOwned, foreign);
            }
            for block in &machine.mapped {
                prop_assert!(!others.iter().any(|other| overlap(*other, *block)));
            }
        }
    }
}
