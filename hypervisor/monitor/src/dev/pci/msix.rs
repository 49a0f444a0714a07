//! Interrupt messages of a function: what the cell writes, and what the hardware
//! has instead.
//!
//! Source: PCI Local Bus 3.0, "MSI-X Capability and Table Structures".

use super::device::Target;
use crate::cpu::dest;
use crate::dev::iommu;
use crate::mem::map::Window;
use crate::mem::page::PageVec;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::Hpa;
use cellvisor_core::icr::{self, Kind};
use cellvisor_core::ids::ApicId;
use cellvisor_core::iommu::vtd::Irte;
use cellvisor_core::pci::msix::{ENTRY_SIZE, Entry, Layout, Table};
use cellvisor_core::pci::{Bar, msi};
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

/// Masks an entry in its last four bytes.
const MASKED: u32 = 1;

/// Place of a vector among those of its function.
#[derive(Clone, Copy)]
pub(crate) struct Vector(pub(crate) u16);

/// What a function writes to interrupt somebody.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) address: u64,
    pub(crate) data: u32,
}

/// A function's MSI-X table.
pub(crate) struct Msix {
    layout: Layout,
    /// Host-physical address of the BAR that the table is in.
    bar: Hpa,
    table: Table<PageVec<Entry>>,
    /// Pages that the cell reads in the table's place; none if something else shares
    /// the pages.
    mirror: Option<PageVec<AtomicU32>>,
}

impl Msix {
    /// A table as after a reset. The status says whether the pool is empty, or the table is
    /// in no BAR.
    pub(crate) fn new(layout: Layout, bars: &[Bar; 6]) -> Result<Self, CallStatus> {
        let bar = bars.get(usize::from(layout.table.bar));
        let Some(Bar::Memory { base, size, .. }) = bar else {
            return Err(CallStatus::BadResource);
        };
        let (start, end) = layout.guarded();
        if end > (*size).max(PAGE_SIZE) {
            return Err(CallStatus::BadResource);
        }
        let pending = u64::from(layout.pending.offset);
        let shared = layout.pending.bar == layout.table.bar && (start..end).contains(&pending);
        let entries = PageVec::filled(usize::from(layout.entries), || Entry::RESET);
        let entries = entries.ok_or(CallStatus::NoMemory)?;
        let words = (end - start) as usize / size_of::<AtomicU32>();
        let mirror = match shared {
            true => None,
            false => {
                let words = PageVec::zeros(words);
                Some(words.ok_or(CallStatus::NoMemory)?)
            }
        };
        let mut msix = Self {
            layout,
            bar: Hpa(*base),
            table: Table::new(entries),
            mirror,
        };
        msix.mirror_all();
        Ok(msix)
    }

    /// Host-physical bounds of the pages that the cell does not reach.
    pub(crate) fn guarded(&self) -> Range<Hpa> {
        let (start, end) = self.layout.guarded();
        self.bar + start..self.bar + end
    }

    /// What is mapped read-only in their place.
    pub(crate) fn mirror(&self) -> Option<Hpa> {
        self.mirror.as_ref().map(PageVec::hpa)
    }

    /// Vectors, and how many of them are set up.
    pub(crate) fn vectors(&self) -> (u16, u16) {
        let used = self.table.entries().iter().filter(|entry| !entry.masked);
        (self.layout.entries, used.count() as u16)
    }

    /// The cell reads at `hpa`, in the guarded pages.
    pub(crate) fn read(&self, window: &mut Window, hpa: Hpa, size: u8) -> u64 {
        match self.layout.in_table(hpa.0.wrapping_sub(self.bar.0)) {
            Some(offset) => self.table.read(offset, size),
            None => window.open_device(hpa).read(hpa.page_offset(), size),
        }
    }

