//! The ownership map: who owns which page, CPU, port or PCI function.
//!
//! One map for each kind of thing; a thing is a number (a page number, an APIC
//! id …). What no span names belongs to the root, so that a machine needs few
//! spans. Each number has exactly one owner by construction, and
//! [`OwnerMap::transfer`] is the only way to change it: it names the owner that
//! the caller believes in and refuses if that is wrong anywhere in the range.

use cellvisor_abi::call::Owner;

/// Numbers `start..end` with one owner. Also the unit of the map's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First number.
    pub start: u64,
    /// First number after the span.
    pub end: u64,
    /// Who owns them; never the root in a span that is in use.
    pub owner: Owner,
}

impl Span {
    /// A span that is not in use, to make storage from.
    pub const UNUSED: Self = Self {
        start: 0,
        end: 0,
        owner: Owner::Root,
    };
}

/// Why a transfer is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnError {
    /// This number has this owner and not the one that the caller named.
    NotOwned {
        /// The first such number.
        key: u64,
        /// Who owns it.
        owner: Owner,
    },
    /// The storage has no room for another span.
    Full,
    /// The range has no numbers in it.
    Empty,
}

/// Owners of the numbers of one kind of thing.
///
/// Spans are sorted, disjoint, and merged where neighbours have one owner.
#[derive(Debug)]
pub struct OwnerMap<'a> {
    storage: &'a mut [Span],
    used: usize,
}

impl<'a> OwnerMap<'a> {
    /// A map in which the root owns everything. `storage` bounds how many spans
    /// there can be; what it holds is not looked at.
    #[must_use]
    pub const fn new(storage: &'a mut [Span]) -> Self {
        Self { storage, used: 0 }
    }

    /// The spans in use, in ascending order.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        self.storage.get(..self.used).unwrap_or(&[])
    }

    /// Who owns `key`.
    #[must_use]
    pub fn owner(&self, key: u64) -> Owner {
        self.run(key).0
    }

    /// Who owns `key`, and the first number after it that may have another
    /// owner; `u64::MAX` if there is none.
    #[must_use]
    pub fn run(&self, key: u64) -> (Owner, u64) {
        match self.spans().get(self.first_ending_after(key)) {
            Some(span) if span.start <= key => (span.owner, span.end),
            Some(span) => (Owner::Root, span.start),
            None => (Owner::Root, u64::MAX),
        }
    }

    /// What `owner` owns, in ascending order. For the root this is empty: it
    /// owns the gaps.
    pub fn owned(&self, owner: Owner) -> impl Iterator<Item = core::ops::Range<u64>> + '_ {
        self.spans()
            .iter()
            .filter(move |span| span.owner == owner)
            .map(|span| span.start..span.end)
    }

    /// Makes `to` the owner of `start..end`, all of which must be `from`'s.
    ///
    /// # Errors
    ///
    /// See [`OwnError`]; the map is unchanged then.
    pub fn transfer(
        &mut self,
        start: u64,
        end: u64,
        from: Owner,
        to: Owner,
    ) -> Result<(), OwnError> {
        if start >= end {
            return Err(OwnError::Empty);
        }
        self.check(start, end, from)?;
        if from == to {
            return Ok(());
        }
        let plan = self.plan(Span {
            start,
            end,
            owner: to,
        });
        self.splice(&plan)
    }

    /// Checks that all of `start..end` is `owner`'s.
    ///
    /// # Errors
    ///
    /// [`OwnError::NotOwned`] names the first number that is not.
    pub fn check(&self, start: u64, end: u64, owner: Owner) -> Result<(), OwnError> {
        let mut key = start;
        while key < end {
            let (found, next) = self.run(key);
            if found != owner {
                return Err(OwnError::NotOwned { key, owner: found });
            }
            key = next;
        }
        Ok(())
    }

    /// Index of the first span that ends after `key`.
    fn first_ending_after(&self, key: u64) -> usize {
        self.spans().partition_point(|span| span.end <= key)
    }

    /// Which spans make way for `new`, and for what. `new` lies in one run, so
    /// at most one span has to be cut, on either side or both.
    fn plan(&self, new: Span) -> Splice {
        let spans = self.spans();
        let mut first = self.first_ending_after(new.start);
        let mut last = first;
        let mut middle = new;
        let (mut left, mut right) = (None, None);
        if let Some(cut) = spans.get(first).filter(|span| span.start < new.end) {
            last += 1;
            left = (cut.start < new.start).then_some(Span {
                end: new.start,
                ..*cut
            });
            right = (cut.end > new.end).then_some(Span {
                start: new.end,
                ..*cut
            });
        }
        // Neighbours of the same owner become part of the new span. Where a rest
        // of the cut span stands between, they do not touch it.
        let before = first.checked_sub(1).and_then(|i| spans.get(i));
        if let Some(span) = before
            && span.end == new.start
            && span.owner == new.owner
        {
            first -= 1;
            middle.start = span.start;
        }
        if let Some(span) = spans.get(last)
            && span.start == new.end
            && span.owner == new.owner
        {
            last += 1;
            middle.end = span.end;
        }
        let middle = (new.owner != Owner::Root).then_some(middle);
        Splice {
            first,
            last,
            parts: [left, middle, right],
        }
    }

    /// Replaces spans as planned.
    fn splice(&mut self, plan: &Splice) -> Result<(), OwnError> {
        let parts = plan.parts.iter().flatten();
        let added = parts.clone().count();
        let behind = plan.last..self.used;
        let (room, to) = (self.storage.len(), plan.first + added);
        // All that moving them asks for, so that it need not look again.
        if behind.start > behind.end || behind.end > room || to > room - behind.len() {
            return Err(OwnError::Full);
        }
        self.used = to + behind.len();
        self.storage.copy_within(behind, to);
        let slots = self.storage.get_mut(plan.first..).unwrap_or_default();
        for (slot, part) in slots.iter_mut().zip(parts) {
            *slot = *part;
        }
        Ok(())
    }
}

