//! DMA and interrupt remapping with VT-d.
//!
//! The monitor drives the units: each function's DMA goes through tables of its
//! owner, the root's through an identity map without the memory of others.
//! Linux keeps believing that it drives their interrupt remapping, through
//! registers that the monitor emulates (`cellvisor_core::iommu::vtd::Shadow`).
//!
//! Source: Intel Virtualization Technology for Directed I/O, revision 4, "DMA
//! Remapping", "Interrupt Remapping".

mod domain;
mod root;
mod unit;

use crate::lock::{self, Guard, Mutex, PartGuard};
use crate::log;
use crate::mem::map::Window;
use crate::mem::owners;
use crate::mem::page::PageVec;
use cellvisor_abi::call::Owner;
use cellvisor_abi::plan::{IommuKind, SystemPlan};
use cellvisor_core::addr::Hpa;
use cellvisor_core::free_map::FreeMap;
use cellvisor_core::iommu::vtd::{Effect, FaultRecord, Irte, Mode, registers};
use cellvisor_core::locks::Rank;
use cellvisor_core::pci::Bdf;
use cellvisor_core::text::{Dec, Word};
use core::ops::Range;
use domain::Contexts;
pub(crate) use domain::{Domain, LOW_END};
use heapless::Vec;
use log::log;
use root::RootView;
use unit::{Stuck, Unit};

/// Place of an entry in the interrupt remapping tables, the same in those of all
/// units.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct IrteIndex(pub(crate) u32);

impl IrteIndex {
    /// All there can be.
    const ALL: Range<Self> = Self(0)..Self(u32::MAX);

    /// The one that is `distance` further on.
    pub(crate) const fn plus(self, distance: u16) -> Self {
        Self(self.0 + distance as u32)
    }
}

/// Number of a PCI segment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Segment(u16);

/// Most units of a machine.
const MAX_UNITS: usize = 16;
/// Most functions of cells.
const MAX_ATTACHED: usize = 512;
/// Bounds of a unit's interrupt entries: half of them are the root's.
const ENTRIES: core::ops::RangeInclusive<u32> = 4096..=65_536;
/// Entries for each CPU.
const ENTRIES_PER_CPU: u32 = 256;

/// All units of the machine.
#[repr(C)] // What is small comes first, within a byte's reach of instructions.
struct Iommu {
    on: bool,
    /// Entries from the middle of the tables on that functions have.
    entries: FreeMap<'static>,
    units: Vec<Unit, MAX_UNITS>,
    contexts: Contexts,
    /// Functions of cells.
    attached: Vec<Bdf, MAX_ATTACHED>,
}

static IOMMU: Mutex<Option<&'static mut Iommu>, { Rank::Units as u8 }> = Mutex::new(None);

/// The monitor does not drive the units, or one does not answer any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unavailable;

impl From<Stuck> for Unavailable {
    fn from(_: Stuck) -> Self {
        log!("iommu: a unit does not answer");
        Self
    }
}

/// Finds the units and makes their tables, but does not touch them. `None` if
/// the pool is too small.
pub(crate) fn init(plan: &SystemPlan<'_>) -> Option<()> {
    let cpus = crate::boot::boot_info().cpu_count;
    let entries = (cpus * ENTRIES_PER_CPU)
        .next_power_of_two()
        .clamp(*ENTRIES.start(), *ENTRIES.end());
    let mut units = Vec::new();
    for iommu in plan.iommus.iter() {
        if iommu.kind != IommuKind::Vtd {
            continue;
        }
        let unit = Unit::new(Hpa(iommu.base), Segment(iommu.segment), entries)?;
        own_registers(&unit)?;
        units.push(unit).ok()?;
    }
    if units.is_empty() {
        return Some(());
    }
    let cells = (entries - Unit::first_of_cells(entries)) as usize;
    let words = PageVec::zeros(FreeMap::words(cells))?.leak();
    let iommu = Iommu {
        contexts: Contexts::new(&units, plan)?,
        entries: FreeMap::new(words, cells)?,
        attached: Vec::new(),
        units,
        on: false,
    };
    *IOMMU.lock() = PageVec::of(iommu)?.leak().first_mut();
    Some(())
}

fn own_registers(unit: &Unit) -> Option<()> {
    owners::with(|owners| {
        unit.pages().iter().try_for_each(|page| {
            match owners.pages.owner(*page) {
                Owner::Monitor => Ok(()),
                _ => owners
                    .pages
                    .transfer(*page, page + 1, Owner::Root, Owner::Monitor),
            }
            .ok()
        })
    })?
}

