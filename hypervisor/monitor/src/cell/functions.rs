//! The functions of all cells: who owns them, and what is seen of them.

use crate::cell::{self, Cell};
use crate::dev::iommu;
use crate::dev::pci::config::Register;
use crate::dev::pci::device::Written;
use crate::dev::pci::{Functions, config};
use crate::lock::{Guard, Mutex};
use crate::mem::map::Window;
use cellvisor_abi::call::CellId;
use cellvisor_core::addr::Gpa;
use cellvisor_core::exit::ones;
use cellvisor_core::ids::Port;
use cellvisor_core::iommu::vtd;
use cellvisor_core::locks::Rank;
use cellvisor_core::pci::sriov::SrIov;
use cellvisor_core::pci::{ABSENT, Access, Bdf, Seen, placeholder, route};
use cellvisor_core::text::{Address, Hex, Word};

/// Runs `f` with the functions of `cell`, if it has any.
fn with<T>(cell: &Cell, f: impl FnOnce(&mut Functions) -> T) -> Option<T> {
    Some(f(&mut *some(cell)?))
}

#[inline(never)] // All of it stood in each caller of `with`.
fn some(cell: &Cell) -> Option<Guard<'_, Functions, { Rank::Functions as u8 }>> {
    let functions = cell.guest.as_ref()?.functions.lock();
    Some(functions).filter(|functions| functions.len() != 0)
}

/// True if the cell has functions.
pub(crate) fn any(cell: &Cell) -> bool {
    let guest = cell.guest.as_ref();
    guest.is_some_and(|guest| guest.has_functions)
}

/// Most functions of all cells.
const MAX_GIVEN: usize = 512;

/// A function that a cell has.
struct Given {
    bdf: Bdf,
    pf: Option<Bdf>,
    cell: CellId,
}

/// All of them. The root's accesses ask here while cells come and go: none may
/// look into a cell, which only its own CPUs and hypercalls keep alive.
static GIVEN: Mutex<heapless::Vec<Given, MAX_GIVEN>, { Rank::Given as u8 }> =
    Mutex::new(heapless::Vec::new());

/// Notes that `cell` has these functions. False if there is no room; then it is
/// noted of none.
pub(crate) fn note(cell: CellId, functions: &Functions) -> bool {
    let mut given = GIVEN.lock();
    let fits = given.len() + functions.len() <= MAX_GIVEN;
    if fits {
        for device in functions.all() {
            let _fits = given.push(Given {
                bdf: device.bdf(),
                pf: device.plan.pf,
                cell,
            });
        }
    }
    fits
}

/// Forgets the functions of `cell`.
pub(crate) fn forget(cell: CellId) {
    GIVEN.lock().retain(|given| given.cell != cell);
}

/// The cell reads configuration space.
pub(crate) fn read(window: &mut Window, cell: &Cell, at: Bdf, access: Access) -> u32 {
    let value = with(cell, |functions| match functions.find(at) {
        Ok(device) => device.read(window, access),
        Err(Seen::Placeholder) => access.extract(placeholder(access.dword())),
        Err(_) => access.extract(ABSENT),
    });
    value.unwrap_or(access.extract(ABSENT))
}

/// The cell writes it; false if that was refused.
pub(crate) fn write(window: &mut Window, cell: &Cell, at: Bdf, access: Access, value: u32) -> bool {
    let written = with(cell, |functions| {
        let device = functions.find(at).ok()?;
        Some(device.write(window, cell.cpu_indexes(), access, value))
    });
    match written.flatten() {
        Some(Written::Done) => true,
        Some(Written::Undelivered(count)) => {
            (0..count).for_each(|_| refused(cell));
            true
        }
        Some(Written::Refused) | None => false,
    }
}

/// Counts a message of the cell that leads nowhere it may.
pub(crate) fn refused(cell: &Cell) {
    if cell::count(&cell.denied.mmio) {
        cell.log(format_args!("denied interrupt message"));
    }
}

/// The cell reads in guarded pages of an MSI-X table; `None` if there are none.
pub(crate) fn read_table(window: &mut Window, cell: &Cell, gpa: Gpa, size: u8) -> Option<u64> {
    with(cell, |functions| {
        let device = functions
            .all()
            .iter()
            .find(|device| device.guards(gpa.identity()))?;
        Some(device.msix.as_ref()?.read(window, gpa.identity(), size))
    })?
}