    /// The cell writes at `hpa`, in the guarded pages. Which entry has changed;
    /// `Err` for a write that is dropped.
    pub(crate) fn write(&mut self, hpa: Hpa, size: u8, value: u64) -> Result<Vector, ()> {
        let offset = self
            .layout
            .in_table(hpa.0.wrapping_sub(self.bar.0))
            .ok_or(())?;
        let index = Vector(self.table.write(offset, size, value).ok_or(())?);
        self.mirror_entry(index);
        Ok(index)
    }

    /// As after a reset of the function.
    pub(crate) fn reset(&mut self) {
        for index in 0..self.layout.entries {
            let offset = u32::from(index) * ENTRY_SIZE;
            for (part, value) in [(12, u64::from(MASKED)), (0, 0), (4, 0), (8, 0)] {
                self.table.write(offset + part, 4, value);
            }
        }
        self.mirror_all();
    }

    fn mirror_all(&mut self) {
        (0..self.layout.entries)
            .map(Vector)
            .for_each(|index| self.mirror_entry(index));
    }

    fn mirror_entry(&self, index: Vector) {
        let Some(mirror) = &self.mirror else {
            return;
        };
        let inside = u64::from(self.layout.table.offset) % PAGE_SIZE;
        let offset = inside + u64::from(index.0) * u64::from(ENTRY_SIZE);
        for part in [0, 4, 8, 12] {
            let value = self.table.read(u32::from(index.0) * ENTRY_SIZE + part, 4) as u32;
            if let Some(word) = mirror.get((offset + u64::from(part)) as usize / 4) {
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Makes the hardware's entry what the cell's asks for. False if that was
    /// nothing that may be.
    pub(crate) fn program(&self, window: &mut Window, target: &Target<'_>, index: Vector) -> bool {
        let Some(entry) = self.table.entries().get(usize::from(index.0)) else {
            return false;
        };
        let at = self.bar
            + u64::from(self.layout.table.offset)
            + u64::from(index.0) * u64::from(ENTRY_SIZE);
        let asked = Message {
            address: entry.address,
            data: entry.data,
        };
        let message = target.message(index, asked);
        let mut registers = [0, 0, 0, MASKED];
        if let Some((address, data)) = message {
            let masked = if entry.masked { MASKED } else { 0 };
            registers = [address as u32, (address >> 32) as u32, data, masked];
        }
        // An entry does not cross pages.
        let page = window.open_device(at);
        let write = |part: u64, value| page.write(at.page_offset() + part * 4, 4, u64::from(value));
        // Masked first, so that no half of it is ever used.
        for (part, value) in [
            (3, MASKED),
            (0, registers[0]),
            (1, registers[1]),
            (2, registers[2]),
        ] {
            write(part, value);
        }
        write(3, registers[3]);
        message.is_some() || entry.masked
    }
}

impl Target<'_> {
    /// Address and data for the hardware, in place of what the cell wrote for
    /// vector `index`. Its interrupt entry is set before.
    pub(crate) fn message(&self, index: Vector, asked: Message) -> Option<(u64, u32)> {
        let entry = self.entries.map(|(first, _)| first.plus(index.0));
        let wanted = msi::decode(asked.address, asked.data).ok();
        let physical = wanted.and_then(|ipi| self.physical(ipi));
        match (physical, entry) {
            (Some((vector, cpu)), Some(entry)) => {
                let irte = Irte::new(self.source, vector, cpu.0, iommu::mode());
                iommu::set_entry(entry, irte);
                Some(msi::vtd_remappable(entry.0 as u16))
            }
            (Some((vector, cpu)), None) => {
                let cpu = u8::try_from(cpu.0).ok()?;
                Some(msi::compatible(vector, cpu))
            }
            (None, Some(entry)) => {
                iommu::set_entry(entry, Irte::BLOCKED);
                None
            }
            (None, None) => None,
        }
    }

    /// Vector and physical APIC id of the first CPU that is meant.
    fn physical(&self, ipi: icr::Ipi) -> Option<(u8, ApicId)> {
        let (Kind::Fixed(vector) | Kind::LowestPriority(vector)) = ipi.kind else {
            return None;
        };
        Some((vector, dest::physical(self.cpus, ipi.dest)?))
    }
}
