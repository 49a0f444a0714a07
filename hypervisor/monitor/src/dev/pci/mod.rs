//! PCI functions: configuration space, interrupts, resets.

pub(crate) mod config;
pub(crate) mod device;
pub(crate) mod msix;

use crate::dev::iommu;
use crate::dev::pci::device::Device;
use crate::mem::map::Window;
use crate::mem::pool;
use crate::sync;
use cellvisor_abi::call::FunctionStatus;
use cellvisor_abi::{PAGE_SIZE, plan};
use cellvisor_core::pci::{Bdf, Seen, seen};
pub(crate) use config::{ADDRESS_PORT, DATA_PORT, at as config_at, init};

/// Most functions of a cell.
pub(crate) const MAX_FUNCTIONS: usize = plan::MAX_FUNCTIONS;

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
    pub(crate) fn with_room(most: usize) -> Option<Self> {
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
    pub(crate) fn push(&mut self, device: Device) -> bool {
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

    pub(crate) fn all(&self) -> &[Device] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: `push` has initialised so many; the pages are ours alone.
        unsafe { core::slice::from_raw_parts(self.pages.0 as *const Device, self.count) }
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Device] {
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

    pub(crate) fn find(&mut self, guest: Bdf) -> Result<&mut Device, Seen> {
        match seen(self.all().iter().map(Device::guest), guest) {
            Seen::Function(index) => self.all_mut().get_mut(index).ok_or(Seen::Nothing),
            other => Err(other),
        }
    }
}
