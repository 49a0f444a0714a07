//! Whose memory a function's DMA reaches: second-level tables, and the context
//! entries that point at them.
//!
//! Source: Intel Virtualization Technology for Directed I/O, revision 4, "Root
//! Entry", "Context Entry", "Second-Stage Paging Entries".

use super::unit::{Stuck, Unit, load, store};
use super::{MAX_UNITS, Segment, Unavailable};
use crate::mem::pool::{self, PoolTables};
use crate::mem::{hpa_of, owners, va_of};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use cellvisor_abi::plan::SystemPlan;
use cellvisor_core::addr::{Gpa, Hpa, Hva};
use cellvisor_core::iommu::vtd::{
    ContextEntry, Invalidate, RootEntry, Translation, context_update,
};
use cellvisor_core::paging::{AnyFormat, Attr, MapError, PageSize, Stale, Tables, Vtd, Width};
use cellvisor_core::pci::Bdf;
use core::ops::Range;
use heapless::Vec;

/// Domain of the root; cells have their ids plus one. 0 is not to be used.
const ROOT_DOMAIN: u16 = 1;
/// What the root's functions reach besides RAM: firmware's reserved memory and
/// devices below 4 GiB.
pub(crate) const LOW_END: Hpa = Hpa(1 << 32);
/// Entries of a root table: one for each bus.
const BUSES: u64 = 256;

/// What all units have in common.
#[derive(Clone, Copy)]
struct Shape {
    width: Width,
    snoop: bool,
    largest: PageSize,
    /// First address that cannot be translated.
    end: Hpa,
}

impl Shape {
    fn common(units: &[Unit]) -> Self {
        let mut bits = u8::MAX;
        let mut width: Option<Width> = None;
        let mut snoop = true;
        let mut largest = PageSize::Size1G;
        for caps in units.iter().map(|unit| unit.caps) {
            bits = bits.min(caps.guest_bits());
            let narrower = |own: &Width| width.is_none_or(|width| own.code() < width.code());
            width = caps.width().filter(narrower).or(width);
            snoop &= caps.snoop_control();
            largest = largest.min(caps.page_size());
        }
        let width = width.unwrap_or_default();
        let width_bits = 12 + 9 * (width.code() + 2);
        Self {
            width,
            snoop,
            largest,
            end: Hpa(1 << bits.min(width_bits)),
        }
    }

    fn tables(self) -> Option<Tables<AnyFormat>> {
        let format = AnyFormat::Vtd(Vtd {
            width: self.width,
            snoop: self.snoop,
        });
        Tables::with_format(format, &mut PoolTables::Cleaned, self.largest)
    }
}

/// Memory that the functions of a cell reach, at the cell's addresses. No function
/// may be attached any more when it is dropped.
pub(crate) struct Domain {
    tables: Tables<AnyFormat>,
    entry: ContextEntry,
}

impl Domain {
    /// A domain without memory for a cell.
    pub(crate) fn new(cell: CellId) -> Result<Self, Unavailable> {
        super::with(|iommu| {
            let shape = iommu.contexts.shape;
            let id = cell.0 as u16 + ROOT_DOMAIN;
            let fits = |unit: &Unit| u32::from(id) < unit.caps.domains();
            if !iommu.units.iter().all(fits) {
                return Err(Unavailable);
            }
            let tables = shape.tables().ok_or(Unavailable)?;
            let translation = Translation::Tables(tables.root());
            let entry = ContextEntry::new(translation, shape.width, id);
            Ok(Self { tables, entry })
        })
    }

    /// Adds memory. Before a function is attached.
    pub(crate) fn map(&mut self, gpa: Gpa, hpa: Hpa, size: u64) -> Result<(), MapError> {
        self.tables
            .map(&mut PoolTables::Cleaned, gpa, hpa, size, Attr::RAM)
    }

    pub(super) fn entry(&self) -> ContextEntry {
        self.entry
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.tables.free_all(&mut PoolTables::Cleaned);
    }
}

/// Root and context tables, and the root's domain.
pub(super) struct Contexts {
    shape: Shape,
    /// Segments and virtual addresses of their root tables.
    segments: Vec<(Segment, Hva), MAX_UNITS>,
    /// The context table of all buses without functions of cells.
    common: Hva,
    root: Tables<AnyFormat>,
    entry: ContextEntry,
}

impl Contexts {
    /// Everything is the root's. `None` if the pool is too small.
    pub(super) fn new(units: &[Unit], plan: &SystemPlan<'_>) -> Option<Self> {
        let shape = Shape::common(units);
        let root = shape.tables()?;
        let translation = Translation::Tables(root.root());
        let mut contexts = Self {
            shape,
            segments: Vec::new(),
            common: pool::alloc()?,
            entry: ContextEntry::new(translation, shape.width, ROOT_DOMAIN),
            root,
        };
        for devfn in 0..=u8::MAX {
            write_entry(contexts.common, devfn, contexts.entry);
        }
        for unit in units {
            contexts.add_segment(unit.segment)?;
        }
        contexts.map_owned(Hpa(0)..LOW_END).ok()?;
        for range in plan.ram.iter() {
            let start = Hpa(range.start);
            let end = start.checked_add(range.size)?;
            contexts.map_owned(start.max(LOW_END)..end).ok()?;
        }
        Some(contexts)
    }

