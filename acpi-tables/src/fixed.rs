//! Tables of fixed layout: RSDP, XSDT, FADT, MADT, MCFG.
//!
//! Spec: ACPI 6.3, "ACPI Software Programming Model"; PCI Firmware 3.2, "MCFG
//! Table Description".

use crate::parts::bytes;
use crate::{CellAcpi, FIRST_X2APIC_ID, IOAPIC_ID, OEM, table};
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::{Aml, AmlSink, mcfg::MCFG, rsdp::Rsdp, xsdt::XSDT};
use alloc::vec::Vec;
use cellvisor_abi::plan::{Devices, Ecam, RESET_VALUE};

/// Size of the FADT of ACPI 6.x, in bytes.
pub(crate) const FADT_SIZE: usize = 276;

/// The revision that goes with the x2APIC and online-capable rules of ACPI 6.3.
const MADT_REVISION: u8 = 5;

/// Where every x86 CPU has its local APIC; a cell uses it by MSRs only.
const LOCAL_APIC: u32 = 0xfee0_0000;

/// Boot flags of the FADT ("IA-PC Boot Architecture Flags"): no VGA; leave
/// active-state power management of links as it is, since the ports above a
/// function belong to somebody else; no CMOS clock. The flags that stay clear
/// say: no ISA devices, no 8042, message-signalled interrupts are fine.
const BOOT_FLAGS: u16 = 1 << 2 | 1 << 4 | 1 << 5;

/// Feature flags of the FADT. The two buttons are set because that means "not
/// there as fixed hardware". Interrupts reach every CPU in physical mode only:
/// MSI and I/O APIC name one virtual id, which remapping makes a physical one.
const FEATURES: [Flags; 5] = [
    Flags::Wbinvd,
    Flags::PwrButton,
    Flags::SlpButton,
    Flags::ForceApicPhysicalDestinationMode,
    Flags::HwReducedAcpi,
];

/// Revision 2, for an XSDT at this guest-physical address.
pub(crate) fn rsdp(xsdt: u64) -> Vec<u8> {
    bytes(&Rsdp::new(OEM.0, xsdt))
}

/// Lists tables at these guest-physical addresses.
pub(crate) fn xsdt(listed: &[u64]) -> Vec<u8> {
    let mut xsdt = XSDT::new(OEM.0, OEM.1, OEM.2);
    for address in listed {
        xsdt.add_entry(*address);
    }
    bytes(&xsdt)
}

/// For a DSDT at the guest-physical address `dsdt`.
pub(crate) fn fadt(devices: &Devices, dsdt: u64) -> Vec<u8> {
    let mut fadt = FEATURES.into_iter().fold(
        FADTBuilder::new(OEM.0, OEM.1, OEM.2)
            .dsdt_64(dsdt)
            .preferred_pm_profile(PmProfile::EnterpriseServer),
        FADTBuilder::flag,
    );
    // Nothing here needs a later minor version, and older tools know this one.
    fadt.fadt_minor_version = 3;
    fadt.iapc_boot_arch = BOOT_FLAGS.into();
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(OEM.1).into();
    if devices.power_port != 0 {
        let port = |n| byte_port(u64::from(devices.power_port) + n);
        fadt = fadt.flag(Flags::ResetRegSup);
        fadt.sleep_control_reg = port(0);
        fadt.sleep_status_reg = port(1);
        fadt.reset_reg = port(2);
        fadt.reset_value = RESET_VALUE;
    }
    bytes(&fadt.finalize())
}

fn byte_port(port: u64) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port)
}

/// One entry per CPU, and the virtual I/O APIC if there is one.
pub(crate) fn madt(cell: &CellAcpi<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(LOCAL_APIC);
    body.dword(0); // PCAT_COMPAT clear: no pair of 8259s
    for id in 0..cell.cpus {
        match u8::try_from(id) {
            Ok(small) if id < FIRST_X2APIC_ID => {
                let cpu = ProcessorLocalApic::new(small, small, EnabledStatus::Enabled);
                cpu.to_aml_bytes(&mut body);
            }
            _ => x2apic(id, &mut body),
        }
    }
    if let Some(address) = ioapic_address(&cell.devices) {
        IoApic::new(IOAPIC_ID, address, 0).to_aml_bytes(&mut body);
    }
    table(*b"APIC", MADT_REVISION, &body)
}

/// Where the I/O APIC is, if there is one in reach of its 32-bit field.
pub(crate) fn ioapic_address(devices: &Devices) -> Option<u32> {
    u32::try_from(devices.ioapic)
        .ok()
        .filter(|address| *address != 0)
}

/// "Processor Local x2APIC Structure", for a CPU whose id and UID are `id`.
fn x2apic(id: u32, body: &mut Vec<u8>) {
    body.vec(&[9, 16, 0, 0]);
    body.dword(id);
    body.dword(1); // enabled
    body.dword(id);
}

/// Memory-mapped configuration space.
pub(crate) fn mcfg(ecam: &[Ecam]) -> Vec<u8> {
    let mut mcfg = MCFG::new(OEM.0, OEM.1, OEM.2);
    for e in ecam {
        mcfg.add_ecam(e.base, e.segment, e.first_bus, e.last_bus);
    }
    bytes(&mcfg)
}
