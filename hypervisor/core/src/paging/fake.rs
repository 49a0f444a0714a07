//! For tests: page memory that watches its users, and a naive model of tables.

use super::{Attr, ENTRIES, TableMem};
use crate::addr::{Hpa, PAGE_SIZE};
use std::collections::BTreeMap;
use std::vec::Vec;

/// Page memory that knows what is allocated and remembers every store.
#[derive(Clone, Default)]
pub(super) struct FakeMem {
    pub(super) pages: BTreeMap<u64, Vec<u64>>,
    next: u64,
    room: usize,
    pub(super) journal: Vec<(Hpa, usize, u64)>,
}

impl FakeMem {
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }
}

impl TableMem for FakeMem {
    fn alloc(&mut self) -> Option<Hpa> {
        if self.pages.len() >= self.room {
            return None;
        }
        // Addresses are never used again, so that every use of a freed page
        // is noticed.
        self.next += PAGE_SIZE;
        self.pages.insert(self.next, std::vec![0; ENTRIES]);
        Some(Hpa(self.next))
    }

    fn free(&mut self, table: Hpa) {
        assert!(self.pages.remove(&table.0).is_some(), "double free");
    }

    fn read(&self, table: Hpa, index: usize) -> u64 {
        self.pages[&table.0][index]
    }

    fn write(&mut self, table: Hpa, index: usize, entry: u64) {
        self.journal.push((table, index, entry));
        self.pages.get_mut(&table.0).expect("allocated")[index] = entry;
    }
}

/// A stretch of guest-physical space with one linear translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) gpa: u64,
    pub(super) hpa: u64,
    pub(super) size: u64,
    pub(super) attr: Attr,
}

impl Range {
    fn end(&self) -> u64 {
        self.gpa + self.size
    }
}

/// What shall be mapped: sorted, neighbours joined where they continue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(pub(super) Vec<Range>);

impl Model {
    pub(super) fn overlap(&self, gpa: u64, size: u64) -> Option<u64> {
        let hit = self.0.iter().find(|r| r.gpa < gpa + size && gpa < r.end());
        hit.map(|r| r.gpa.max(gpa))
    }

    pub(super) fn map(&mut self, range: Range) {
        self.0.push(range);
        self.tidy();
    }

    pub(super) fn unmap(&mut self, gpa: u64, size: u64) {
        let cut = |r: &Range, start: u64, end: u64| {
            (start < end).then(|| Range {
                gpa: start,
                hpa: r.hpa + (start - r.gpa),
                size: end - start,
                ..*r
            })
        };
        self.0 = self
            .0
            .iter()
            .flat_map(|r| {
                [
                    cut(r, r.gpa, r.end().min(gpa)),
                    cut(r, r.gpa.max(gpa + size), r.end()),
                ]
            })
            .flatten()
            .collect();
        self.tidy();
    }

    pub(super) fn tidy(&mut self) {
        self.0.sort_by_key(|r| r.gpa);
        let mut joined: Vec<Range> = Vec::new();
        for range in &self.0 {
            match joined.last_mut() {
                Some(last)
                    if last.end() == range.gpa
                        && last.hpa + last.size == range.hpa
                        && last.attr == range.attr =>
                {
                    last.size += range.size;
                }
                _ => joined.push(*range),
            }
        }
        self.0 = joined;
    }
}