/// Takes the units from the root, which does not run. What stands in the way is
/// logged; functions cannot go to cells then.
pub(crate) fn take(window: &mut Window) {
    let mut guard = IOMMU.lock();
    let Some(iommu) = guard.as_mut() else { return };
    iommu.units.iter_mut().for_each(Unit::look);
    if let Some(reason) = iommu.units.iter().find_map(obstacle) {
        log!("iommu: not driven: {}", Word(reason));
        return;
    }
    let mut view = RootView {
        window,
        attached: &iommu.attached,
    };
    let contexts = &iommu.contexts;
    let taken = iommu.units.iter_mut().try_for_each(|unit| {
        let table = contexts.root_table(unit.segment).ok_or(Stuck)?;
        unit.take(table, &mut view)
    });
    if taken.is_ok() {
        iommu.on = true;
        log!("iommu: units={}", Dec(iommu.units.len() as u64));
    } else {
        log!("iommu: a unit does not answer");
        let _stuck = iommu.give_back();
    }
}

/// Why the monitor cannot drive a unit as the root has left it.
fn obstacle(unit: &Unit) -> Option<&'static str> {
    let caps = unit.caps;
    let missing = !caps.queue() || !caps.interrupts() || caps.width().is_none();
    if missing {
        Some("a unit lacks queued invalidation, interrupt remapping or second-level tables")
    } else if unit.shadow.has(registers::TRANSLATION) {
        Some("the root translates DMA itself; boot it with intel_iommu=off")
    } else if !unit.shadow.has(registers::INTERRUPTS | registers::QUEUE) {
        Some("the root does not remap interrupts; boot it without intremap=off")
    } else {
        None
    }
}

/// Gives the units back to the root, which does not run.
pub(crate) fn give_back() {
    if let Some(iommu) = IOMMU.lock().as_mut()
        && iommu.on
    {
        iommu.on = false;
        if iommu.give_back().is_err() {
            log!("iommu: a unit does not answer");
        }
    }
}

/// Units that the monitor drives.
pub(crate) fn units() -> u32 {
    let guard = IOMMU.lock();
    let driven = guard.as_ref().filter(|iommu| iommu.on);
    driven.map_or(0, |iommu| iommu.units.len() as u32)
}

/// Runs `f` with the units, if the monitor drives them and no CPU died that did so.
fn with<T>(f: impl FnOnce(&mut Iommu) -> Result<T, Unavailable>) -> Result<T, Unavailable> {
    f(&mut *driven()?)
}

#[inline(never)] // All of it stood in each caller of `with`.
fn driven() -> Result<PartGuard<'static, Iommu, { Rank::Units as u8 }>, Unavailable> {
    let whole = !lock::damage().has(Rank::Units);
    Guard::try_map(IOMMU.lock(), |iommu| {
        iommu.as_deref_mut().filter(|iommu| iommu.on && whole)
    })
    .map_err(|_| Unavailable)
}

impl Iommu {
    #[inline(never)] // It is cold, and all of it stood in each caller.
    fn forget(&mut self, bdf: Bdf) {
        self.attached.retain(|other| *other != bdf);
    }

    fn give_back(&mut self) -> Result<(), Stuck> {
        // One that is stuck does not keep the others.
        let all = self.units.iter_mut().map(Unit::give_back);
        all.fold(Ok(()), Result::and)
    }

    fn owner_changed(&mut self, window: &mut Window) -> Result<(), Unavailable> {
        let mut view = RootView {
            window,
            attached: &self.attached,
        };
        for unit in &mut self.units {
            unit.refill(IrteIndex::ALL, &mut view)?;
        }
        Ok(())
    }
}

/// Lets the DMA of a cell's function go through `domain`. Its interrupts cannot
/// come through entries of the root any more.
pub(crate) fn attach(bdf: Bdf, domain: &Domain) -> Result<(), Unavailable> {
    with(|iommu| {
        iommu.attached.push(bdf).map_err(|_| Unavailable)?;
        let (contexts, units) = (&mut iommu.contexts, &mut iommu.units);
        let attached = contexts.set(units, bdf, domain.entry());
        if attached.is_err() {
            iommu.forget(bdf);
        }
        attached
    })
}

/// Gives a function back to the root.
pub(crate) fn detach(bdf: Bdf) -> Result<(), Unavailable> {
    with(|iommu| {
        iommu.forget(bdf);
        let entry = iommu.contexts.root_entry();
        iommu.contexts.set(&mut iommu.units, bdf, entry)
    })
}

/// Ends the DMA of the root's functions to this memory.
pub(crate) fn exclude(range: Range<Hpa>) -> Result<(), Unavailable> {
    with(|iommu| iommu.contexts.exclude(&mut iommu.units, range))
}

/// Allows it again.
pub(crate) fn include(range: Range<Hpa>) -> Result<(), Unavailable> {
    with(|iommu| iommu.contexts.include(&mut iommu.units, range))
}

