//! PCI functions of cells: who owns them, what is seen of them in configuration
//! space, and their MSI-X tables.

mod claim;
mod config;
mod device;
mod msix;

use crate::cell::{self, Cell};
use crate::mem::map::Window;
use crate::mem::pool;
use crate::{iommu, sync};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, FunctionStatus};
use cellvisor_abi::plan;
use cellvisor_core::exit::ones;
use cellvisor_core::iommu::vtd;
use cellvisor_core::pci::sriov::SrIov;
use cellvisor_core::pci::{ABSENT, Access, Bdf, Seen, placeholder, seen};
pub(crate) use claim::{
    MAX_FUNCTIONS, claim, domain, guarded, map, protect, release_guarded, take_pages,
};
pub(crate) use config::{ADDRESS_PORT, DATA_PORT, at as config_at, init};
use device::{Device, Written};

/// A little longer than any reset takes, in microseconds.
const PATIENCE_US: u64 = 200_000;

/// The functions of one cell.
pub(crate) struct Functions {
    /// Virtual address of their pages, and how many.
    pages: (u64, u64),
    count: usize,
}

impl Functions {
    /// None, with room for `most`. `None` if the pool is empty.
    fn with_room(most: usize) -> Option<Self> {
        let pages = ((most * size_of::<Device>()) as u64).div_ceil(PAGE_SIZE);
        let va = if pages == 0 {
            0
        } else {
            pool::alloc_run(pages)?
        };
        Some(Self {
            pages: (va, pages),
            count: 0,
        })
    }

    /// Adds one; false if there is no room.
    fn push(&mut self, device: Device) -> bool {
        let room = (self.pages.1 * PAGE_SIZE) as usize / size_of::<Device>();
        if self.count >= room {
            return false;
        }
        let first = self.pages.0 as *mut Device;
        // SAFETY: the pages have room for `room` of them, and are aligned.
        unsafe { first.add(self.count).write(device) };
        self.count += 1;
        true
    }

    fn all(&self) -> &[Device] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: `push` has initialised so many; the pages are ours alone.
        unsafe { core::slice::from_raw_parts(self.pages.0 as *const Device, self.count) }
    }

    fn all_mut(&mut self) -> &mut [Device] {
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as in `all`.
        unsafe { core::slice::from_raw_parts_mut(self.pages.0 as *mut Device, self.count) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// As they were planned.
    pub(crate) fn plans(&self) -> impl Iterator<Item = plan::Function> + '_ {
        self.all().iter().map(|device| device.plan)
    }

    /// At least one has no domain of the cell's.
    pub(crate) fn unprotected(&self) -> bool {
        self.all().iter().any(|device| !device.attached)
    }

    /// Ends all DMA and all interrupts, and begins to reset the functions.
    pub(crate) fn quiesce(&mut self, window: &mut Window) {
        for device in self.all_mut() {
            device.quiesce(window);
        }
    }

    /// True when all resets are over.
    pub(crate) fn settle(&mut self, window: &mut Window) -> bool {
        let settled = |device: &mut Device| device.settle(window);
        self.all_mut()
            .iter_mut()
            .map(settled)
            .fold(true, |a, b| a & b)
    }

    /// Waits for the ends of resets, which are under way for some time already,
    /// and lets functions interrupt again by their pins, as after a reset.
    pub(crate) fn wait(&mut self, window: &mut Window) -> bool {
        let settled = sync::wait_for(PATIENCE_US, || self.settle(window));
        self.all().iter().for_each(|device| device.raise(window));
        settled
    }

    /// Gives the functions back to the root, quiet as they are, and all that
    /// belonged to them.
    pub(crate) fn free(&mut self) {
        for device in self.all_mut() {
            if device.attached && iommu::detach(device.bdf()).is_ok() {
                device.attached = false;
            }
            device.free();
        }
        self.count = 0;
        if self.pages.1 != 0 {
            pool::free_run(self.pages.0, self.pages.1);
            self.pages.1 = 0;
        }
    }

    /// What is told of the function at this place.
    pub(crate) fn status(&self, window: &mut Window, index: usize) -> Option<FunctionStatus> {
        Some(self.all().get(index)?.status(window))
    }

    fn find(&mut self, guest: Bdf) -> Result<&mut Device, Seen> {
        match seen(self.all().iter().map(Device::guest), guest) {
            Seen::Function(index) => self.all_mut().get_mut(index).ok_or(Seen::Nothing),
            other => Err(other),
        }
    }
}

