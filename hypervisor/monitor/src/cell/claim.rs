//! Taking functions from the root for a cell.

use crate::cell::functions::{has_virtual, owner};
use crate::dev::iommu::{self, Domain};
use crate::dev::pci::config::Register;
use crate::dev::pci::device::Device;
use crate::dev::pci::msix::Msix;
use crate::dev::pci::{Functions, MAX_FUNCTIONS, config};
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners;
use crate::mem::space::Space;
use crate::refusal::{Refusal, bad, taken};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner, Resource};
use cellvisor_abi::plan::{self, CellPlan};
use cellvisor_abi::status::CallStatus;
use cellvisor_core::addr::{Gpa, Hpa};
use cellvisor_core::ownership::OwnError;
use cellvisor_core::paging::{Attr, MapError, MemType};
use cellvisor_core::pci::{Bar, Description, Function, claim, has_siblings};
use core::ops::Range;

const BARS: Register = Register(0x10);
const COMMAND: Register = Register(0x04);
/// Decoding of ports and of memory.
const DECODES: u32 = 3;

/// Looks at all functions of a plan; nothing is done to them.
pub(crate) fn claim(window: &mut Window, plan: &CellPlan<'_>) -> Result<Functions, Refusal> {
    let count = plan.functions.len();
    let mut functions =
        Functions::with_room(count.min(MAX_FUNCTIONS)).ok_or(CallStatus::NoMemory)?;
    for wanted in plan.functions.iter() {
        let device = look(window, plan, &functions, wanted)?;
        if !functions.push(device) {
            return Err(CallStatus::NoMemory.into());
        }
    }
    Ok(functions)
}

fn look(
    window: &mut Window,
    plan: &CellPlan<'_>,
    others: &Functions,
    wanted: plan::Function,
) -> Result<Device, Refusal> {
    let resource = Resource::Function(wanted.bdf);
    let wrong = || bad(CallStatus::BadResource, resource);
    let bdf = wanted.bdf;
    if let Some(cell) = owner(bdf) {
        return Err(taken(resource, Owner::Cell(cell)));
    }
    let twice = |other: &Device| other.bdf() == bdf || other.plan.guest == wanted.guest;
    if others.all().iter().any(twice) || has_virtual(bdf) {
        return Err(wrong());
    }
    if !wanted.unprotected && iommu::units() == 0 {
        return Err(bad(CallStatus::NotSupported, resource));
    }
    let (virtual_ids, bars) = match wanted.pf {
        Some(pf) if owner(pf).is_some() => None,
        Some(pf) => claim::virtual_parts(&wanted, pf, |at| config::read(window, pf, Register(at))),
        None => {
            let bars = claim::physical_bars(&wanted, |at| config::read(window, bdf, Register(at)));
            bars.map(|bars| (None, bars))
        }
    }
    .ok_or_else(wrong)?;
    let guests = plan.functions.iter();
    let about = Description {
        bdf,
        virtual_ids,
        bars,
        pin: wanted.pin().unwrap_or(0),
        siblings: has_siblings(guests.map(|other| other.guest), wanted.guest),
    };
    let function = Function::probe(about, |at| config::read(window, bdf, Register(at)))
        .map_err(|_| wrong())?;
    let read = |at| config::read(window, bdf, Register(at));
    if wanted.wire.is_some() && !claim::can_wire(&wanted, function.capabilities(), read) {
        return Err(wrong());
    }
    Ok(Device::new(window, wanted, function))
}

/// Bounds of a function's BARs in memory.
fn memory(device: &Device) -> impl Iterator<Item = Range<Hpa>> + '_ {
    device
        .function
        .about()
        .bars
        .iter()
        .filter_map(|bar| match *bar {
            Bar::Memory { base, size, .. } => Some(Hpa(base)..Hpa(base.saturating_add(size))),
            _ => None,
        })
}

/// Makes the cell the owner of the pages of BARs. Configuration space is the monitor's.
pub(crate) fn take_pages(functions: &Functions, owner: Owner) -> Result<(), Refusal> {
    for device in functions.all() {
        for bar in memory(device) {
            let plan = machine::plan();
            let ram = plan.iter().flat_map(|plan| plan.ram.iter());
            let ram = ram.map(|range| (range.start, range.size));
            if !claim::can_map(&bar, machine::get().physical_end, ram) {
                let resource = Resource::Function(device.plan.bdf);
                return Err(bad(CallStatus::BadResource, resource));
            }
            transfer(bar, owner)?;
        }
        let guarded = |page: Hpa| owners::of(page) == Some(Owner::Monitor);
        if !config::page(device.bdf()).is_none_or(guarded) {
            return Err(bad(
                CallStatus::BadResource,
                Resource::Function(device.plan.bdf),
            ));
        }
    }
    Ok(())
}

/// Makes `to` the owner of the root's pages in a range.
#[inline(never)]
pub(crate) fn transfer(range: Range<Hpa>, to: Owner) -> Result<(), Refusal> {
    let (first, end) = (range.start.page(), range.end.page());
    owners::take_pages(first..end, to).map_err(|error| match error {
        OwnError::NotOwned { key, owner } => taken(Resource::Page(key * PAGE_SIZE), owner),
        OwnError::Empty => bad(CallStatus::BadResource, Resource::Page(range.start.0)),
        OwnError::Full => CallStatus::NoMemory.into(),
    })
}

