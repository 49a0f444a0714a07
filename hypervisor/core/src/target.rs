//! What a guest-physical address means to who touches it. Found once, and all that
//! follows goes by it.

use crate::addr::{Gpa, PAGE_SIZE};
use crate::net;
use crate::pci::Bdf;
use cellvisor_abi::call::Owner;
use cellvisor_abi::plan::SOCKET_REGISTERS;

/// What the machine and its owners say about addresses.
pub trait Map {
    /// Page of the memory-mapped APIC registers, where the root uses them.
    fn xapic(&self) -> Option<Gpa>;
    /// First address that does not exist.
    fn end(&self) -> Gpa;
    /// Who owns the page of an address below [`Self::end`].
    fn owner(&self, address: Gpa) -> Option<Owner>;
    /// The function and the offset in its configuration space.
    fn config(&self, address: Gpa) -> Option<(Bdf, u16)>;
    /// True if the page has registers of an I/O APIC of the machine.
    fn is_ioapic(&self, address: Gpa) -> bool;
    /// True if the page has registers of an IOMMU.
    fn is_iommu(&self, address: Gpa) -> bool;
}

/// An access that did not go through the second-level tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Address, in bytes.
    pub address: Gpa,
    /// Something is written.
    pub write: bool,
    /// An instruction is fetched.
    pub execute: bool,
}

/// What the root touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootTarget {
    /// A register of its own APIC, written.
    Xapic,
    /// Configuration space that is filtered.
    Config(Bdf, u16),
    /// A register of an I/O APIC that is emulated.
    IoApic,
    /// A register of an IOMMU that is emulated.
    Iommu,
    /// Memory: mapped if it is the root's, and denied if not.
    Memory,
}

/// What an access of the root is to.
pub fn of_root(touch: Touch, map: &impl Map) -> RootTarget {
    let page = touch.address.align_down(PAGE_SIZE);
    if touch.write && map.xapic() == Some(page) {
        return RootTarget::Xapic;
    }
    // Nothing is emulated for instruction fetches, and nothing that the root owns:
    // that is mapped, and works.
    if touch.execute || touch.address >= map.end() || map.owner(touch.address) == Some(Owner::Root)
    {
        return RootTarget::Memory;
    }
    if let Some((bdf, offset)) = map.config(touch.address) {
        RootTarget::Config(bdf, offset)
    } else if map.is_ioapic(touch.address) {
        RootTarget::IoApic
    } else if map.is_iommu(touch.address) {
        RootTarget::Iommu
    } else {
        RootTarget::Memory
    }
}

/// What a cell's guest knows that it has.
pub trait CellMap {
    /// Page of its virtual I/O APIC, if it has one.
    fn ioapic(&self) -> Option<Gpa>;
    /// It has PCI functions, and so configuration space.
    fn has_functions(&self) -> bool;
    /// The function and the offset in its configuration space.
    fn config(&self, address: Gpa) -> Option<(Bdf, u16)>;
    /// True in guarded pages of an MSI-X table of its functions.
    fn is_table(&self, address: Gpa) -> bool;
    /// How many network adapters it has.
    fn adapters(&self) -> usize;
    /// It has an Extended Socket.
    fn has_socket(&self) -> bool;
}

/// Page with the power management registers of AMD's chip sets. Linux 6.16 and later
/// ask them on every Zen CPU for the reason of the last reset, at this address and
/// whatever ACPI says; ones mean that there is no answer.
///
/// Spec: Processor Programming Reference for AMD Family 17h, "ACPI MMIO Space
/// Allocation" (PM registers at FED80300H).
const AMD_CHIP_SET: Gpa = Gpa(0xfed8_0000);

/// True for registers that stock kernels look for without being told of them: cells
/// do not have them, and are not to fail for having asked.
fn is_absent(address: Gpa) -> bool {
    address.align_down(PAGE_SIZE) == AMD_CHIP_SET
}

/// What a cell touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellTarget {
    /// A register of its virtual I/O APIC.
    IoApic,
    /// Its configuration space.
    Config(Bdf, u16),
    /// The MSI-X table of one of its functions.
    Table,
    /// A network adapter.
    Adapter(net::Place),
    /// A register of its Extended Socket.
    Socket(u64),
    /// Registers that it lacks: reads give ones, writes vanish.
    Absent,
    /// Nothing that it has: the cell fails.
    Nothing,
}