/// Runs `f` with the functions of `cell`, if it has any.
fn with<T>(cell: &Cell, f: impl FnOnce(&mut Functions) -> T) -> Option<T> {
    let mut functions = cell.guest.as_ref()?.functions.lock();
    (functions.count != 0).then(|| f(&mut functions))
}

/// True if a cell has functions: the root's accesses are filtered then.
pub(crate) fn any() -> bool {
    cell::all().any(|cell| with(cell, |_| ()).is_some())
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
        crate::log::line(format_args!(
            "cell={} denied interrupt message",
            cell.name.as_str()
        ));
    }
}

/// The cell reads in guarded pages of an MSI-X table; `None` if there are none.
pub(crate) fn read_table(window: &mut Window, cell: &Cell, gpa: u64, size: u8) -> Option<u64> {
    with(cell, |functions| {
        let device = functions.all().iter().find(|device| device.guards(gpa))?;
        Some(device.msix.as_ref()?.read(window, gpa, size))
    })?
}

/// The cell writes there; false if that was refused.
pub(crate) fn write_table(
    window: &mut Window,
    cell: &Cell,
    gpa: u64,
    size: u8,
    value: u64,
) -> bool {
    with(cell, |functions| {
        let mut all = functions.all_mut().iter_mut();
        let found = all.find(|device| device.guards(gpa));
        found.is_some_and(|device| device.write_table(window, cell.cpu_indexes(), gpa, size, value))
    })
    .unwrap_or(false)
}

/// True if the cell's access at `gpa` is to a guarded page of an MSI-X table.
pub(crate) fn is_table(cell: &Cell, gpa: u64) -> bool {
    with(cell, |functions| {
        functions.all().iter().any(|device| device.guards(gpa))
    })
    .unwrap_or(false)
}

/// The cell that owns the function at `bdf`.
fn owner(bdf: Bdf) -> Option<CellId> {
    let has = |functions: &mut Functions| functions.all().iter().any(|d| d.bdf() == bdf);
    let mut cells = cell::all();
    cells
        .find(|cell| with(cell, has) == Some(true))
        .map(|cell| cell.id)
}

/// True if a cell owns a virtual function of `pf`.
fn has_virtual(pf: Bdf) -> bool {
    let of_pf = |device: &Device| device.plan.pf == Some(pf.to_plan());
    let has = |functions: &mut Functions| functions.all().iter().any(of_pf);
    cell::all().any(|cell| with(cell, has) == Some(true))
}

/// The root reads four bytes of configuration space that is guarded.
pub(crate) fn root_read(window: &mut Window, bdf: Bdf, access: Access) -> u32 {
    if owner(bdf).is_some() {
        return access.extract(ABSENT);
    }
    access.extract(config::read(window, bdf, access.dword()))
}

/// The root writes it; false if that was refused.
pub(crate) fn root_write(window: &mut Window, bdf: Bdf, access: Access, value: u32) -> bool {
    if owner(bdf).is_some() {
        return false;
    }
    if has_virtual(bdf) {
        let sriov = SrIov::read(|offset| config::read(window, bdf, offset));
        let guards = |sriov: SrIov| sriov.guards(access);
        if sriov.ok().flatten().is_none_or(guards) {
            return false;
        }
    }
    config::write_part(window, bdf, access, value);
    true
}

/// The root reads a data port; ones for a function of a cell.
pub(crate) fn root_port_read(window: &mut Window, port: u16, size: u8) -> u64 {
    match config::of_root(port, size) {
        Some((bdf, access)) => u64::from(root_read(window, bdf, access)),
        None => ones(size),
    }
}

/// The root writes a data port; false if that was refused.
pub(crate) fn root_port_write(window: &mut Window, port: u16, size: u8, value: u32) -> bool {
    config::of_root(port, size).is_some_and(|(bdf, access)| root_write(window, bdf, access, value))
}

/// Counts the faults that the units have recorded, for the functions and cells
/// that caused them.
pub(crate) fn count_faults() {
    iommu::for_each_fault(|segment, fault| {
        let bdf = Bdf {
            segment,
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
            let name = cell.name.as_str();
            let (what, at) = match fault.access {
                vtd::Access::Read(at) => ("read", at),
                vtd::Access::Write(at) => ("write", at),
                vtd::Access::Interrupt(index) => ("interrupt", u64::from(index)),
            };
            crate::log::line(format_args!(
                "cell={name} denied dma function={bdf} {what}={at:#x}"
            ));
        }
    });
}
