//! The machine's I/O APICs, of which cells may have pins.
//!
//! An interrupt of such a pin goes straight to the cell's CPU, and its EOI
//! straight back. While a cell has a pin, the chip's registers are the monitor's,
//! and the root's accesses are emulated.
//!
//! Locks: whoever holds [`CHIPS`] may ask for those of the units and of the
//! ownership maps, and for no others.
//!
//! Source: Intel 82093AA, "I/O Redirection Table Registers"; VT-d, "I/OxAPIC
//! Programming".

mod registers;

use crate::cpu::dest;
use crate::dev::iommu::IrteIndex;
use crate::dev::{iommu, pci};
use crate::lock::Mutex;
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners::{self, Owners};
use crate::refusal::{Refusal, bad, taken};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner, Resource};
use cellvisor_abi::plan::{self, SystemPlan, WIRE_GSIS};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::Hpa;
use cellvisor_core::few::first;
use cellvisor_core::ids::PlanIndex;
use cellvisor_core::ioapic::claim::{self, Claim};
use cellvisor_core::ioapic::shared::{Read, Shared, Write};
use cellvisor_core::ioapic::wire::{self, Route};
use cellvisor_core::ioapic::{Change, EOI, FIRST_ENTRY, MASKED, REMOTE_IRR, SELECT};
use cellvisor_core::iommu::vtd::Irte;
use cellvisor_core::locks::Rank;
use heapless::Vec;
use registers::{MAX_PINS, Registers};

/// Most I/O APICs of a machine.
const MAX_CHIPS: usize = 32;
/// Most pins of cells.
const MAX_WIRES: usize = 64;

/// One I/O APIC.
struct Chip {
    base: Hpa,
    source: Option<u16>,
    /// What the root sees while the registers are the monitor's.
    shared: Option<Shared>,
}

/// A pin of a cell.
struct Wire {
    cell: CellId,
    plan: plan::Wire,
    /// Its interrupt entry, where interrupts are remapped.
    index: Option<IrteIndex>,
    /// What the root had in the pin's redirection entry, once it is taken.
    before: Option<u64>,
}

struct Chips {
    all: Vec<Chip, MAX_CHIPS>,
    wires: Vec<Wire, MAX_WIRES>,
}

static CHIPS: Mutex<Chips, { Rank::IoApics as u8 }> = Mutex::new(Chips {
    all: Vec::new(),
    wires: Vec::new(),
});

/// Notes where the I/O APICs are. Those that share a page with another, or with
/// what is not the root's, cells cannot use.
pub(crate) fn init(plan: &SystemPlan<'_>) {
    let mut chips = CHIPS.lock();
    let listed = || plan.io_apics.iter();
    for chip in listed() {
        let base = Hpa(chip.base);
        let neighbours = listed().filter(|other| Hpa(other.base).page() == base.page());
        let alone = neighbours.count() == 1 && base.is_aligned(PAGE_SIZE);
        let is_roots = || {
            base < machine::get().physical_end
                && pci::config_at(base).is_none()
                && owners::of(base) == Some(Owner::Root)
        };
        if alone && is_roots() {
            // One too many is one that cells cannot use.
            let _ = chips.all.push(Chip {
                base,
                source: chip.source,
                shared: None,
            });
        }
    }
}

impl Chips {
    fn chip(&mut self, base: Hpa) -> Option<&mut Chip> {
        self.all.iter_mut().find(|chip| chip.base == base)
    }

    fn of(&self, cell: CellId) -> impl Iterator<Item = &Wire> {
        self.wires.iter().filter(move |wire| wire.cell == cell)
    }

    fn wire(&self, cell: CellId, gsi: u8) -> Option<&Wire> {
        self.of(cell).find(|wire| wire.plan.gsi == gsi)
    }

    /// Adds a wire; functions of a cell may share one.
    fn add(&mut self, cell: CellId, wanted: plan::Wire, resource: Resource) -> Result<(), Refusal> {
        let wrong = || bad(CallStatus::BadResource, resource);
        let remapped = iommu::units() != 0;
        let chip = self.chip(Hpa(wanted.io_apic)).ok_or_else(wrong)?;
        let known = !remapped || chip.source.is_some();
        if !known || wanted.pin >= MAX_PINS || !WIRE_GSIS.contains(&wanted.gsi) {
            return Err(wrong());
        }
        let wires = self.wires.iter().map(|wire| (wire.cell, wire.plan));
        match claim::claim(wires, cell, wanted) {
            Claim::New => {}
            Claim::Shared => return Ok(()),
            Claim::Taken(other) => return Err(taken(resource, Owner::Cell(other))),
            Claim::Wrong => return Err(wrong()),
        }
        let used = self.is_used(Hpa(wanted.io_apic));
        let wire = Wire {
            cell,
            plan: wanted,
            index: None,
            before: None,
        };
        let added = self.wires.push(wire);
        added.map_err(|_| Refusal::from(CallStatus::NoMemory))?;
        let base = Hpa(wanted.io_apic);
        let given =
            used || owners::with(|o| give(o, base, Owner::Root, Owner::Monitor)) == Some(true);
        if given { Ok(()) } else { Err(wrong()) }
    }