/// Looks at the root's interrupt entries again after CPUs or functions have
/// changed their owner.
pub(crate) fn owner_changed(window: &mut Window) -> Result<(), Unavailable> {
    with(|iommu| iommu.owner_changed(window))
}

/// First of the interrupt entries that are cells'; `None` if the monitor drives
/// no unit.
pub(crate) fn first_of_cells() -> Option<u16> {
    let first = |iommu: &mut Iommu| {
        let size = iommu.units.first().map_or(0, |unit| unit.entries);
        Ok(Unit::first_of_cells(size) as u16)
    };
    with(first).ok()
}

/// Takes interrupt entries for `count` vectors; the index of the first.
pub(crate) fn take_entries(count: u16) -> Option<IrteIndex> {
    with(|iommu| {
        let first = iommu
            .entries
            .take(usize::from(count), |_| true)
            .ok_or(Unavailable)?;
        let size = iommu.units.first().map_or(0, |unit| unit.entries);
        Ok(IrteIndex(Unit::first_of_cells(size) + first as u32))
    })
    .ok()
}

/// Blocks interrupt entries and gives them back.
pub(crate) fn free_entries(first: IrteIndex, count: u16) {
    for distance in 0..count {
        set_entry(first.plus(distance), Irte::BLOCKED);
    }
    let _off = with(|iommu| {
        let size = iommu.units.first().map_or(0, |unit| unit.entries);
        let place = first.0.checked_sub(Unit::first_of_cells(size));
        if let Some(place) = place {
            iommu.entries.give(place as usize, usize::from(count));
        }
        Ok(())
    });
}

/// Sets an interrupt entry of a cell's function, in all units: the function is
/// behind one of them.
pub(crate) fn set_entry(index: IrteIndex, irte: Irte) {
    let _off = with(|iommu| {
        for unit in &mut iommu.units {
            unit.set_entry(index, irte)?;
        }
        Ok(())
    });
}

/// Form of destinations in interrupt entries.
pub(crate) fn mode() -> Mode {
    with(|iommu| Ok(iommu.units.first().map_or(Mode::X2apic, Unit::mode))).unwrap_or(Mode::X2apic)
}

/// Faults that are taken at once.
const MANY_FAULTS: usize = 32;

/// Takes faults since the last call: segment and record, [`MANY_FAULTS`] at most.
/// Whose they are is found out by the caller, without the units' lock: it comes
/// after that of a cell's functions.
pub(crate) fn take_faults() -> Vec<(u16, FaultRecord), MANY_FAULTS> {
    let mut faults = Vec::new();
    let _off = with(|iommu| {
        for unit in &iommu.units {
            unit.for_each_fault(|fault| faults.push((unit.segment.0, fault)).is_ok());
        }
        Ok(())
    });
    faults
}

/// The root reads a unit's register; `None` if the page is no unit's.
pub(crate) fn root_read(hpa: Hpa, size: u8) -> Option<u64> {
    let mut guard = IOMMU.lock();
    let iommu = guard.as_mut()?;
    let on = iommu.on;
    let (unit, offset) = find(&mut iommu.units, hpa)?;
    Some(match on {
        true => unit.shadow.read(offset, size),
        false => unit.read(offset, size),
    })
}

/// The root writes a unit's register. False if it was refused.
pub(crate) fn root_write(window: &mut Window, hpa: Hpa, size: u8, value: u64) -> bool {
    let mut guard = IOMMU.lock();
    let Some(iommu) = guard.as_mut() else {
        return false;
    };
    let Some((unit, offset)) = find(&mut iommu.units, hpa) else {
        return false;
    };
    if !iommu.on {
        unit.write(offset, size, value);
        return true;
    }
    let mut view = RootView {
        window,
        attached: &iommu.attached,
    };
    let served = match unit.shadow.write(offset, size, value) {
        Effect::Done => Ok(()),
        Effect::Refused => return false,
        Effect::Queue => unit.serve_queue(&mut view),
        Effect::Table => unit.refill(IrteIndex::ALL, &mut view),
    };
    served.is_ok()
}

/// True if the page is a unit's.
pub(crate) fn is_register(hpa: Hpa) -> bool {
    let mut guard = IOMMU.lock();
    let units = guard.as_mut().map(|iommu| &mut iommu.units);
    units.is_some_and(|units| find(units, hpa).is_some())
}

fn find(units: &mut [Unit], hpa: Hpa) -> Option<(&mut Unit, u64)> {
    let has = |unit: &&mut Unit| unit.pages().contains(&hpa.page());
    let unit = units.iter_mut().find(has)?;
    let offset = hpa.0.checked_sub(unit.base.0)?;
    Some((unit, offset))
}