/// A change to the list of spans: `first..last` give way to `parts`.
struct Splice {
    first: usize,
    last: usize,
    parts: [Option<Span>; 3],
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::call::CellId;
    use proptest::prelude::*;

    const KEYS: u64 = 40;

    fn owners() -> impl Strategy<Value = Owner> {
        prop_oneof![
            Just(Owner::Root),
            Just(Owner::Monitor),
            (1..4u32).prop_map(|id| Owner::Cell(CellId(id))),
        ]
    }

    fn moves() -> impl Strategy<Value = (u64, u64, Owner, Owner)> {
        (0..KEYS, 0..10u64, owners(), owners())
            .prop_map(|(start, len, from, to)| (start, start + len, from, to))
    }

    fn assert_canonical(map: &OwnerMap<'_>) {
        for span in map.spans() {
            assert!(span.start < span.end && span.owner != Owner::Root);
        }
        for pair in map.spans().windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
            let touch = pair[0].end == pair[1].start;
            assert!(
                !touch || pair[0].owner != pair[1].owner,
                "{pair:?} unmerged"
            );
        }
    }

    proptest! {
        #[test]
        fn map_agrees_with_one_owner_per_key(steps in proptest::collection::vec(moves(), 1..200), room in 1..20usize) {
            let mut storage = [Span::UNUSED; 20];
            let mut map = OwnerMap::new(&mut storage[..room]);
            let mut model = [Owner::Root; 64];
            for (start, end, from, to) in steps {
                let before = map.spans().to_vec();
                let range = start as usize..end as usize;
                let result = map.transfer(start, end, from, to);
                let wrong = range.clone().find(|key| model[*key] != from);
                match result {
                    Ok(()) => {
                        prop_assert!(!range.is_empty() && wrong.is_none());
                        model[range].fill(to);
                    }
                    Err(error) => {
                        prop_assert_eq!(map.spans(), &before[..]);
                        match error {
                            OwnError::Empty => prop_assert!(range.is_empty()),
                            OwnError::NotOwned { key, owner } => {
                                prop_assert_eq!(Some(key as usize), wrong);
                                prop_assert_eq!(owner, model[key as usize]);
                            }
                            OwnError::Full => prop_assert!(before.len() + 2 > room),
                        }
                    }
                }
                assert_canonical(&map);
                for (key, owner) in model.iter().enumerate() {
                    prop_assert_eq!(map.owner(key as u64), *owner);
                }
            }
        }

        #[test]
        fn transfer_there_and_back_restores_the_map(steps in proptest::collection::vec(moves(), 0..60), (start, end, _, to) in moves()) {
            let mut storage = [Span::UNUSED; 80];
            let mut map = OwnerMap::new(&mut storage);
            for (start, end, from, to) in steps {
                let _refused = map.transfer(start, end, from, to);
            }
            let before = map.spans().to_vec();
            let from = map.owner(start);
            if map.transfer(start, end, from, to).is_ok() {
                prop_assert_eq!(map.transfer(start, end, to, from), Ok(()));
            }
            prop_assert_eq!(map.spans(), &before[..]);
        }
    }

    #[test]
    fn runs_cover_the_whole_space_in_order() {
        let mut storage = [Span::UNUSED; 4];
        let mut map = OwnerMap::new(&mut storage);
        let cell = Owner::Cell(CellId(1));
        assert_eq!(map.transfer(10, 20, Owner::Root, cell), Ok(()));
        assert_eq!(map.transfer(20, 30, Owner::Root, Owner::Monitor), Ok(()));

        assert_eq!(map.run(0), (Owner::Root, 10));
        assert_eq!(map.run(10), (cell, 20));
        assert_eq!(map.run(29), (Owner::Monitor, 30));
        assert_eq!(map.run(30), (Owner::Root, u64::MAX));
        assert!(map.owned(cell).eq(core::iter::once(10..20)));
    }

    #[test]
    fn cut_in_the_middle_needs_two_more_spans() {
        let mut storage = [Span::UNUSED; 2];
        let mut map = OwnerMap::new(&mut storage);
        let cell = Owner::Cell(CellId(1));
        assert_eq!(map.transfer(0, 100, Owner::Root, cell), Ok(()));
        assert_eq!(
            map.transfer(40, 50, cell, Owner::Monitor),
            Err(OwnError::Full)
        );
        assert_eq!(map.run(0), (cell, 100));
        assert_eq!(map.transfer(40, 50, cell, Owner::Root), Ok(()));
        assert!(map.owned(cell).eq([0..40, 50..100]));
    }
}
