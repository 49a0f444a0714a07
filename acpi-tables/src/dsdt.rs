//! The DSDT: power, events, serial ports, configuration space, root bridges.

use crate::parts::{Raw, bytes, name};
use crate::{CellAcpi, events, pci, shared, socket, table};
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, PackageBuilder, Path, ResourceTemplate, Scope,
};
use acpi_tables::{Aml, AmlSink};
use alloc::{format, vec, vec::Vec};
use cellvisor_abi::plan::{Ecam, SLP_TYP_S5};

/// Integers in it have 64 bits.
const DSDT_REVISION: u8 = 2;

/// Ports of a 16550.
const UART_PORTS: u8 = 8;

/// The whole table.
pub(crate) fn dsdt(cell: &CellAcpi<'_>) -> Vec<u8> {
    let mut aml = Vec::new();
    if cell.devices.power_port != 0 {
        name("_S5_", &soft_off(), &mut aml);
    }
    let mut system = events::devices(&cell.devices);
    // Before all others that a kernel asks for an interrupt at that time.
    if let Some(gsi) = cell.socket {
        system.vec(&socket::device(gsi, &cell.devices));
    }
    if cell.devices.uart_port != 0 {
        let line = (cell.devices.ioapic != 0).then_some(cell.devices.uart_gsi);
        system.vec(&uart(0, cell.devices.uart_port, line));
    }
    for (index, port) in (1u32..).zip(cell.uarts) {
        system.vec(&uart(index, *port, None));
    }
    if !cell.ecam.is_empty() {
        system.vec(&configuration_space(cell.ecam));
    }
    for (index, bridge) in (0u32..).zip(cell.bridges) {
        system.vec(&pci::device(index, bridge));
    }
    for (index, window) in (0u32..).zip(cell.shared) {
        system.vec(&shared::device(index, window));
    }
    Scope::new(Path::new("_SB_"), vec![&Raw(system)]).to_aml_bytes(&mut aml);
    table(*b"DSDT", DSDT_REVISION, &aml)
}

/// What `\_S5` says: the value for the sleep control register, the one for a
/// second register that hardware-reduced machines lack, and two reserved.
fn soft_off() -> PackageBuilder {
    let mut package = PackageBuilder::new();
    for value in [SLP_TYP_S5, SLP_TYP_S5, 0, 0] {
        package.add_element(&value);
    }
    package
}

/// A 16550, number `index` of the cell, with its interrupt if it has one.
fn uart(index: u32, port: u16, gsi: Option<u8>) -> Vec<u8> {
    let mut resources = bytes(&IO::new(port, port, 0, UART_PORTS));
    if let Some(gsi) = gsi {
        // Consumer, edge-triggered, active high, not shared.
        Interrupt::new(true, true, false, false, u32::from(gsi)).to_aml_bytes(&mut resources);
    }
    let mut items = Vec::new();
    name("_HID", &EISAName::new("PNP0501"), &mut items);
    name("_UID", &(index + 1), &mut items);
    name(
        "_CRS",
        &ResourceTemplate::new(vec![&Raw(resources)]),
        &mut items,
    );
    bytes(&Device::new(
        Path::new(&format!("U{index:03X}")),
        vec![&Raw(items)],
    ))
}

/// A motherboard resource that reserves what MCFG tells of: without it a kernel
/// takes the MCFG for a firmware mistake and does not use it.
fn configuration_space(ecam: &[Ecam]) -> Vec<u8> {
    let mut resources = Vec::new();
    for e in ecam {
        reserved(
            e.base + (u64::from(e.first_bus) << 20),
            ecam_size(e),
            &mut resources,
        );
    }
    let mut items = Vec::new();
    name("_HID", &EISAName::new("PNP0C02"), &mut items);
    name("_UID", &0u8, &mut items);
    name(
        "_CRS",
        &ResourceTemplate::new(vec![&Raw(resources)]),
        &mut items,
    );
    bytes(&Device::new(Path::new("ECAM"), vec![&Raw(items)]))
}

/// Bytes of configuration space: 1 MiB for each bus.
pub(crate) fn ecam_size(e: &Ecam) -> u64 {
    (u64::from(e.last_bus).saturating_sub(u64::from(e.first_bus)) + 1) << 20
}

/// Memory that the device itself takes up.
fn reserved(base: u64, size: u64, out: &mut Vec<u8>) {
    match (u32::try_from(base), u32::try_from(size)) {
        (Ok(base), Ok(size)) if base.checked_add(size - 1).is_some() => {
            Memory32Fixed::new(true, base, size).to_aml_bytes(out);
        }
        _ => {
            // "QWord Address Space Descriptor", consumed and not passed on: fixed
            // at both ends, read-write, not cacheable.
            out.byte(0x8a);
            out.word(43);
            out.vec(&[0, 1 | 1 << 2 | 1 << 3, 1]);
            for field in [0, base, base + (size - 1), 0, size] {
                out.qword(field);
            }
        }
    }
}
