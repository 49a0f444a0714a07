//! PCI functions: configuration space, interrupts, resets.

pub(crate) mod config;
pub(crate) mod device;
pub(crate) mod msix;

use crate::dev::pci::device::Device;
use crate::mem::map::Window;
use crate::mem::page::PageVec;
use crate::sync;
use crate::sync::Micros;
use cellvisor_abi::call::FunctionStatus;
use cellvisor_abi::plan;
use cellvisor_core::pci::{Bdf, Seen, seen};
pub(crate) use config::{ADDRESS_PORT, DATA_PORT, at as config_at, init};

/// Most functions of a cell.
pub(crate) const MAX_FUNCTIONS: usize = plan::MAX_FUNCTIONS;

/// A little longer than any reset takes, in microseconds.
const PATIENCE: Micros = Micros(200_000);

/// The functions of one cell. Dropped, they are the root's again, quiet as they are.
pub(crate) struct Functions(PageVec<Device>);

impl Functions {
    /// None, with room for `most`. `None` if the pool is empty.
    pub(crate) fn with_room(most: usize) -> Option<Self> {
        PageVec::with_room(most).map(Self)
    }

    /// Adds one; false if there is no room.
    pub(crate) fn push(&mut self, device: Device) -> bool {
        self.0.push(device).is_ok()
    }

    pub(crate) fn all(&self) -> &[Device] {
        &self.0
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Device] {
        &mut self.0
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As they were planned.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &plan::Function> {
        self.all().iter().map(|device| &device.plan)
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
        let settled = sync::wait_for(PATIENCE, || self.settle(window));
        self.all().iter().for_each(|device| device.raise(window));
        settled
    }

    /// What a status call answers about the function at this place.
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
