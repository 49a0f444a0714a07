//! Devices of the machine: they know no cells.

pub(crate) mod ioapic;
pub(crate) mod iommu;
pub(crate) mod pci;
