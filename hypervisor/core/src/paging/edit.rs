//! Changes to tables: mapping, unmapping, splitting and merging.

use super::{Attr, ENTRIES, EntryFormat, MapError, TableMem, Tables, index, page_bytes, shift};
use crate::addr::{Gpa, Hpa, PAGE_SIZE};

/// First address beyond what entries can hold.
const HPA_LIMIT: u64 = 1 << 52;

/// Marks the link to the next collected table; no format takes an entry with
/// only this bit and an address for present.
const LINK: u64 = 1 << 11;

/// Table pages that are out of the tables but perhaps still in walkers' caches.
///
/// The pages are chained through their own first entries, so any number of them
/// is kept without memory. A walker that still follows an old pointer finds
/// that entry not present and the others as they were.
#[must_use = "flush the translations of all CPUs and devices that walk these tables"]
#[derive(Debug)]
pub struct Stale {
    first: Option<Hpa>,
    done: bool,
}

impl Stale {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            done: false,
        }
    }

    /// All walkers have flushed: gives the pages back.
    pub fn flushed(mut self, mem: &mut impl TableMem) {
        while let Some(table) = self.first.take() {
            let link = mem.read(table, 0);
            if link & LINK != 0 {
                self.first = Some(Hpa(link & !LINK));
            }
            mem.free(table);
        }
        self.done = true;
    }

    /// Some walker may never flush: the pages are lost.
    pub fn abandon(mut self) {
        self.done = true;
    }

    /// Adds what another change has left, so that one flush serves both.
    pub fn join(mut self, mut other: Self, mem: &mut impl TableMem) -> Self {
        other.done = true;
        while let Some(table) = other.first.take() {
            let link = mem.read(table, 0);
            if link & LINK != 0 {
                other.first = Some(Hpa(link & !LINK));
            }
            self.collect(mem, table);
        }
        self
    }

    fn collect(&mut self, mem: &mut impl TableMem, table: Hpa) {
        let link = self.first.map_or(0, |next| next.0 | LINK);
        mem.write(table, 0, link);
        self.first = Some(table);
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        debug_assert!(self.done, "second-level tables changed without a flush");
    }
}

/// Bytes `start..end` of guest-physical space that an entry or a table shares
/// with the range to be changed.
#[derive(Clone, Copy)]
struct Part {
    start: u64,
    end: u64,
}

impl Part {
    /// The parts of this one that fall to each entry of a table at `level`.
    fn entries(self, level: u8) -> impl Iterator<Item = Self> {
        let mut next = self.start;
        core::iter::from_fn(move || {
            let start = next;
            if start >= self.end {
                return None;
            }
            let entry_end = ((start >> shift(level)) + 1) << shift(level);
            next = entry_end.min(self.end);
            Some(Self { start, end: next })
        })
    }

    /// True if this is all that an entry at `level` covers.
    const fn is_whole(self, level: u8) -> bool {
        self.end - self.start == page_bytes(level)
    }
}

/// What a pass over the range to be mapped does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Makes the tables; translates nothing new.
    Tables,
    /// Writes the leaves; needs no memory.
    Leaves,
}

/// A new mapping: `gpa` translates to `gpa + shift` (wrapping).
#[derive(Clone, Copy)]
struct Target {
    shift: u64,
    attr: Attr,
}

impl Target {
    fn hpa(&self, part: Part) -> Hpa {
        Hpa(part.start.wrapping_add(self.shift))
    }
}

/// A table and its level.
#[derive(Clone, Copy)]
pub(super) struct Cursor<F> {
    format: F,
    table: Hpa,
    level: u8,
    max_leaf: u8,
}

impl<F: EntryFormat> Tables<F> {
    /// Maps `size` bytes of memory at `hpa` to the guest-physical address `gpa`,
    /// with the largest pages that fit. All three are multiples of 4 KiB.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; no translation has changed then.
    pub fn map(
        &mut self,
        mem: &mut impl TableMem,
        gpa: Gpa,
        hpa: Hpa,
        size: u64,
        attr: Attr,
    ) -> Result<(), MapError> {
        let part = self.part(gpa, size)?;
        if !hpa.is_aligned(PAGE_SIZE) {
            return Err(MapError::Misaligned);
        }
        if hpa.checked_add(size).is_none_or(|end| end.0 > HPA_LIMIT) {
            return Err(MapError::TooHigh);
        }
        let cursor = Cursor::new(self);
        if let Some(taken) = cursor.first_mapped(mem, part) {
            return Err(MapError::Overlap(Gpa(taken)));
        }
        let target = Target {
            shift: hpa.0.wrapping_sub(gpa.0),
            attr,
        };
        cursor.map(mem, part, target, Pass::Tables)?;
        cursor.map(mem, part, target, Pass::Leaves)
    }

