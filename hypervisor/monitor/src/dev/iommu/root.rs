//! The root's own memory, as the monitor reads it for the root's interrupt
//! remapping.
//!
//! Source: Intel Virtualization Technology for Directed I/O, revision 4, "Interrupt
//! Remapping Table".

use super::unit::Unit;
use super::{IrteIndex, Segment};
use crate::cpu::{dest, percpu};
use crate::machine;
use crate::mem::map::Window;
use crate::mem::owners;
use cellvisor_abi::call::{CellId, Owner};
use cellvisor_core::addr::Hpa;
use cellvisor_core::iommu::vtd::Irte;
use cellvisor_core::iommu::vtd::root_filter::root_entry;
use cellvisor_core::pci::Bdf;

/// What it takes to look at the root's memory.
pub(super) struct RootView<'a> {
    pub(super) window: &'a mut Window,
    /// Functions that are not the root's.
    pub(super) attached: &'a [Bdf],
}

impl RootView<'_> {
    /// The root's interrupt entry with this index, as the unit may have it.
    pub(super) fn entry(&mut self, unit: &Unit, index: IrteIndex) -> Irte {
        const SIZE: u64 = 16;
        let Some((table, entries, mode)) = unit.shadow.table() else {
            return Irte::BLOCKED;
        };
        let mut bytes = [0; SIZE as usize];
        let at = Hpa(table.0 + u64::from(index.0) * SIZE);
        if index.0 >= entries || !self.read(at, &mut bytes) {
            return Irte::BLOCKED;
        }
        let both = u128::from_le_bytes(bytes);
        let irte = Irte {
            low: both as u64,
            high: (both >> 64) as u64,
        };
        let is_roots = |dest| {
            let mut others = percpu::cpus().filter(|cpu| cpu.owner() != CellId::ROOT);
            !others.any(|cpu| dest::means(dest, cpu))
        };
        let cells = self.attached.iter();
        let cells = cells.filter(|bdf| Segment(bdf.segment) == unit.segment);
        root_entry(irte, mode, is_roots, cells.map(|bdf| bdf.requester))
    }

    /// Copies the root's memory, within a page; false if it is not the root's.
    pub(super) fn read(&mut self, at: Hpa, out: &mut [u8]) -> bool {
        let owned = is_roots(at);
        if owned {
            self.window.read(at, out);
        }
        owned
    }

    /// Copies to the root's memory, within a page, if it is the root's.
    pub(super) fn write(&mut self, at: Hpa, bytes: &[u8]) {
        if is_roots(at) {
            self.window.write(at, bytes);
        }
    }
}

fn is_roots(at: Hpa) -> bool {
    at < machine::get().physical_end && owners::of(at) == Some(Owner::Root)
}