/// The cell writes there; false if that was refused.
pub(crate) fn write_table(
    window: &mut Window,
    cell: &Cell,
    gpa: Gpa,
    size: u8,
    value: u64,
) -> bool {
    with(cell, |functions| {
        let mut all = functions.all_mut().iter_mut();
        let found = all.find(|device| device.guards(gpa.identity()));
        found.is_some_and(|device| {
            device.write_table(window, cell.cpu_indexes(), gpa.identity(), size, value)
        })
    })
    .unwrap_or(false)
}

/// True if the cell's access at `gpa` is to a guarded page of an MSI-X table.
pub(crate) fn is_table(cell: &Cell, gpa: Gpa) -> bool {
    with(cell, |functions| {
        functions
            .all()
            .iter()
            .any(|device| device.guards(gpa.identity()))
    })
    .unwrap_or(false)
}

/// The cell that owns the function at `bdf`.
pub(crate) fn owner(bdf: Bdf) -> Option<CellId> {
    let given = GIVEN.lock();
    given.iter().find(|given| given.bdf == bdf).map(|g| g.cell)
}

/// True if a cell owns a virtual function of `pf`.
pub(crate) fn has_virtual(pf: Bdf) -> bool {
    GIVEN.lock().iter().any(|given| given.pf == Some(pf))
}

/// The root reads configuration space.
pub(crate) fn root_read(window: &mut Window, bdf: Bdf, access: Access) -> u32 {
    if owner(bdf).is_some() {
        return access.extract(ABSENT);
    }
    access.extract(config::read(window, bdf, Register(access.dword())))
}

/// The root writes it; false if that was refused.
pub(crate) fn root_write(window: &mut Window, bdf: Bdf, access: Access, value: u32) -> bool {
    let refused = cell::any() && !may_write(window, bdf, access, value);
    if !refused {
        config::write_part(window, bdf, access, value);
    }
    !refused
}

/// True if the write harms no cell.
fn may_write(window: &mut Window, bdf: Bdf, access: Access, value: u32) -> bool {
    if owner(bdf).is_some() {
        return false;
    }
    let mut read = |at| config::read(window, bdf, Register(at));
    if has_virtual(bdf) {
        let guards = |sriov: SrIov| sriov.guards(access);
        if SrIov::read(&mut read).ok().flatten().is_none_or(guards) {
            return false;
        }
    }
    let is_given = |first, last| {
        let buses = first..=last;
        let there =
            |given: &Given| given.bdf.segment == bdf.segment && buses.contains(&given.bdf.bus());
        GIVEN.lock().iter().any(there)
    };
    route::may_write(&mut read, access, value, &is_given)
}

/// The root reads a data port; ones for a function of a cell.
pub(crate) fn root_port_read(window: &mut Window, port: Port, size: u8) -> u64 {
    match config::of_root(port, size) {
        Some((bdf, access)) => u64::from(root_read(window, bdf, access)),
        None => ones(size),
    }
}

/// The root writes a data port; false if that was refused.
pub(crate) fn root_port_write(window: &mut Window, port: Port, size: u8, value: u32) -> bool {
    config::of_root(port, size).is_some_and(|(bdf, access)| root_write(window, bdf, access, value))
}

/// Counts the faults that the units have recorded, for the functions and cells
/// that caused them.
pub(crate) fn count_faults() {
    for (segment, fault) in &iommu::take_faults() {
        let bdf = Bdf {
            segment: *segment,
            requester: fault.source,
        };
        let counts = |functions: &mut Functions| {
            let mut all = functions.all_mut().iter_mut();
            let found = all.find(|device| device.bdf() == bdf);
            found.map(|device| device.faults += 1).is_some()
        };
        let culprit = cell::all().find(|cell| with(cell, counts) == Some(true));
        let culprit = culprit.or_else(|| cell::get(CellId::ROOT));
        if let Some(cell) = culprit
            && cell::count(&cell.denied.dma)
        {
            let (what, at) = match fault.access {
                vtd::Access::Read(at) => ("read", at),
                vtd::Access::Write(at) => ("write", at),
                vtd::Access::Interrupt(index) => ("interrupt", u64::from(index)),
            };
            cell.log(format_args!(
                "denied dma function={} {}={}",
                Address(bdf),
                Word(what),
                Hex(at)
            ));
        }
    }
}