    fn add_segment(&mut self, segment: Segment) -> Option<()> {
        if self.segments.iter().any(|(id, _)| *id == segment) {
            return Some(());
        }
        let table = pool::alloc()?;
        for bus in 0..BUSES {
            store(table + bus * 16, RootEntry::new(hpa_of(self.common)).0);
        }
        self.segments.push((segment, table)).ok()
    }

    /// The root table of a segment.
    pub(super) fn root_table(&self, segment: Segment) -> Option<Hpa> {
        self.table_of(segment).map(hpa_of)
    }

    fn table_of(&self, segment: Segment) -> Option<Hva> {
        let found = self.segments.iter().find(|(id, _)| *id == segment);
        found.map(|(_, table)| *table)
    }

    /// The entry of functions that are the root's.
    pub(super) fn root_entry(&self) -> ContextEntry {
        self.entry
    }

    /// Sets a function's entry in all units.
    pub(super) fn set(
        &mut self,
        units: &mut [Unit],
        bdf: Bdf,
        new: ContextEntry,
    ) -> Result<(), Unavailable> {
        let table = self.own_table(bdf).ok_or(Unavailable)?;
        let devfn = bdf.requester as u8;
        let old = read_entry(table, devfn);
        let steps = context_update(old, new, bdf.requester);
        for unit in units {
            unit.apply(entry_at(table, devfn), &steps)?;
        }
        Ok(())
    }

    /// The context table of a bus, apart from the common one. Until now it has
    /// the same entries, so that the unit need not be told.
    fn own_table(&mut self, bdf: Bdf) -> Option<Hva> {
        let entry = self.table_of(Segment(bdf.segment))? + u64::from(bdf.bus()) * 16;
        let now = RootEntry(load(entry));
        let table = va_of(now.table()?)?;
        if table != self.common {
            return Some(table);
        }
        let table = pool::alloc()?;
        for devfn in 0..=u8::MAX {
            write_entry(table, devfn, read_entry(self.common, devfn));
        }
        store(entry, RootEntry::new(hpa_of(table)).0);
        Some(table)
    }

    /// Takes memory out of the root's domain.
    pub(super) fn exclude(
        &mut self,
        units: &mut [Unit],
        range: Range<Hpa>,
    ) -> Result<(), Unavailable> {
        let (start, end) = (range.start, range.end.min(self.shape.end));
        if start >= end {
            return Ok(());
        }
        let stale = self
            .root
            .unmap(&mut PoolTables::Cleaned, start.identity(), end.0 - start.0)
            .map_err(|_| Unavailable)?;
        finish(flush(units), stale)
    }

    /// Puts memory back that [`Self::exclude`] has taken.
    pub(super) fn include(
        &mut self,
        units: &mut [Unit],
        range: Range<Hpa>,
    ) -> Result<(), Unavailable> {
        let (start, end) = (range.start, range.end.min(self.shape.end));
        if start >= end {
            return Ok(());
        }
        self.map_owned(start..end).map_err(|_| Unavailable)?;
        // Tables that only the cell's pages needed go back to the pool: that is worth
        // asking a unit twice.
        let stale = self
            .root
            .merge(&mut PoolTables::Cleaned, start.identity(), end.0 - start.0)
            .map_err(|_| Unavailable)?;
        finish(flush(units).or_else(|_| flush(units)), stale)
    }

    /// Maps all of `range` that the root owns.
    fn map_owned(&mut self, range: Range<Hpa>) -> Result<(), MapError> {
        let end = range.end.min(self.shape.end).page();
        let mut page = range.start.0.div_ceil(PAGE_SIZE);
        while page < end {
            let (owner, next) = owners::with(|o| o.pages.run(page)).ok_or(MapError::NoMemory)?;
            let next = next.min(end);
            if owner == Owner::Root {
                let (at, size) = (Hpa(page * PAGE_SIZE), (next - page) * PAGE_SIZE);
                match self
                    .root
                    .map(&mut PoolTables::Cleaned, at.identity(), at, size, Attr::RAM)
                {
                    // Ranges of RAM may share a page.
                    Ok(()) | Err(MapError::Overlap(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            page = next;
        }
        Ok(())
    }
}

/// After a change of the root's tables: what no unit uses any more goes back to the
/// pool, if all have answered.
#[inline(never)] // Two callers, neither in a hurry.
fn finish(answer: Result<(), Stuck>, stale: Stale) -> Result<(), Unavailable> {
    match answer {
        Ok(()) => {
            stale.flushed(&mut PoolTables::Cleaned);
            Ok(())
        }
        Err(error) => {
            stale.abandon();
            Err(error.into())
        }
    }
}

#[inline(never)] // As `finish`.
fn flush(units: &mut [Unit]) -> Result<(), Stuck> {
    for unit in units {
        unit.flush_writes()?;
        unit.submit(Invalidate::Translations {
            domain: ROOT_DOMAIN,
        });
        unit.wait()?;
    }
    Ok(())
}

fn entry_at(table: Hva, devfn: u8) -> Hva {
    table + u64::from(devfn) * 16
}

fn read_entry(table: Hva, devfn: u8) -> ContextEntry {
    let at = entry_at(table, devfn);
    ContextEntry {
        low: load(at),
        high: load(at + 8),
    }
}

fn write_entry(table: Hva, devfn: u8, entry: ContextEntry) {
    store(entry_at(table, devfn) + 8, entry.high);
    store(entry_at(table, devfn), entry.low);
}
