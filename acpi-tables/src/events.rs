//! What the cell is told while it runs, and what it tells of its end: the Generic
//! Event Device with the power button that it stands for, and the panic device.
//!
//! Spec: ACPI 6.3, "Generic Event Device", "Control Method Power Button"; QEMU,
//! "PVPANIC DEVICE", "ACPI Interface".

use crate::parts::{Raw, bytes, name};
use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO,
    If, Interrupt, Local, Method, Notify, OpRegion, OpRegionSpace, Path, ResourceTemplate, Store,
};
use alloc::{vec, vec::Vec};
use cellvisor_abi::plan::{Devices, EVENT_GSI, EVENT_PORT, PANIC_PORT, POWER_BUTTON};

/// Notification of a button: it was pressed.
const PRESSED: u8 = 0x80;

/// Status of a device that is there, enabled, shown and works.
const PRESENT: u8 = 0xf;

/// Bits of the event register.
const REGISTER_BITS: usize = 8;

/// Target of an operation whose result is used at once: the null name.
const NOWHERE: u8 = 0;

/// What there is without a port: nothing; without an I/O APIC to interrupt by: the
/// panic device.
pub(crate) fn devices(devices: &Devices) -> Vec<u8> {
    let port = |offset| devices.power_port + offset;
    let mut out = Vec::new();
    if devices.power_port != 0 {
        out.extend(panic_device(port(PANIC_PORT)));
        if devices.ioapic != 0 {
            out.extend(power_button());
            out.extend(event_device(port(EVENT_PORT)));
        }
    }
    out
}

/// Where the kernel writes that it panicked, one port.
fn panic_device(port: u16) -> Vec<u8> {
    let mut items = Vec::new();
    name("_HID", &"QEMU0001", &mut items);
    name("_UID", &0u8, &mut items);
    let port = IO::new(port, port, 0, 1);
    name("_CRS", &ResourceTemplate::new(vec![&port]), &mut items);
    name("_STA", &PRESENT, &mut items);
    bytes(&Device::new(Path::new("PEVT"), vec![&Raw(items)]))
}

fn power_button() -> Vec<u8> {
    let mut items = Vec::new();
    name("_HID", &EISAName::new("PNP0C0C"), &mut items);
    name("_UID", &0u8, &mut items);
    bytes(&Device::new(Path::new("PWRB"), vec![&Raw(items)]))
}

/// Reads the event register at `port` when its interrupt comes, which clears it,
/// and tells of each event.
fn event_device(port: u16) -> Vec<u8> {
    let mut items = Vec::new();
    name("_HID", &"ACPI0013", &mut items);
    name("_UID", &0u8, &mut items);
    // Consumer, edge-triggered, active high, not shared.
    let line = Interrupt::new(true, true, false, false, u32::from(EVENT_GSI));
    name("_CRS", &ResourceTemplate::new(vec![&line]), &mut items);
    OpRegion::new(Path::new("EREG"), OpRegionSpace::SystemIO, &port, &1u8).to_aml_bytes(&mut items);
    Field::new(
        Path::new("EREG"),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        vec![FieldEntry::Named(*b"ESEL", REGISTER_BITS)],
    )
    .to_aml_bytes(&mut items);
    // Its argument is the number of the interrupt, of which there is one.
    Method::new(
        Path::new("_EVT"),
        1,
        true,
        vec![
            &Store::new(&Local(0), &Path::new("ESEL")),
            &If::new(
                &And::new(&NOWHERE, &Local(0), &POWER_BUTTON),
                vec![&Notify::new(&Path::new("PWRB"), &PRESSED)],
            ),
        ],
    )
    .to_aml_bytes(&mut items);
    bytes(&Device::new(Path::new("GED0"), vec![&Raw(items)]))
}
