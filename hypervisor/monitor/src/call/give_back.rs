//! Giving back what a cell had.

use crate::call::caller::Caller;
use crate::cell::{self, claim, functions};
use crate::dev::pci::{self, MAX_FUNCTIONS};
use crate::dev::{ioapic, iommu};
use crate::log;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use log::log;

/// Pages that are guarded for a cell's functions.
pub(super) type Guarded = heapless::Vec<u64, MAX_FUNCTIONS>;

/// Gives all that `owner`, a cell, has in the maps back to the root, which may
/// reach it with DMA again, and what was guarded for it. The cell is not known
/// any more.
pub(super) fn release(window: &mut Window, owner: Owner, guarded: &[u64]) {
    let Owner::Cell(id) = owner else { return };
    ioapic::release(window, id);
    release_pages(owner, |run| include(run.start, run.end));
    // Registers above were not there for the root's functions before.
    let low = iommu::LOW_END / PAGE_SIZE;
    release_pages(Owner::Device(id), |run| {
        include(run.start, run.end.min(low));
    });
    functions::forget(id);
    claim::release_guarded(guarded.iter().copied());
    filter_config_ports(functions::any());
    let root = cell::get(CellId::ROOT);
    owners::with(|owners| {
        loop {
            let Some(run) = owners.ports.owned(owner).next() else {
                break;
            };
            if owners
                .ports
                .transfer(run.start, run.end, owner, Owner::Root)
                .is_err()
            {
                break;
            }
            if let Some(root) = root {
                run.for_each(|port| root.bitmaps.set_port(port as u16, false));
            }
        }
    });
}

/// Lets DMA of the root's functions reach pages again.
fn include(first: u64, end: u64) {
    if first < end
        && iommu::units() != 0
        && iommu::include(first * PAGE_SIZE, (end - first) * PAGE_SIZE).is_err()
    {
        log!("root's functions do not reach page={first:#x}");
    }
}

fn release_pages(owner: Owner, mut back: impl FnMut(core::ops::Range<u64>)) {
    while let Some(Some(run)) = owners::with(|o| o.pages.owned(owner).next()) {
        let given = owners::with(|o| o.pages.transfer(run.start, run.end, owner, Owner::Root));
        if given != Some(Ok(())) {
            break;
        }
        back(run);
    }
}

/// The root's configuration data ports exit while a cell has functions.
pub(super) fn filter_config_ports(filtered: bool) {
    if let Some(root) = cell::get(CellId::ROOT) {
        for offset in 0..4 {
            root.bitmaps.set_port(pci::DATA_PORT + offset, filtered);
        }
    }
}

/// CPUs or functions have another owner: where the root's interrupts may go has
/// changed.
pub(super) fn recheck_interrupts(caller: &mut Caller<'_>) {
    if iommu::units() != 0 && iommu::owner_changed(caller.window).is_err() {
        log!("interrupts of the root are not checked");
    }
}