/// What an access of a cell is to.
pub fn of_cell(touch: Touch, map: &impl CellMap) -> CellTarget {
    let page = touch.address.align_down(PAGE_SIZE);
    if touch.execute {
        return CellTarget::Nothing;
    }
    if map.ioapic() == Some(page) {
        return CellTarget::IoApic;
    }
    if page.0 == SOCKET_REGISTERS && map.has_socket() {
        return CellTarget::Socket(touch.address.page_offset());
    }
    if let Some(place) = net::Place::of(touch.address, map.adapters()) {
        return CellTarget::Adapter(place);
    }
    match map.config(touch.address) {
        Some((bdf, offset)) if map.has_functions() => CellTarget::Config(bdf, offset),
        _ if map.is_table(touch.address) => CellTarget::Table,
        _ if is_absent(touch.address) => CellTarget::Absent,
        _ => CellTarget::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cellvisor_abi::call::CellId;

    const XAPIC: u64 = 0xfee0_0000;
    const IOAPIC: u64 = 0xfec0_0000;
    const IOMMU: u64 = 0xfed9_0000;
    const CONFIG: u64 = 0xb000_0000;
    const END: u64 = 1 << 40;
    const BDF: Bdf = Bdf {
        segment: 0,
        requester: 0x18,
    };

    struct Machine {
        xapic: bool,
        /// Whose all devices are.
        owner: Owner,
    }

    impl Map for Machine {
        fn xapic(&self) -> Option<Gpa> {
            self.xapic.then_some(Gpa(XAPIC))
        }
        fn end(&self) -> Gpa {
            Gpa(END)
        }
        fn owner(&self, address: Gpa) -> Option<Owner> {
            assert!(address < Gpa(END), "nobody asks for what does not exist");
            Some(if address < Gpa(CONFIG) {
                Owner::Root
            } else {
                self.owner
            })
        }
        fn config(&self, address: Gpa) -> Option<(Bdf, u16)> {
            (address.0 & !0xfff == CONFIG).then_some((BDF, (address.0 & 0xfff) as u16))
        }
        fn is_ioapic(&self, address: Gpa) -> bool {
            address.0 & !0xfff == IOAPIC
        }
        fn is_iommu(&self, address: Gpa) -> bool {
            address.0 & !0xfff == IOMMU
        }
    }

    const GUARDED: Machine = Machine {
        xapic: true,
        owner: Owner::Monitor,
    };

    fn read(address: u64) -> Touch {
        Touch {
            address: Gpa(address),
            write: false,
            execute: false,
        }
    }

    fn write(address: u64) -> Touch {
        Touch {
            write: true,
            ..read(address)
        }
    }

    fn fetch(address: u64) -> Touch {
        Touch {
            execute: true,
            ..read(address)
        }
    }

    #[test]
    fn writes_to_the_own_apic_may_be_interrupt_commands() {
        assert_eq!(of_root(write(XAPIC + 0x300), &GUARDED), RootTarget::Xapic);
    }

    #[test]
    fn reads_of_the_own_apic_are_memory() {
        assert_eq!(of_root(read(XAPIC + 0x300), &GUARDED), RootTarget::Memory);
    }

    #[test]
    fn without_memory_mapped_registers_there_is_no_such_page() {
        let x2apic = Machine {
            xapic: false,
            ..GUARDED
        };
        assert_eq!(of_root(write(XAPIC), &x2apic), RootTarget::Memory);
    }

    #[test]
    fn the_page_behind_the_apic_is_not_the_apic() {
        assert_eq!(of_root(write(XAPIC + 0x1000), &GUARDED), RootTarget::Memory);
        assert_eq!(of_root(write(XAPIC - 1), &GUARDED), RootTarget::Memory);
    }

    #[test]
    fn guarded_configuration_space_is_filtered() {
        let want = RootTarget::Config(BDF, 0x44);
        assert_eq!(of_root(read(CONFIG + 0x44), &GUARDED), want);
        assert_eq!(of_root(write(CONFIG + 0x44), &GUARDED), want);
    }

    #[test]
    fn guarded_chips_are_emulated() {
        assert_eq!(of_root(read(IOAPIC + 0x10), &GUARDED), RootTarget::IoApic);
        assert_eq!(of_root(write(IOMMU + 0xff8), &GUARDED), RootTarget::Iommu);
    }

    #[test]
    fn what_the_root_owns_is_memory_whatever_it_is() {
        let free = Machine {
            xapic: true,
            owner: Owner::Root,
        };
        for address in [CONFIG, IOAPIC, IOMMU, 0x1000] {
            assert_eq!(of_root(write(address), &free), RootTarget::Memory);
        }
    }

    #[test]
    fn what_a_cell_owns_is_emulated_for_nobody_but_for_its_space() {
        let of_cell = Machine {
            xapic: true,
            owner: Owner::Device(CellId(1)),
        };
        assert_eq!(of_root(read(CONFIG), &of_cell), RootTarget::Config(BDF, 0));
        assert_eq!(of_root(read(0xf000_0000), &of_cell), RootTarget::Memory);
    }

    #[test]
    fn code_is_fetched_from_no_device() {
        for address in [CONFIG, IOAPIC, IOMMU, XAPIC] {
            assert_eq!(of_root(fetch(address), &GUARDED), RootTarget::Memory);
        }
    }

    #[test]
    fn an_address_that_does_not_exist_has_no_owner() {
        assert_eq!(of_root(read(END), &GUARDED), RootTarget::Memory);
        assert_eq!(of_root(write(u64::MAX), &GUARDED), RootTarget::Memory);
    }

    struct Cell {
        ioapic: bool,
        functions: bool,
    }

    impl CellMap for Cell {
        fn ioapic(&self) -> Option<Gpa> {
            self.ioapic.then_some(Gpa(IOAPIC))
        }
        fn has_functions(&self) -> bool {
            self.functions
        }
        fn config(&self, address: Gpa) -> Option<(Bdf, u16)> {
            GUARDED.config(address)
        }
        fn is_table(&self, address: Gpa) -> bool {
            self.functions && address.0 & !0xfff == 0xf000_0000
        }
        fn adapters(&self) -> usize {
            usize::from(self.functions)
        }
        fn has_socket(&self) -> bool {
            self.functions
        }
    }

    const RICH: Cell = Cell {
        ioapic: true,
        functions: true,
    };
    const POOR: Cell = Cell {
        ioapic: false,
        functions: false,
    };

    #[test]
    fn a_cell_has_its_io_apic_and_its_functions() {
        assert_eq!(of_cell(read(IOAPIC + 0x10), &RICH), CellTarget::IoApic);
        let want = CellTarget::Config(BDF, 4);
        assert_eq!(of_cell(write(CONFIG + 4), &RICH), want);
        assert_eq!(of_cell(write(0xf000_0ff0), &RICH), CellTarget::Table);
        let want = CellTarget::Socket(0x8c);
        assert_eq!(of_cell(write(SOCKET_REGISTERS + 0x8c), &RICH), want);
    }

    #[test]
    fn a_cell_without_them_fails_where_others_have_them() {
        for address in [IOAPIC, CONFIG, 0xf000_0000, SOCKET_REGISTERS] {
            assert_eq!(of_cell(read(address), &POOR), CellTarget::Nothing);
        }
    }

    #[test]
    fn a_cell_that_runs_code_on_a_device_fails() {
        for address in [IOAPIC, CONFIG, 0xf000_0000] {
            assert_eq!(of_cell(fetch(address), &RICH), CellTarget::Nothing);
        }
    }

    #[test]
    fn a_kernel_that_asks_amds_chip_set_goes_on() {
        for cell in [RICH, POOR] {
            assert_eq!(of_cell(read(0xfed8_03c0), &cell), CellTarget::Absent);
            assert_eq!(of_cell(write(0xfed8_03c0), &cell), CellTarget::Absent);
            assert_eq!(of_cell(fetch(0xfed8_03c0), &cell), CellTarget::Nothing);
            for beside in [0xfed7_ffff, 0xfed8_1000] {
                assert_eq!(of_cell(read(beside), &cell), CellTarget::Nothing);
            }
        }
    }

    #[test]
    fn what_is_beside_a_cells_devices_is_nothing() {
        for address in [IOAPIC + 0x1000, CONFIG - 1, XAPIC, IOMMU, 0, u64::MAX] {
            assert_eq!(of_cell(write(address), &RICH), CellTarget::Nothing);
        }
    }
}
