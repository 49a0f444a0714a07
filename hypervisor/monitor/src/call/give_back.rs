//! Giving back what a cell had.

use crate::call::caller::Caller;
use crate::cell::{self, functions};
use crate::dev::{ioapic, iommu};
use crate::log;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::call::{CellId, Owner};
use cellvisor_core::addr::Hpa;
use cellvisor_core::ids::Port;
use cellvisor_core::text::Hex;
use core::ops::Range;
use log::log;

/// Gives all that `owner`, a cell, has in the maps back to the root, which may
/// reach it with DMA again. The cell is not known any more.
pub(super) fn release(window: &mut Window, owner: Owner) {
    let Owner::Cell(id) = owner else { return };
    ioapic::release(window, id);
    // Registers above were not there for the root's functions before.
    for (owner, end) in [(owner, Hpa(u64::MAX)), (Owner::Device(id), iommu::LOW_END)] {
        release_pages(owner, |range| include(range.start..range.end.min(end)));
    }
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
                run.for_each(|port| root.bitmaps.set_port(Port(port as u16), false));
            }
        }
    });
}

/// Lets DMA of the root's functions reach memory again.
fn include(range: Range<Hpa>) {
    let start = range.start;
    if start < range.end && iommu::units() != 0 && iommu::include(range).is_err() {
        log!(
            "cell=root denied dma memory={}: no memory for tables, or a unit does not answer",
            Hex(start.0)
        );
    }
}

fn release_pages(owner: Owner, mut back: impl FnMut(Range<Hpa>)) {
    while let Some(Some(run)) = owners::with(|o| o.pages.owned(owner).next()) {
        let given = owners::with(|o| o.pages.transfer(run.start, run.end, owner, Owner::Root));
        if given != Some(Ok(())) {
            break;
        }
        back(Hpa(run.start * PAGE_SIZE)..Hpa(run.end * PAGE_SIZE));
    }
}

/// CPUs or functions have another owner: where the root's interrupts may go has
/// changed.
pub(super) fn recheck_interrupts(caller: &mut Caller<'_>) {
    if iommu::units() != 0 && iommu::owner_changed(caller.window).is_err() {
        log!("cell=root interrupts are not checked: a unit does not answer");
    }
}