    fn is_used(&self, base: Hpa) -> bool {
        self.wires.iter().any(|wire| wire.chip() == base)
    }
}

/// False if the page was not the first one's.
fn give(owners: &mut Owners, base: Hpa, from: Owner, to: Owner) -> bool {
    let page = base.page();
    owners.pages.transfer(page, page + 1, from, to).is_ok()
}

/// Reserves the pins of a cell's functions, and makes the monitor the owner of
/// their chips' registers. Whatever comes of it, [`release`] undoes it.
pub(crate) fn claim<'a>(
    cell: CellId,
    functions: impl Iterator<Item = &'a plan::Function>,
) -> Result<(), Refusal> {
    let mut chips = CHIPS.lock();
    for function in functions {
        if let Some(wire) = function.wire {
            chips.add(cell, wire, Resource::Function(function.bdf))?;
        }
    }
    Ok(())
}

/// Pages of the chips that a cell has pins of.
pub(crate) fn pages(cell: CellId) -> Vec<Hpa, MAX_WIRES> {
    let chips = CHIPS.lock();
    first(chips.of(cell).map(Wire::chip))
}

/// Takes the pins of a cell, after the root's view of their chips has ended on
/// all its CPUs.
#[inline(never)] // Its own frame: what lies far in one is reached by four bytes.
pub(crate) fn take(window: &mut Window, cell: CellId) -> Result<(), Refusal> {
    let mut guard = CHIPS.lock();
    let chips = &mut *guard;
    let remapped = iommu::units() != 0;
    for wire in chips.wires.iter_mut().filter(|wire| wire.cell == cell) {
        let missing = || Refusal::from(CallStatus::BadResource);
        let chip = chips.all.iter_mut().find(|c| c.base == wire.chip());
        let chip = chip.ok_or_else(missing)?;
        let registers = Registers::open(window, chip.base);
        let shared = chip.shared.get_or_insert_with(|| guarded(&registers));
        let pin = wire.plan.pin;
        if pin >= registers.pins() {
            return Err(missing());
        }
        if remapped {
            wire.index = Some(iommu::take_entries(1).ok_or(CallStatus::NoMemory)?);
        }
        shared.take(pin);
        let before = registers.entry(pin);
        wire.before = Some(before);
        registers.acknowledge(pin, wire::idle(before));
    }
    Ok(())
}

/// What the root sees from now on. What it has set up before may use a cell's
/// interrupt entries, and is masked then.
fn guarded(registers: &Registers<'_>) -> Shared {
    let select = registers.load(SELECT) as u8;
    let shared = Shared::new(select, iommu::first_of_cells());
    for pin in 0..registers.pins() {
        let entry = registers.entry(pin);
        if shared.refuses(entry) {
            registers.set_low(pin, entry | MASKED);
        }
    }
    shared
}

/// The cell, whose CPUs have these plan indexes, has programmed a wire; false if
/// it is to lead where it may not, and is masked.
pub(crate) fn program(
    window: &mut Window,
    cell: CellId,
    cpus: &[PlanIndex],
    change: &Change,
) -> bool {
    let message = change.message;
    let vector = wire::vector(message.kind).filter(|_| !change.masked);
    let target = vector.zip(dest::physical(cpus, message.ipi().dest));
    let mut chips = CHIPS.lock();
    let Some(wire) = chips.wire(cell, message.pin) else {
        return true;
    };
    let (plan, index) = (wire.plan, wire.index);
    let (Some(before), Some(chip)) = (wire.before, chips.chip(Hpa(plan.io_apic))) else {
        return true;
    };
    let registers = Registers::open(window, chip.base);
    let now = registers.entry(plan.pin);
    registers.set_low(plan.pin, now | MASKED);
    let open = target.and_then(|(vector, cpu)| {
        let route = match (index, chip.source) {
            (Some(index), Some(source)) => {
                let irte = Irte::new(source, vector, cpu.0, iommu::mode());
                iommu::set_entry(index, irte.level());
                Route::Remapped(index.0 as u16)
            }
            _ => Route::Direct(u8::try_from(cpu.0).ok()?),
        };
        Some(wire::open(before, vector, route))
    });
    if change.acknowledged || open.is_some_and(|open| wire::loses_eoi(now, open)) {
        registers.acknowledge(plan.pin, now);
    }
    if let Some(open) = open {
        registers.set_entry(plan.pin, open);
    }
    open.is_some() || change.masked
}