    /// Unmaps `size` bytes at `gpa`, both multiples of 4 KiB. What is not
    /// mapped stays so. Large pages are split where they reach beyond the range.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; no translation has changed then.
    pub fn unmap(
        &mut self,
        mem: &mut impl TableMem,
        gpa: Gpa,
        size: u64,
    ) -> Result<Stale, MapError> {
        let part = self.part(gpa, size)?;
        let cursor = Cursor::new(self);
        cursor.split_at(mem, part.start)?;
        cursor.split_at(mem, part.end)?;
        let mut stale = Stale::new();
        cursor.unmap(mem, part, &mut stale);
        Ok(stale)
    }

    /// Makes the page of 4 KiB at `gpa`, which is mapped, lead to `hpa`. A large page that it is
    /// in is split. The caller flushes the translations of all that walk these tables.
    ///
    /// # Errors
    ///
    /// See [`MapError`]; no translation has changed then.
    pub fn replace(
        &mut self,
        mem: &mut impl TableMem,
        gpa: Gpa,
        hpa: Hpa,
        attr: Attr,
    ) -> Result<(), MapError> {
        let part = self.part(gpa, PAGE_SIZE)?;
        let cursor = Cursor::new(self);
        cursor.split_at(mem, part.start)?;
        cursor.split_at(mem, part.end)?;
        cursor.replace(mem, part, hpa, attr);
        Ok(())
    }

    /// Puts large pages back where `size` bytes at `gpa` and what surrounds
    /// them allow it: after a cell's memory has come home, say. Translations
    /// stay as they are.
    ///
    /// # Errors
    ///
    /// [`MapError::Misaligned`] and [`MapError::TooHigh`].
    pub fn merge(
        &mut self,
        mem: &mut impl TableMem,
        gpa: Gpa,
        size: u64,
    ) -> Result<Stale, MapError> {
        let part = self.part(gpa, size)?;
        let mut stale = Stale::new();
        Cursor::new(self).merge(mem, part, &mut stale);
        Ok(stale)
    }

    fn part(&self, gpa: Gpa, size: u64) -> Result<Part, MapError> {
        if size == 0 || !gpa.is_aligned(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(MapError::Misaligned);
        }
        match gpa.checked_add(size) {
            Some(end) if end.0 <= self.limit() => Ok(Part {
                start: gpa.0,
                end: end.0,
            }),
            _ => Err(MapError::TooHigh),
        }
    }
}

impl<F: EntryFormat> Cursor<F> {
    pub(super) fn new(tables: &Tables<F>) -> Self {
        Self {
            format: tables.format,
            table: tables.root,
            level: tables.format.levels(),
            max_leaf: tables.max_leaf.level(),
        }
    }

    fn read(&self, mem: &impl TableMem, part: Part) -> u64 {
        mem.read(self.table, index(part.start, self.level))
    }

    fn write(&self, mem: &mut impl TableMem, part: Part, entry: u64) {
        mem.write(self.table, index(part.start, self.level), entry);
    }

    /// The table that `entry` points to, if it does.
    fn child(&self, entry: u64) -> Option<Self> {
        let points = self.format.present(entry) && !self.format.is_leaf(entry, self.level);
        points.then(|| self.at(self.format.addr(entry)))
    }

    fn at(&self, table: Hpa) -> Self {
        Self {
            table,
            level: self.level - 1,
            ..*self
        }
    }

    fn first_mapped(&self, mem: &impl TableMem, part: Part) -> Option<u64> {
        part.entries(self.level).find_map(|part| {
            let entry = self.read(mem, part);
            match self.child(entry) {
                Some(child) => child.first_mapped(mem, part),
                None => self.format.present(entry).then_some(part.start),
            }
        })
    }

    fn map(
        &self,
        mem: &mut impl TableMem,
        part: Part,
        target: Target,
        pass: Pass,
    ) -> Result<(), MapError> {
        for part in part.entries(self.level) {
            let entry = self.read(mem, part);
            if let Some(child) = self.child(entry) {
                child.map(mem, part, target, pass)?;
            } else if self.fits(part, target) {
                if pass == Pass::Leaves {
                    let leaf = self.format.leaf(target.hpa(part), self.level, target.attr);
                    self.write(mem, part, leaf);
                }
            } else {
                let table = mem.alloc().ok_or(MapError::NoMemory)?;
                self.write(mem, part, self.format.table(table, self.level));
                self.at(table).map(mem, part, target, pass)?;
            }
        }
        Ok(())
    }