/// True if the BARs of a physical function are where and what the plan says, and its
/// ports are the cell's. The root does not reach it any more. Those of a virtual
/// function are what its physical one says.
fn bars_are_true(window: &mut Window, device: &Device, cell: CellId) -> bool {
    if device.plan.pf.is_some() {
        return true;
    }
    let bdf = device.bdf();
    let command = config::read(window, bdf, COMMAND) & 0xffff;
    config::write(window, bdf, COMMAND, command & !DECODES);
    let mut registers = [(0, 0); 6];
    for (bytes, register) in (0..).step_by(4).zip(&mut registers) {
        let offset = BARS.plus(bytes);
        register.0 = config::read(window, bdf, offset);
        config::write(window, bdf, offset, u32::MAX);
        register.1 = config::read(window, bdf, offset);
        config::write(window, bdf, offset, register.0);
    }
    config::write(window, bdf, COMMAND, command);
    let bars = Bar::all(&registers);
    let owned = |bar: &Bar| match *bar {
        Bar::Io { base, size } => {
            let (first, end) = (u64::from(base), u64::from(base) + u64::from(size));
            owners::with(|o| o.ports.check(first, end, Owner::Cell(cell)).is_ok()) == Some(true)
        }
        _ => true,
    };
    bars == device.function.about().bars && bars.iter().all(owned)
}

/// Gives the functions their interrupts, their domain, and a reset. Their DMA is
/// off until the cell switches it on.
#[inline(never)] // Its own frame: what lies far in one is reached by four bytes.
pub(crate) fn protect(
    window: &mut Window,
    functions: &mut Functions,
    cell: CellId,
    domain: Option<&Domain>,
) -> Result<(), Refusal> {
    for device in functions.all() {
        if !bars_are_true(window, device, cell) {
            let resource = Resource::Function(device.plan.bdf);
            return Err(bad(CallStatus::BadResource, resource));
        }
    }
    for device in functions.all_mut() {
        device.quiesce(window);
        let resource = Resource::Function(device.plan.bdf);
        let (bdf, vectors) = (device.bdf(), device.vectors());
        if let Some(domain) = domain {
            iommu::attach(bdf, domain).map_err(|_| bad(CallStatus::NotSupported, resource))?;
            device.attached = true;
            if vectors != 0 {
                let first = iommu::take_entries(vectors).ok_or(CallStatus::NoMemory)?;
                device.entries = Some((first, vectors));
            }
        }
        if let Some(layout) = device.function.msix() {
            let msix = Msix::new(layout, &device.function.about().bars);
            device.msix = Some(msix.map_err(|status| match status {
                CallStatus::NoMemory => status.into(),
                _ => bad(status, resource),
            })?);
        }
    }
    Ok(())
}

/// Maps BARs where they are, but for MSI-X tables.
pub(crate) fn map(functions: &Functions, space: &mut Space) -> Result<(), Refusal> {
    const MIRROR: Attr = Attr {
        read: true,
        write: false,
        execute: false,
        mem_type: MemType::WriteBack,
    };
    for device in functions.all() {
        let guarded = device.msix.as_ref().map(Msix::guarded);
        for bar in memory(device) {
            let hole = guarded.clone().filter(|hole| bar.contains(&hole.start));
            let hole = hole.unwrap_or(bar.end..bar.end);
            identity(space, bar.start..hole.start)?;
            identity(space, hole.end..bar.end)?;
        }
        let mirror = device.msix.as_ref().and_then(Msix::mirror);
        if let (Some(guarded), Some(mirror)) = (guarded, mirror) {
            put(space, guarded, mirror, MIRROR)?;
        }
    }
    Ok(())
}

fn identity(space: &mut Space, range: Range<Hpa>) -> Result<(), Refusal> {
    let start = range.start;
    if start >= range.end {
        return Ok(());
    }
    put(space, range, start, Attr::DEVICE)
}

/// Maps `hpa` where the cell looks for the registers in `at`.
fn put(space: &mut Space, at: Range<Hpa>, hpa: Hpa, attr: Attr) -> Result<(), Refusal> {
    let at = at.start.identity()..at.end.identity();
    let gpa = at.start;
    space.map(at, hpa, attr).map_err(|error| match error {
        MapError::NoMemory => CallStatus::NoMemory.into(),
        MapError::Overlap(at) => bad(CallStatus::BadResource, Resource::GuestPage(at.0)),
        _ => bad(CallStatus::BadResource, Resource::GuestPage(gpa.0)),
    })
}

/// Makes the domain of a cell whose functions are confined.
#[inline(never)] // Its own frame: what lies far in one is reached by four bytes.
pub(crate) fn domain(
    plan: &CellPlan<'_>,
    functions: &Functions,
    id: CellId,
) -> Result<Option<Domain>, Refusal> {
    if functions.len() == 0 || iommu::units() == 0 {
        return Ok(None);
    }
    let mut domain = Domain::new(id).map_err(|_| Refusal::from(CallStatus::NoMemory))?;
    for memory in plan.own_memory() {
        if domain
            .map(Gpa(memory.gpa), Hpa(memory.hpa), memory.size)
            .is_err()
        {
            return Err(CallStatus::NoMemory.into());
        }
    }
    Ok(Some(domain))
}