/// True while an EOI of the cell for a wire is awaited.
pub(crate) fn awaits(window: &mut Window, cell: CellId, gsi: u8) -> bool {
    let chips = CHIPS.lock();
    chips.wire(cell, gsi).is_some_and(|wire| {
        let registers = Registers::open(window, wire.chip());
        registers.entry(wire.plan.pin) & REMOTE_IRR != 0
    })
}

/// Ends all interrupts that come through pins of the cell.
pub(crate) fn quiet(window: &mut Window, cell: CellId) {
    let chips = CHIPS.lock();
    for wire in chips.of(cell) {
        wire.quiet(window);
    }
}

impl Wire {
    /// Where its chip's registers are.
    fn chip(&self) -> Hpa {
        Hpa(self.plan.io_apic)
    }

    /// `None` if it was not taken yet.
    fn quiet(&self, window: &mut Window) -> Option<()> {
        let idle = wire::idle(self.before?);
        Registers::open(window, self.chip()).acknowledge(self.plan.pin, idle);
        if let Some(index) = self.index {
            iommu::set_entry(index, Irte::BLOCKED);
        }
        Some(())
    }
}

/// Gives all pins of a cell back to the root, masked, and the registers of chips
/// of which no cell has a pin any more.
pub(crate) fn release(window: &mut Window, cell: CellId) {
    let mut guard = CHIPS.lock();
    let chips = &mut *guard;
    for wire in chips.wires.iter().filter(|wire| wire.cell == cell) {
        wire.quiet(window);
        if let Some(index) = wire.index {
            iommu::free_entries(index, 1);
        }
        let chip = chips.all.iter_mut().find(|c| c.base == wire.chip());
        let shared = chip.and_then(|chip| chip.shared.as_mut());
        if let (Some(before), Some(shared)) = (wire.before, shared) {
            let registers = Registers::open(window, wire.chip());
            registers.set_entry(wire.plan.pin, wire::given_back(before));
            shared.give_back(wire.plan.pin);
        }
    }
    let had: Vec<Hpa, MAX_WIRES> = first(chips.of(cell).map(Wire::chip));
    chips.wires.retain(|wire| wire.cell != cell);
    let wires = &chips.wires;
    let unused = |base| !wires.iter().any(|wire| wire.chip() == base);
    let ended = |chip: &&mut Chip| had.contains(&chip.base) && unused(chip.base);
    for chip in chips.all.iter_mut().filter(ended) {
        if let Some(shared) = chip.shared.take() {
            Registers::open(window, chip.base).store(SELECT, u32::from(shared.select()));
        }
        // If it could not be taken it is another's still.
        let _given = owners::with(|o| give(o, chip.base, Owner::Monitor, Owner::Root));
    }
}

/// True if the page is a chip's.
pub(crate) fn is_register(hpa: Hpa) -> bool {
    CHIPS.lock().chip(hpa.align_down(PAGE_SIZE)).is_some()
}

/// The root reads a register; `None` if the page is no chip's.
pub(crate) fn root_read(window: &mut Window, hpa: Hpa) -> Option<u64> {
    let (page, offset) = (hpa.align_down(PAGE_SIZE), hpa.page_offset());
    let mut chips = CHIPS.lock();
    let chip = chips.chip(page)?;
    let registers = Registers::open(window, page);
    let read = match &chip.shared {
        Some(shared) => shared.read(offset),
        // Other CPUs of the root use the chip directly yet, or again.
        None => return Some(u64::from(registers.load(offset & !3))),
    };
    Some(u64::from(match read {
        Read::Value(value) => value,
        Read::Register(number) => registers.read(number),
    }))
}

/// The root writes a register; `None` if the page is no chip's, false if it was
/// refused.
pub(crate) fn root_write(window: &mut Window, hpa: Hpa, value: u64) -> Option<bool> {
    let (page, offset) = (hpa.align_down(PAGE_SIZE), hpa.page_offset());
    let mut chips = CHIPS.lock();
    let chip = chips.chip(page)?;
    let registers = Registers::open(window, page);
    let value = value as u32;
    let Some(shared) = &mut chip.shared else {
        registers.store(offset & !3, value);
        return Some(true);
    };
    match shared.write(offset, value) {
        Write::Done => {}
        Write::Refused => return Some(false),
        Write::Register(number) => registers.write(number, value),
        Write::Eoi => registers.store(EOI, value),
        Write::Entry { pin, high } => {
            let now = registers.entry(pin);
            let (low, upper) = (now & 0xffff_ffff, now & !0xffff_ffff);
            let new = match high {
                true => low | u64::from(value) << 32,
                false => upper | u64::from(value),
            };
            if shared.refuses(new) {
                return Some(false);
            }
            registers.write(FIRST_ENTRY + 2 * pin + u8::from(high), value);
        }
    }
    Some(true)
}
