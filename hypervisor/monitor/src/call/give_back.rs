//! Giving back what a cell had.

use crate::call::caller::Caller;
use crate::cell::{self, functions};
use crate::dev::{ioapic, iommu};
use crate::log;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use log::log;

/// Gives all that `owner`, a cell, has in the maps back to the root, which may
/// reach it with DMA again. The cell is not known any more.
pub(super) fn release(window: &mut Window, owner: Owner) {
    let Owner::Cell(id) = owner else { return };
    ioapic::release(window, id);
    release_pages(owner, |run| include(run.start, run.end));
    // Registers above were not there for the root's functions before.
    let low = iommu::LOW_END / PAGE_SIZE;
    release_pages(Owner::Device(id), |run| {
        include(run.start, run.end.min(low));
    });
    functions::forget(id);
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

/// CPUs or functions have another owner: where the root's interrupts may go has
/// changed.
pub(super) fn recheck_interrupts(caller: &mut Caller<'_>) {
    if iommu::units() != 0 && iommu::owner_changed(caller.window).is_err() {
        log!("interrupts of the root are not checked");
    }
}
