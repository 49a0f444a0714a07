//! The device of an Extended Socket, as Linux's driver `fjes` looks for it.
//!
//! The driver takes the number of the small interrupt descriptor for a number of
//! Linux's own, not for a global system interrupt, and on a hardware-reduced machine
//! Linux gives its numbers out as they are asked for, from the first one behind the
//! pins of the I/O APIC on. So there are two descriptors: an extended one, which the
//! driver passes over, by which the kernel itself gives the pin its number; and the
//! small one, which says what that number is ([`irq`]). No pin belongs to the small
//! one, and the kernel says so when it lists the device.

use crate::parts::{Raw, bytes, name, unicode};
use acpi_tables::aml::{BufferData, Device, EISAName, Interrupt, Path, ResourceTemplate};
use acpi_tables::{Aml, AmlSink};
use alloc::{vec, vec::Vec};
use cellvisor_abi::PAGE_SIZE;
use cellvisor_abi::plan::{Devices, SOCKET_PINS, SOCKET_REGISTERS};

/// By this the driver tells the device from other motherboard resources.
const NAME: &str = "Extended Socket";

/// Status of a device that is there, enabled, shown and works.
const PRESENT: u8 = 0xf;

/// A unique id that no other motherboard resource of a cell has.
const UNIQUE_ID: u8 = 1;

/// What the kernel numbers the interrupt: it asks for that of the event device first,
/// as it makes a platform device of that one while it lists the namespace, and then
/// for those of plug and play, of which this device is the first.
pub(crate) const fn irq(devices: &Devices) -> u8 {
    SOCKET_PINS + (devices.power_port != 0) as u8
}

/// The device, with its interrupt on this pin.
pub(crate) fn device(gsi: u8, devices: &Devices) -> Vec<u8> {
    let mut resources = registers();
    // Consumer, edge-triggered, active high, not shared.
    Interrupt::new(true, true, false, false, u32::from(gsi)).to_aml_bytes(&mut resources);
    // "IRQ Descriptor" without flags: edge-triggered, active high, not shared.
    resources.byte(0x22);
    resources.word(1 << irq(devices));
    let mut items = Vec::new();
    name("_HID", &EISAName::new("PNP0C02"), &mut items);
    name("_UID", &UNIQUE_ID, &mut items);
    name("_STR", &BufferData::new(unicode(NAME)), &mut items);
    name("_STA", &PRESENT, &mut items);
    name(
        "_CRS",
        &ResourceTemplate::new(vec![&Raw(resources)]),
        &mut items,
    );
    bytes(&Device::new(Path::new("ESKT"), vec![&Raw(items)]))
}

/// "DWord Address Space Descriptor" of memory, consumed and not passed on: fixed at
/// both ends, read-write, not cacheable. The driver knows no other.
fn registers() -> Vec<u8> {
    let mut out = Vec::new();
    out.byte(0x87);
    out.word(23);
    out.vec(&[0, 1 | 1 << 2 | 1 << 3, 1]);
    let last = SOCKET_REGISTERS + (PAGE_SIZE - 1);
    for field in [0, SOCKET_REGISTERS, last, 0, PAGE_SIZE] {
        out.dword(field as u32);
    }
    out
}