    /// True if one entry of this table can map `part`.
    fn fits(&self, part: Part, target: Target) -> bool {
        let size = page_bytes(self.level);
        self.level <= self.max_leaf
            && part.is_whole(self.level)
            && target.hpa(part).is_aligned(size)
    }

    /// Splits large pages so that none reaches across `gpa`.
    fn split_at(&self, mem: &mut impl TableMem, gpa: u64) -> Result<(), MapError> {
        let part = Part {
            start: gpa,
            end: gpa,
        };
        if gpa.is_multiple_of(page_bytes(self.level)) {
            return Ok(());
        }
        let entry = self.read(mem, part);
        if let Some(child) = self.child(entry) {
            return child.split_at(mem, gpa);
        }
        if !self.format.present(entry) {
            return Ok(());
        }
        let table = mem.alloc().ok_or(MapError::NoMemory)?;
        let child = self.at(table);
        let (hpa, attr) = (self.format.addr(entry), self.format.attr(entry, self.level));
        for i in 0..ENTRIES {
            let hpa = Hpa(hpa.0 + i as u64 * page_bytes(child.level));
            mem.write(table, i, self.format.leaf(hpa, child.level, attr));
        }
        // Only now is the table seen; until here the large page holds.
        self.write(mem, part, self.format.table(table, self.level));
        child.split_at(mem, gpa)
    }

    /// Clears the range; all large pages in it lie in it as a whole.
    fn unmap(&self, mem: &mut impl TableMem, part: Part, stale: &mut Stale) {
        for part in part.entries(self.level) {
            let entry = self.read(mem, part);
            let Some(child) = self.child(entry) else {
                if self.format.present(entry) {
                    self.write(mem, part, 0);
                }
                continue;
            };
            if !part.is_whole(self.level) {
                child.unmap(mem, part, stale);
                if !child.is_empty(mem) {
                    continue;
                }
            }
            self.write(mem, part, 0);
            child.collect_below(mem, stale);
            stale.collect(mem, child.table);
        }
    }

    /// Changes the one leaf that maps `part`, if there is one.
    fn replace(&self, mem: &mut impl TableMem, part: Part, hpa: Hpa, attr: Attr) {
        let entry = self.read(mem, part);
        if let Some(child) = self.child(entry) {
            child.replace(mem, part, hpa, attr);
        } else if self.format.present(entry) {
            self.write(mem, part, self.format.leaf(hpa, self.level, attr));
        }
    }

    fn is_empty(&self, mem: &impl TableMem) -> bool {
        (0..ENTRIES).all(|i| !self.format.present(mem.read(self.table, i)))
    }

    /// Collects all tables below this one.
    pub(super) fn collect_below(&self, mem: &mut impl TableMem, stale: &mut Stale) {
        if self.level == 1 {
            return;
        }
        for i in 0..ENTRIES {
            if let Some(child) = self.child(mem.read(self.table, i)) {
                child.collect_below(mem, stale);
                stale.collect(mem, child.table);
            }
        }
    }

    fn merge(&self, mem: &mut impl TableMem, part: Part, stale: &mut Stale) {
        for part in part.entries(self.level) {
            let Some(child) = self.child(self.read(mem, part)) else {
                continue;
            };
            child.merge(mem, part, stale);
            if let Some(leaf) = self.merged(mem, child) {
                self.write(mem, part, leaf);
                stale.collect(mem, child.table);
            }
        }
    }

    /// The one leaf that says the same as the table `child`.
    fn merged(&self, mem: &impl TableMem, child: Self) -> Option<u64> {
        let first = mem.read(child.table, 0);
        let hpa = self.format.addr(first);
        let aligned = hpa.is_aligned(page_bytes(self.level));
        if self.level > self.max_leaf || !aligned {
            return None;
        }
        // Compared by meaning, not by value: a CPU may have set accessed and
        // dirty flags.
        let attr = self.format.attr(first, child.level);
        let same = (0..ENTRIES).all(|i| {
            let entry = mem.read(child.table, i);
            self.format.present(entry)
                && self.format.is_leaf(entry, child.level)
                && self.format.addr(entry).0 == hpa.0 + i as u64 * page_bytes(child.level)
                && self.format.attr(entry, child.level) == attr
        });
        same.then(|| self.format.leaf(hpa, self.level, attr))
    }
}

#[cfg(test)]
mod tests;
